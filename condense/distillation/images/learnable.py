"""The set being learned: leaf tensors, and access to them through the view."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from condense.data import Images
from condense.distillation.images.view import View

if TYPE_CHECKING:
    from condense.distillation.images.run import ImageRun


class LearnableSet:
    """Learned images, class-major: ``ipc`` of class 0, then of class 1, and so on.

    Args:
        images: Initial images (k * ipc, c, h, w); become a leaf that gradients flow into.
        num_classes: k.
        view: What methods see of them.

    Attributes:
        images: The leaf.
        labels: Class ids (k * ipc,).
    """

    def __init__(self, images: Float[Tensor, "n c h w"], num_classes: int, view: View) -> None:
        self.images = images.detach().clone().contiguous().requires_grad_()
        self.num_classes = num_classes
        self.ipc = len(images) // num_classes
        self.labels = torch.arange(num_classes, device=images.device).repeat_interleave(self.ipc)
        self.view = view

    @classmethod
    def noise(cls, run: "ImageRun") -> "LearnableSet":
        """Standard normal pixels in the method's pixel space."""
        shape = (run.spec.num_classes * run.ipc, *run.spec.shape)
        images = torch.randn(shape, generator=run.rng).to(run.device)
        return cls(images, run.spec.num_classes, run.view)

    @classmethod
    def real(cls, train: Images, run: "ImageRun") -> "LearnableSet":
        """Random training images, each at most once."""
        images = train.draw(run.ipc, run.rng)
        return cls(images.flatten(0, 1).to(run.device), run.spec.num_classes, run.view)

    @classmethod
    def mixed(cls, train: Images, run: "ImageRun", factor: int, view: View) -> "LearnableSet":
        """Every image made up of small ones, for a view that takes them apart again: see `tiled`.

        Args:
            train: Where random images of each class are taken from.
            run: Says how many images per class to make.
            factor: Tiles along each side of an image.
            view: What methods see of the set.
        """
        images = tiled(train.draw(run.ipc * factor**2, run.rng), factor)
        return cls(images.to(run.device), run.spec.num_classes, view)

    def all(self) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Every image and label, through the view."""
        return self.view(self.images, self.labels)

    def by_class(self) -> Float[Tensor, "k i c h w"]:
        """Every image through the view, one row a class; i is ``ipc`` times the view's copies."""
        seen, _ = self.all()
        rows = seen.view(self.view.copies, self.num_classes, self.ipc, *seen.shape[1:])
        return rows.transpose(0, 1).flatten(1, 2)

    def minibatch(self, indices: Int[Tensor, " b"]) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Some images and labels, through the view."""
        return self.view(self.images[indices], self.labels[indices])


def tiled(images: Float[Tensor, "k m c h w"], factor: int) -> Float[Tensor, "n c h w"]:
    """Images each made of factor x factor small ones of their class, as multi-formation cuts them out again.

    The start "mix" of IDC and NCFM (snu-mllab/Efficient-Dataset-Condensation, ``Synthesizer.init``): an image
    is down-scaled by taking the nearest pixels. Where the factor does not divide a side, the last row or
    column of tiles reaches beyond the image and is cut off.

    Args:
        images: m = factor^2 i of each of k classes; the first i fill the first tile of the class's i images,
            the next i the tile to its right, and so on, row by row.
        factor: Tiles along each side.

    Returns:
        The n = k i images, class-major.
    """
    k, m, c, h, w = images.shape
    size = (-(-h // factor), -(-w // factor))
    small = interpolate(images.flatten(0, 1), size=size, mode="nearest")
    # by class, row and column of tiles, and image
    rows = small.view(k, factor, factor, m // factor**2, c, *size).permute(0, 3, 4, 1, 5, 2, 6)
    return rows.reshape(-1, c, factor * size[0], factor * size[1])[..., :h, :w]
