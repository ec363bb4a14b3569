"""The set being learned: leaf tensors, and access to them through the view."""

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.data import Split
from condense.distill.view import View

if TYPE_CHECKING:
    from condense.distill.run import Run


class Synthetic:
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
    def noise(cls, run: "Run") -> "Synthetic":
        """Standard normal pixels in the method's pixel space."""
        shape = (run.spec.num_classes * run.ipc, *run.spec.shape)
        images = torch.randn(shape, generator=run.rng).to(run.device)
        return cls(images, run.spec.num_classes, run.view)

    @classmethod
    def real(cls, train: Split, run: "Run") -> "Synthetic":
        """Random training images, each at most once."""
        images = train.draw(run.ipc, run.rng)
        return cls(images.flatten(0, 1).to(run.device), run.spec.num_classes, run.view)

    def all(self) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Every image and label, through the view."""
        return self.view(self.images, self.labels)

    def by_class(self) -> Float[Tensor, "k i c h w"]:
        """Every image through the view, one row a class; i is ``ipc`` times the view's copies."""
        rows = self.images.view(self.num_classes, self.ipc, *self.images.shape[1:])
        ids = torch.arange(self.num_classes, device=self.images.device)
        # The view sees one image of every class at a time, so that its copies land in the class's row.
        shape = (self.view.copies, self.num_classes, *self.images.shape[1:])
        seen = [self.view(rows[:, i], ids)[0].view(shape) for i in range(self.ipc)]
        return torch.cat(seen).transpose(0, 1)

    def minibatch(self, indices: Int[Tensor, " b"]) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Some images and labels, through the view."""
        return self.view(self.images[indices], self.labels[indices])
