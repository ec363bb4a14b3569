"""Mirage: sets of computation trees that many graphs of a class contain.

Gupta, Manchanda, Kodamana, Ranu: Mirage: Model-Agnostic Graph Distillation for Graph Classification, ICLR
2024, https://arxiv.org/abs/2310.09486; authors' code https://github.com/frigategnn/Mirage. What a
message-passing network of L layers computes for a node depends only on the node's computation tree of depth
L, and a few trees occur in most graphs. Mirage treats a graph as a transaction whose items are its distinct
trees, and keeps the frequent itemsets of each class. Each itemset is stored as the disjoint union of its
trees, and its embedding is pooled over the trees' roots. Its support is the number of graphs that contain it.
No network is trained and nothing is random: the seed changes nothing, and one set serves all architectures.

The paper draws training examples by support. The authors' scripts do not: their dataset draws such a sample
and then overwrites it with the plain list of itemsets, so that each itemset counts alike in an epoch. This
holds for all their scripts, those in Python (NCI1, IMDB-BINARY, molbbbp, molbace) and those around the C++
extension (molhiv, DD, molbace). Supports as weights also fix the balance of the classes, because itemsets of
a large class have large supports: on molhiv the classes then count 25 to 1. ``weights`` chooses among these.

Where this differs from the authors' code, and why:

- Trees are compared by Weisfeiler-Leman colours (`condense.distillation.graphs.trees`), and only the trees of
  kept itemsets are built. The authors write each tree as a string, which takes nearly all of their run time.
  Both ways find the same trees.
- Itemsets are mined exactly. The authors use pyfpgrowth 1.0, which misses some.
- With ``closed``, only closed itemsets are kept. An itemset is closed if adding any tree lowers its support.
  Any other itemset is a part of a closed one with the same support.
- The authors tuned thresholds by hand for each dataset and class. ``thresholds=auto`` takes the largest
  threshold of each class that gives ``ipc`` closed itemsets. With given thresholds, the ``ipc`` itemsets of
  largest support are kept, so that ``ipc`` always bounds the size of the set.
- With ``weights=uniform`` and ``weights=support`` both classes count alike. In the authors' scripts a class
  counts as much as it has itemsets, which differs from this only if a class has fewer than ``ipc``.
- ``exclusive`` is off by default. The authors' scripts in pure Python (NCI1, IMDB-BINARY, molbbbp, molbace)
  drop every itemset that is frequent in both classes. Those around the C++ extension (molhiv, DD, molbace)
  list these itemsets and then keep them. The recipes do what the scripts do.
- Each tree node keeps the degree that it has in the graph. Without it, a GCN normalises the leaves wrongly.
  With it, a root has the embedding that it has in the graph from which its tree was taken; in other graphs
  with the same tree, nodes at the leaves may have other degrees.

When not to use it: on datasets where hardly any tree occurs twice (DD); with networks of more layers than
``hops``. Compare with the baseline ``num_nodes``, which looks at the number of nodes alone and scores as high
on several of the paper's datasets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from condense.data import Graphs
from condense.distillation import GraphMethod, GraphRun, register
from condense.distillation.graphs.itemsets import (
    CAP,
    Chosen,
    Itemset,
    Transactions,
    choose,
    choose_exclusive,
    exclusive,
    mine,
)
from condense.distillation.graphs.thresholds import AUTO, least_supports, parse_labels, parse_thresholds
from condense.distillation.graphs.trees import build_forest, colours, degrees, transactions
from condense.distillation.method import recipes
from condense.errors import Refused, Remedy
from condense.store import GraphSet

Weights = Int64[Tensor, " g"] | Float32[Tensor, " g"] | None

RARE = 0.02
"""The share of a class's graphs below which a support that ``auto`` reaches is said to be small."""


@register
@dataclass(frozen=True, kw_only=True)
class Mirage(GraphMethod):
    """Frequent sets of computation trees, at most ``ipc`` of each class. The seed changes nothing.

    Attributes:
        hops: L, the depth of the trees.
        thresholds: Smallest support of a frequent itemset: ``auto``, or one threshold for all classes, or one
            for each class, separated by commas. A threshold is a number of graphs (``440,570``) or a share of
            the class's graphs (``0.1`` or ``10%``).
        closed: Whether only closed itemsets are kept.
        exclusive: Whether itemsets that are also frequent in another class are dropped. With ``auto``, more
            itemsets are then chosen (twice as many, four times, ...) until ``ipc`` of each class are left or
            the class has no more.
        drop_isolated: Whether trees of nodes without neighbours are left out.
        keep_labels: Node labels that the trees distinguish, separated by commas, as they appear in the single
            column of node features. All other labels count as one. If this is empty, all labels are
            distinguished. Nodes are stored with their own labels in any case.
        edge_labels: Whether trees are distinguished by their edge labels, which are then stored. The authors
            do so on OGB's datasets; of the TU datasets in the paper, none has edge labels.
        cap: Largest number of itemsets of a class that may be mined with given thresholds, or chosen by
            ``auto``.
        weights: The weight of an itemset in a student's loss. ``uniform``: all itemsets of a class have the
            same, as in the authors' training; ``support``: its support. In both cases the weights of each
            class have the same sum. ``raw``: its support as it is, which also weights the classes.
    """

    name = "mirage"
    version = 2
    quick = {"hops": 1}

    hops: int = 2
    thresholds: str = AUTO
    closed: bool = True
    exclusive: bool = False
    drop_isolated: bool = False
    keep_labels: str = ""
    edge_labels: bool = True
    cap: int = CAP
    weights: Literal["uniform", "support", "raw"] = "uniform"

    def __post_init__(self) -> None:
        """Refuses invalid thresholds, invalid labels, and ``auto`` without ``closed``."""
        super().__post_init__()
        parse_labels(self.keep_labels)
        if parse_thresholds(self.thresholds) is None and not self.closed:
            remedy = Remedy(settings={self.setting("thresholds"): None}, effect="sets thresholds for them")
            raise self.refused("closed", f"thresholds = {AUTO} chooses among closed itemsets", remedy)

    @property
    def fills(self) -> bool:
        """Returns False, because a class may have fewer than ``ipc`` itemsets."""
        return False

    def distill(self, train: Graphs, run: GraphRun) -> GraphSet:
        """Finds the trees of all nodes, mines the itemsets of each class, and builds their trees."""
        edge_labels = train.edge_labels if self.edge_labels else torch.zeros_like(train.edge_labels)
        # colour: L + 1 tensors (z,), the number of each node's tree of depth 0, ..., L
        colour = colours(self._node_labels(train), train.edges, edge_labels, self.hops)
        keep = degrees(train.edges, len(train.node_labels)) > 0 if self.drop_isolated else None
        classes = transactions(colour[-1], train.labels, train.nodes_ptr, train.num_classes, keep=keep)
        kept = self._kept(classes, run)
        itemsets = list(chain(*kept))
        device = train.labels.device
        trees = torch.tensor(list(chain(*(itemset.items for itemset in itemsets))), device=device)
        forest = build_forest(trees, colour, train.edges, edge_labels)
        # owner: (m,) the itemset of each of the forest's m nodes
        owner = _numbered([len(itemset.items) for itemset in itemsets]).to(device)[forest.trees]
        return run.distilled(
            nodes=train.node_features[forest.nodes],
            edges=forest.edges,
            edge_labels=forest.edge_labels,
            nodes_ptr=_starts(owner, len(itemsets)),
            edges_ptr=_starts(owner[~forest.roots], len(itemsets)),  # each node but a root has one edge
            labels=_numbered([len(of_class) for of_class in kept]).to(device),
            weights=self._weights(kept, device),
            roots=forest.roots,
            # deviation: leaves keep the degrees that they have in their graph
            degrees=forest.degrees,
            to_parent=True,
        )

    def _node_labels(self, train: Graphs) -> Int64[Tensor, " z"]:
        """Returns the node labels that the trees distinguish."""
        labels = parse_labels(self.keep_labels)
        if not labels:
            return train.node_labels
        columns = train.node_features.shape[1]
        if columns > 1:
            reason = f"it is for one column of node features, and these graphs have {columns}"
            raise self.refused("keep_labels", reason)
        listed = torch.tensor(labels, device=train.node_labels.device)
        other = torch.full_like(train.node_labels, -1)
        return torch.where(torch.isin(train.node_features[:, 0], listed), train.node_labels, other)

    def _kept(self, classes: Sequence[Transactions], run: GraphRun) -> list[list[Itemset]]:
        """Returns the itemsets of each class, at most ``ipc``, by falling support."""
        thresholds = parse_thresholds(self.thresholds)
        if thresholds is not None:
            supports = least_supports(thresholds, [of_class.count for of_class in classes])
            chosen = [
                Chosen(support, self._mined(of_class, support, name))
                for of_class, support, name in zip(classes, supports, run.spec.classes, strict=True)
            ]
        elif self.exclusive:
            chosen = choose_exclusive(classes, run.counts, cap=self.cap)
        else:
            chosen = [choose(of_class, count) for of_class, count in zip(classes, run.counts, strict=True)]
        found = exclusive(chosen, classes) if self.exclusive else [one.itemsets for one in chosen]
        for label, (name, itemsets) in enumerate(zip(run.spec.classes, found, strict=True)):
            if not itemsets:
                raise _nothing(name, classes[label], chosen[label])
            kept, count = itemsets[: run.counts[label]], classes[label].count
            least = min(itemset.support for itemset in kept)
            if thresholds is None and least < rare(count):
                run.warn(
                    f"mirage: the {len(kept)} itemsets of class {name!r} go down to a support of {least} of "
                    f"{count} graphs, which is hardly frequent (thresholds = {AUTO})"
                )
            if thresholds is not None and len(itemsets) > run.counts[label]:
                run.warn(
                    f"mirage: {len(itemsets)} itemsets of class {name!r} are frequent; the {len(kept)} "
                    f"of largest support are kept (ipc = {run.ipc})"
                )
        return [itemsets[:count] for itemsets, count in zip(found, run.counts, strict=True)]

    def _weights(self, kept: Sequence[Sequence[Itemset]], device: torch.device) -> Weights:
        """Returns the weights of the itemsets of all classes; None if all are to have the same."""
        supports = [torch.tensor([itemset.support for itemset in one], device=device) for one in kept]
        if self.weights == "raw":
            return torch.cat(supports)
        parts = [one if self.weights == "support" else torch.ones_like(one) for one in supports]
        largest = max(part.sum() for part in parts)
        scaled = torch.cat([part.double() * largest / part.sum() for part in parts])
        return None if bool((scaled == scaled[0]).all()) else scaled.float()

    def _mined(self, of_class: Transactions, support: int, name: str) -> list[Itemset]:
        try:
            # deviation: all frequent itemsets; the authors' miner misses some
            return mine(of_class, support, closed=self.closed, cap=self.cap)
        except Refused as error:
            raise self.refused("cap", f"class {name!r}: {error}") from error


def rare(count: int) -> float:
    """Returns the support below which an itemset is hardly frequent in a class.

    It is 2 % of the class's graphs, and at least 2: the authors' thresholds are 2.3 % (DD) and more.
    """
    return max(2, RARE * count)


def _nothing(name: str, of_class: Transactions, chosen: Chosen) -> Refused:
    """Returns the refusal that says why a class has no itemset."""
    largest = int(of_class.supports().max()) if len(of_class.items) else 0
    if chosen.itemsets:
        why = f"all {len(chosen.itemsets)} itemsets are frequent in another class too (exclusive = true)"
    elif largest:
        why = f"no tree is in {chosen.threshold} of its {of_class.count} graphs, and none in over {largest}"
    else:
        why = "its graphs have no tree"
    return Refused(f"mirage: nothing is kept of class {name!r}: {why}")


def _numbered(sizes: list[int]) -> Int64[Tensor, " n"]:
    """Returns each index i repeated ``sizes[i]`` times, in order."""
    return torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))


def _starts(owner: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " p"]:
    """Returns the offset at which the entries of each owner begin, and the end of the last owner's."""
    sizes = torch.bincount(owner, minlength=count)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


# The recipes have the authors' settings. The IPC of each is the largest number of itemsets that exact mining
# finds in a class of the authors' split. They have no protocol, because the paper's scores are the best of
# many epochs and restarts.
SOURCE = "frigategnn/Mirage, settings in the scripts of each dataset"
DD_LABELS = "1,2,3,4,6,7,8,10,11,12,14,15,16,17,19,20"

Mirage.recipes = recipes(
    Mirage,
    "hops thresholds",
    {
        ("nci1", 4): (2, "440,570"),
        ("imdb-binary", 8): (2, "13,14"),
        ("molbbbp", 13): (2, "24,109"),
        ("molbace", 3): (3, "104,71"),
    },
    source=SOURCE, closed=False, exclusive=True, drop_isolated=True,
) | recipes(
    Mirage,
    "hops thresholds keep_labels",
    {
        ("molbace", 9): (3, "150,104", ""),
        ("molhiv", 5): (3, "1800,115", ""),
        ("dd", 28): (1, "15,9", DD_LABELS),
    },
    source=SOURCE, closed=False,
)  # fmt: skip
