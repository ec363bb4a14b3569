"""Frequent itemsets: against an independent miner, and closed ones against their definition."""

from itertools import combinations

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlxtend.frequent_patterns import fpgrowth

from condense.distillation.graphs.itemsets import (
    Chosen,
    Itemset,
    Transactions,
    choose,
    choose_exclusive,
    closed_sets,
    exclusive,
    mine,
)
from condense.errors import Refused

ITEMS = 6
ROWS = st.lists(st.frozensets(st.integers(0, ITEMS - 1)), min_size=1, max_size=12)


def held(rows: list[frozenset[int]]) -> Transactions:
    pairs = torch.tensor([(row, item) for row, items in enumerate(rows) for item in sorted(items)])
    row, item = pairs.reshape(-1, 2).long().T
    return Transactions(row, item, len(rows))


def rows_of(text: str) -> list[frozenset[int]]:
    """Rows between blanks, an item a digit: ``"01 1 -"``, the last of them without items."""
    return [frozenset(int(item) for item in row if item != "-") for row in text.split()]


def closure(rows: list[frozenset[int]], items: frozenset[int]) -> frozenset[int]:
    return frozenset.intersection(*(row for row in rows if items <= row))


def naive_closed(rows: list[frozenset[int]], threshold: int) -> set[Itemset]:
    """Closures of every set of items that is frequent."""
    found = set()
    for size in range(ITEMS + 1):
        for items in map(frozenset, combinations(range(ITEMS), size)):
            if sum(items <= row for row in rows) >= threshold:
                whole = closure(rows, items)
                found.add(Itemset(tuple(sorted(whole)), sum(whole <= row for row in rows)))
    return {one for one in found if one.items}


def in_order(found: list[Itemset]) -> bool:
    return found == sorted(found, key=lambda one: (-one.support, len(one.items), one.items))


@settings(deadline=None, max_examples=25)
@given(ROWS, st.integers(1, 5))
def test_all_itemsets_are_those_of_an_independent_miner(rows: list[frozenset[int]], threshold: int) -> None:
    table = pd.DataFrame([[item in row for item in range(ITEMS)] for row in rows])
    threshold = min(threshold, len(rows))  # it takes shares up to 1 only
    theirs = fpgrowth(table, min_support=(threshold - 0.5) / len(rows))
    expected = {
        Itemset(tuple(sorted(items)), round(share * len(rows)))
        for share, items in zip(theirs["support"], theirs["itemsets"], strict=True)
    }
    ours = mine(held(rows), threshold, closed=False)
    assert set(ours) == expected and len(ours) == len(expected) and in_order(ours)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.integers(1, 5))
def test_closed_itemsets_are_the_closures_of_all_frequent_ones(
    rows: list[frozenset[int]], threshold: int
) -> None:
    ours = mine(held(rows), threshold)
    assert set(ours) == naive_closed(rows, threshold)
    assert len(ours) == len(set(ours)) and in_order(ours)


@settings(deadline=None, max_examples=40)
@given(ROWS)
def test_closed_itemsets_come_one_by_one_in_the_order_of_the_whole_list(rows: list[frozenset[int]]) -> None:
    assert list(closed_sets(held(rows), 1)) == mine(held(rows), 1)


@settings(deadline=None, max_examples=40)
@given(ROWS, st.integers(1, 9))
def test_a_budget_chooses_the_largest_threshold_that_reaches_it(
    rows: list[frozenset[int]], budget: int
) -> None:
    threshold, kept = choose(held(rows), budget)
    everything = mine(held(rows), 1)
    assert kept == everything[:budget]
    if len(everything) >= budget:
        assert len(mine(held(rows), threshold)) >= budget
        assert len(mine(held(rows), threshold + 1)) < budget


def test_a_budget_is_met_though_the_most_frequent_items_have_one_closure() -> None:
    rows = rows_of("0123 0123 0123 4 4 5")
    assert choose(held(rows), 3) == (1, [((0, 1, 2, 3), 3), ((4,), 2), ((5,), 1)])
    assert choose(held(rows), 2) == (2, [((0, 1, 2, 3), 3), ((4,), 2)])


def test_items_that_always_come_together_are_one_closed_itemset() -> None:
    rows = [frozenset(range(14)), frozenset(range(14)), frozenset({3})]
    assert mine(held(rows), 2) == [((3,), 3), (tuple(range(14)), 2)]
    assert len(mine(held(rows), 2, closed=False)) == 2**14 - 1


def test_more_itemsets_than_the_cap_are_refused_and_as_many_are_not() -> None:
    rows = [frozenset(range(8)) - {item} for item in range(8)]  # every set of up to 7 items is closed
    for closed in (True, False):
        assert len(mine(held(rows), 1, closed=closed, cap=254)) == 254
        with pytest.raises(Refused, match="more than 253 itemsets have a support of at least 1: raise the t"):
            mine(held(rows), 1, closed=closed, cap=253)


def test_the_cap_stops_the_search_long_before_all_itemsets_are_found() -> None:
    rows = [frozenset(range(60)) - {item} for item in range(60)]
    for closed in (True, False):
        with pytest.raises(Refused, match="more than 1000 itemsets"):
            mine(held(rows), 1, closed=closed, cap=1000)
    assert choose(held(rows), 60).threshold == 59


def test_a_threshold_or_a_budget_below_one_is_refused() -> None:
    with pytest.raises(Refused, match="from 1 on, not 0"):
        mine(held(rows_of("01")), 0)
    with pytest.raises(Refused, match="from 1 on, not -3"):
        choose(held(rows_of("01")), -3)


def test_transactions_without_items_count_but_hold_nothing() -> None:
    assert mine(held(rows_of("- 5 - 5")), 1) == [((5,), 2)]
    assert mine(held(rows_of("- -")), 1) == []
    assert choose(held(rows_of("- -")), 4) == (1, [])
    assert mine(held(rows_of("5 5")), 3) == []


def test_supports_count_the_transactions_of_each_item() -> None:
    assert held(rows_of("03 3 - 0 0")).supports().tolist() == [3, 0, 0, 2]


def chosen(found: list[list[Itemset]], *thresholds: int) -> list[Chosen]:
    return [Chosen(*of_class) for of_class in zip(thresholds, found, strict=True)]


def test_exclusive_itemsets_are_sought_until_enough_are_left_or_the_cap_is_met() -> None:
    # The most frequent items, 0 and 1, are in both classes; 2 to 5 are in the first class alone.
    one, two = held(rows_of("012 013 014 015 01 0")), held(rows_of("01 01 0"))
    found = choose_exclusive([one, two], (2, 2))
    assert [len(itemsets) for itemsets in exclusive(found, [one, two])] == [2, 0]
    assert len(found[0].itemsets) == 4 and len(found[1].itemsets) == 2
    assert len(choose_exclusive([one, two], (2, 2), cap=3)[0].itemsets) == 2


def test_what_is_frequent_in_another_class_is_left_out() -> None:
    one, two = held(rows_of("01 01 2 2 1")), held(rows_of("01 12 1 2 3"))
    found = [mine(one, 2, closed=False), mine(two, 2, closed=False)]
    assert found == [[((1,), 3), ((0,), 2), ((2,), 2), ((0, 1), 2)], [((1,), 3), ((2,), 2)]]
    # 1 and 2 are frequent in both; 0 alone and with 1 once in the second.
    assert exclusive(chosen(found, 2, 2), [one, two]) == [[((0,), 2), ((0, 1), 2)], []]
    # Each class goes by the others' thresholds.
    assert exclusive(chosen(found, 3, 1), [one, two]) == [[], [((2,), 2)]]


@settings(deadline=None, max_examples=40)
@given(ROWS, ROWS, st.integers(1, 4), st.integers(1, 4))
def test_of_two_classes_all_itemsets_but_the_common_ones_are_exclusive(
    first: list[frozenset[int]], second: list[frozenset[int]], here: int, there: int
) -> None:
    classes = [held(first), held(second)]
    found = [mine(classes[0], here, closed=False), mine(classes[1], there, closed=False)]
    common = {one.items for one in found[0]} & {one.items for one in found[1]}
    expected = [[one for one in of_class if one.items not in common] for of_class in found]
    assert exclusive(chosen(found, here, there), classes) == expected


def test_an_empty_class_excludes_nothing() -> None:
    empty = Transactions(torch.zeros(0).long(), torch.zeros(0).long(), 0)
    found = mine(held(rows_of("01 0")), 1)
    assert mine(empty, 1) == []
    assert exclusive(chosen([found, []], 1, 1), [held(rows_of("01 0")), empty]) == [found, []]
