"""Entries of records gathered into tables: which results may be compared, and in which order they stand.

A table holds results on one dataset (the same hashes of both splits) under one protocol (the same hash), in
one pixel space, with one teacher; only these are compared. Sets whose classes have numbers of samples of
their own stand apart, with those of the same numbers; so do sets that fill a number of bytes, which takes the
place of their IPC. A table of images has one student network and a
column for each IPC. A table of graphs has a column for each student network and a row for each IPC. A
reference that trains on the whole training set has a protocol of its own; it joins every table of its data,
student and pixel space. A reference that trains no network joins every table of its dataset. If a reference
has two versions, the older one joins the tables under older versions of protocols, the newer one the rest.
Random images with one soft label each (`NO_DISTILLATION` under label-v1) join every table of the same data,
student and pixel space in which labels come from a teacher, and are marked with their protocol.
"""

import json
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Literal, NamedTuple

import pandas as pd

from condense.board.cells import TableCell
from condense.board.entries import tuples
from condense.board.names import NO_SET, marked, named, titled
from condense.files import digest
from condense.protocol import PUBLISHED
from condense.protocols import LABEL_V1, PROTOCOLS, SUPERSEDED
from condense.records.record import (
    BASELINES,
    NO_DISTILLATION,
    NO_STUDENT,
    TAUGHT,
    WHOLE,
)

Column = int | str
"""An IPC or the name of a student network."""

EVERYWHERE: tuple[Column, ...] = (0, NO_STUDENT)
"""The IPC of references, and the student of those that train none: such a cell stands in every column."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The form of the tables of one kind of data.

    Attributes:
        across: What has a column for each of its values: ``ipc`` or ``student``.
        samples: The part of a set that holds its samples.
        order: The order of the columns; those that are not named follow in their own.
        references: The references that have a row in every table, in order.
        dense: Whether a set has a size as dense floats.
        pooled: The kinds of pooling, by which the students' correlation with the number of nodes is told.
        protocol: Name of the protocol that judges random samples of equal bytes.
    """

    across: Literal["ipc", "student"]
    samples: str
    order: tuple[Column, ...] = ()
    references: tuple[str, ...]
    dense: bool = False
    pooled: tuple[str, ...] = ()
    protocol: str

    def columns(self, names: Iterable[Column]) -> tuple[Column, ...]:
        """Returns the columns in order, without those of cells that stand in every column."""
        rank = {name: place for place, name in enumerate(self.order)}
        return tuple(sorted(set(names) - {*EVERYWHERE}, key=lambda name: (rank.get(name, len(rank)), name)))


LAYOUTS = {
    "images": Layout(across="ipc", samples="images", references=(WHOLE,), protocol="hard-v1"),
    "graphs": Layout(
        across="student",
        samples="graphs",
        order=("gcn-sum", "gcn-mean", "gat-sum", "gat-mean", "gin-sum", "gin-mean"),
        references=("majority", "num_nodes", "num_edges", "label_histogram", WHOLE),
        dense=True,
        pooled=("sum", "mean"),
        protocol="graph-v2",
    ),
}
"""The layout of each kind of data."""


class Key(NamedTuple):
    """What all results of a table have in common; the student is empty where students are the columns.

    `asked` holds the samples of each class as JSON, if they are not IPC of each; `filled` is not empty for
    sets that fill a number of bytes. `target` is the data, with the start of its hash, that students are
    trained and tested on after the sets, if there are any.
    """

    dataset: str
    train_hash: str
    test_hash: str
    protocol: str
    protocol_hash: str
    student: str
    space: str
    teacher: str
    asked: str = ""
    filled: str = ""
    target: str = ""

    @property
    def data(self) -> tuple[str, str, str]:
        return self[:3]

    @property
    def title(self) -> str:
        """The protocol with the start of its hash, student, pixel space, teacher, target and counts."""
        student = f", {self.student}, {self.space} pixels" if self.student else ""
        teacher = f", teacher {self.teacher[:8]}" if self.teacher else ""
        target = f", then trained and tested on {self.target}" if self.target else ""
        shared = f"{self.protocol} ({self.protocol_hash[:8]}){student}{teacher}{target}"
        return shared + self.by_class + self.filled

    @property
    def by_class(self) -> str:
        """The range of the samples of each class and the start of their hash; empty for IPC of each."""
        if not self.asked:
            return ""
        counts = json.loads(self.asked)
        return f", IPC by class from {min(counts)} to {max(counts)} ({digest(counts)[:8]})"


FILLED = ", sets that fill a number of bytes"
"""What the titles of tables of such sets end with."""
FRACTIONS = ", by the fraction of the training images"
"""What the titles of tables of trainings on a fraction of the training images end with."""
PARTS = 10**12
"""In place of an IPC, fractions are counted in parts so small that no two of them share a column."""


@dataclass(frozen=True, eq=False)
class Row:
    """One method, or one of its settings.

    Attributes:
        name: The method, followed by the fields that differ if it was run with several settings at one IPC.
        method: The method alone.
        ipc: Samples per class; 0 for a reference, and if the columns are IPCs.
        cells: The results by column; a row without any is blank.
        reference: Whether it is a reference, which has no set.
    """

    name: str
    method: str
    ipc: int
    cells: Mapping[Column, TableCell]
    reference: bool = False

    @property
    def baseline(self) -> bool:
        return self.method.partition("+")[0] in (*BASELINES, TAUGHT)

    @cached_property
    def trained(self) -> bool:
        """Whether its students are trained on real images, without a set."""
        return any(record.touched is not None for record in self.sets.records)

    @property
    def labels(self) -> str:
        return "/".join(sorted({record.label for record in self.sets.records if record.label}))

    def at(self, column: Column) -> TableCell | None:
        """Returns the cell that stands in a column."""
        return next((self.cells[place] for place in (column, *EVERYWHERE) if place in self.cells), None)

    def mean(self, columns: Collection[Column]) -> float:
        """Returns the mean score over some of its columns; over all of them if there are none."""
        return fmean(self.cells[column].mean for column in columns or self.cells)

    @cached_property
    def sets(self) -> TableCell:
        """All of its cells as one, with one record for each set that several students were trained on."""
        records = [record for cell in self.cells.values() for record in cell.records]
        return TableCell(tuple({record.set_hash or record.record_key: record for record in records}.values()))


@dataclass(frozen=True, eq=False)
class Table:
    """Results that may be compared.

    Attributes:
        key: What all of them have in common.
        layout: The form of the table.
        columns: The columns of scores in order; empty if there are only references without a network.
        rows: The best first, separately for each IPC if IPCs are rows; references last.
        entries: The entries of all rows, as in `TableCell`.
    """

    key: Key
    layout: Layout
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    entries: tuple[Any, ...]

    @cached_property
    def ipcs(self) -> tuple[int, ...]:
        """The IPCs of the sets, ascending; empty if there are only references."""
        return tuple(sorted({entry.ipc for entry in self.entries} - {0}))

    @cached_property
    def stored(self) -> bool:
        return any(entry.stored_labels for entry in self.entries)

    @cached_property
    def by_method(self) -> Mapping[str, Sequence[Row]]:
        """The rows of each method, in their order."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.method].append(row)
        return dict(found)

    @cached_property
    def by_run(self) -> Mapping[str, Sequence[int]]:
        """The numbers of the entries of each run, ascending."""
        found: dict[str, list[int]] = defaultdict(list)
        for number, entry in enumerate(self.entries):
            found[entry.run_key].append(number)
        return dict(found)

    def mark(self, row: Row) -> str:
        """Returns what marks a row among sets whose students are trained on real images; empty for others."""
        return NO_SET if row.trained and self.key.filled != FRACTIONS else ""

    def no_set(self, row: Row) -> bool:
        """Returns whether a row stands among sets and has none: a reference, or a training on real images."""
        return row.reference or bool(self.mark(row))

    def by_student(self) -> dict[str, list[Row]]:
        """Returns the rows of each student network with one cell for each IPC, whatever the columns are."""
        if self.layout.across == "ipc":
            return {self.key.student: list(self.rows)}
        panels = {}
        for student in self.columns:
            cells: dict[tuple[str, str, bool], dict[Column, TableCell]] = defaultdict(dict)
            for row in self.rows:
                if cell := row.at(student):
                    cells[row.name, row.method, row.reference][row.ipc] = cell
            panels[str(student)] = [
                Row(name, method, 0, found, reference) for (name, method, reference), found in cells.items()
            ]
        return panels


def gather(entries: pd.DataFrame) -> list[Table]:
    """Returns every table except those under published protocols, sorted by key.

    Args:
        entries: Rows of `condense.records.frame.results` in any order, on which the result does not depend.
    """
    groups: dict[Key, list[Any]] = defaultdict(list)
    apart: dict[tuple[Key, str], list[Any]] = defaultdict(list)
    for entry in _prepared(entries, (entries["protocol"] != PUBLISHED) | entries["reference"]):
        if entry.reference and (entry.whole or entry.student == NO_STUDENT):
            apart[_key(entry), entry.student].append(entry)
        elif entry.protocol != PUBLISHED:
            groups[_key(entry)].append(entry)
    hosts = sorted(groups)
    plain = {
        key: [entry for entry in groups[key] if entry.method == NO_DISTILLATION]
        for key in hosts
        if key.protocol == LABEL_V1.name
    }
    replaced = {(own.data, student, SUPERSEDED.get(own.protocol)) for own, student in apart}
    for (own, student), group in sorted(apart.items(), key=lambda one: one[0]):
        joined = [key for key in hosts if key.data == own.data]
        if student != NO_STUDENT:
            joined = [key for key in joined if (key.student, key.space) == (own.student, own.space)]
        if own.protocol in SUPERSEDED:
            joined = [key for key in joined if key.protocol in SUPERSEDED]
        elif (own.data, student, own.protocol) in replaced:
            joined = [key for key in joined if key.protocol not in SUPERSEDED]
        for key in joined or [own]:
            groups[key] += group
    for own, group in plain.items():
        for key in hosts:
            if _taught(key) and (*key.data, key.student, key.space, key.asked) == (
                *own.data, own.student, own.space, own.asked,
            ):  # fmt: skip
                groups[key] += group
    return [_table(key, groups[key]) for key in sorted(groups)]


def _taught(key: Key) -> bool:
    """Returns whether the labels of a table come from a teacher, while students are trained or stored."""
    return key.protocol in PROTOCOLS and PROTOCOLS[key.protocol].labels is not None


def superseded(tables: Sequence[Table]) -> dict[Key, str]:
    """Returns the tables under a protocol of which a later version has results on the same data.

    Returns:
        The newest version of the protocol by the keys of these tables.
    """
    judged = {(table.key.data, entry.protocol) for table in tables for entry in table.entries}
    newest = {table.key: SUPERSEDED.get(table.key.protocol) for table in tables}
    return {key: name for key, name in newest.items() if name is not None and (key.data, name) in judged}


def published(entries: pd.DataFrame) -> dict[tuple[str, str, str], list[tuple[Key, Row]]]:
    """Returns the rows under published protocols by dataset; they are not ranked.

    Args:
        entries: As for `gather`.

    Returns:
        For each dataset the rows with their keys; each row has one cell, that of its student network.
    """
    groups: dict[Key, list[Any]] = defaultdict(list)
    for entry in _prepared(entries, entries["protocol"] == PUBLISHED):
        groups[_key(entry)._replace(student=entry.student)].append(entry)
    rows = [
        (key, row) for key, group in sorted(groups.items()) for row in _rows(group, named(group), "student")
    ]
    rows.sort(key=lambda one: (one[1].name, one[0].student, one[1].ipc, one[0]))
    found: dict[tuple[str, str, str], list[tuple[Key, Row]]] = defaultdict(list)
    for key, row in rows:
        found[key.data].append((key, row))
    return dict(found)


def _prepared(entries: pd.DataFrame, wanted: "pd.Series[bool]") -> list[Any]:
    """Returns the entries that are wanted, sorted, as named tuples in which what is missing is None.

    Those of federations are left out: they have tables of their own. Where sets fill a number of bytes, or
    students train on a fraction of the images, that number takes the place of the IPC.
    """
    parts = (entries["fraction"] * PARTS).round().astype("Int64")
    ipc = entries["room"].fillna(parts).fillna(entries["ipc"]).astype("int64")
    return tuples(entries, wanted & entries["split"].isna(), ipc=ipc)


def _key(entry: Any) -> Key:
    """Returns the key of the table that an entry belongs in."""
    filled = FRACTIONS if entry.fraction is not None else FILLED if entry.room is not None else ""
    return Key(
        dataset=entry.dataset,
        train_hash=entry.train_hash,
        test_hash=entry.test_hash,
        protocol=entry.protocol,
        protocol_hash=entry.protocol_hash,
        student=entry.student if LAYOUTS[entry.kind].across == "ipc" else "",
        space=entry.space,
        teacher=entry.teacher or "",
        asked=entry.asked or "",
        filled=filled,
        target=f"{entry.target} ({entry.target_hash[:8]})" if entry.target is not None else "",
    )


def _table(key: Key, entries: Sequence[Any]) -> Table:
    layout = LAYOUTS[entries[0].kind]
    made = [entry for entry in entries if not entry.reference]
    others = [entry for entry in entries if entry.reference]
    sets = _rows(made, marked(made, key.protocol_hash), layout.across)
    references = _rows(others, titled(others), layout.across)
    columns = layout.columns(column for row in [*sets, *references] for column in row.cells)
    shared = {
        ipc: set.intersection(*(set(row.cells) for row in sets if row.ipc == ipc))
        for ipc in {row.ipc for row in sets}
    }

    def order(row: Row) -> tuple[int, list[float], str]:
        if layout.across == "student":
            return row.ipc, [-row.mean(shared[row.ipc])], row.name
        cells = [row.cells.get(column) for column in reversed(columns)]
        return 0, [-cell.mean if cell else math.inf for cell in cells], row.name

    sets.sort(key=order)
    references.sort(key=lambda row: (row.method == WHOLE, row.name))
    return Table(key, layout, columns, (*sets, *references), tuple(entries))


def _rows(entries: Sequence[Any], names: Sequence[str], across: Literal["ipc", "student"]) -> list[Row]:
    """Returns the rows of entries that have names, each with a cell for each IPC or student."""
    places: dict[tuple[str, int], dict[Column, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for name, entry in zip(names, entries, strict=True):
        places[name, entry.ipc if across == "student" else 0][getattr(entry, across)].append(entry)
    rows = []
    for (name, ipc), columns in sorted(places.items()):
        cells = {column: TableCell(tuple(columns[column])) for column in sorted(columns)}
        first = next(iter(columns.values()))[0]
        rows.append(Row(name, first.method, ipc, cells, first.reference))
    return rows
