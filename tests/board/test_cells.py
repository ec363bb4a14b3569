"""The statistics of one cell: the interval of the mean, and the independent values that it is over."""

import math
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from condense.board.cells import TableCell, half_width
from condense.board.tables import gather
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def cell_of(*records: Record) -> TableCell:
    """The cell of records of one method at IPC 1."""
    return gather(frame(records))[0].rows[0].cells[1]


def test_the_interval_is_the_one_computed_by_hand() -> None:
    # mean 2, s = 1, t(0.975; 2) = 4.302653, over sqrt(3)
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=12, unique=True))
def test_the_interval_is_that_of_scipy(hundredths: list[int]) -> None:
    values = [value / 100 for value in hundredths]
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert half_width(values) == pytest.approx((theirs.high - theirs.low) / 2, rel=1e-6)


def test_the_interval_covers_the_mean_in_19_of_20_samples() -> None:
    draw = Random(0)
    covered = 0
    for _ in range(4000):
        values = [draw.gauss(0, 1) for _ in range(5)]
        half = half_width(values)
        assert half is not None
        covered += abs(sum(values) / 5) <= half
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)


def test_one_value_has_no_interval() -> None:
    assert half_width([50.0]) is None


def test_the_independent_values_of_one_set_are_its_students(made: Make) -> None:
    assert cell_of(made(accuracies=(70.0, 72.0))).units == (70.0, 72.0)


def test_the_independent_values_of_several_sets_are_their_means(made: Make) -> None:
    cell = cell_of(made(seed=0, accuracies=(70.0, 72.0)), made(seed=1, accuracies=(80.0,)))
    assert cell.units == (71.0, 80.0)
    assert cell.mean == 75.5


def test_the_interval_of_random_subsets_is_over_draws(made: Make) -> None:
    values = [60.0 + draw for draw in range(10)]
    draws = [
        made("random_subset", seed=i, accuracies=(value,), seeds=(i % 5,)) for i, value in enumerate(values)
    ]
    row = gather(frame(draws))[0].rows[0]
    cell = row.cells[1]
    assert cell.mean == 64.5
    assert cell.half == pytest.approx(half_width(values))
    assert cell.students == (1,) * 10
