"""A summary of what bytes are worth: sets beside random images that take as many bytes.

``README.md`` beside a results folder holds it in the same place as `condense.board.summary`.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from condense.board.asked import is_complete
from condense.board.cells import TableCell
from condense.board.compare import Pair, tally
from condense.board.equal_bytes import EqualBytes
from condense.board.format import bytes_text, counts, grid, score
from condense.board.pruning import SCORED
from condense.board.tables import LAYOUTS, Table, superseded

IMAGES = LAYOUTS["images"]
HEAD = ["dataset", "student", "IPC", "best set", "its score", "its bytes", "random", "images"]


class Beside(NamedTuple):
    """The results of a set, and of random images that take as many bytes."""

    made: TableCell
    drawn: TableCell

    @property
    def pair(self) -> Pair:
        return Pair(self.drawn, self.made)

    @property
    def accuracy(self) -> float:
        """The score of the set."""
        return self.made.mean


def worth_summary(tables: Sequence[Table]) -> str:
    """Returns the summary of sets of images as Markdown; empty if none stands beside its baseline.

    Args:
        tables: All tables of a board.
    """
    equal, older = EqualBytes(tables), superseded(tables)
    groups: dict[str, list[list[Beside]]] = defaultdict(list)
    rows = []
    for table in tables:
        key = table.key
        apart = key.asked or key.filled or key.target
        if table.layout != IMAGES or key in older or apart or not equal.has(key):
            continue
        for ipc in table.ipcs:
            if found := _best(table, ipc, equal):
                groups[key.protocol].append(found)
                if key.protocol == IMAGES.protocol:
                    rows.append([key.dataset, key.student, str(ipc), *_texts(found[0])])
    if not groups:
        return ""
    head = (
        "What bytes are worth: beside a set, random images that are compressed until they take no more bytes "
        "than the set and all that gives it labels. They have class ids, and their students are trained by "
        f"{IMAGES.protocol}. A cell is a dataset, an IPC, a student network and a method, whose most "
        "accurate set counts; selections of real images are left out. A learned image is stored as numbers "
        "of four bytes, unless its method compresses it."
    )
    told = [
        f"- Beside sets under {protocol}, random images are above in "
        f"{tally([one.pair for found in each for one in found])}; beside the most accurate method alone, in "
        f"{tally([found[0].pair for found in each])}."
        for protocol, each in groups.items()
    ]
    return "\n".join([head, "", *told]) + "\n" + (f"\n{grid(HEAD, rows)}" if rows else "")


def _best(table: Table, ipc: int, equal: EqualBytes) -> list[Beside]:
    """Returns the most accurate set of each method at an IPC that has a baseline, the best one first."""
    found: dict[str, Beside] = {}
    for row in table.rows:
        selected = row.baseline or row.method.partition("+")[0] in SCORED
        made = None if selected or table.no_set(row) else row.cells.get(ipc)
        baseline = equal.of(table.key, [made]) if made else None
        drawn = list(baseline.cells.values()) if baseline else []
        if made and drawn and is_complete(made) and is_complete(drawn[0]):
            one = Beside(made, drawn[0])
            found[row.method] = max(found.get(row.method, one), one, key=lambda other: other.accuracy)
    return sorted(found.values(), key=lambda one: one.accuracy, reverse=True)


def _texts(one: Beside) -> list[str]:
    """Returns method, score and bytes of a set, and score and number of the random images."""
    sizes = sorted({record.needed for record in one.made.records})
    scores = [score(one.made), score(one.drawn)]
    return [one.made.entries[0].method, scores[0], bytes_text(sizes), scores[1], counts(one.drawn)]
