"""Selection of real samples class by class: what the coreset methods of images and of graphs share.

A method says in which order samples are picked within a class: by a `Pick`. How many are picked is settled
here: ``ipc`` of each class, or as many as fit a number of bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import ClassVar

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from condense.data import Graphs, Images, Samples
from condense.distillation.graphs.run import GraphRun
from condense.distillation.images.room import BEST, Found, best_encoding, filled, largest
from condense.distillation.images.run import ImageRun
from condense.distillation.images.sampling import Sampling, by_class
from condense.distillation.method import GraphMethod, ImageMethod
from condense.networks import features_in_chunks, full_name
from condense.store import GraphSet, ImageSet
from condense.store.images.encode import NO_ENCODING, encoding_named
from condense.training.image_training import feature_extractor

Pick = Callable[[Int64[Tensor, " m"], int], Int64[Tensor, " budget"]]
"""Returns the positions of the picked samples in order, from those of a class's samples and a budget."""


def uniform(generator: torch.Generator) -> Pick:
    """Picks uniformly at random, without replacement; each class draws one permutation on the CPU."""

    def pick(members: Int64[Tensor, " m"], budget: int) -> Int64[Tensor, " budget"]:
        order = torch.randperm(len(members), generator=generator)[:budget]
        return members[order.to(members.device)]

    return pick


def picked(train: Samples, counts: Sequence[int], pick: Pick) -> Int64[Tensor, " n"]:
    """Returns the positions of as many picked samples of each class as its count, class after class."""
    return torch.cat([pick(train.of_class(label), count) for label, count in enumerate(counts)])


class Roomy:
    """A coreset that is cut to a number of bytes where its field ``room`` is not 0."""

    keeps_real: ClassVar[bool] = True
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"room"})
    kind: ClassVar[str]
    room: int

    @property
    def fills(self) -> bool:
        """Whether the set has exactly ``ipc`` samples of each class, so that each class needs so many."""
        return not self.room

    needs_real = fills

    @property
    def why_equal(self) -> str | None:
        """Why it cannot make a number of samples of each class: the room says how many there are."""
        return f"room says how many {self.kind} there are" if self.room else None


@dataclass(frozen=True, kw_only=True)
class ImageCoreset(ImageMethod):
    """Selection of ``ipc`` real images of each class, by a rule in the features of the pinned network."""

    keeps_real = True
    trains = True

    @staticmethod
    def rule(features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
        """Returns the indices of the picks in order, from the features of a class's samples."""
        raise NotImplementedError

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Picks the images of each class."""
        return run.selected(train, picked(train, run.counts, self.pick(train, run)))

    def sampling(self, train: Images, run: ImageRun) -> Sampling:
        """Picks a fraction of each class, the same one for all epochs."""
        return Sampling.of(picked(train, by_class(train, run), self.pick(train, run)))

    def shared_trainings(self) -> list[object]:
        """Returns how the network is trained in whose features a `rule` picks, if there is one."""
        return [] if type(self).rule is ImageCoreset.rule else [feature_extractor(self.network)]

    def pick(self, train: Images, run: ImageRun) -> Pick:
        """Returns how images are picked within a class."""
        network, rule = run.pretrained(feature_extractor(self.network), train), type(self).rule
        return lambda members, budget: members[
            rule(features_in_chunks(network, train.images[members]), budget)
        ]


@dataclass(frozen=True, kw_only=True)
class CompressedCoreset(Roomy, ImageCoreset):
    """Selection of real images that may be compressed, and may fill a number of bytes.

    A distilled image of float32 pixels takes the bytes of several JPEG files. With `room`, a set has as many
    images as fit, equally many of each class, in the order of the picks.

    Attributes:
        room: Largest size of the set in bytes, whatever ``ipc`` is. 0 means ``ipc`` images of each class.
        encode: Compression of the images: ``none`` (raw pixels of 8 bits), ``png``, ``jpeg`` (quality 75), or
            another quality as in ``jpeg:90``; ``best`` takes, for a room, the one of
            `condense.distillation.images.room.CANDIDATES` whose images are worth most to a network that is
            trained on them for a short time: between more images and better ones no rule is known.
        search_network: Name of the network that judges for ``best``: a narrow one, so that the search takes
            less time than a student.
        search_steps: Number of steps that it is trained for; a student takes a thousand or more.
    """

    added = frozenset({"room", "encode", "search_network", "search_steps"})

    room: int = 0
    encode: str = NO_ENCODING
    search_network: str = "convnet-w32"
    search_steps: int = 300

    def __post_init__(self) -> None:
        """Refuses what `ImageMethod` refuses, an unknown compression, and ``best`` without a room."""
        super().__post_init__()
        object.__setattr__(self, "search_network", full_name(self.search_network))
        if self.encode != BEST:
            encoding_named(self.encode)
        elif not self.room:
            raise self.refused("encode", "which compression is best depends on room, which is not given")

    def require_training(self, images: int) -> None:
        """Refuses to compress: students without a set see the training images as they are."""
        for name, usual in (("room", 0), ("encode", NO_ENCODING)):
            if getattr(self, name) != usual:
                reason = f"{name} compresses a set, and students of {self.name} are trained without one here"
                raise self.refused(name, reason)

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Picks ``ipc`` images of each class, or as many as there is room for."""
        if not self.room:
            if self.encode == NO_ENCODING:
                return super().distill(train, run)
            chosen = picked(train, run.counts, self.pick(train, run))
            images, labels = train.images[chosen], train.labels[chosen]
            return run.distilled(images, labels, as_bytes=True, encode=self.encode)
        encode: str | None = self.encode
        found: Found = {}
        if encode == BEST:
            encode, found = best_encoding(train, self.room, self.search_network, self.search_steps, run)
        pick = self.pick(train, run)
        most = min(train.counts())
        orders = [pick(train.of_class(label), most) for label in range(train.num_classes)]
        made = None if encode is None else filled(train, orders, self.room, encode, run)
        if made is None:
            raise self.refused("room", f"there is no room for an image of each class of {run.spec.name}")
        return replace(made, provenance={**made.provenance, **({"encodings": found} if found else {})})


@dataclass(frozen=True, kw_only=True)
class GraphCoreset(Roomy, GraphMethod):
    """Selection of real graphs of equal weight, class by class.

    Two sets with equally many graphs may differ tenfold in bytes. With `room`, the classes take turns, each
    giving its graphs in the order of the picks, as long as the set does not exceed that number of bytes.

    Attributes:
        room: Largest size of the set in bytes, whatever ``ipc`` is; the set has at least one graph of each
            class. 0 means ``ipc`` graphs of each class.
    """

    room: int = 0

    def distill(self, train: Graphs, run: GraphRun) -> GraphSet:
        """Picks ``ipc`` graphs of each class, or as many as there is room for."""
        pick = self.pick(train, run)
        if not self.room:
            return run.selected(train, picked(train, run.counts, pick))
        classes = map(train.of_class, range(train.num_classes))
        orders = [pick(members, _most_graphs(train, members, self.room)).tolist() for members in classes]
        order = [graph for turn in zip_longest(*orders) for graph in turn if graph is not None]
        return _fitting(train, order, self.room, run)

    def pick(self, train: Graphs, run: GraphRun) -> Pick:
        """Returns how graphs are picked within a class."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GraphFeatureCoreset(GraphCoreset):
    """Selection of real graphs by a rule in the features of the pinned network.

    Attributes:
        network: Name of the pinned network.
    """

    network: str = "gcn-mean"

    @staticmethod
    def rule(features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
        """Returns the indices of the picks in order, from the features of a class's samples."""
        raise NotImplementedError

    def pick(self, train: Graphs, run: GraphRun) -> Pick:
        """Returns how graphs are picked within a class."""
        features, rule = run.features(train, self.network), self.rule
        return lambda members, budget: members[rule(features[members], budget)]


def _most_graphs(train: Graphs, members: Int64[Tensor, " m"], room: int) -> int:
    """Returns an upper bound on how many graphs of a class fit, if a feature of a node takes one byte."""
    least = train.nodes_ptr.diff()[members] * train.node_features.shape[1]
    return max(int((least.sort().values.cumsum(0) <= room).sum()), 1)


def _fitting(train: Graphs, order: list[int], room: int, run: GraphRun) -> GraphSet:
    """Returns the set of the first graphs of an order that fit, with at least one graph of each class.

    A set never becomes smaller by another graph, so that their number is found by bisection.
    """

    def first(count: int) -> GraphSet:
        taken = torch.tensor(order[:count], device=train.labels.device)
        return run.selected(train, taken[train.labels[taken].argsort(stable=True)])

    def fits(count: int) -> bool:
        return sum(first(count).nbytes().values()) <= room

    return first(largest(fits, train.num_classes, len(order) + 1))
