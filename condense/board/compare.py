"""Which results are above which others, in the words of a README: by the tests that give tables letters."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from condense.board.asked import is_complete
from condense.board.cells import TableCell
from condense.board.significance import LEVEL, holm, welch

RULE = """\
A result is above or below another if Welch's test tells them apart at the 5 % level, after Holm's correction
for the comparisons that are counted or listed together. A table corrects for all of its own; sentences on a
fraction of the images are by their table's tests. A single student or draw is never told apart from anything,
and results that lack students or draws are left out.
"""
"""What the words mean, as Markdown."""
WORDS = {1: "above", -1: "below"}


class Pair(NamedTuple):
    """A result and what it is compared with: another one, or a number that is known exactly."""

    one: TableCell
    other: TableCell | float

    @property
    def gap(self) -> float:
        """The first mean less the second one."""
        return self.one.mean - (self.other.mean if isinstance(self.other, TableCell) else self.other)

    @property
    def samples(self) -> tuple[Sequence[float], Sequence[float]]:
        """The values of both. A number has no spread, with which Welch's test is that of one sample."""
        return self.one.units, self.other.units if isinstance(self.other, TableCell) else [self.other] * 2


def judged(pairs: Iterable[Pair]) -> list[Pair]:
    """Returns the pairs of which neither result lacks students; the others are no comparison yet."""
    return [
        pair
        for pair in pairs
        if all(is_complete(cell) for cell in (pair.one, pair.other) if isinstance(cell, TableCell))
    ]


def signs(pairs: Sequence[Pair]) -> list[int]:
    """Returns for each pair whether the first is above (1) or below (-1), or not told apart (0).

    All pairs are corrected together. A result of a single student or draw is not tested.
    """
    tested = [number for number, pair in enumerate(pairs) if min(map(len, pair.samples)) > 1]
    samples = [values for number in tested for values in pairs[number].samples]
    places = np.arange(0, len(samples), 2)
    chances = holm(welch(samples, places, places + 1))
    differ = {number for number, chance in zip(tested, chances, strict=True) if chance < LEVEL}
    return [(1 if pair.gap > 0 else -1) if number in differ else 0 for number, pair in enumerate(pairs)]


def tally(pairs: Sequence[Pair]) -> str:
    """Returns how often the first of two is above the other, as ``13 and below in 61 of 84 cells``."""
    found = signs(pairs)
    return f"{found.count(1)} and below in {found.count(-1)} of {len(found)} cells"


class Statement(NamedTuple):
    """A comparison in words.

    Attributes:
        subject: What is compared, with its verb: ``rs2 is``.
        pair: The results.
        object: What it is compared with.
    """

    subject: str
    pair: Pair
    object: str


def line(statements: Sequence[Statement], found: Sequence[int] | None = None) -> str:
    """Returns statements one behind the other.

    For example ``rs2 is above random images; rad is not told apart (+0.3) from random images``.

    Args:
        statements: The statements.
        found: What `signs` tells of each of them; None tests them together.
    """
    told = []
    found = signs([one.pair for one in statements]) if found is None else found
    for one, sign in zip(statements, found, strict=True):
        word = WORDS.get(sign, f"not told apart ({one.pair.gap:+.1f}) from")
        told.append(f"{one.subject} {word} {one.object}")
    return "; ".join(told)
