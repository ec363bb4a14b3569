"""Graphs as they are: random ones, herding and k-center; the baselines of everything that distils graphs.

The rules are those for images, of the modules `random_subset`, `herding` and `k_center`, where their papers
are. On graphs since Jin et al.: Condensing Graphs via One-Step Gradient Matching (KDD 2022,
https://arxiv.org/abs/2206.07746), with embeddings of a GCN that was trained on all training graphs, in whose
code they are vectors pooled over a graph's nodes. Here the network is one pinned recipe
(`condense.distillation.GraphTraining`), because no paper says how its own was trained.

Two sets of one number of graphs may differ tenfold in bytes. So each rule takes ``room``: graphs then come in
turn from the classes, in the rule's order, for as long as the set takes no more bytes than that.

Where this differs from the authors' code, and why: their herding and k-center measure a candidate by the
same rules; nothing else of theirs is used. GC-Bench's herding of graphs is another, by flattened matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from condense.data import Graphs
from condense.distillation import GraphMethod, GraphRun, register
from condense.store import GraphSet

from .herding import herd
from .k_center import farthest_first

Rule = Callable[[Float[Tensor, "m d"], int], Int[Tensor, " budget"]]
"""From the features of one class's graphs and a budget to the indices of the picks, in order."""


@dataclass(frozen=True, kw_only=True)
class Coreset(GraphMethod):
    """Real graphs of equal weight, picked class by class.

    Attributes:
        room: Bytes that the set may take, whatever ``ipc`` is, with at least a graph of each class; 0 for
            ``ipc`` graphs of each class.
    """

    keeps_real = True
    may_be_zero = frozenset({"room"})

    room: int = 0

    @property
    def fills(self) -> bool:
        """How many graphs there is room for depends on their sizes."""
        return not self.room

    @property
    def needs_real(self) -> bool:
        """With ``room``, as many as fit."""
        return not self.room

    def distill(self, train: Graphs, run: GraphRun) -> GraphSet:
        """As many graphs of each class as there shall be, or as fit."""
        classes = [train.of_class(label) for label in range(train.num_classes)]
        budgets = [self._most(train, members) if self.room else run.ipc for members in classes]
        picked = [
            members[order.to(members.device)]
            for members, order in zip(classes, self.orders(train, classes, budgets, run), strict=True)
        ]
        if not self.room:
            return run.selected(train, torch.cat(picked))
        turns = zip_longest(*(order.tolist() for order in picked))
        return fitting(train, [one for turn in turns for one in turn if one is not None], self.room, run)

    def _most(self, train: Graphs, members: Int64[Tensor, " m"]) -> int:
        """More graphs of a class cannot fit: each column of a node takes a byte at least."""
        least = train.nodes_ptr.diff()[members] * train.node_features.shape[1]
        return max(int((least.sort().values.cumsum(0) <= self.room).sum()), 1)

    def orders(
        self, train: Graphs, classes: list[Int64[Tensor, " m"]], budgets: list[int], run: GraphRun
    ) -> list[Int64[Tensor, " budget"]]:
        """For each class, which of its graphs to take, the first one first.

        Args:
            train: All graphs.
            classes: Where each class's graphs are.
            budgets: How many of them to pick.
            run: As in `distill`.
        """
        raise NotImplementedError


@register
@dataclass(frozen=True, kw_only=True)
class RandomGraphs(Coreset):
    """Graphs drawn uniformly within each class, without replacement."""

    name = "random_subset"
    draws = 10

    def orders(
        self, train: Graphs, classes: list[Int64[Tensor, " m"]], budgets: list[int], run: GraphRun
    ) -> list[Int64[Tensor, " budget"]]:
        """Draws each class's graphs; there is nothing to learn."""
        return [
            torch.randperm(len(members), generator=run.rng)[:budget]
            for members, budget in zip(classes, budgets, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class ByFeatures(Coreset):
    """Picks by a rule, in what the pinned network makes of a graph. The seed changes nothing.

    Attributes:
        network: The network's name.
    """

    network: str = "gcn-mean"

    def rule(self, features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
        """The picks of one class, in order.

        Args:
            features: Of each of its graphs.
            budget: How many to pick.
        """
        raise NotImplementedError

    def orders(
        self, train: Graphs, classes: list[Int64[Tensor, " m"]], budgets: list[int], run: GraphRun
    ) -> list[Int64[Tensor, " budget"]]:
        """Picks class by class."""
        features = run.features(train, self.network)
        return [
            self.rule(features[members], budget) for members, budget in zip(classes, budgets, strict=True)
        ]


@register
@dataclass(frozen=True, kw_only=True)
class GraphHerding(ByFeatures):
    """Greedy picks whose running feature mean tracks the class mean: `methods.herding`."""

    name = "herding"

    def rule(self, features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
        """The rule for images."""
        return herd(features, budget)


@register
@dataclass(frozen=True, kw_only=True)
class GraphKCenter(ByFeatures):
    """Farthest-first picks from the graph nearest to the class mean: `methods.k_center`."""

    name = "k_center"

    def rule(self, features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
        """The rule for images."""
        return farthest_first(features, budget)


def fitting(train: Graphs, order: list[int], room: int, run: GraphRun) -> GraphSet:
    """The set of the first graphs that take no more bytes than there is room for, one of each class at least.

    A set never gets smaller by another graph, so that their number is found by halving.

    Args:
        train: All graphs.
        order: Which to take, the first one first: one of each class before the second of any.
        room: Bytes.
        run: Makes the set.
    """

    def first(count: int) -> GraphSet:
        taken = torch.tensor(order[:count], device=train.labels.device)
        return run.selected(train, taken[train.labels[taken].argsort(stable=True)])

    fits, too_many = train.num_classes, len(order) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if sum(first(middle).nbytes().values()) <= room:
            fits = middle
        else:
            too_many = middle
    return first(fits)
