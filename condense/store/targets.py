"""Labels that a student is trained with: a batch of labels computes its own loss."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss

Index = slice | Tensor
"""A choice of items from a batch: a slice, item numbers, or a boolean mask."""


@runtime_checkable
class Target(Protocol):
    """The labels of n items, of any kind: all that training code needs to know of them."""

    @property
    def ids(self) -> Int64[Tensor, " n"]:
        """The class of each item."""

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Returns the mean loss of a network's logits for these items."""

    def to(self, device: torch.device | str) -> Self:
        """Returns the same labels on a device."""

    def __getitem__(self, index: Index) -> Self:
        """Returns the labels of some of the items."""

    def __len__(self) -> int:
        """Returns the number of items."""


@dataclass(frozen=True, eq=False)
class _Labels:
    """The base of all labels, whose tensors are moved and indexed together."""

    def _map(self, change: Callable[[Any], Any]) -> Self:
        held = {item.name: getattr(self, item.name) for item in fields(self)}
        return replace(self, **{name: change(one) for name, one in held.items() if isinstance(one, Tensor)})

    def to(self, device: torch.device | str) -> Self:
        return self._map(lambda held: held.to(device))

    def __getitem__(self, index: Index) -> Self:
        return self._map(lambda held: held[index])

    def __len__(self: Target) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Hard(_Labels):
    """Class ids, one for each item.

    Attributes:
        ids: The class of each item, (n,).
    """

    ids: Int64[Tensor, " n"]

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Returns the mean cross-entropy with the class ids."""
        return cross_entropy(logits, self.ids)


@dataclass(frozen=True, eq=False)
class Soft(_Labels):
    """A probability for each class, and the class ids beside them.

    Attributes:
        probabilities: One row for each item, (n, k).
        ids: The class of each item, (n,); the likeliest class by default.
        temperature: Temperature T, by which the student's logits are divided.
        squared: Whether the loss is multiplied by T squared, which keeps the size of its gradient.
    """

    probabilities: Float[Tensor, "n k"]
    ids: Int64[Tensor, " n"] = None  # type: ignore[assignment]
    temperature: float = 1.0
    squared: bool = False

    def __post_init__(self) -> None:
        if self.ids is None:
            object.__setattr__(self, "ids", self.probabilities.argmax(1))

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Returns the mean cross-entropy: ``-(p * log_softmax(logits / T)).sum(1).mean()``."""
        loss = cross_entropy(logits / self.temperature, self.probabilities.to(logits.dtype))
        return loss * self.temperature**2 if self.squared else loss


@dataclass(frozen=True, eq=False)
class Features(_Labels):
    """Real-valued vectors that a network's outputs are to equal, and the class ids beside them.

    Attributes:
        values: One vector for each item, (n, d).
        ids: The class of each item, (n,).
        scale: Factor of the loss: 0.5 for FRePo, 1 / d for the mean over all numbers.
    """

    values: Float[Tensor, "n d"]
    ids: Int64[Tensor, " n"]
    scale: float

    def loss(self, logits: Float[Tensor, "n d"]) -> Float[Tensor, ""]:
        """Returns `scale` times the mean over the items of the sum of squared differences."""
        return self.scale * (logits - self.values.to(logits.dtype)).square().sum(1).mean()


@dataclass(frozen=True, eq=False)
class TeacherLogits(_Labels):
    """A teacher's logits for exactly the images that the student sees, and the class ids beside them.

    Attributes:
        logits: The teacher's logits, one row for each item, (n, k), of any floating-point type.
        ids: The class of each item, (n,).
        temperature: Temperature T, by which the logits of teacher and student are divided.
        squared: Whether the loss is multiplied by T squared, which keeps the size of its gradient.
    """

    logits: Float[Tensor, "n k"]
    ids: Int64[Tensor, " n"]
    temperature: float
    squared: bool = False

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Returns the mean over the items of KL(softmax(self.logits / T) || softmax(logits / T)), in nats."""
        teacher = (self.logits.to(logits.dtype) / self.temperature).log_softmax(1)
        student = (logits / self.temperature).log_softmax(1)
        divergence = kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2 if self.squared else divergence


@dataclass(frozen=True, eq=False)
class Regressed(_Labels):
    """Logits that the student's own are to equal, and the labels of the same items beside them.

    This is the loss of HeLlO (https://arxiv.org/abs/2408.08201), both of its projector and of its students.

    Attributes:
        logits: The logits to equal, one row for each item, (n, k).
        own: The items' own labels; of a mixed batch, those of both images.
        weight: Weight of the loss of `own`.
    """

    logits: Float[Tensor, "n k"]
    own: Target
    weight: float

    def _map(self, change: Callable[[Any], Any]) -> Self:
        return replace(self, logits=change(self.logits), own=change(self.own))

    @property
    def ids(self) -> Int64[Tensor, " n"]:
        return self.own.ids

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Returns the mean squared difference over all n k logits, plus ``weight * own.loss(logits)``."""
        squares = mse_loss(logits, self.logits.to(logits.dtype))
        return squares + self.weight * self.own.loss(logits)


@dataclass(frozen=True, eq=False)
class Mixed(_Labels):
    """Two labels for each item, and one share for all items: the labels of a CutMix or mixup batch.

    Attributes:
        first: The labels that count with the share, (n,); the class ids are theirs.
        second: The labels that count with the rest, (n,).
        share: Weight of the first labels, from 0 to 1.
    """

    first: Target
    second: Target
    share: float

    def _map(self, change: Callable[[Any], Any]) -> Self:
        return replace(self, first=change(self.first), second=change(self.second))

    @property
    def ids(self) -> Int64[Tensor, " n"]:
        return self.first.ids

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Returns ``share * first.loss(logits) + (1 - share) * second.loss(logits)``."""
        return self.share * self.first.loss(logits) + (1 - self.share) * self.second.loss(logits)
