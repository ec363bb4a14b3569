"""Mirage: the sets of computation trees that come together in many graphs of a class, weighted by how many.

Gupta, Manchanda, Kodamana, Ranu: Mirage: Model-Agnostic Graph Distillation for Graph Classification, ICLR
2024, https://arxiv.org/abs/2310.09486; code of the authors: https://github.com/frigategnn/Mirage. A network
of L rounds of messages makes of a node what its tree of depth L says and no more, and a few trees are in most
graphs. So a graph is a transaction, its distinct trees are the items, and what is kept of a class are its
frequent itemsets: each one's trees, side by side, pooled over their roots, count in a student's loss as often
as the itemset occurs. No network is trained, nothing is drawn: equal settings give equal sets whatever the
seed is, and one set serves all architectures.

Where this differs from the authors' code, and why:

- Trees are told apart by colours (`condense.distillation.graphs.trees`) and built for the kept itemsets alone: the same
  trees, without writing each as a string, which is nearly all of their time.
- Itemsets are mined exactly; theirs come from pyfpgrowth 1.0, which loses some. With ``closed`` only those
  are kept to which no tree can be added without losing a graph: the others say nothing more.
- Thresholds were tuned by hand for each set and class. ``auto`` takes the largest threshold of each class
  that gives ``ipc`` closed itemsets. With thresholds of one's own the ``ipc`` of largest support are kept, so
  that ``ipc`` always says how many there are at most.
- The loss is weighted by support, as the paper has it; the code overwrites its weighted sample.
- Each node keeps its number of neighbours, without which a GCN's normalisation is wrong at the leaves. With
  it a root is to a GCN what it was in the graph that its tree was taken from; in other graphs with that tree,
  nodes at its leaves may have other numbers of neighbours.

When not to use it: where hardly any tree comes twice (DD), or with networks of more rounds than ``hops``; and
compare with the mere number of nodes, which scores as high on several of the paper's sets (``num_nodes``).
"""

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.data import Graphs
from condense.distillation import GraphMethod, GraphRun, Recipe, register
from condense.distillation.graphs.itemsets import CAP, Chosen, Itemset, Transactions, choose, exclusive, mine
from condense.distillation.graphs.trees import build, colours, degrees, transactions
from condense.errors import Refused
from condense.store import GraphSet

AUTO = "auto"


@register
@dataclass(frozen=True, kw_only=True)
class Mirage(GraphMethod):
    """Frequent sets of computation trees, at most ``ipc`` of each class. The seed changes nothing.

    Attributes:
        hops: L, the depth of the trees.
        thresholds: The least support of an itemset: ``auto`` by ``ipc``, or one for all classes or for each,
            between commas: graphs (``440,570``), or a share of the class's graphs (``0.1`` or ``10%``).
        closed: Whether only closed itemsets are kept.
        exclusive: Whether itemsets that are frequent in another class too are dropped. With ``auto``, more
            are chosen first (twice as many, four times, ...), until of each class ``ipc`` are left or all
            that it has are chosen; the first ``ipc`` of these are kept.
        drop_isolated: Whether the trees of nodes without neighbours are left out.
        keep_labels: Labels, as the dataset's one column of node features numbers them, between commas: to
            the trees all others are the same. Empty: each label is its own. A node is stored with its own.
        edge_labels: Whether trees are told apart by the labels of their edges, which the set then stores. The
            authors do so on OGB's sets; of the TU sets of their paper none has any.
        cap: Itemsets that a class may have at thresholds of one's own, or that ``auto`` may choose of it.
    """

    name = "mirage"
    quick = {"hops": 1}

    hops: int = 2
    thresholds: str = AUTO
    closed: bool = True
    exclusive: bool = False
    drop_isolated: bool = False
    keep_labels: str = ""
    edge_labels: bool = True
    cap: int = CAP

    def __post_init__(self) -> None:
        """Refuses what `GraphMethod` refuses, and texts that are no thresholds or labels.

        Raises:
            Refused: naming the field.
        """
        super().__post_init__()
        if self.thresholds == AUTO and not self.closed:
            raise Refused(
                "mirage: thresholds = auto chooses among closed itemsets; closed = false needs thresholds"
            )
        self._thresholds()
        self._labels()

    @property
    def fills(self) -> bool:
        """A class may have fewer itemsets than that."""
        return False

    def distill(self, train: Graphs, run: GraphRun) -> GraphSet:
        """Colours, transactions, itemsets, and the trees of those that are kept."""
        bonds = train.edge_labels if self.edge_labels else torch.zeros_like(train.edge_labels)
        colour = colours(self._merged(train), train.edges, bonds, self.hops)
        keep = degrees(train.edges, len(train.node_labels)) > 0 if self.drop_isolated else None
        classes = transactions(colour[-1], train.nodes_ptr, train.labels, train.num_classes, keep=keep)

        chosen = (
            self._by_thresholds(classes, run) if self._thresholds() else self._by_budget(classes, run.ipc)
        )
        kept = self._left(chosen, classes)
        for label, itemsets in enumerate(kept):
            if not itemsets:
                raise self._nothing(run.spec.classes[label], classes[label], chosen[label])
            if self._thresholds() and len(itemsets) > run.ipc:
                run.warn(
                    f"mirage: {len(itemsets)} itemsets of class {run.spec.classes[label]!r} are frequent; "
                    f"the {run.ipc} of largest support are kept (--ipc {run.ipc})"
                )
        kept = [itemsets[: run.ipc] for itemsets in kept]

        flat = list(chain(*kept))
        device = train.labels.device
        forest = build(
            torch.tensor(list(chain(*(one.items for one in flat))), device=device), colour, train.edges, bonds
        )
        owner = _repeated([len(one.items) for one in flat]).to(device)  # of each tree, its itemset
        at = owner[forest.trees]
        return run.distilled(
            nodes=train.node_features[forest.nodes],
            edges=forest.edges,
            edge_labels=forest.edge_labels,
            nodes_ptr=_starts(at, len(flat)),
            edges_ptr=_starts(at[~forest.roots], len(flat)),  # every node but a root has one edge
            labels=_repeated([len(itemsets) for itemsets in kept]).to(device),
            weights=torch.tensor([one.support for one in flat], device=device),
            roots=forest.roots,
            degrees=forest.degrees,
            to_parent=True,
        )

    def _merged(self, train: Graphs) -> Int64[Tensor, " z"]:
        """The nodes' labels as the trees have them."""
        labels = self._labels()
        if not labels:
            return train.node_labels
        columns = train.node_features.shape[1]
        if columns > 1:
            raise Refused(
                f"mirage: keep_labels is for one column of node features; these graphs have {columns}"
            )
        listed = torch.tensor(labels, device=train.node_labels.device)
        other = torch.full_like(train.node_labels, -1)
        return torch.where(torch.isin(train.node_features[:, 0], listed), train.node_labels, other)

    def _by_budget(self, classes: list[Transactions], ipc: int) -> list[Chosen]:
        """So many of each class (or twice as many, ...) that ``ipc`` of each are left, if there are."""
        budget = ipc
        while True:
            chosen = [choose(one, budget) for one in classes]
            left = self._left(chosen, classes)
            # More budget gives a class nothing more that has no other itemsets.
            more = any(
                len(itemsets) < ipc and len(one.itemsets) == budget
                for itemsets, one in zip(left, chosen, strict=True)
            )
            if not more or 2 * budget > self.cap:
                return chosen
            budget *= 2

    def _left(self, chosen: list[Chosen], classes: list[Transactions]) -> list[list[Itemset]]:
        """The chosen itemsets; if they shall be exclusive, without those frequent in another class."""
        found = [one.itemsets for one in chosen]
        return exclusive(found, classes, [one.threshold for one in chosen]) if self.exclusive else found

    def _by_thresholds(self, classes: list[Transactions], run: GraphRun) -> list[Chosen]:
        """The itemsets of each class that are frequent by thresholds of one's own."""
        given = self._thresholds()
        if len(given) not in (1, len(classes)):
            raise Refused(
                f"mirage: thresholds = {self.thresholds} are {len(given)}; {run.spec.name} has "
                f"{len(classes)} classes: give one for all, or one for each"
            )
        given = given * len(classes) if len(given) == 1 else given
        counts = [
            max(math.ceil(one * of_class.count), 1) if isinstance(one, Fraction) else one
            for one, of_class in zip(given, classes, strict=True)
        ]
        chosen = []
        for name, one, count in zip(run.spec.classes, classes, counts, strict=True):
            try:
                chosen.append(Chosen(count, mine(one, count, closed=self.closed, cap=self.cap)))
            except Refused as error:
                raise Refused(f"mirage: class {name!r}: {error} (--param cap={self.cap})") from error
        return chosen

    def _nothing(self, name: str, held: Transactions, chosen: Chosen) -> Refused:
        """Why a class has no itemset."""
        largest = int(held.supports().max()) if len(held.items) else 0
        if chosen.itemsets:
            why = f"all {len(chosen.itemsets)} itemsets are frequent in another class too (exclusive = true)"
        elif largest:
            why = f"no tree is in {chosen.threshold} of its {held.count} graphs, and none in over {largest}"
        else:
            why = "its graphs have no tree"
        return Refused(f"mirage: nothing is kept of class {name!r}: {why}")

    def _thresholds(self) -> list[int | Fraction]:
        """The thresholds: numbers of graphs, or shares in (0, 1]; none for ``auto``."""
        return (
            []
            if self.thresholds == AUTO
            else [_threshold(text.strip()) for text in self.thresholds.split(",")]
        )

    def _labels(self) -> list[int]:
        """The labels that are kept apart; none for all."""
        try:
            return [int(text) for text in self.keep_labels.split(",")] if self.keep_labels else []
        except ValueError:
            raise Refused(f"mirage: keep_labels = {self.keep_labels} is no list of whole numbers") from None


def _threshold(text: str) -> int | Fraction:
    """A number of graphs, or a share of them."""
    try:
        if text.endswith("%"):
            value: int | Fraction = Fraction(text[:-1]) / 100
        else:
            value = Fraction(text) if "." in text else int(text)
    except (ValueError, ZeroDivisionError):
        value = 0
    if value <= 0 or (isinstance(value, Fraction) and value > 1):
        raise Refused(
            f"mirage: the threshold {text!r} is no number of graphs from 1 on, and no share of them"
        )
    return value


def _repeated(counts: list[int]) -> Int64[Tensor, " n"]:
    """0 as often as the first count says, 1 as the second, ..."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def _starts(owner: Int64[Tensor, " n"], count: int) -> Int64[Tensor, " g+1"]:
    """Where the parts of each of so many begin, and where those of the last end."""
    sizes = torch.bincount(owner, minlength=count)
    return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _recipes() -> dict[tuple[str, int], Recipe]:
    """The authors' settings, at the most itemsets that a class has by exact mining on their split."""
    python = Mirage(thresholds="440,570", closed=False, exclusive=True, drop_isolated=True)
    compiled = Mirage(hops=3, thresholds="1800,115", closed=False)
    of_dd = "1,2,3,4,6,7,8,10,11,12,14,15,16,17,19,20"
    cells = {
        ("nci1", 4): python,
        ("imdb-binary", 8): replace(python, thresholds="13,14"),
        ("molbbbp", 13): replace(python, thresholds="24,109"),
        ("molbace", 3): replace(python, thresholds="104,71", hops=3),
        ("molbace", 9): replace(compiled, thresholds="150,104"),
        ("molhiv", 5): compiled,
        ("dd", 28): replace(compiled, thresholds="15,9", hops=1, keep_labels=of_dd),
    }
    source = "frigategnn/Mirage, settings in the scripts of each dataset"
    # Without a protocol: the paper's scores are the best of many epochs and restarts, which none can say.
    return {cell: Recipe(method=method, protocol=None, source=source) for cell, method in cells.items()}


Mirage.recipes = _recipes()
