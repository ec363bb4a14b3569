"""Mean ranks of methods over datasets, and how far apart they must be to differ.

Demšar: Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006): in each block the
methods are ranked by their score, Friedman's test says whether the mean ranks differ at all, and Nemenyi's
critical difference says from which distance on two of them do.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from scipy import stats

from condense.board.format import wrapped
from condense.board.plot_files import FORMAT
from condense.board.significance import LEVEL
from condense.board.tables import Table
from condense.protocol import PUBLISHED
from condense.protocols import SUPERSEDED

LEAST_METHODS, LEAST_BLOCKS = 3, 6
"""Fewer methods or blocks are not ranked: Friedman's test has hardly any power there."""


class Block(NamedTuple):
    """A dataset and a number of samples per class; the methods are ranked in each."""

    dataset: str
    ipc: int


Places = Mapping[Block, Mapping[str, float]]
"""The mean scores of a method: by block, then by student network and space."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Methods ranked over blocks.

    Attributes:
        protocol: Name of the protocol of all scores.
        methods: Names of the methods, the best mean rank first.
        blocks: The blocks, in order.
        scores: Mean score of each method (column) in each block (row), in percent.
    """

    protocol: str
    methods: tuple[str, ...]
    blocks: tuple[Block, ...]
    scores: Float64[np.ndarray, "n k"]

    @cached_property
    def ranks(self) -> Float64[np.ndarray, " k"]:
        """The mean rank of each method: 1 for one that is the best everywhere; equal scores share a rank."""
        return np.asarray(stats.rankdata(-self.scores, axis=1).mean(0))

    @cached_property
    def chance(self) -> float:
        """The p-value of Friedman's test; 1 if all scores are equal within each block."""
        if bool((self.scores == self.scores[:, :1]).all()):
            return 1.0
        return float(stats.friedmanchisquare(*self.scores.T).pvalue)

    @cached_property
    def distance(self) -> float:
        """Nemenyi's critical difference at 95 %: q sqrt(k (k + 1) / (6 n)) for k methods in n blocks.

        q is the quantile of the studentized range of k values and infinitely many degrees of freedom, divided
        by the square root of two.
        """
        n, k = self.scores.shape
        quantile = float(stats.studentized_range.ppf(1 - LEVEL, k, np.inf)) / math.sqrt(2)  # type: ignore[attr-defined]
        return quantile * math.sqrt(k * (k + 1) / (6 * n))

    @property
    def alike(self) -> list[tuple[int, int]]:
        """The longest runs of methods that do not differ, by the numbers of their first and last one.

        Without a difference by Friedman's test all methods are one run.
        """
        count = len(self.methods)
        if self.chance >= LEVEL:
            return [(0, count - 1)]
        runs: list[tuple[int, int]] = []
        for first in range(count):
            last = max(
                other for other in range(count) if self.ranks[other] - self.ranks[first] < self.distance
            )
            if last > first and (not runs or last > runs[-1][1]):
                runs.append((first, last))
        return runs


def rankings(tables: Iterable[Table]) -> list[Ranking]:
    """Returns a ranking for each protocol under which enough methods were run on enough datasets.

    A method stands in a block with the row that has its name alone, or with its only row: of several settings
    none is chosen by its score. Its score is the mean over the student networks that all ranked methods have
    there. Of the methods with the most blocks as many are taken as give the most scores in all.

    Args:
        tables: The tables of the board. Those of sets that fill a number of bytes, of classes with numbers of
            their own, of published protocols and of older versions of protocols are left out.
    """
    found: dict[str, dict[str, dict[Block, dict[str, float]]]] = {}
    for table in tables:
        key = table.key
        if key.filled or key.asked or key.protocol in (PUBLISHED, *SUPERSEDED):
            continue
        mine = found.setdefault(key.protocol, defaultdict(lambda: defaultdict(dict)))
        for method, block, student, score in _scores(table):
            mine[method][block][f"{student} {key.space} {key.teacher} {key.data}"] = score
    made = [_ranking(protocol, methods) for protocol, methods in sorted(found.items())]
    return [one for one in made if one is not None]


def _scores(table: Table) -> Iterable[tuple[str, Block, str, float]]:
    """Yields the method, the block, the student and the mean score of the cells that are ranked."""
    cells: dict[tuple[str, Block, str], dict[str, float]] = defaultdict(dict)
    for row in table.rows:
        if table.no_set(row):
            continue
        for column, cell in row.cells.items():
            ipc, student = (row.ipc, str(column)) if row.ipc else (int(column), table.key.student)
            cells[row.method, Block(table.key.dataset, ipc), student][row.name] = cell.mean
    for (method, block, student), named in cells.items():
        if method in named or len(named) == 1:
            yield method, block, student, named.get(method, next(iter(named.values())))


def _ranking(protocol: str, methods: Mapping[str, Places]) -> Ranking | None:
    order = sorted(methods, key=lambda method: (-len(methods[method]), method))
    best: tuple[tuple[str, ...], dict[Block, list[float]]] = ((), {})
    for count in range(LEAST_METHODS, len(order) + 1):
        chosen = tuple(order[:count])
        held = _common(chosen, methods)
        if len(held) >= LEAST_BLOCKS and count * len(held) > len(best[0]) * len(best[1]):
            best = (chosen, held)
    chosen, held = best
    if not chosen:
        return None
    blocks = tuple(sorted(held))
    made = Ranking(protocol, chosen, blocks, np.array([held[block] for block in blocks], dtype=np.float64))
    by_rank = sorted(range(len(chosen)), key=lambda place: (made.ranks[place], chosen[place]))
    return Ranking(protocol, tuple(chosen[place] for place in by_rank), blocks, made.scores[:, by_rank])


def _common(chosen: tuple[str, ...], methods: Mapping[str, Places]) -> dict[Block, list[float]]:
    """Returns the mean scores of methods, in their order, by block: those of the students that all have."""
    held = {}
    for block in methods[chosen[0]]:
        places = [methods[method].get(block, {}) for method in chosen]
        if students := set(places[0]).intersection(*places):
            held[block] = [fmean(of[student] for student in students) for of in places]
    return held


def ranks_text(found: Iterable[Ranking]) -> str:
    """Returns the section of the board that tells rankings; empty if there is none."""
    parts = []
    for one in found:
        told = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(one.methods, one.ranks, strict=True))
        data = len({block.dataset for block in one.blocks})
        differ = (
            f"two methods differ from a distance of {one.distance:.2f} on"
            if one.chance < LEVEL
            else "the ranks do not differ at 95 %"
        )
        of = f"{len(one.blocks)} pairs of dataset and IPC, {data} datasets"
        text = f"- **{one.protocol}** ([picture](plots/{picture_name(one)})): {told}."
        parts += [wrapped(text, "  "), f"  {of}; Friedman's p = {one.chance:.2g}: {differ}."]
    if not parts:
        return ""
    return f"{SECTION}\n" + "\n".join(parts) + "\n"


SECTION = """\
## Ranks over datasets

Mean rank of each method that was run on enough datasets, 1 being the best, by its mean score over the
students that all of them have (Friedman's test, Nemenyi's critical difference at 95 %). Two IPCs of a dataset
count as two, though they are not independent.
"""


def picture_name(one: Ranking) -> str:
    """Returns the name of the file of a ranking's plot."""
    return f"ranks-{one.protocol}{FORMAT}"
