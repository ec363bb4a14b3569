"""A summary of the results on graphs: how Mirage compares with the node count and with random graphs.

``README.md`` beside a results folder holds it between two marks; `condense.board.publish` writes it there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from condense.board.cells import TableCell
from condense.board.compare import Pair, judged, tally
from condense.board.format import grid
from condense.board.names import named
from condense.board.tables import Row, Table
from condense.errors import Refused
from condense.records.record import NO_STUDENT, WHOLE

BEGIN = "<!-- what the board says: written by condense leaderboard -->"
END = "<!-- end of what the board says -->"

JUDGED, COUNTING, RANDOM = "mirage", "num_nodes", "random_subset"
PROTOCOL = "graph-v2"
SHOWN = 10
"""The IPC whose means stand in the table, where Mirage was run at it."""
POOLINGS = ("sum", "mean")
HEAD = ["dataset", "IPC", "node count"] + [
    f"{name}, {pooling}" for pooling in POOLINGS for name in ("Mirage", "random", "whole set")
]


@dataclass(frozen=True)
class Comparison:
    """One cell of Mirage with the results that it is compared with, on the same dataset.

    Attributes:
        pooling: How the student network pools the nodes.
        mirage: The cell.
        count: ROC-AUC of the logistic regression on the number of nodes.
        random: As many random graphs per class with the same student network; None if they were not run.
    """

    pooling: str
    mirage: TableCell
    count: float
    random: TableCell | None


def summary(tables: Sequence[Table]) -> str:
    """Returns the summary as Markdown; empty if there are no results of Mirage or of the node count.

    Args:
        tables: All tables of a board.
    """
    mine = [table for table in tables if table.key.protocol == PROTOCOL and not table.key.asked]
    compared = [(table, found) for table in mine if (found := _comparisons(table))]
    if not compared:
        return ""
    lines = [
        f"Results on {len(compared)} graph datasets. A cell is one setting, IPC and student network; its "
        "score is the mean ROC-AUC over students, or over random draws. Two settings that give equal graphs, "
        "and hence equal scores, count once. The node count is a number without spread.",
        "",
    ]
    for pooling in POOLINGS:
        if cells := [one for _, found in compared for one in found if one.pooling == pooling]:
            lines.append(
                f"- {pooling.capitalize()} pooling: {_against_count(cells)}; {_against_random(cells)}."
            )
    lines += [
        "",
        f"Mean ROC-AUC at IPC {SHOWN}, or else at Mirage's largest one, for each pooling over the student "
        "networks that its filled columns have in common:",
        "",
    ]
    return "\n".join(lines) + "\n" + grid(HEAD, [row for table, _ in compared for row in _rows(table)])


def inserted(page: str, text: str, where: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """Returns a page with a text between its marks; a page without marks stays as it is.

    Args:
        page: Markdown.
        text: The text.
        where: Name of the page, for error messages.
        marks: What stands before the text and behind it.

    Raises:
        Refused: if only one of the marks is there, or they are in the wrong order.
    """
    first, last = marks
    if first not in page and last not in page:
        return page
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise Refused(f"{where} needs both marks, {first} and behind it {last}, or neither")
    return f"{before}{first}\n\n{text}\n{last}{after}"


def _comparisons(table: Table) -> list[Comparison]:
    count = _count(table)
    if count is None:
        return []
    found: dict[tuple[object, ...], Comparison] = {}
    for row in table.rows:
        if row.method == JUDGED:
            random = _random(table, row.ipc)
            for student, cell in row.cells.items():
                beside = random.cells.get(student) if random else None
                one = Comparison(str(student).rpartition("-")[2], cell, count, beside)
                found.setdefault((row.ipc, student, cell.units), one)  # two settings may give equal graphs
    return list(found.values())


def _count(table: Table) -> float | None:
    """Returns the ROC-AUC of the node count; None if it was not run, or if the accuracy is the score."""
    found = [row.cells[NO_STUDENT] for row in table.rows if row.method == COUNTING]
    return found[0].mean if found and found[0].accuracy is not None else None


def _random(table: Table, ipc: int) -> Row | None:
    """Returns the random graphs that are equal in number, not in bytes, to the sets of an IPC."""

    def fills_room(row: Row) -> bool:
        chains = {record.chain for record in row.sets.records}
        return any(link["config"].get("room") for chain in chains for link in json.loads(chain))

    rows = (row for row in table.rows if row.method == RANDOM and row.ipc == ipc and not fills_room(row))
    return next(rows, None)


def _against_count(found: Sequence[Comparison]) -> str:
    pairs = judged(Pair(one.mirage, one.count) for one in found)
    return f"Mirage is above the node count in {tally(pairs)}"


def _against_random(found: Sequence[Comparison]) -> str:
    pairs = judged(Pair(one.mirage, one.random) for one in found if one.random)
    if not pairs:
        return "no random graphs stand beside it"
    return f"it is above equally many random graphs in {tally(pairs)}"


def _rows(table: Table) -> list[list[str]]:
    count, ipcs = _count(table), {row.ipc for row in table.rows if row.method == JUDGED}
    ipc = SHOWN if SHOWN in ipcs else max(ipcs)
    whole = next((row for row in table.rows if row.method == WHOLE), None)
    mine = [row for row in table.rows if row.method == JUDGED and row.ipc == ipc]
    names = named([row.sets.records[0] for row in mine])  # by what tells these few apart
    found = []
    for name, mirage in sorted(zip(names, mine, strict=True), key=lambda one: one[0]):
        rows = (mirage, _random(table, ipc), whole)
        texts = [table.key.dataset + name.removeprefix(JUDGED), str(ipc), f"{count:.1f}"]
        found.append(texts + [text for pooling in POOLINGS for text in _means(rows, pooling)])
    return found


def _means(rows: Sequence[Row | None], pooling: str) -> list[str]:
    """Returns each row's mean over the networks of one pooling that all rows with any such network have."""
    held = [{name for name in row.cells if str(name).endswith(pooling)} if row else set() for row in rows]
    shared = set.intersection(*filter(None, held)) if any(held) else set()
    return [
        f"{row.mean(shared):.1f}" if row and mine and shared else "-"
        for row, mine in zip(rows, held, strict=True)
    ]
