"""Records of graph data gathered into tables: one for each data set and protocol, the students side by side.

What a graph network tells of a set depends on the network and how it pools far more than with images, so a
method's row shows all of them. Nothing else than in `condense.board.tables` is ever compared.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from condense.board.tables import (
    BASELINES,
    EVERY,
    GRAPHS,
    PUBLISHED,
    Key,
    Row,
    Table,
    TableCell,
    done,
    method_rows,
    reference_rows,
    stands_for_all,
)
from condense.records.record import Record

STUDENTS = ("gcn-sum", "gcn-mean", "gat-sum", "gat-mean", "gin-sum", "gin-mean")
"""The order of the columns; any other network stands behind them."""


@dataclass(frozen=True)
class GraphRow:
    """One method, or one of its settings, at one IPC.

    Attributes:
        name: As in `condense.board.tables.Row`.
        method: The method alone.
        ipc: Graphs per class; 0 for a reference.
        cells: By student network; what trains none has one, under `EVERY`.
        reference: Whether it has no set and stands beside every IPC.
    """

    name: str
    method: str
    ipc: int
    cells: Mapping[str, TableCell]
    reference: bool = False

    @property
    def baseline(self) -> bool:
        """Whether it is one of the coresets that every table shows."""
        return self.method in BASELINES

    def at(self, student: str) -> TableCell | None:
        """The cell of a student network."""
        return self.cells.get(student) or self.cells.get(EVERY)

    def mean(self, students: Collection[str]) -> float:
        """The mean over some of its student networks; over all of them where there are none."""
        return fmean(self.cells[student].mean for student in sorted(students or self.cells))

    @cached_property
    def sets(self) -> TableCell:
        """Its sets, each once however many networks were trained on it."""
        records = [record for student in sorted(self.cells) for record in self.cells[student].records]
        found = {record.set.hash if record.set else record.evaluation_key(): record for record in records}
        return TableCell(tuple(sorted(found.values(), key=lambda record: (record.seed, record.student))))


@dataclass(frozen=True)
class GraphTable:
    """Rows that may be compared, column by column.

    Attributes:
        key: What they share: all but the student.
        students: The columns.
        rows: By IPC, and within one by the mean over the student networks that all of its rows have (each
            over its own where there is none), descending; references last.
    """

    key: Key
    students: tuple[str, ...]
    rows: tuple[GraphRow, ...]

    @property
    def ipcs(self) -> tuple[int, ...]:
        """Ascending; empty where there are only references."""
        return tuple(sorted({row.ipc for row in self.rows if not row.reference}))

    def of_student(self, student: str) -> Table:
        """One column, as a table of its own."""
        rows: dict[tuple[str, str, bool], dict[int, TableCell]] = defaultdict(dict)
        for row in self.rows:
            if cell := row.at(student):
                rows[row.name, row.method, row.reference][row.ipc] = cell
        found = tuple(
            Row(name=name, method=method, cells=cells, reference=reference)
            for (name, method, reference), cells in rows.items()
        )
        ipcs = sorted({ipc for row in found if not row.reference for ipc in row.cells})
        return Table(key=self.key._replace(student=student), ipcs=tuple(ipcs), rows=found)


def gather_graphs(records: Iterable[Record]) -> list[GraphTable]:
    """Every table of graphs but the ``published`` ones, sorted by key.

    Args:
        records: In any order: the result does not depend on it.
    """
    groups: dict[Key, list[Record]] = defaultdict(list)
    references: list[Record] = []
    for record in done(records):
        if record.dataset.kind != GRAPHS:
            continue
        if stands_for_all(record):
            references.append(record)
        elif record.protocol.name != PUBLISHED:
            groups[_key(record)].append(record)
    beside: dict[Key, list[Record]] = defaultdict(list)
    for record in references:
        for key in [key for key in groups if _joins(record, key)] or [_key(record)]:
            beside[key].append(record)
    return [_table(key, groups.get(key, []), beside.get(key, [])) for key in sorted({*groups, *beside})]


def _key(record: Record) -> Key:
    return Key.of(record)._replace(student="")


def _joins(record: Record, key: Key) -> bool:
    """Whether a reference stands in a table."""
    mine = _key(record)
    return mine.data == key.data and (record.student == EVERY or mine.space == key.space)


def _table(key: Key, sets: Sequence[Record], references: Sequence[Record]) -> GraphTable:
    rows = [
        GraphRow(row.name, row.method, ipc, _by_student(cell))
        for row in method_rows(sets)
        for ipc, cell in row.cells.items()
    ]
    ipcs = {row.ipc for row in rows}
    shared = {ipc: set.intersection(*(set(row.cells) for row in rows if row.ipc == ipc)) for ipc in ipcs}
    rows.sort(key=lambda row: (row.ipc, -row.mean(shared[row.ipc]), row.name))
    beside = [
        GraphRow(row.name, row.method, 0, _by_student(cell), reference=True)
        for row in reference_rows(references)
        for cell in row.cells.values()
    ]
    found = {student for row in [*rows, *beside] for student in row.cells}
    columns = sorted(found - {EVERY}, key=lambda name: (_place(name), name)) or [EVERY]
    return GraphTable(key=key, students=tuple(columns), rows=(*rows, *beside))


def _place(student: str) -> float:
    return STUDENTS.index(student) if student in STUDENTS else math.inf


def _by_student(cell: TableCell) -> dict[str, TableCell]:
    found: dict[str, list[Record]] = defaultdict(list)
    for record in cell.records:
        found[record.student].append(record)
    return {student: TableCell(tuple(found[student])) for student in sorted(found)}
