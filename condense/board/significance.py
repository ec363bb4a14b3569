"""Which rows of a table differ: Welch's test of each pair, corrected for their number, told by letters.

Rows that share a letter do not differ. Piepho: An Algorithm for a Letter-Based Representation of All-Pairwise
Comparisons, J. Comput. Graph. Stat. 13 (2004), describes how letters are found: by insertion and absorption.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from statistics import fmean
from string import ascii_letters
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import ttest_ind_from_stats

from condense.board.tables import Column, Table

LEVEL = 0.05
"""Probability of one or more false differences in a table whose rows are all equal."""

PlaceT = TypeVar("PlaceT", bound=Hashable)

Pair = tuple[int, int]
"""Numbers of two rows, the smaller one first."""


class Place(NamedTuple):
    """A cell of a table: the number of its row and its column."""

    row: int
    column: Column


def table_letters(table: Table) -> dict[Place, str]:
    """Returns the letters of the cells of a table.

    Two rows are compared in a column if both have two or more results there and the same IPC. All comparisons
    of the table are corrected together. A cell that is compared with none has no letters.
    """
    blocks = table_blocks(table)
    differing = find_differing(blocks)
    return {place: told for block in blocks for place, told in block_letters(block, differing).items()}


Samples = Mapping[PlaceT, Sequence[float]]
"""The values of places that are compared with each other."""
Differing = Mapping[PlaceT, Collection[PlaceT]]
"""The places that each place differs from; one that differs from none may be left out."""


def table_blocks(table: Table) -> list[dict[Place, Sequence[float]]]:
    """Returns the values of the cells of a table, in groups that are compared with each other."""
    blocks: dict[tuple[Column, int], dict[Place, Sequence[float]]] = defaultdict(dict)
    for column in table.columns:
        for number, row in enumerate(table.rows):
            if (cell := row.at(column)) and len(cell.units) > 1:
                blocks[column, row.ipc][Place(number, column)] = cell.units
    return list(blocks.values())


def find_differing(blocks: Sequence[Samples[PlaceT]]) -> dict[PlaceT, set[PlaceT]]:
    """Returns the places that each place differs from, in groups that are corrected together.

    Args:
        blocks: The groups; each place has two or more values.
    """
    places = [place for block in blocks for place in block]
    samples = [values for block in blocks for values in block.values()]
    starts = np.cumsum([0, *map(len, blocks)])[: len(blocks)]
    pairs = [start + np.triu_indices(len(block), 1) for start, block in zip(starts, blocks, strict=True)]
    one, other = np.concatenate(pairs, axis=1) if pairs else np.empty((2, 0), dtype=np.int64)
    found = np.flatnonzero(holm(welch(samples, one, other)) < LEVEL)
    differing: dict[PlaceT, set[PlaceT]] = defaultdict(set)
    for first, second in zip(one[found].tolist(), other[found].tolist(), strict=True):
        differing[places[first]].add(places[second])
        differing[places[second]].add(places[first])
    return dict(differing)


def block_letters(block: Samples[PlaceT], differing: Differing[PlaceT]) -> dict[PlaceT, str]:
    """Returns the letters of a group, the first ones for the largest means; one alone has none."""
    ranked = sorted(block, key=lambda place: -fmean(block[place]))
    number = {place: rank for rank, place in enumerate(ranked)}
    apart = {
        (number[one], number[other])
        for one in ranked
        for other in differing.get(one, ())
        if number[one] < number.get(other, -1)
    }
    told = letters(apart, len(ranked)) if len(ranked) > 1 else [""] * len(ranked)
    return dict(zip(ranked, told, strict=True))


def welch(
    samples: Sequence[Sequence[float]], one: Int64[np.ndarray, " m"], other: Int64[np.ndarray, " m"]
) -> Float64[np.ndarray, " m"]:
    """Returns the two-sided p-value of Welch's t test for m pairs of samples of two or more values.

    It is that of ``scipy.stats.ttest_ind(equal_var=False)``. Two samples without any spread, for which t is
    not defined, have p = 1 if they are equal and else p = 0.

    Args:
        samples: The samples.
        one: The number of the first sample of each pair.
        other: The number of the second one.
    """
    means, deviations, sizes = (np.empty(len(samples)) for _ in range(3))
    constant, first = np.empty(len(samples), dtype=bool), np.empty(len(samples))
    by_size: dict[int, list[int]] = defaultdict(list)
    for number, values in enumerate(samples):
        by_size[len(values)].append(number)
    for size, numbers in by_size.items():
        alike = np.array([samples[number] for number in numbers], dtype=np.float64)  # (numbers, size)
        means[numbers], deviations[numbers], sizes[numbers] = alike.mean(1), alike.std(1, ddof=1), size
        constant[numbers], first[numbers] = alike.max(1) == alike.min(1), alike[:, 0]
    sides = [part[side] for side in (one, other) for part in (means, deviations, sizes)]
    with np.errstate(divide="ignore", invalid="ignore"):
        chances = np.asarray(ttest_ind_from_stats(*sides, equal_var=False).pvalue)
    equal = (first[one] == first[other]).astype(np.float64)
    return np.where(constant[one] & constant[other], equal, chances)


def holm(chances: Float64[np.ndarray, " m"]) -> Float64[np.ndarray, " m"]:
    """Returns p-values as Holm adjusts them for their number m.

    The i-th smallest of them, from 0, becomes the largest of ``(m - j) p_j`` over j <= i, and at most 1.
    """
    order = np.argsort(chances, kind="stable")
    left = np.arange(len(chances), 0, -1)
    adjusted = np.empty(len(chances))
    adjusted[order] = np.maximum.accumulate(np.minimum(1.0, left * chances[order]))
    return adjusted


def letters(differing: Collection[Pair], count: int) -> list[str]:
    """Returns the letters of rows, such that two rows share one exactly if they do not differ.

    Args:
        differing: The pairs of rows that differ.
        count: Number of rows; the first letters go to the first rows.
    """
    groups = groups_alike(differing, count)
    names = [ascii_letters[number] if number < 52 else f"({number + 1})" for number in range(len(groups))]
    return [
        "".join(name for name, group in zip(names, groups, strict=True) if row in group)
        for row in range(count)
    ]


def groups_alike(differing: Iterable[Pair], count: int) -> list[frozenset[int]]:
    """Returns groups of rows that do not differ, such that any two such rows are together in one of them.

    Row by row, each group that there is gives one with the new row and without what differs from it; a group
    within another one is absorbed. At the end a group that the others make superfluous is left out.
    """
    apart = [0] * count  # the rows that differ from each row, as bits
    for one, other in differing:
        apart[one] |= 1 << other
        apart[other] |= 1 << one
    found = [0] * min(count, 1)
    for row in range(count):
        split = [group for group in found if group & apart[row]]
        wider = [group | 1 << row for group in found if not group & apart[row]]
        found = [*split, *_largest({group & ~apart[row] | 1 << row for group in split}, wider)]
    texts = sorted((f"{group:0{count}b}"[::-1] for group in found), reverse=True)  # by rows, the first first
    digits = np.frombuffer("".join(texts).encode(), dtype=np.uint8).reshape(len(texts), count)
    member = (digits - ord("0")).astype(np.float32)  # as floats they are multiplied much faster
    together = member.T @ member  # (count, count) the number of groups that hold two rows, or one
    for number in np.argsort(member.sum(1), kind="stable"):
        group = member[number].copy()
        if not group @ (together == 1).astype(np.float32) @ group:  # each two of its rows are in another one
            together -= np.outer(group, group)
            member[number] = 0
    return [frozenset(np.flatnonzero(group).tolist()) for group in member if group.any()]


def _largest(groups: Iterable[int], others: Sequence[int]) -> list[int]:
    """Returns other groups, and behind them the groups that are within none of all; each group is bits."""
    found = [*others]
    for group in sorted(groups, key=int.bit_count, reverse=True):
        if not any(group & other == group for other in found):
            found.append(group)
    return found
