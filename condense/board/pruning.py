"""What trainings on a fraction of the images say about the claims of data pruning, in words.

``README.md`` beside a results folder holds it in the same place as `condense.board.summary`.
"""

from collections.abc import Callable, Mapping, Sequence

from condense.board.asked import is_complete
from condense.board.cells import TableCell
from condense.board.compare import Pair, Statement, line
from condense.board.significance import Place, find_differing, table_blocks
from condense.board.tables import FRACTIONS, PARTS, Table
from condense.records.record import BASELINES

SCORED = ("forgetting", "el2n", "grand")
"""The selections of real images by a score of each."""
PLAIN, TAUGHT, DRAWN = BASELINES[0], f"{BASELINES[0]}+kd", "rs2"

Differ = Callable[[TableCell, TableCell], bool]
"""Whether two cells differ."""


def pruning_summary(tables: Sequence[Table]) -> str:
    """Returns the words as Markdown; empty if no random part was trained on beside another method.

    Args:
        tables: All tables of a board.
    """
    lines = []
    for table in tables:
        if table.key.filled != FRACTIONS:
            continue
        differ = _differ(table)
        for column in table.columns:
            cells = {
                row.method: cell
                for row in table.rows
                if not row.reference and (cell := row.at(column)) and is_complete(cell)
            }
            if told := _told(cells, differ):
                lines.append(f"- {_place(table, int(column))}: {told}.")
    if not lines:
        return ""
    head = (
        "Trainings on a fraction of the images. With two students even a large difference, which stands in "
        "brackets, may not be told apart."
    )
    return "\n".join([head, "", *lines]) + "\n"


def _place(table: Table, column: int) -> str:
    key = table.key
    return f"{100 * column / PARTS:g} % of {key.dataset} ({key.protocol}, {key.student})"


def _differ(table: Table) -> Differ:
    """Returns a function that tells whether two cells of a column differ, by the tests of the table."""
    differing = find_differing(table_blocks(table))
    places = {
        row.at(column): Place(number, column)
        for column in table.columns
        for number, row in enumerate(table.rows)
    }

    def differ(one: TableCell, other: TableCell) -> bool:
        return places[other] in differing.get(places[one], ())

    return differ


def _told(cells: Mapping[str, TableCell], differ: Differ) -> str:
    """Returns what the cells of one fraction say; empty without random images beside another method."""
    if (plain := cells.get(PLAIN)) is None:
        return ""
    found = [
        Statement(
            f"{name} is",
            Pair(cells[name], plain),
            f"a fixed random part ({cells[name].mean:.1f} beside {plain.mean:.1f} %)",
        )
        for name in (DRAWN, TAUGHT, "rad")
        if name in cells
    ]
    scored = [name for name in SCORED if name in cells]
    if scored:
        best = max(scored, key=lambda name: cells[name].mean)
        told = f"it ({cells[best].mean:.1f} %)"
        found.append(Statement(f"the best score, {best}, is", Pair(cells[best], plain), told))
        if TAUGHT in cells:
            against = Pair(cells[TAUGHT], cells[best])
            found.append(Statement("random images with a teacher are", against, "the best score"))
    return line(found, [_sign(one.pair, differ) for one in found])


def _sign(pair: Pair, differ: Differ) -> int:
    assert isinstance(pair.other, TableCell)
    return (1 if pair.gap > 0 else -1) if differ(pair.one, pair.other) else 0
