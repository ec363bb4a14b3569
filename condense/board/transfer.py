"""A summary of what sets of one dataset teach for others, beside random images and students without a set.

``README.md`` beside a results folder holds it in the same place as `condense.board.summary`.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from condense.board.cells import TableCell
from condense.board.compare import Pair, judged, tally
from condense.board.format import grid, score_so_far
from condense.board.tables import Row, Table
from condense.records.record import NO_PRETRAINING, TAUGHT

JUDGED = "krr_st"
HEAD = [
    "set of", "then trained and tested on", "protocol", "student", "IPC", "KRR-ST",
    "random, teacher's vectors", "best set with classes", "no pretraining",
]  # fmt: skip


class Transfer(NamedTuple):
    """One cell of KRR-ST with the results of the same table that it is compared with, where there are any.

    Attributes:
        table: The table.
        ipc: Images per class of the source.
        judged: The cell.
        random: Random images with the vectors of the same kind of teacher.
        classes: The most accurate set with class labels, and its method.
        none: Students without a set.
    """

    table: Table
    ipc: int
    judged: TableCell
    random: TableCell | None
    classes: tuple[TableCell, str] | None
    none: TableCell | None


def transfer_summary(tables: Sequence[Table]) -> str:
    """Returns the summary as Markdown; empty if there are no results of KRR-ST on other data.

    Args:
        tables: All tables of a board.
    """
    found = [one for table in tables if table.key.target for one in _compared(table)]
    if not found:
        return ""
    against = {
        "random images with a teacher's vectors": [(one.judged, one.random) for one in found if one.random],
        "the best set with classes by test score": [
            (one.judged, one.classes[0]) for one in found if one.classes
        ],
        "no pretraining": [(one.judged, one.none) for one in found if one.none],
    }
    pairs = {name: judged(Pair(*both) for both in cells) for name, cells in against.items()}
    told = [f"above in {tally(some)} beside {name}" for name, some in pairs.items() if some]
    lines = [
        f"Sets without classes on other data: KRR-ST in {len(found)} cells, each of which is a source, a "
        "target, a protocol, a student network and an IPC.",
        "",
        f"- KRR-ST is {'; '.join(told)}." if told else "- Nothing was run beside it.",
        "",
    ]
    return "\n".join(lines) + "\n" + grid(HEAD, [_texts(one) for one in found])


def _compared(table: Table) -> Iterator[Transfer]:
    judged = [row for row in table.rows if row.method == JUDGED]
    for row in judged:
        for column, cell in sorted(row.cells.items(), key=lambda one: str(one[0])):
            sets = [
                (other.cells[column], other.name)
                for other in table.rows
                if not other.reference and column in other.cells and "features" not in other.labels
            ]
            yield Transfer(
                table,
                int(column),
                cell,
                _cell(table.rows, TAUGHT, int(column)),
                max(sets, key=lambda one: one[0].mean, default=None),
                _cell(table.rows, NO_PRETRAINING, 0),
            )


def _cell(rows: Sequence[Row], method: str, column: int) -> TableCell | None:
    """Returns the best cell of a method, of which there may be several settings."""
    cells = [row.cells[column] for row in rows if row.method == method and column in row.cells]
    return max(cells, key=lambda cell: cell.mean, default=None)


def _texts(one: Transfer) -> list[str]:
    key = one.table.key
    best = "-" if one.classes is None else f"{score_so_far(one.classes[0])} ({one.classes[1]})"
    random, none = ("-" if cell is None else score_so_far(cell) for cell in (one.random, one.none))
    place = [key.dataset, key.target.partition(" (")[0], key.protocol, key.student, str(one.ipc)]
    return [*place, score_so_far(one.judged), random, best, none]
