"""Views: how a method sees a synthetic set, as opposed to how the set is stored."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from condense.store.images.decode import GREY, Fill, MultiFormation


@runtime_checkable
class View(Protocol):
    """Turns stored images and labels into those that a method trains and matches with.

    The output has ``m = copies * n`` images: first copy 0 of each of the n images in order, then copy 1, and
    so on. ``out.view(copies, n, ...)`` is therefore valid, for a chain of views too.

    Attributes:
        copies: Number of output images for each input image.
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
    """The stored images after a decode step, as students will train on them.

    Attributes:
        step: The decode step.
        fill: The value that it pads images with, in the method's pixel space.
    """

    step: MultiFormation
    fill: Fill = GREY

    @property
    def copies(self) -> int:
        """Number of output images for each input image."""
        return self.step.copies

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        return self.step(images, self.fill), labels.repeat(self.copies)


@dataclass(frozen=True, eq=False)
class ChainedView:
    """One view after another.

    Attributes:
        first: The view of the stored images.
        then: The view of its output.
    """

    first: View
    then: View

    @property
    def copies(self) -> int:
        """Number of output images for each input image: the product of both views' numbers."""
        return self.first.copies * self.then.copies

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        return self.then(*self.first(images, labels))
