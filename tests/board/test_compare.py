"""What counts as above or below: Welch's test and that of one sample, corrected for what is told together."""

from collections import namedtuple
from collections.abc import Sequence
from random import Random

import pytest
from scipy import stats

from condense.board.cells import TableCell
from condense.board.compare import Pair, Statement, line, signs, tally

Entry = namedtuple("Entry", ["record_key", "score"])


def cell(*scores: float) -> TableCell:
    return TableCell(tuple(Entry("one set", score) for score in scores))


def chance(pair: Pair) -> float:
    """The p-value of one pair by SciPy."""
    one, other = pair.one.units, pair.other
    if isinstance(other, TableCell):
        return float(stats.ttest_ind(one, other.units, equal_var=False).pvalue)
    return float(stats.ttest_1samp(one, other).pvalue)


def corrected(chances: Sequence[float]) -> list[bool]:
    """Holm's procedure step by step: from the smallest p-value on until one is too large."""
    found = [False] * len(chances)
    for step, number in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        if chances[number] * (len(chances) - step) >= 0.05:
            break
        found[number] = True
    return found


def test_the_signs_are_those_of_the_tests_one_by_one_and_holms_procedure() -> None:
    dice, seen = Random(0), set[int]()
    for _ in range(100):
        pairs = list[Pair]()
        for _ in range(dice.randint(1, 6)):
            one = cell(*(dice.gauss(50, 1) for _ in range(dice.randint(2, 5))))
            shift = dice.choice([0, 1, 3, 9]) * dice.choice([-1, 1])
            other = cell(*(dice.gauss(50 + shift, 2) for _ in range(dice.randint(2, 5))))
            pairs.append(Pair(one, other if dice.random() < 0.5 else 50.0 + shift))
        differ = corrected([chance(pair) for pair in pairs])
        found = signs(pairs)
        assert found == [(1 if pair.gap > 0 else -1) * told for pair, told in zip(pairs, differ, strict=True)]
        seen |= set(found)
    assert seen == {-1, 0, 1}


def test_more_comparisons_told_together_ask_for_more() -> None:
    close = Pair(cell(50.0, 50.1, 50.2), cell(50.4, 50.5, 50.6))
    far = Pair(cell(50.0, 50.1, 50.2), cell(60.0, 60.1, 60.2))
    same = Pair(cell(50.0, 50.1, 50.2), cell(50.0, 50.1, 50.2))
    assert chance(close) == pytest.approx(0.008, abs=1e-3)
    assert signs([close]) == signs([close, same, far])[:1] == [-1]
    assert signs([close, *[same] * 6, far]) == [0] * 7 + [-1]


def test_a_single_score_is_never_told_apart_and_counts_as_no_test() -> None:
    close = Pair(cell(50.0, 50.1, 50.2), cell(50.4, 50.5, 50.6))
    single = Pair(cell(99.0), cell(50.4, 50.5, 50.6))
    assert signs([single, Pair(single.other, single.one), Pair(single.one, 0.0)]) == [0, 0, 0]  # type: ignore[arg-type]
    assert signs([close, *[single] * 20]) == [-1] + [0] * 20
    assert signs([]) == []


def test_scores_without_spread_differ_if_they_are_not_equal() -> None:
    level = cell(50.0, 50.0)
    assert signs([Pair(level, 50.0), Pair(level, 50.1), Pair(level, cell(49.0, 49.0))]) == [0, -1, 1]


def test_the_words_follow_from_the_signs() -> None:
    above = Pair(cell(60.0, 60.1, 60.2), cell(50.0, 50.1, 50.2))
    alike = Pair(cell(50.3, 50.1, 50.2), cell(50.0, 50.1, 50.2))
    below = Pair(cell(60.0, 60.1, 60.2), 70.0)
    assert tally([above, alike, below, alike]) == "1 and below in 1 of 4 cells"
    told = [
        Statement("a is", above, "b"),
        Statement("c is", alike, "d (of two)"),
        Statement("e is", below, "f"),
    ]
    assert line(told) == "a is above b; c is not told apart (+0.1) from d (of two); e is below f"
