"""Views: what a synthetic set looks like to a method, as opposed to what is stored."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor

from condense.store.images.decode import GREY, Fill, MultiFormation


class View(Protocol):
    """Turns stored images and labels into those that a method trains and matches with.

    What comes out is copies-major, ``m = copies * n``: the first n are copy 0 of each image in order, the
    next n copy 1, and so on, so that ``out.view(copies, n, ...)`` holds, for a chain of views too.

    Attributes:
        copies: Images that come out for each one that goes in; multiplied along a chain.
    """

    @property
    def copies(self) -> int: ...

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]: ...


class IdentityView:
    """The stored images as they are."""

    copies = 1

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]:
        return images, labels


@dataclass(frozen=True, eq=False)
class DecodedView:
    """The stored images through a decode step: what students will train on.

    Attributes:
        step: The step.
        fill: What it pads images with, in the space that the method's pixels are in.
    """

    step: MultiFormation
    fill: Fill = GREY

    @property
    def copies(self) -> int:
        """The step's."""
        return self.step.copies

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        return self.step(images, self.fill), labels.repeat(self.copies)


@dataclass(frozen=True, eq=False)
class ChainedView:
    """One view after another.

    Attributes:
        first: What the stored images go through.
        then: What the result goes through.
    """

    first: View
    then: View

    @property
    def copies(self) -> int:
        """The product of both."""
        return self.first.copies * self.then.copies

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        return self.then(*self.first(images, labels))
