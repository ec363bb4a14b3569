"""What a student is trained on if no set is stored: real images that are chosen for each epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.data import Images
from condense.distillation.images.run import ImageRun
from condense.files import digest
from condense.teachers import Teacher

Chosen = Callable[[int], Int64[Tensor, " s"]]
"""Returns the positions of the s images of an epoch, on the CPU: the same ones whenever it is asked."""


@dataclass(frozen=True, eq=False)
class Taught:
    """A teacher that a student listens to beside the class ids: the loss is (1 - a) CE + a t^2 KL.

    Attributes:
        teacher: The teacher, which labels every augmented batch.
        weight: The weight a of the divergence from the teacher.
        temperature: The temperature t of both.
    """

    teacher: Teacher
    weight: float
    temperature: float


@dataclass(frozen=True, eq=False)
class Sampling:
    """The training images that a student sees in each epoch, and their labels.

    Attributes:
        size: Number s of images of an epoch.
        chosen: Chooses the images of each epoch.
        soft: Class probabilities of the images, in their order in an epoch, in place of their class ids; only
            for images that are the same in all epochs.
        labelled_by: The teacher that gave these; None for none.
        taught: A teacher beside the labels; None for none.
    """

    size: int
    chosen: Chosen
    soft: Float[Tensor, "s k"] | None = None
    labelled_by: Teacher | None = None
    taught: Taught | None = None

    @classmethod
    def of(cls, positions: Int64[Tensor, " s"]) -> "Sampling":
        """Returns the training on the same images in all epochs."""
        fixed = positions.cpu().sort().values
        return cls(len(fixed), lambda epoch: fixed)

    @property
    def teacher(self) -> Teacher | None:
        """The teacher that a student learns from: beside the labels, or by them."""
        return self.taught.teacher if self.taught else self.labelled_by

    def touched(self, epochs: int, n: int) -> int:
        """Returns how many of the n training images a student sees within some epochs."""
        seen = torch.zeros(n, dtype=torch.bool)
        for epoch in range(epochs):
            seen[self.chosen(epoch)] = True
        return int(seen.sum())


@dataclass(frozen=True, eq=False)
class Rounds:
    """A fresh random subset of the images for each epoch, drawn from each of some groups by itself.

    With replacement, an epoch draws from all images of a group. Without, a group's images come in one random
    order after the other, and each epoch takes the next ones: where its count divides the size of the group,
    every image is seen once until all are; else what is left of an order is followed by the next order.

    Attributes:
        groups: Positions of the images of each group: all images, or those of a class.
        counts: Number of images of each group in an epoch, at most its size.
        replacement: Whether an image may come again before all others have come.
        seed: Seed of all orders. Epochs can be asked for in any order.
    """

    groups: Sequence[Int64[Tensor, " _"]]
    counts: Sequence[int]
    replacement: bool
    seed: int

    def __call__(self, epoch: int) -> Int64[Tensor, " s"]:
        """Returns the positions of an epoch's images, group after group."""
        sizes = zip(map(len, self.groups), self.counts, strict=True)
        drawn = [self._drawn(place, epoch, *size) for place, size in enumerate(sizes)]
        return torch.cat([group[one] for group, one in zip(self.groups, drawn, strict=True)])

    def _drawn(self, place: int, epoch: int, n: int, count: int) -> Int64[Tensor, " count"]:
        if self.replacement:
            return self._order(place, epoch, n)[:count]
        first, end = epoch * count, (epoch + 1) * count
        orders = range(first // n, -(-end // n))
        parts = [self._order(place, one, n)[max(0, first - one * n) : end - one * n] for one in orders]
        return torch.cat(parts)

    def _order(self, place: int, number: int, n: int) -> Int64[Tensor, " n"]:
        seed = int(digest([self.seed, place, number])[:15], 16)
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed))


def share_of(fraction: float, n: int) -> int:
    """Returns how many of n images a fraction is: to the nearest whole number, and at least one."""
    return max(1, round(fraction * n))


def by_class(train: Images, run: ImageRun) -> tuple[int, ...]:
    """Returns the number of images of each class: those that are asked for, or the fraction of the class."""
    fraction = run.fraction
    return run.counts if fraction is None else tuple(share_of(fraction, count) for count in train.counts())


def altogether(train: Images, run: ImageRun) -> int:
    """Returns the number of images of all classes: those that are asked for, or the fraction of all."""
    return sum(run.counts) if run.fraction is None else share_of(run.fraction, len(train))
