"""What the plots of tables show: for each student network curves of methods, and levels of references."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import pandas as pd

from condense.board.asked import is_complete
from condense.board.cells import TableCell
from condense.board.names import joined_name
from condense.board.plot_files import Against
from condense.board.tables import Row, Table
from condense.records.record import BASELINES

RANDOM = BASELINES[0]

Role = Literal["method", "selection", "random", "reference"]
"""What a curve is of: a method, one that selects real samples, random samples, or a reference."""


class Point(NamedTuple):
    """A score in percent with half the width of its 95 % interval, which a single value has not.

    `at` is where it stands on the horizontal axis: samples per class, or bytes; 0 for a reference.
    `complete` tells whether it is of as many students as were asked for.
    """

    at: float
    mean: float
    half: float | None
    complete: bool


@dataclass(frozen=True)
class Curve:
    """The scores of a method, or of a reference, with one student network.

    Attributes:
        name: What its row is called on the pages; with letters of several settings if these are its best.
        role: What it is of.
        number: The number of its method, by which its colour and its marker are chosen.
        points: The scores from left to right; one alone for a reference.
    """

    name: str
    role: Role
    number: int
    points: tuple[Point, ...]

    @property
    def end(self) -> Point:
        return self.points[-1]


@dataclass(frozen=True)
class Panel:
    """The curves of one student network, and whether their scores are ROC-AUC instead of accuracy."""

    student: str
    curves: tuple[Curve, ...]
    scored: bool

    @property
    def places(self) -> list[float]:
        """Where points stand on the horizontal axis, ascending."""
        return sorted({point.at for curve in self.curves for point in curve.points} - {0})


def method_numbers(entries: pd.DataFrame) -> dict[str, int]:
    """Returns a number for each method, in the order in which they were first run, which later ones leave.

    Args:
        entries: Rows of `condense.records.frame.results` in any order.
    """
    first = entries[~entries["reference"].astype(bool)].groupby("method")["time"].min()
    order = sorted((str(time), str(method)) for method, time in first.items())
    return {method: number for number, (_, method) in enumerate(order)}


def panels_of(
    tables: Sequence[Table], against: Against, names: Mapping[Row, str], numbers: Mapping[str, int]
) -> list[Panel]:
    """Returns the panels of a plot, without those of students that were trained on no set.

    Of several settings of a method the best one at each number of samples is shown, as on the front page.

    Args:
        tables: The tables that share the plot.
        against: What is on the horizontal axis.
        names: What rows are called.
        numbers: The numbers of methods.
    """
    panels = []
    for table in tables:
        called = {row.name: names[row] for row in table.rows}
        for student, rows in table.by_student().items():
            curves = [
                Curve(name, _role(rows), numbers.get(rows[0].method, 0), points)
                for rows in _by_method(rows)
                for name, points in [_best(rows, against, called, plain=bool(table.key.filled))]
            ]
            if any(curve.role != "reference" for curve in curves):
                scored = any(cell.accuracy is not None for row in rows for cell in row.cells.values())
                panels.append(Panel(student, tuple(curves), scored))
    return panels


def _by_method(rows: Sequence[Row]) -> list[list[Row]]:
    """Returns the rows of each method together, and each row of a reference alone."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.method, row.name if row.reference else ""].append(row)
    return list(found.values())


def _role(rows: Sequence[Row]) -> Role:
    first = rows[0]
    if first.reference:
        return "reference"
    if first.method == RANDOM:
        return "random"
    return "selection" if first.baseline else "method"


def _best(
    rows: Sequence[Row], against: Against, called: Mapping[str, str], plain: bool
) -> tuple[str, tuple[Point, ...]]:
    """Returns the name and the points of a method: of its settings the best complete one at each place."""
    chosen: dict[int, tuple[Row, Point]] = {}
    for row in rows:
        for column, cell in row.cells.items():
            ipc = 0 if row.reference else int(column)
            point = _point(cell, 0 if row.reference else _place(cell, ipc, against))
            if ipc not in chosen or _rank(point) > _rank(chosen[ipc][1]):
                chosen[ipc] = row, point
    ordered = [chosen[ipc] for ipc in sorted(chosen)]
    points = sorted((point for _, point in ordered), key=lambda point: point.at)
    method = rows[0].method
    # What fills a number of bytes has settings of its own for each number.
    names: Collection[str] = [method] if plain else [called[row.name] for row, _ in ordered]
    return joined_name(method, names), tuple(points)


def _rank(point: Point) -> tuple[bool, float]:
    return point.complete, point.mean


def _point(cell: TableCell, at: float) -> Point:
    return Point(at, cell.mean, cell.half, is_complete(cell))


def _place(cell: TableCell, ipc: int, against: Against) -> float:
    return float(ipc) if against == "ipc" else float(max(1, sum(cell.bytes.values())))
