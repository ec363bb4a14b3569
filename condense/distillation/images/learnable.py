"""The set that a method learns: images as a leaf tensor, which the method sees through a view."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from condense.data import Images
from condense.distillation.images.run import ImageRun
from condense.distillation.images.view import View


class LearnableSet:
    """Images that are learned, class-major: ``ipc`` of class 0, then of class 1, and so on.

    Args:
        images: Initial images (k * ipc, c, h, w), which are copied.
        num_classes: Number of classes, k.
        view: How the method sees the images.

    Attributes:
        images: The leaf tensor that gradients flow into.
        labels: Class ids (k * ipc,).
    """

    def __init__(self, images: Float[Tensor, "n c h w"], num_classes: int, view: View) -> None:
        self.images = images.detach().clone().contiguous().requires_grad_()
        self.num_classes = num_classes
        self.ipc = len(images) // num_classes
        self.labels = torch.arange(num_classes, device=images.device).repeat_interleave(self.ipc)
        self.view = view

    @classmethod
    def noise(cls, run: ImageRun) -> "LearnableSet":
        """Starts from standard normal pixels in the method's pixel space."""
        shape = (run.spec.num_classes * run.ipc, *run.spec.shape)
        images = torch.randn(shape, generator=run.rng).to(run.device)
        return cls(images, run.spec.num_classes, run.view)

    @classmethod
    def real(cls, train: Images, run: ImageRun) -> "LearnableSet":
        """Starts from random training images, each used at most once."""
        images = train.draw(run.ipc, run.rng)
        return cls(images.flatten(0, 1).to(run.device), run.spec.num_classes, run.view)

    @classmethod
    def mixed(cls, train: Images, run: ImageRun, factor: int, view: View) -> "LearnableSet":
        """Starts from images that are made of factor x factor random training images: see `tiled`."""
        images = tiled(train.draw(run.ipc * factor**2, run.rng), factor)
        return cls(images.to(run.device), run.spec.num_classes, view)

    def all(self) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Returns all images and labels, seen through the view."""
        return self.view(self.images, self.labels)

    def by_class(self) -> Float[Tensor, "k i c h w"]:
        """Returns all images, seen through the view, by class; i is ``ipc`` times the view's copies."""
        seen, _ = self.all()
        rows = seen.view(self.view.copies, self.num_classes, self.ipc, *seen.shape[1:])
        return rows.transpose(0, 1).flatten(1, 2)

    def minibatch(self, indices: Int[Tensor, " b"]) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Returns the images and labels at some positions, seen through the view."""
        return self.view(self.images[indices], self.labels[indices])


def tiled(images: Float[Tensor, "k m c h w"], factor: int) -> Float[Tensor, "n c h w"]:
    """Makes images out of factor x factor small images of their class, which multi-formation cuts out again.

    This is the initialisation "mix" of IDC and NCFM (snu-mllab/Efficient-Dataset-Condensation,
    ``Synthesizer.init``). Images are down-scaled by taking the nearest pixels. If the factor does not divide
    a side, the last row or column of small images is cut off.

    Args:
        images: m = factor^2 i images of each of k classes. The first i fill the first place of the class's i
            output images, the next i the place to its right, and so on, row by row.
        factor: Number of small images along each side.

    Returns:
        The n = k i images, class-major.
    """
    k, m, c, h, w = images.shape
    size = (-(-h // factor), -(-w // factor))
    small = interpolate(images.flatten(0, 1), size=size, mode="nearest")
    # by class, row and column of tiles, and image
    rows = small.view(k, factor, factor, m // factor**2, c, *size).permute(0, 3, 4, 1, 5, 2, 6)
    return rows.reshape(-1, c, factor * size[0], factor * size[1])[..., :h, :w]
