"""Frequent itemsets, exactly: which items lie together in many transactions.

The sets of transactions are the bits of Python's integers, so that "in both" is an AND and a support a count
of bits. Closed itemsets, those to which no item can be added without losing a transaction, come in order of
falling support and each once, by the prefix-preserving extension of Uno, Kiyomi and Arimura, "LCM ver. 2"
(FIMI 2004, https://ceur-ws.org/Vol-126/uno.pdf). Every frequent itemset is a part of a closed one of the same
support; k items that always come together are one closed itemset and 2^k - 1 frequent ones.
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
"""Itemsets that `mine` finds at most, unless it is told otherwise."""


class Itemset(NamedTuple):
    """Items, and how many transactions hold all of them.

    Attributes:
        items: In rising order.
        support: Transactions.
    """

    items: tuple[int, ...]
    support: int


class Chosen(NamedTuple):
    """What `choose` kept.

    Attributes:
        threshold: The support of the last one kept.
        itemsets: By falling support.
    """

    threshold: int
    itemsets: list[Itemset]


@dataclass(frozen=True, eq=False)
class Transactions:
    """Sets of items, as pairs.

    Attributes:
        rows: Of each pair, the transaction's number, below ``count``.
        items: Of each pair, the item, a small number from 0 on; no pair occurs twice.
        count: Transactions, those without an item among them.
    """

    rows: Int[Tensor, " p"]
    items: Int[Tensor, " p"]
    count: int

    def supports(self) -> Int[Tensor, " t"]:
        """In how many transactions each item is, up to the largest one that occurs."""
        return torch.bincount(self.items)


def mine(transactions: Transactions, threshold: int, *, closed: bool = True, cap: int = CAP) -> list[Itemset]:
    """Every itemset in at least so many transactions: by falling support, then short ones first.

    Args:
        transactions: What to look in.
        threshold: The least support, from 1 on.
        closed: Whether to give only those to which no item can be added without losing a transaction.
        cap: How many there may be.

    Raises:
        Refused: if there are more, or the threshold is below 1.
    """
    if threshold < 1:
        raise Refused(f"a threshold is a number of transactions from 1 on, not {threshold}")
    found = closed_sets(transactions, threshold, cap) if closed else _all(transactions, threshold, cap)
    return sorted(found, key=_rank)


def choose(transactions: Transactions, budget: int) -> Chosen:
    """The closed itemsets of the largest threshold that gives at least so many; the first so many of them.

    Where transactions have fewer closed itemsets than that, all of them.

    Args:
        transactions: What to look in.
        budget: Itemsets wanted, from 1 on.

    Raises:
        Refused: if none is wanted.
    """
    if budget < 1:
        raise Refused(f"a budget is a number of itemsets from 1 on, not {budget}")
    # Items that are in different transactions have different closures: most often this floor is low enough.
    supports = transactions.supports().sort(descending=True).values
    floor = max(int(supports[:budget][-1]), 1) if len(supports) else 1
    while True:
        found = list(islice(closed_sets(transactions, floor), budget))
        if len(found) == budget or floor == 1:
            return Chosen(found[-1].support if found else floor, found)
        floor //= 2


def exclusive(
    found: Sequence[Sequence[Itemset]], transactions: Sequence[Transactions], thresholds: Sequence[int]
) -> list[list[Itemset]]:
    """Of each class's itemsets, those that are frequent in no other class.

    Args:
        found: Itemsets of each class.
        transactions: Where they were found; items have the same numbers in every class.
        thresholds: The support from which on an itemset is frequent, of each class.
    """
    wanted = {item for of_class in found for itemset in of_class for item in itemset.items}
    where = [_bitsets(one, sorted(wanted)) for one in transactions]

    def elsewhere(own: int, itemset: Itemset) -> bool:
        return any(
            other != own and _together(bits, itemset.items) >= threshold
            for other, (bits, threshold) in enumerate(zip(where, thresholds, strict=True))
        )

    return [[one for one in of_class if not elsewhere(own, one)] for own, of_class in enumerate(found)]


def closed_sets(transactions: Transactions, threshold: int, cap: int | None = None) -> Iterator[Itemset]:
    """Closed itemsets, found as they are asked for, in `mine`'s order.

    Args:
        transactions: What to look in.
        threshold: The least support, from 1 on.
        cap: How many there may be; None for no limit.

    Raises:
        Refused: as soon as it is known that there are more.
    """
    # Items with the same transactions are in the same closed itemsets: a group is an item from here on.
    alike: dict[int, list[int]] = {}
    for item, bits in _bitsets(transactions, _frequent(transactions, threshold)).items():
        alike.setdefault(bits, []).append(item)
    groups = sorted(alike.items(), key=lambda group: (-group[0].bit_count(), group[1]))
    rows = (1 << transactions.count) - 1
    everywhere = tuple(groups.pop(0)[1]) if groups and groups[0][0] == rows else ()
    Extensions = list[tuple[int, int]]  # a group, and which of the itemset's transactions it is in
    first: Extensions = [(group, bits) for group, (bits, _) in enumerate(groups)]
    # Falling support, then fewer items, then smaller ones; the last group added; transactions; of the parent
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
                continue  # another order of the same items: it comes from that group
            joined = tuple(sorted([*items, *(item for other in closure for item in groups[other][1])]))
            heapq.heappush(heap, (-both.bit_count(), len(joined), joined, group, both, near))
            if cap is not None and given + len(heap) > cap:
                raise _too_many(threshold, cap)


def _all(transactions: Transactions, threshold: int, cap: int) -> Iterator[Itemset]:
    """Every frequent itemset, depth first (Eclat)."""
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


def _rank(itemset: Itemset) -> tuple[int, int, tuple[int, ...]]:
    return -itemset.support, len(itemset.items), itemset.items


def _frequent(transactions: Transactions, threshold: int) -> list[int]:
    items: list[int] = (transactions.supports() >= threshold).nonzero()[:, 0].tolist()
    return items


def _bitsets(transactions: Transactions, items: Sequence[int]) -> dict[int, int]:
    """The transactions of each of these items: bit i for transaction i.

    Args:
        transactions: What to look in.
        items: In rising order.
    """
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


def _together(bits: dict[int, int], items: Iterable[int]) -> int:
    """The support of several items."""
    first, *others = (bits[item] for item in items)
    for other in others:
        first &= other
    return first.bit_count()
