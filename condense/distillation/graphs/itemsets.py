"""Exact mining of frequent itemsets: which items occur together in many transactions.

A set of transactions is the bits of a Python integer, so that an intersection is an AND and a support a count
of bits. An itemset is closed if no item can be added to it without losing a transaction. Closed itemsets are
enumerated by falling support, each once, by the prefix-preserving closure extension of Uno, Kiyomi and
Arimura, "LCM ver. 2" (FIMI 2004, https://ceur-ws.org/Vol-126/uno.pdf). Every frequent itemset is a part of a
closed one of the same support: k items that always occur together are one closed itemset, but 2^k - 1
frequent ones.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from condense.errors import Refused

CAP = 100_000
"""Default bound on the number of itemsets that are mined."""


class Itemset(NamedTuple):
    """A set of items with its support.

    Attributes:
        items: The items, in rising order.
        support: Number of transactions that contain all of them.
    """

    items: tuple[int, ...]
    support: int


class Chosen(NamedTuple):
    """Itemsets of a class, with the threshold from which on they count as frequent.

    Attributes:
        threshold: Smallest support of a frequent itemset.
        itemsets: The itemsets, by falling support.
    """

    threshold: int
    itemsets: list[Itemset]


@dataclass(frozen=True, eq=False)
class Transactions:
    """Transactions, each a set of items, as pairs of a transaction and an item.

    Attributes:
        rows: The transaction of each pair, a number below ``count``.
        items: The item of each pair, a small number from 0 on. No pair occurs twice.
        count: Number of transactions, including those without an item.
    """

    rows: Int[Tensor, " p"]
    items: Int[Tensor, " p"]
    count: int

    def supports(self) -> Int[Tensor, " t"]:
        """Returns the number of transactions that contain each item, up to the largest item that occurs."""
        return torch.bincount(self.items)


def mine(transactions: Transactions, threshold: int, *, closed: bool = True, cap: int = CAP) -> list[Itemset]:
    """Returns every itemset with at least the given support, by falling support and then by rising length.

    Args:
        transactions: The transactions.
        threshold: Smallest support, from 1 on.
        closed: Whether only closed itemsets are returned.
        cap: Largest number of itemsets.

    Raises:
        Refused: if there are more itemsets, or the threshold is below 1.
    """
    if threshold < 1:
        raise Refused(f"a threshold is a number of transactions from 1 on, not {threshold}")
    found = closed_sets(transactions, threshold, cap) if closed else _all_sets(transactions, threshold, cap)
    return sorted(found, key=lambda one: (-one.support, len(one.items), one.items))


def choose(transactions: Transactions, budget: int) -> Chosen:
    """Returns as many closed itemsets as the budget says, or all, at the largest threshold that gives them.

    Raises:
        Refused: if the budget, a number of itemsets, is below 1.
    """
    if budget < 1:
        raise Refused(f"a budget is a number of itemsets from 1 on, not {budget}")
    # Items of different transactions have different closures, so that this floor is usually low enough.
    supports = transactions.supports().sort(descending=True).values
    floor = max(int(supports[:budget][-1]), 1) if len(supports) else 1
    while True:
        found = list(islice(closed_sets(transactions, floor), budget))
        if len(found) == budget or floor == 1:
            return Chosen(found[-1].support if found else floor, found)
        floor //= 2


def choose_exclusive(
    transactions: Sequence[Transactions], budgets: Sequence[int], *, cap: int = CAP
) -> list[Chosen]:
    """Chooses itemsets of each class, to which `exclusive` still has to be applied.

    The budgets of `choose` are doubled for all classes until `exclusive` leaves each class as many itemsets
    as are wanted, or the class has no more.

    Args:
        transactions: The transactions of each class.
        budgets: Number of exclusive itemsets that are wanted of each class.
        cap: Largest number of itemsets that are chosen of a class.
    """
    factor = 1
    while True:
        chosen = [
            choose(of_class, factor * budget) for of_class, budget in zip(transactions, budgets, strict=True)
        ]
        left = exclusive(chosen, transactions)
        # A class whose itemsets have all been chosen gains nothing from a larger budget.
        gains = any(
            len(itemsets) < budget and len(of_class.itemsets) == factor * budget
            for itemsets, of_class, budget in zip(left, chosen, budgets, strict=True)
        )
        if not gains or 2 * factor * max(budgets) > cap:
            return chosen
        factor *= 2


def exclusive(chosen: Sequence[Chosen], transactions: Sequence[Transactions]) -> list[list[Itemset]]:
    """Returns those itemsets of each class that are frequent in no other class.

    Args:
        chosen: The itemsets of each class, and the support from which on an itemset is frequent in the class.
        transactions: The transactions of each class; items have the same numbers in all of them.
    """
    wanted = {item for of_class in chosen for itemset in of_class.itemsets for item in itemset.items}
    bitsets = [_bitsets(of_class, sorted(wanted)) for of_class in transactions]

    def frequent_elsewhere(own: int, itemset: Itemset) -> bool:
        return any(
            other != own and _joint_support(bits, itemset.items) >= of_class.threshold
            for other, (bits, of_class) in enumerate(zip(bitsets, chosen, strict=True))
        )

    return [
        [itemset for itemset in of_class.itemsets if not frequent_elsewhere(own, itemset)]
        for own, of_class in enumerate(chosen)
    ]


def closed_sets(transactions: Transactions, threshold: int, cap: int | None = None) -> Iterator[Itemset]:
    """Yields the closed itemsets in the order of `mine`, computing each when it is asked for.

    Args:
        transactions: The transactions.
        threshold: Smallest support, from 1 on.
        cap: Largest number of itemsets; None for no bound.

    Raises:
        Refused: as soon as it is known that there are more itemsets.
    """
    # Items with the same transactions are in the same closed itemsets. From here on they are one group.
    alike: dict[int, list[int]] = {}
    for item, bits in _bitsets(transactions, _frequent(transactions, threshold)).items():
        alike.setdefault(bits, []).append(item)
    groups = sorted(alike.items(), key=lambda group: (-group[0].bit_count(), group[1]))
    rows = (1 << transactions.count) - 1
    everywhere = tuple(groups.pop(0)[1]) if groups and groups[0][0] == rows else ()
    Extensions = list[tuple[int, int]]  # each a group, and the itemset's transactions that contain it
    first: Extensions = [(group, bits) for group, (bits, _) in enumerate(groups)]
    # An entry: minus the support, number of items, items (the order in which itemsets are yielded); the group
    # added last, the transactions, and the parent's extensions.
    heap: list[tuple[int, int, tuple[int, ...], int, int, Extensions]] = []
    if transactions.count >= threshold:
        heap.append((-transactions.count, len(everywhere), everywhere, -1, rows, first))
    given = 0
    while heap:
        less, _, items, core, bits, above = heapq.heappop(heap)
        if items:
            yield Itemset(items, -less)
            given += 1
        near: Extensions = []
        for group, others in above:
            both = others & bits
            if both != bits and both.bit_count() >= threshold:
                near.append((group, both))
        for group, both in near:
            if group <= core:
                continue
            closure = [other for other, bits_of in near if bits_of & both == both]
            if closure[0] < group:
                continue  # the same itemset is reached from that smaller group
            joined = tuple(sorted([*items, *(item for other in closure for item in groups[other][1])]))
            heapq.heappush(heap, (-both.bit_count(), len(joined), joined, group, both, near))
            if cap is not None and given + len(heap) > cap:
                raise _too_many(threshold, cap)


def _all_sets(transactions: Transactions, threshold: int, cap: int) -> Iterator[Itemset]:
    """Yields every frequent itemset, depth first (Eclat)."""
    bits = _bitsets(transactions, _frequent(transactions, threshold))
    stack: list[tuple[tuple[int, ...], list[tuple[int, int]]]] = [((), list(bits.items()))]
    given = 0
    while stack:
        items, extensions = stack.pop()
        for index, (item, rows) in enumerate(extensions):
            given += 1
            if given > cap:
                raise _too_many(threshold, cap)
            yield Itemset((*items, item), rows.bit_count())
            both = ((other, others & rows) for other, others in extensions[index + 1 :])
            if deeper := [one for one in both if one[1].bit_count() >= threshold]:
                stack.append(((*items, item), deeper))


def _too_many(threshold: int, cap: int) -> Refused:
    return Refused(
        f"more than {cap} itemsets have a support of at least {threshold}: raise the threshold, or the cap"
    )


def _frequent(transactions: Transactions, threshold: int) -> list[int]:
    """Returns the items of at least the given support."""
    items: list[int] = (transactions.supports() >= threshold).nonzero()[:, 0].tolist()
    return items


def _bitsets(transactions: Transactions, items: Sequence[int]) -> dict[int, int]:
    """Returns an integer for each item, in rising order; bit i tells whether transaction i has the item."""
    held, rows = transactions.items.cpu().numpy(), transactions.rows.cpu().numpy()
    wanted = np.zeros(max(int(held.max(initial=0)), max(items, default=0)) + 1, bool)
    wanted[list(items)] = True
    of_wanted = wanted[held]
    held, rows = held[of_wanted], rows[of_wanted]
    order = np.argsort(held, kind="stable")
    held, rows = held[order], rows[order]
    ends = np.searchsorted(held, items, side="right")
    found, start = {}, 0
    for item, end in zip(items, ends.tolist(), strict=True):
        flags = np.zeros(transactions.count, np.uint8)
        flags[rows[start:end]] = 1
        found[item] = int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")
        start = end
    return found


def _joint_support(bits: dict[int, int], items: Iterable[int]) -> int:
    """Returns the number of transactions that contain all of some items."""
    first, *others = (bits[item] for item in items)
    for other in others:
        first &= other
    return first.bit_count()
