"""Letters: Welch's test, Holm's correction, and that rows share a letter exactly if they do not differ."""

from collections.abc import Callable
from itertools import chain, combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtr

from condense.board.significance import LEVEL, Place, groups_alike, holm, letters, table_letters, welch
from condense.board.tables import gather
from condense.protocols import WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Record
from tests.board.markdown import page, rows

Make = Callable[..., Record]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 1000), min_size=2, max_size=6, unique=True), min_size=2, max_size=4))
def test_the_chances_are_those_of_scipy(samples: list[list[int]]) -> None:
    values = [[hundredth / 10 for hundredth in sample] for sample in samples]
    theirs = [stats.ttest_ind(*pair, equal_var=False).pvalue for pair in combinations(values, 2)]
    assert list(welch(values, *np.triu_indices(len(values), 1))) == pytest.approx(theirs, rel=1e-9)


def test_samples_without_spread_differ_if_their_values_do() -> None:
    samples = [[5.1] * 3, [5.1] * 4, [5.2] * 3, [5.0, 5.0], [6.0, 7.0]]
    found = welch(samples, np.array([0, 0, 3]), np.array([1, 2, 4]))
    # t = -1.5 / 0.5 with the one degree of freedom of the sample that has a spread
    assert list(found) == [1.0, 0.0, pytest.approx(2 * stdtr(1, -3))]


@given(st.lists(st.floats(0, 1), max_size=6))
def test_the_correction_is_the_closed_test_of_all_subsets(chances: list[float]) -> None:
    """A hypothesis is rejected at a level exactly if Bonferroni rejects each set of hypotheses with it."""
    numbers = range(len(chances))
    subsets = list(chain.from_iterable(combinations(numbers, size) for size in range(1, len(chances) + 1)))
    closed = [
        max(min(1.0, len(some) * min(chances[i] for i in some)) for some in subsets if number in some)
        for number in numbers
    ]
    assert list(holm(np.array(chances, dtype=np.float64))) == pytest.approx(closed)


def instance(dice: Random, count: int) -> set[tuple[int, int]]:
    share = dice.random()
    return {pair for pair in combinations(range(count), 2) if dice.random() < share}


def test_rows_share_a_letter_exactly_if_they_do_not_differ() -> None:
    dice = Random(0)
    for _ in range(400):
        count = dice.randint(1, 8)
        differing = instance(dice, count)
        told = letters(differing, count)
        assert all(told)
        for one, other in combinations(range(count), 2):
            assert ((one, other) in differing) == (not set(told[one]) & set(told[other]))


def test_the_groups_are_largest_and_none_is_superfluous() -> None:
    dice = Random(1)
    for _ in range(300):
        count = dice.randint(1, 7)
        differing = instance(dice, count)
        alike = [
            frozenset(some)
            for size in range(1, count + 1)
            for some in combinations(range(count), size)
            if not any(pair in differing for pair in combinations(some, 2))
        ]
        largest = [group for group in alike if not any(group < other for other in alike)]
        groups = groups_alike(differing, count)
        assert set(groups) <= set(largest)

        def covered(some: list[frozenset[int]]) -> set[tuple[int, ...]]:
            return {part for one in some for size in (1, 2) for part in combinations(sorted(one), size)}

        assert covered(groups) == covered(largest)
        for group in groups:
            assert covered([one for one in groups if one != group]) < covered(groups)


def test_letters_follow_the_order_of_rows() -> None:
    assert letters({(0, 2)}, 3) == ["a", "ab", "b"]
    assert letters(set(), 3) == ["a", "a", "a"] and letters({(0, 1)}, 2) == ["a", "b"]
    assert letters(set(), 0) == []


def test_a_table_is_corrected_as_one_family(made: Make) -> None:
    low, high, between = (50.0, 50.4, 50.2), (60.0, 60.3, 60.4), (55.0, 60.5, 54.0)
    records = [
        made(name, ipc=ipc, accuracies=values)
        for ipc in (1, 10)
        for name, values in (("low", low), ("high", high), ("between", between))
    ]
    (table,) = gather(frame(records))
    chances = {
        pair: stats.ttest_ind(*pair, equal_var=False).pvalue for pair in combinations((low, high, between), 2)
    }
    # Of the six comparisons, those of low and high stand out; the others are corrected by what is left.
    assert max(6 * chances[low, high], 5 * chances[low, high]) < LEVEL
    assert 4 * min(chances[low, between], chances[high, between]) > LEVEL
    found = table_letters(table)
    named = {(table.rows[place.row].method, place.column): told for place, told in found.items()}
    wanted = {"high": "a", "between": "ab", "low": "b"}
    assert named == {(name, ipc): told for ipc in (1, 10) for name, told in wanted.items()}


def test_single_results_have_no_letter(made: Make) -> None:
    records = [made("one", accuracies=(99.0,)), made("two"), made("three", accuracies=(10.0, 11.0, 12.0))]
    (table,) = gather(frame(records))
    found = table_letters(table)
    assert {table.rows[place.row].method: told for place, told in found.items()} == {"two": "a", "three": "b"}
    (alone,) = gather(frame(records[:2]))
    assert table_letters(alone) == {Place(1, 1): ""}


def test_the_letters_stand_behind_the_scores(made: Make) -> None:
    whole = made("whole", ipc=0, kind="reference", protocol=WHOLE_V1, accuracies=(90.0, 91.0, 92.0))
    records = [made(ipc=1), made("dsa", ipc=1, accuracies=(71.0, 72.0, 73.5)), whole]
    found = rows(page(frame(records)))
    column = found["method"].index("IPC 1")
    assert found["dm"][column] == "71.0 ± 2.5 b" and found["dsa"][column] == "72.2 ± 3.1 b"
    assert found["whole training set"][column] == "91.0 ± 2.5 a"
