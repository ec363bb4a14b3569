"""Records gathered into tables: what may stand beside what, over which units an interval is, in which order.

A table holds records of one data set (both hashes), one protocol (its hash), one student network, one pixel
space and one teacher; nothing else is ever compared. The whole training set is its own protocol
(``whole-v1``) and joins every table of its data, student and space as a reference.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import NamedTuple

from scipy.special import stdtrit

from condense.files import canonical, digest
from condense.records.record import Entry, Paper, Record

BASELINES = ("random_subset", "herding", "k_center")
PUBLISHED = "published"
GRAPHS = "graphs"
"""The kind of data whose tables are of another form: `condense.board.graph_tables`."""
EVERY = "none"
"""The student of a reference that trains none (majority class): it joins every table of its data."""


def half_width(values: Sequence[float], level: float = 0.95) -> float | None:
    """Half the width of Student's t interval of the mean: ``t * s / sqrt(n)`` with n - 1 degrees of freedom.

    Args:
        values: n independent values.
        level: Coverage.

    Returns:
        The half-width; None for fewer than two values, which say nothing about their spread.
    """
    if len(values) < 2:
        return None
    quantile = float(stdtrit(len(values) - 1, (1 + level) / 2))
    return quantile * stdev(values) / math.sqrt(len(values))


class Key(NamedTuple):
    """What all records of a table share."""

    dataset: str
    train_hash: str
    test_hash: str
    protocol: str
    protocol_hash: str
    student: str
    space: str
    teacher: str

    @classmethod
    def of(cls, record: Record) -> "Key":
        """The key of the table that a record belongs in."""
        data, protocol = record.dataset, record.protocol
        hashes = (data.train_hash, data.test_hash, protocol.name, protocol.hash)
        return cls(data.name, *hashes, record.student, record.space, record.teacher or "")

    @property
    def data(self) -> tuple[str, str, str]:
        """The data set by name and hashes."""
        return self[:3]


@dataclass(frozen=True)
class TableCell:
    """One method at one IPC: the records of its distillation seeds.

    Attributes:
        records: At least one, each with at least one entry.
    """

    records: tuple[Record, ...]

    @property
    def units(self) -> tuple[float, ...]:
        """The independent scores: the means over each set's students, or of a single set its students."""
        return self._over_units(lambda entry: entry.score)

    def _over_units(self, value: Callable[[Entry], float]) -> tuple[float, ...]:
        if len(self.records) == 1:
            return tuple(value(entry) for entry in self.records[0].entries)
        return tuple(fmean(value(entry) for entry in record.entries) for record in self.records)

    @property
    def mean(self) -> float:
        """Mean score in percent: accuracy, or the AUC where the data are judged by it."""
        return fmean(self.units)

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy in percent where the score is another number; else None."""
        if all(entry.auc is None for record in self.records for entry in record.entries):
            return None
        return fmean(self._over_units(lambda entry: entry.accuracy))

    @property
    def half(self) -> float | None:
        """95 % half-width over the units."""
        return half_width(self.units)

    @property
    def students(self) -> tuple[int, ...]:
        """The number of students of each set."""
        return tuple(len(record.entries) for record in self.records)

    @property
    def papers(self) -> tuple[Paper, ...]:
        """The distinct published numbers that the records carry."""
        distinct = {
            canonical([p.value, p.source, p.protocol, p.error, p.verified]): p for p in self._papers()
        }
        return tuple(distinct[text] for text in sorted(distinct))

    def _papers(self) -> Iterable[Paper]:
        return (record.paper for record in self.records if record.paper)

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """The distinct numbers of samples stored and trained on, ascending; none of a reference."""
        sets = [record.set for record in self.records if record.set]
        return tuple(sorted({(one.counts.stored, one.counts.effective) for one in sets}))

    @property
    def bytes(self) -> dict[str, int]:
        """Size by part, of the largest set, with the validation data that its students were chosen by."""
        sizes = [record.set.bytes for record in self.records if record.set]
        sizes += [{"validation": record.valid_bytes} for record in self.records if record.valid_bytes]
        parts = sorted({part for size in sizes for part in size})
        return {part: max(size.get(part, 0) for size in sizes) for part in parts}

    @property
    def dense_bytes(self) -> int | None:
        """Size as float32 features and dense adjacency, of the largest set; None where that is not known."""
        known = [r.set.dense_bytes for r in self.records if r.set and r.set.dense_bytes is not None]
        return max(known, default=None)

    @property
    def seconds(self) -> float | None:
        """Mean distillation time over the sets."""
        known = [r.set.seconds for r in self.records if r.set and r.set.seconds is not None]
        return fmean(known) if known else None

    @property
    def peak_bytes(self) -> int | None:
        """Largest peak memory over the sets."""
        known = [r.set.peak_bytes for r in self.records if r.set and r.set.peak_bytes is not None]
        return max(known, default=None)


@dataclass(frozen=True)
class Row:
    """One method, or one of its settings, over the IPCs.

    Attributes:
        name: The method; where a table holds several settings at one IPC, with the fields that differ.
        method: The method alone.
        cells: By IPC; a reference has one, at 0.
        reference: Whether it has no set and stands for every IPC.
    """

    name: str
    method: str
    cells: Mapping[int, TableCell]
    reference: bool = False

    @property
    def baseline(self) -> bool:
        """Whether it is one of the coresets that every table shows, whoever labels it."""
        return self.method.partition("+")[0] in BASELINES

    def at(self, ipc: int) -> TableCell | None:
        """The cell of an IPC."""
        return self.cells.get(0 if self.reference else ipc)

    @property
    def labels(self) -> str:
        """The label kinds of its sets."""
        sets = [record.set for cell in self.cells.values() for record in cell.records]
        return "/".join(sorted({one.label for one in sets if one}))


@dataclass(frozen=True)
class Table:
    """Rows that may be compared.

    Attributes:
        key: What they share.
        ipcs: Ascending; empty where there are only references.
        rows: By score at the largest IPC, descending; references last.
    """

    key: Key
    ipcs: tuple[int, ...]
    rows: tuple[Row, ...]

    @property
    def stored(self) -> bool:
        """Whether its protocol trains on labels that the sets store."""
        records = (record for row in self.rows for cell in row.cells.values() for record in cell.records)
        return any(record.protocol.labels == "stored" for record in records)


def gather(records: Iterable[Record]) -> list[Table]:
    """Every table of images but the ``published`` ones, sorted by key.

    Args:
        records: In any order: the result does not depend on it.
    """
    groups: dict[Key, list[Record]] = defaultdict(list)
    whole: list[Record] = []
    for record in done(records):
        if record.dataset.kind == GRAPHS:
            continue
        if stands_for_all(record):
            whole.append(record)
        elif record.protocol.name != PUBLISHED:
            groups[Key.of(record)].append(record)
    homeless = []
    for record in whole:
        hosts = [key for key in groups if _joins(record, key)]
        for key in hosts:
            groups[key].append(record)
        if not hosts:
            homeless.append(record)
    for record in homeless:
        groups[Key.of(record)].append(record)
    return [_table(key, groups[key]) for key in sorted(groups)]


def published(records: Iterable[Record]) -> dict[tuple[str, str, str], list[tuple[Key, int, Row]]]:
    """The rows under a paper's own protocol by data set, each with its key and IPC; never ranked."""
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in done(records):
        if record.protocol.name == PUBLISHED:
            groups[Key.of(record)].append(record)
    rows = [(key, ipc, row) for key in groups for row in method_rows(groups[key]) for ipc in row.cells]
    rows.sort(key=lambda one: (one[2].name, one[0].student, one[1], one[0]))
    found: dict[tuple[str, str, str], list[tuple[Key, int, Row]]] = defaultdict(list)
    for key, ipc, row in rows:
        found[key.data].append((key, ipc, row))
    return dict(found)


def done(records: Iterable[Record]) -> list[Record]:
    """Those with an entry, in an order of their own, so that sums do not depend on the caller's."""
    found = [record for record in records if record.entries]
    return sorted(found, key=lambda record: (record.seed, record.evaluation_key()))


def stands_for_all(record: Record) -> bool:
    """Whether a record has no set and so stands beside sets of every IPC, under whatever protocol."""
    return record.kind == "reference" and (bool(record.protocol.whole) or record.student == EVERY)


def _joins(record: Record, key: Key) -> bool:
    mine = Key.of(record)
    everywhere = record.student == EVERY
    return mine.data == key.data and (everywhere or (mine.student, mine.space) == (key.student, key.space))


def _table(key: Key, records: Sequence[Record]) -> Table:
    rows = method_rows([record for record in records if record.kind == "set"])
    references = reference_rows([record for record in records if record.kind == "reference"])
    ipcs = sorted({ipc for row in rows for ipc in row.cells})

    def order(row: Row) -> tuple[list[float], str]:
        cells = [row.cells.get(ipc) for ipc in reversed(ipcs)]
        return [-cell.mean if cell else math.inf for cell in cells], row.name

    return Table(key=key, ipcs=tuple(ipcs), rows=(*sorted(rows, key=order), *references))


def method_rows(records: Sequence[Record]) -> list[Row]:
    """The rows of sets: one for each method, or where settings differ at one IPC for each of its settings."""
    by_method: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        by_method[record.method.name].append(record)
    rows = []
    for method in sorted(by_method):
        for suffix, mine in _settings(by_method[method]):
            cells: dict[int, list[Record]] = defaultdict(list)
            for record in mine:
                cells[record.ipc].append(record)
            filled = {ipc: TableCell(tuple(cells[ipc])) for ipc in sorted(cells)}
            rows.append(Row(name=method + suffix, method=method, cells=filled))
    return rows


def reference_rows(records: Sequence[Record]) -> list[Row]:
    """The rows without a set, the whole training set last."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.method.name, record.protocol.hash].append(record)
    names = [name for name, _ in groups]
    rows = []
    for (name, protocol_hash), mine in sorted(groups.items(), key=lambda one: (one[0][0] == "whole", one[0])):
        title = "whole training set" if name == "whole" else name
        if names.count(name) > 1:
            title += f" ({mine[0].protocol.name} {protocol_hash[:8]})"
        rows.append(Row(name=title, method=name, cells={0: TableCell(tuple(mine))}, reference=True))
    return rows


def _settings(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """The records of one method by their settings, with a suffix that tells them apart.

    Settings may differ from IPC to IPC (recipes do) and still make one row; as soon as one IPC was run with
    two, each makes a row of its own.
    """
    chains: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        chains[digest(record.method.chain)].append(record)
    cells = {(name, record.ipc) for name, mine in chains.items() for record in mine}
    if len(cells) == len({ipc for _, ipc in cells}):
        return [("", list(records))]
    flat = {name: settings(mine[0]) for name, mine in chains.items()}
    fields = sorted({field for values in flat.values() for field in values})
    differing = [field for field in fields if len({values.get(field) for values in flat.values()}) > 1]
    rows = []
    for name, mine in chains.items():
        told = ", ".join(f"{field}={flat[name][field]}" for field in differing if field in flat[name])
        rows.append((f" ({told})", mine))
    return sorted(rows, key=lambda row: row[0])


def settings(record: Record) -> dict[str, str]:
    """A record's method configuration as text by field; with the link's name before it in a chain."""
    found = {}
    for link in record.method.chain:
        prefix = f"{link['name']}." if len(record.method.chain) > 1 else ""
        found[f"{prefix}version"] = canonical(link["version"])
        config = link["config"]
        assert isinstance(config, Mapping)
        found |= {f"{prefix}{field}": _plain(config[field]) for field in sorted(config)}
    return found


def _plain(value: object) -> str:
    return value if isinstance(value, str) else canonical(value)
