"""Mirage's text fields: thresholds as numbers or exact shares of graphs, and lists of labels."""

from fractions import Fraction

import pytest

from condense.distillation.graphs.thresholds import least_supports, parse_labels, parse_thresholds
from condense.errors import Refused


def test_thresholds_are_numbers_of_graphs_or_exact_shares() -> None:
    assert parse_thresholds("440, 570") == [440, 570]
    assert parse_thresholds("0.1,10%") == [Fraction(1, 10), Fraction(1, 10)]
    assert parse_thresholds("auto") is None


@pytest.mark.parametrize("text", ["0", "-3", "1.5", "120%", "1/0%", "nan%", "many", "", "3,"])
def test_other_thresholds_are_refused(text: str) -> None:
    with pytest.raises(Refused, match="neither a number of graphs from 1 on nor a share"):
        parse_thresholds(text)


def test_shares_are_rounded_up_and_one_threshold_serves_all_classes() -> None:
    assert least_supports([Fraction(1, 10)], [30, 31, 0]) == [3, 4, 1]
    assert least_supports([5, Fraction(1, 2)], [30, 31]) == [5, 16]
    with pytest.raises(Refused, match="3 thresholds are given for 2 classes"):
        least_supports([1, 2, 3], [30, 31])


def test_labels_are_whole_numbers_between_commas() -> None:
    assert parse_labels("1,2, 17") == [1, 2, 17] and parse_labels("") == []
    with pytest.raises(Refused, match="whole numbers"):
        parse_labels("1;2")
