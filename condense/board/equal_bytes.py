"""What random samples are worth that take as many bytes as a set: which record it is, or why none is."""

import json
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from condense.board.cells import TableCell
from condense.board.tables import FILLED, Key, Row, Table
from condense.records.equal_bytes import LONGEST, Pace, rung

RANDOM = "random_subset"
BEST = "best"
"""The value of a coreset's field ``encode`` with which its samples are worth most."""


class Equal(NamedTuple):
    """A baseline of equal bytes.

    Attributes:
        room: The bytes that it may fill.
        cells: Its results by student network; empty if it was not run.
        hours: Where it was not run, the estimated hours of one student, if they are too many.
    """

    room: int
    cells: dict[str, TableCell]
    hours: float | None = None


class EqualBytes:
    """The baselines of equal bytes of a board.

    Args:
        tables: All tables.
    """

    def __init__(self, tables: Sequence[Table]) -> None:
        found: dict[tuple[tuple[str, str, str], str], dict[int, TableCell]] = defaultdict(dict)
        for table in tables:
            if table.key.filled != FILLED or table.key.protocol != table.layout.protocol:
                continue
            for row in table.rows:
                for column, cell in row.cells.items() if _is_baseline(row) else ():
                    student, room = (
                        (table.key.student, column) if table.layout.across == "ipc" else (column, row.ipc)
                    )
                    found[table.key.data, str(student)].setdefault(int(room), cell)
        self._found = dict(found)

    def has(self, key: Key) -> bool:
        """Returns whether any baseline was run for the data and the student of a table."""
        return (key.data, key.student) in self._found

    def of(self, key: Key, cells: Sequence[TableCell]) -> Equal | None:
        """Returns the baseline of some cells, which are of the same sets; None if their size is unknown.

        Args:
            key: The key of their table.
            cells: Cells of a row, each of another student network.
        """
        sizes = [record.needed for cell in cells for record in cell.records if record.set_hash]
        if not sizes or any(size is None for size in sizes):
            return None
        room = rung(max(sizes))
        students = [cell.entries[0].student for cell in cells]
        rooms = {student: self._found.get((key.data, student), {}) for student in students}
        there = {student: cells[room] for student, cells in rooms.items() if room in cells}
        if there:
            return Equal(room, there)
        hours = [_hours(room, rooms[cell.entries[0].student], cell) for cell in cells]
        return Equal(room, {}, max((one for one in hours if one is not None), default=None))


def _is_baseline(row: Row) -> bool:
    configs = [link["config"] for record in row.sets.records for link in json.loads(record.chain)]
    return row.method == RANDOM and all(config.get("encode", BEST) == BEST for config in configs)


def _hours(room: int, rooms: dict[int, TableCell], cell: TableCell) -> float | None:
    """Returns the estimated hours of one student if they are too many; None if they are not, or unknown.

    The estimate is that of the largest baseline of the same data and student on the same device, in
    proportion to the bytes.
    """
    device = cell.entries[0].device
    timed = {
        size: Pace(size, fmean(times))
        for size, other in rooms.items()
        if (times := [entry.seconds for entry in other.entries if entry.device == device])
    }
    if not timed or (seconds := timed[max(timed)].estimate(room)) <= LONGEST:
        return None
    return seconds / 3600
