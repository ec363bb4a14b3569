"""The overview of a table: a row for each method, with the best of its settings in each column.

Whether two cells differ is what the whole table says, with all of its settings: choosing the best ones does
not make any comparison easier.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

from condense.board.asked import Asked, asked_of
from condense.board.cells import TableCell, half_width
from condense.board.significance import Differing, Place, block_letters, find_differing, table_blocks
from condense.board.tables import FRACTIONS, PARTS, Row, Table
from condense.records.published import read_published
from condense.records.record import BASELINES, NO_DISTILLATION, NO_STUDENT, WHOLE, Paper

IPCS = (1, 10, 50)
"""The samples per class that have columns."""
RANDOM = BASELINES[0]


IMPORTED = "imported-"
"""What the names of methods of other code bases' sets start with."""

Papers = Mapping[tuple[str, int, str], Paper]
"""Published numbers by method, samples per class (0 for the whole training set) and pooling."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """One column.

    Attributes:
        ipc: Samples per class, or what takes their place in the table.
        head: The title.
        pool: How the student networks of graphs pool the nodes; empty for images.
    """

    ipc: int
    head: str
    pool: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Shown:
    """One score.

    Attributes:
        place: What stands for it in comparisons.
        row: The row of the table that it comes from.
        units: Its independent values, as in `TableCell.units`.
        have: Number of students that were trained.
        asked: Number of students that it needs to be complete; None if the protocol does not tell.
    """

    place: Hashable
    row: Row
    units: tuple[float, ...]
    have: int
    asked: Asked | None

    @cached_property
    def mean(self) -> float:
        return fmean(self.units)

    @cached_property
    def half(self) -> float | None:
        return half_width(self.units)

    @cached_property
    def complete(self) -> bool:
        return self.asked is None or self.have >= self.asked.students


@dataclass(frozen=True, eq=False)
class Line:
    """One method, or one reference, with its scores by column."""

    method: str
    cells: Mapping[Spot, Shown]

    @property
    def rows(self) -> list[Row]:
        """The rows of its scores, in the order of the columns."""
        return list(dict.fromkeys(cell.row for cell in self.cells.values()))

    def complete(self, spot: Spot) -> Shown | None:
        """Returns its score in a column, if that is complete."""
        cell = self.cells.get(spot)
        return cell if cell and cell.complete else None


@dataclass(frozen=True, eq=False, kw_only=True)
class Overview:
    """The overview of a table.

    Attributes:
        table: The table.
        spots: The columns.
        references: The whole training set, random samples, trainings on real images without a set, and
            classifiers without a network.
        methods: All other methods, the best first by the last column; complete scores are ranked before
            those that are not.
        absent: The names of the methods that have published numbers here, and no results yet.
        papers: The published numbers by method, samples per class (0 for the whole set) and pooling.
        differing: The places that each place differs from.
        every: The scores of all settings by column.
    """

    table: Table
    spots: tuple[Spot, ...]
    references: tuple[Line, ...]
    methods: tuple[Line, ...]
    absent: tuple[str, ...]
    papers: Papers
    differing: Differing[Any]
    every: Mapping[Spot, Sequence[Shown]]

    def ranked(self, spot: Spot) -> list[tuple[Line, Shown]]:
        """Returns the methods with a complete score in a column, the best first."""
        found = [(line, cell) for line in self.methods if (cell := line.complete(spot))]
        return sorted(found, key=lambda one: (-one[1].mean, one[0].method))

    @cached_property
    def best(self) -> Mapping[Spot, Sequence[Shown]]:
        """The highest complete scores of each column: those of methods, and of random samples."""
        found = {}
        for spot in self.spots:
            cells = [cell for _, cell in self.ranked(spot)]
            drawn = [line.complete(spot) for line in self.references if line.method == RANDOM]
            cells += [cell for cell in drawn if cell]
            highest = max((cell.mean for cell in cells), default=None)
            found[spot] = [cell for cell in cells if cell.mean == highest]
        return found

    def differ(self, one: Shown, other: Shown) -> bool | None:
        """Returns whether two scores of a column differ; None if one is a single value, or incomplete."""
        if not (one.complete and other.complete) or min(len(one.units), len(other.units)) < 2:
            return None
        return other.place in self.differing.get(one.place, ())

    @cached_property
    def letters(self) -> Mapping[Hashable, str]:
        """The letters of complete scores by their places; scores of a column that share one do not differ."""
        found: dict[Hashable, str] = {}
        sets = [line for line in (*self.references, *self.methods) if line.method in (RANDOM, *self._names)]
        for spot in self.spots:
            cells = [cell for line in sets if (cell := line.complete(spot)) and len(cell.units) > 1]
            found |= block_letters({cell.place: cell.units for cell in cells}, self.differing)
        return found

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(line.method for line in self.methods)


def overview_of(table: Table) -> Overview:
    """Returns the overview of a table that holds sets, or trainings on a fraction of the images."""
    if table.layout.across == "student":
        return _of_graphs(table)
    cells = {
        Place(number, column): (row, cell)
        for number, row in enumerate(table.rows)
        for column in table.columns
        if (cell := row.at(column))
    }
    shown = {
        place: Shown(place=place, row=row, units=cell.units, have=sum(cell.students), asked=_asked(cell))
        for place, (row, cell) in cells.items()
    }
    known = {row.method for row in table.rows}
    papers = {} if table.key.filled else _papers(table, known)
    numbers = {ipc for _, ipc, _ in papers} | {int(column) for column in table.columns}
    if table.key.filled == FRACTIONS:
        spots = tuple(Spot(ipc=int(part), head=f"{100 * int(part) / PARTS:g} %") for part in table.columns)
    else:
        spots = tuple(Spot(ipc=ipc, head=f"IPC {ipc}") for ipc in IPCS if ipc in numbers)
    differing = find_differing(table_blocks(table))
    places = {spot: [one for place, one in shown.items() if place.column == spot.ipc] for spot in spots}
    return _made(table, places, papers, differing)


def _of_graphs(table: Table) -> Overview:
    """Returns the overview of a table of graphs, whose scores are means over the networks of a pooling."""
    ipcs = [ipc for ipc in table.ipcs if ipc in IPCS] or list(table.ipcs)
    every = [
        Spot(ipc=ipc, head=f"IPC {ipc}, {pool}", pool=pool)
        for ipc in table.ipcs
        for pool in table.layout.pooled
    ]
    spots = [spot for spot in every if spot.ipc in ipcs]
    places: dict[Spot, list[Shown]] = {}
    for spot in every:
        found = (_pooled(table, row, spot) for row in table.rows if row.ipc in (0, spot.ipc))
        places[spot] = [one for one in found if one is not None]
    blocks: list[dict[Hashable, Sequence[float]]] = [
        {cell.place: cell.units for cell in cells if len(cell.units) > 1 and cell.complete and cell.row.ipc}
        for cells in places.values()
    ]
    shown = {spot: places[spot] for spot in spots}
    papers = {
        (one.method, spot.ipc, spot.pool): one.paper
        for spot in spots
        for one in sorted(read_published().values(), key=lambda one: one.student, reverse=True)
        if (one.dataset, one.ipc) == (table.key.dataset, spot.ipc) and one.student.endswith(f"-{spot.pool}")
    }
    return _made(table, shown, papers, find_differing(blocks))


def _pooled(table: Table, row: Row, spot: Spot) -> Shown | None:
    """Returns the mean of a row over the networks of a pooling: of each set, or of each seed with one set."""
    names = [name for name in table.layout.order if str(name).endswith(f"-{spot.pool}")]
    place = (row.name, row.ipc, spot.pool)
    if alone := row.cells.get(NO_STUDENT):
        return Shown(place=place, row=row, units=alone.units, have=1, asked=None)
    cells = {name: row.cells[name] for name in names if name in row.cells}
    if not cells:
        return None
    entries = [entry for cell in cells.values() for entry in cell.entries]
    several = len({entry.set_hash for entry in entries}) > 1
    units: dict[Hashable, list[float]] = defaultdict(list)
    for entry in entries:
        units[entry.set_hash if several else entry.eval_seed].append(entry.score)
    counts = [asked_of(cell.entries[0]) for cell in cells.values()]
    each = [one for one in counts if one is not None]
    asked = Asked(len(names) * max(each).students, any(one.queued for one in each)) if each else None
    full = max(map(len, units.values()))
    means = tuple(fmean(values) for values in units.values() if len(values) == full)
    return Shown(place=place, row=row, units=means, have=len(entries), asked=asked)


def _asked(cell: TableCell) -> Asked | None:
    return asked_of(cell.entries[0])


def _made(
    table: Table,
    places: Mapping[Spot, Sequence[Shown]],
    papers: Papers,
    differing: Differing[Any],
) -> Overview:
    """Returns the overview of the scores that stand in each column, of which each method keeps the best."""
    best: dict[str, dict[Spot, Shown]] = defaultdict(dict)
    for spot, cells in places.items():
        for cell in sorted(cells, key=lambda one: (one.complete, one.mean), reverse=True):
            best[cell.row.method].setdefault(spot, cell)
    spots = tuple(places)
    lines = [
        Line(method, {spot: cells[spot] for spot in spots if spot in cells}) for method, cells in best.items()
    ]
    apart = {line.method for line in lines if any(map(table.no_set, line.rows))} | {RANDOM}
    order = [WHOLE, RANDOM]
    references = sorted(
        (line for line in lines if line.method in apart),
        key=lambda line: (order.index(line.method) if line.method in order else len(order), line.method),
    )
    methods = sorted((line for line in lines if line.method not in apart), key=_rank(spots))
    known = {line.method for line in lines} | {WHOLE}
    absent = sorted({method for method, _, _ in papers} - known - {RANDOM})
    return Overview(
        table=table,
        spots=spots,
        references=tuple(references),
        methods=tuple(methods),
        absent=tuple(absent),
        papers=papers,
        differing=differing,
        every=places,
    )


def _rank(spots: Iterable[Spot]) -> Callable[[Line], tuple[list[float], list[float], str]]:
    """Returns the order of lines: by complete scores from the last column on, then by the others."""
    last_first = list(spots)[::-1]

    def key(line: Line) -> tuple[list[float], list[float], str]:
        complete = [line.complete(spot) for spot in last_first]
        every = [line.cells.get(spot) for spot in last_first]
        scores = [[-cell.mean if cell else math.inf for cell in cells] for cells in (complete, every)]
        return scores[0], scores[1], line.method

    return key


def _papers(table: Table, known: Iterable[str]) -> Papers:
    """Returns the published numbers of a table's data and student, or of that network at its usual width.

    Only under the default protocol are they numbers of hard labels, as those of the table.
    """
    if table.key.protocol != table.layout.protocol:
        return {}
    student = _family(table.key.student)
    names = {method: method.removeprefix(IMPORTED) for method in known}
    found = {}
    for one in read_published().values():
        same = (one.dataset, _family(one.student)) == (table.key.dataset, student) and one.ipc in (0, *IPCS)
        if same and one.method != NO_DISTILLATION:
            found[one.method, one.ipc, ""] = one.paper
            for method in (method for method, name in names.items() if name == one.method):
                found[method, one.ipc, ""] = one.paper
    return found


def _family(name: str) -> str:
    """Returns the name of a student network without what methods of kernel regression change of it."""
    for part in ("-lecun", "-nonorm", "-double"):
        name = name.removesuffix(part)
    return base_student(name)


def base_student(name: str) -> str:
    """Returns the name of a student network without its width: ``convnet`` for ``convnet-w32``."""
    head, _, width = name.rpartition("-w")
    return head if head and width.isdigit() else name
