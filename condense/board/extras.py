"""Columns of a table that take more than the table's own results."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from condense.board.asked import lacking
from condense.board.break_even import BreakEven, break_even
from condense.board.equal_bytes import Equal, EqualBytes
from condense.board.format import score_so_far
from condense.board.robust import Estimate, RobustScores
from condense.board.tables import Row, Table


class Extras:
    """The columns of all tables of a board.

    Args:
        tables: All tables.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._robust, self._equal = RobustScores(tables), EqualBytes(tables)

    def columns(self, table: Table) -> Mapping[str, Mapping[Row, str]]:
        """Returns the texts of each column of a table by its head; a column without any is left out."""
        if table.key.target:  # what these compare are scores on the data that a set was made of
            return {}
        columns = {**self._equal_column(table), **self._robust_columns(table), **_paid(table)}
        return {head: texts for head, texts in columns.items() if texts}

    def _equal_column(self, table: Table) -> Mapping[str, Mapping[Row, str]]:
        texts: dict[Row, str] = {}
        for row in table.rows if not table.key.filled else ():
            if table.layout.across == "ipc":
                cells = [[row.cells[ipc]] if ipc in row.cells else [] for ipc in table.ipcs]
            else:
                cells = [list(row.cells.values())]
            found = [None if row.reference else self._equal.of(table.key, mine) for mine in cells]
            if any(one and (one.cells or one.hours) for one in found):
                texts[row] = " / ".join(map(_baseline, found))
        return {f"random, equal bytes ({table.layout.samples})": texts}

    def _robust_columns(self, table: Table) -> Mapping[str, Mapping[Row, str]]:
        found: dict[str, dict[Row, str]] = {"LRS": {}, "ARS": {}}
        for row in table.rows:
            scores = [self._robust.of(table, row, ipc) for ipc in table.ipcs]
            for head, estimates in zip(found, zip(*scores, strict=True), strict=False):
                if any(estimates):
                    found[head][row] = " / ".join(map(_estimate, estimates))
        return found


def _paid(table: Table) -> Mapping[str, Mapping[Row, str]]:
    """Returns the columns of times to an accuracy, and of trainings until sets have paid for themselves."""
    times: dict[Row, str] = {}
    trainings: dict[Row, str] = {}
    real = [row for row in table.rows if table.no_set(row)]
    others = {ipc: [cell for row in real if (cell := row.at(ipc))] for ipc in table.ipcs}
    for row in table.rows if table.layout.across == "ipc" and not table.key.filled else ():
        found = []
        for ipc in table.ipcs:
            cell = None if table.no_set(row) else row.cells.get(ipc)
            found.append(break_even(cell, others[ipc]) if cell else None)
        if any(found):
            times[row] = " / ".join(map(_times, found))
            trainings[row] = " / ".join(
                "-" if one is None else str(one.trainings or "never") for one in found
            )
    return {"s to its accuracy: set, real": times, "pays after trainings": trainings}


def _times(found: BreakEven | None) -> str:
    """Returns ``64 vs 85``: seconds with a set, its distillation included, and on real images."""
    if found is None:
        return "-"
    told = [f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}" for seconds in (found.first, found.real)]
    return f"{told[0]} vs {told[1] if math.isfinite(found.real) else 'never'}"


def _baseline(found: Equal | None) -> str:
    """Returns the score with the number of samples, ``74.1 ± 0.5 (320)``; the mean over several students.

    Where students are missing, how many there are stands in place of the interval, as in `score_so_far`.
    """
    if found is None or not found.cells:
        return "-" if found is None or found.hours is None else f"- ({found.hours:.1f} h)"
    cells = list(found.cells.values())
    counts = sorted({record.stored for cell in cells for record in cell.records})
    told = score_so_far(cells[0])
    if len(cells) > 1:
        few = next(filter(None, map(lacking, cells)), "")
        told = f"{fmean(cell.mean for cell in cells):.1f}" + (f" ({few})" if few else "")
    return f"{told} ({'-'.join(map(str, dict.fromkeys([counts[0], counts[-1]])))})"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.1f}" + ("" if estimate.half is None else f" ± {estimate.half:.1f}")
