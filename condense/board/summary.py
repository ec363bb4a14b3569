"""What the board says of graphs, in words and one table, computed from the records.

The README of a folder with results holds it between two marks; `condense leaderboard` writes it there, and
``--check`` tells whether it is still what the records give.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from condense.board.format import grid
from condense.board.graph_tables import GraphRow, GraphTable, gather_graphs
from condense.board.tables import EVERY, TableCell
from condense.errors import Refused
from condense.records.record import Record

BEGIN = "<!-- what the board says: written by condense leaderboard -->"
END = "<!-- end of what the board says -->"

JUDGED, COUNTING, WHOLE, RANDOM = "mirage", "num_nodes", "whole", "random_subset"
PROTOCOL = "graph-v1"
POOLINGS = ("sum", "mean")


@dataclass(frozen=True)
class Pair:
    """A cell of Mirage's, and what stands beside it on the same board.

    Attributes:
        pooling: How its student pools.
        mirage: The cell.
        count: The AUC of the node count.
        drawn: As many random graphs a class under the same student, if they were run.
    """

    pooling: str
    mirage: TableCell
    count: float
    drawn: TableCell | None


def verdict(records: Iterable[Record]) -> str:
    """Markdown: how Mirage stands to the node count and to random graphs; nothing without its records.

    Args:
        records: In any order.
    """
    tables = [table for table in gather_graphs(records) if table.key.protocol == PROTOCOL]
    judged = [(table, pairs) for table in tables if (pairs := _pairs(table))]
    if not judged:
        return ""
    every = [pair for _, pairs in judged for pair in pairs]
    lines = [
        f"On {len(judged)} graph data sets, a cell being an IPC and a student network (mean ROC-AUC over "
        "its students or draws; above or below means by more than the 95 % half-widths of the two together, "
        "which takes two students or draws of each):",
        "",
    ]
    for pooling in POOLINGS:
        if mine := [pair for pair in every if pair.pooling == pooling]:
            lines.append(f"- {pooling} pooling: {_against_counting(mine)}; {_against_drawing(mine)}.")
    lines += [
        "",
        "Means over the networks that all of a pooling's columns have, at Mirage's largest IPC:",
        "",
    ]
    return "\n".join(lines) + "\n" + grid(_HEAD, [row for table, _ in judged for row in _rows(table)])


def inserted(page: str, said: str, where: str) -> str:
    """A page with what the board says between its marks; itself if it has none.

    Args:
        page: Markdown.
        said: What `verdict` gave.
        where: The page's name, for a refusal.

    Raises:
        Refused: if only one of the marks is there, or they are in the wrong order.
    """
    if BEGIN not in page and END not in page:
        return page
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Refused(f"{where} holds one of the marks {BEGIN} and {END} without the other behind it")
    return f"{before}{BEGIN}\n\n{said}\n{END}{after}"


def _pairs(table: GraphTable) -> list[Pair]:
    count = _counting(table)
    if count is None:
        return []
    found = []
    for row in table.rows:
        if row.method != JUDGED:
            continue
        drawn = _drawn(table, row.ipc)
        for student, cell in row.cells.items():
            beside = drawn.cells.get(student) if drawn else None
            found.append(Pair(student.rpartition("-")[2], cell, count, beside))
    return found


def _counting(table: GraphTable) -> float | None:
    """The AUC of the node count; None where it was not run, or classes are judged by the accuracy."""
    found = [row.cells[EVERY] for row in table.rows if row.method == COUNTING and EVERY in row.cells]
    return found[0].mean if found and found[0].accuracy is not None else None


def _drawn(table: GraphTable, ipc: int) -> GraphRow | None:
    """The random graphs that are as many a class, not as many bytes."""

    def plain(row: GraphRow) -> bool:
        chains = (record.method.chain for cell in row.cells.values() for record in cell.records)
        return not any(link["config"].get("room") for chain in chains for link in chain)  # type: ignore[attr-defined]

    rows = [row for row in table.rows if row.method == RANDOM and row.ipc == ipc and plain(row)]
    return rows[0] if rows else None


def _against_counting(pairs: Sequence[Pair]) -> str:
    gaps = [(pair.mirage.mean - pair.count, _half(pair.mirage)) for pair in pairs]
    return f"Mirage is above the bare node count in {_told(gaps)} of {len(gaps)} cells"


def _against_drawing(pairs: Sequence[Pair]) -> str:
    gaps = [
        (pair.mirage.mean - pair.drawn.mean, _half(pair.mirage) + _half(pair.drawn))
        for pair in pairs
        if pair.drawn
    ]
    return (
        f"above as many random graphs a class in {_told(gaps)} of {len(gaps)}" if gaps else "no random graphs"
    )


def _half(cell: TableCell) -> float:
    """The half-width; of a single value endless, as it may be anywhere."""
    return math.inf if cell.half is None else cell.half


def _told(gaps: Sequence[tuple[float, float]]) -> str:
    above = sum(gap > half for gap, half in gaps)
    below = sum(-gap > half for gap, half in gaps)
    return f"{above}, below in {below}"


_HEAD = ["data set", "IPC", "node count"] + [
    f"{name}, {pooling}" for pooling in POOLINGS for name in ("Mirage", "random", "whole set")
]


def _rows(table: GraphTable) -> list[list[str]]:
    """A line for each of Mirage's settings."""
    count, ipc = _counting(table), max(row.ipc for row in table.rows if row.method == JUDGED)
    whole = next((row for row in table.rows if row.method == WHOLE), None)
    found = []
    for mirage in sorted(table.rows, key=lambda row: row.name):
        if mirage.method == JUDGED and mirage.ipc == ipc:
            rows = (mirage, _drawn(table, ipc), whole)
            texts = [table.key.dataset + mirage.name.removeprefix(JUDGED), str(ipc), f"{count:.1f}"]
            found.append(texts + [text for pooling in POOLINGS for text in _means(rows, pooling)])
    return found


def _means(rows: Sequence[GraphRow | None], pooling: str) -> list[str]:
    """Of each row the mean over the networks of a pooling that all have which have any."""
    held = [{name for name in row.cells if name.endswith(pooling)} if row else set[str]() for row in rows]
    shared = set[str].intersection(*filter(None, held)) if any(held) else set[str]()
    return [
        f"{row.mean(shared):.1f}" if row and mine and shared else "-"
        for row, mine in zip(rows, held, strict=True)
    ]
