"""What a student is trained towards: a batch of labels that carries its own loss."""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

Index = slice | Tensor
"""What picks some of a batch's items: a slice, item numbers, or a boolean mask."""


class Target(Protocol):
    """The labels of n items, of whatever kind; training code needs no more than this."""

    @property
    def ids(self) -> Int64[Tensor, " n"]:
        """The class of each item."""
        ...

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """The mean loss of a network's logits for these items."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same labels on a device."""
        ...

    def __getitem__(self, index: Index) -> Self:
        """The labels of some of the items."""
        ...

    def __len__(self) -> int:
        """How many items there are."""
        ...


@dataclass(frozen=True, eq=False)
class Hard:
    """Class ids, one an item.

    Attributes:
        ids: The class of each item, (n,).
    """

    ids: Int64[Tensor, " n"]

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Mean cross-entropy with the class ids."""
        return cross_entropy(logits, self.ids)

    def to(self, device: torch.device | str) -> "Hard":
        """The same labels on a device."""
        return Hard(self.ids.to(device))

    def __getitem__(self, index: Index) -> "Hard":
        """The labels of some of the items."""
        return Hard(self.ids[index])

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Soft:
    """A probability for each class, and the class ids beside them.

    Attributes:
        probabilities: One row an item, (n, k).
        ids: The class of each item, (n,); where left out, the likeliest one.
    """

    probabilities: Float[Tensor, "n k"]
    ids: Int64[Tensor, " n"] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Fills in the class ids."""
        if self.ids is None:
            object.__setattr__(self, "ids", self.probabilities.argmax(1))

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Mean cross-entropy with the probabilities: ``-(p * log_softmax(logits)).sum(1).mean()``."""
        return cross_entropy(logits, self.probabilities.to(logits.dtype))

    def to(self, device: torch.device | str) -> "Soft":
        """The same labels on a device."""
        return Soft(self.probabilities.to(device), self.ids.to(device))

    def __getitem__(self, index: Index) -> "Soft":
        """The labels of some of the items."""
        return Soft(self.probabilities[index], self.ids[index])

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Distilled:
    """A teacher's logits for the very images that the student sees, and the class ids beside them.

    Attributes:
        logits: The teacher's, one row an item, (n, k); of any floating-point type.
        ids: The class of each item, (n,).
        temperature: T: the logits of both are divided by it.
        squared: Whether the loss is multiplied by T squared, which keeps the size of its gradient.
    """

    logits: Float[Tensor, "n k"]
    ids: Int64[Tensor, " n"]
    temperature: float
    squared: bool = False

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """Mean over the items of KL(softmax(self.logits / T) || softmax(logits / T)), in nats."""
        teacher = (self.logits.to(logits.dtype) / self.temperature).log_softmax(1)
        student = (logits / self.temperature).log_softmax(1)
        divergence = kl_div(student, teacher, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2 if self.squared else divergence

    def to(self, device: torch.device | str) -> "Distilled":
        """The same labels on a device."""
        return replace(self, logits=self.logits.to(device), ids=self.ids.to(device))

    def __getitem__(self, index: Index) -> "Distilled":
        """The labels of some of the items."""
        return replace(self, logits=self.logits[index], ids=self.ids[index])

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Mixed:
    """Two labels an item, and one share for all: what CutMix or mixup makes of a batch.

    Attributes:
        first: The labels that count with the share, (n,); the class ids are theirs.
        second: The labels that count with the rest, (n,).
        share: From 0 to 1.
    """

    first: Target
    second: Target
    share: float

    @property
    def ids(self) -> Int64[Tensor, " n"]:
        """The class of each item, by its first label."""
        return self.first.ids

    def loss(self, logits: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
        """``share * first.loss(logits) + (1 - share) * second.loss(logits)``."""
        return self.share * self.first.loss(logits) + (1 - self.share) * self.second.loss(logits)

    def to(self, device: torch.device | str) -> "Mixed":
        """The same labels on a device."""
        return Mixed(self.first.to(device), self.second.to(device), self.share)

    def __getitem__(self, index: Index) -> "Mixed":
        """The labels of some of the items."""
        return Mixed(self.first[index], self.second[index], self.share)

    def __len__(self) -> int:
        """How many items there are."""
        return len(self.first)
