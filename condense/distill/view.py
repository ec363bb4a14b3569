"""Views: what a synthetic set looks like to a method, as opposed to what is stored."""

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class View(Protocol):
    """Turns stored images and labels into those that a method trains and matches with.

    Attributes:
        copies: Images that come out for each one that goes in; multiplied along a chain.
    """

    @property
    def copies(self) -> int: ...

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]: ...


class Plain:
    """The stored images as they are."""

    copies = 1

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n c h w"], Int[Tensor, " n"]]:
        return images, labels
