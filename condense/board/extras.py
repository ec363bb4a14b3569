"""Columns of a table that take more than the table's own results."""

from collections.abc import Mapping, Sequence

from condense.board.robust import Estimate, RobustScores
from condense.board.tables import Row, Table


class Extras:
    """The columns of all tables of a board.

    Args:
        tables: All tables.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        self._robust = RobustScores(tables)

    def columns(self, table: Table) -> Mapping[str, Mapping[Row, str]]:
        """Returns the texts of each column of a table by its head; a column without any is left out."""
        return {head: texts for head, texts in self._robust_columns(table).items() if texts}

    def _robust_columns(self, table: Table) -> Mapping[str, Mapping[Row, str]]:
        found: dict[str, dict[Row, str]] = {"LRS": {}, "ARS": {}}
        for row in table.rows:
            scores = [self._robust.of(table, row, ipc) for ipc in table.ipcs]
            for head, estimates in zip(found, zip(*scores, strict=True), strict=False):
                if any(estimates):
                    found[head][row] = " / ".join(map(_estimate, estimates))
        return found


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.1f}" + ("" if estimate.half is None else f" ± {estimate.half:.1f}")
