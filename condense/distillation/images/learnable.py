"""The set that a method learns: images as a leaf tensor, which the method sees through a view."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from condense.data import Images
from condense.distillation.images.run import ImageRun
from condense.distillation.images.view import View


class LearnableSet:
    """Images that are learned, class after class.

    Args:
        images: Initial images, sorted by class, which are copied.
        counts: Number of images of each of the k classes.
        view: How the method sees the images.

    Attributes:
        images: The leaf tensor that gradients flow into.
        labels: Class ids.
        counts: As given.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], counts: Sequence[int], view: View) -> None:
        self.images = images.detach().clone().contiguous().requires_grad_()
        self.counts = tuple(counts)
        sizes = torch.tensor(self.counts, device=images.device)
        self.labels = torch.arange(len(sizes), device=images.device).repeat_interleave(sizes)
        self.view = view

    @classmethod
    def noise(cls, run: ImageRun) -> "LearnableSet":
        """Starts from standard normal pixels in the method's pixel space."""
        images = torch.randn((sum(run.counts), *run.spec.shape), generator=run.rng).to(run.device)
        return cls(images, run.counts, run.view)

    @classmethod
    def real(cls, train: Images, run: ImageRun) -> "LearnableSet":
        """Starts from random training images, each used at most once."""
        return cls(train.draw_counts(run.counts, run.rng).to(run.device), run.counts, run.view)

    @classmethod
    def mixed(cls, train: Images, run: ImageRun, factor: int, view: View) -> "LearnableSet":
        """Starts from images that are made of factor x factor random training images: see `tiled`."""
        drawn = [
            tiled(train.draw(count * factor**2, run.rng, [label]), factor)
            for label, count in enumerate(run.counts)
        ]
        return cls(torch.cat(drawn).to(run.device), run.counts, view)

    @property
    def seen_counts(self) -> tuple[int, ...]:
        """Number of images of each class that the view shows."""
        return tuple(self.view.copies * count for count in self.counts)

    @property
    def present(self) -> Bool[Tensor, "k i"] | None:
        """Which places of `by_class` hold images; None if all do, because the classes have equally many."""
        if len(set(self.counts)) == 1:
            return None
        places = torch.arange(max(self.seen_counts), device=self.images.device)
        return places < torch.tensor(self.seen_counts, device=self.images.device)[:, None]

    def all(self) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Returns all images and labels, seen through the view."""
        return self.view(self.images, self.labels)

    def by_class(self) -> Float[Tensor, "k i c h w"]:
        """Returns all images, seen through the view, by class; i is the largest of `seen_counts`.

        In a class of fewer images, the first one is repeated in the places that `present` says are empty.
        """
        seen, _ = self.all()
        copies, most = self.view.copies, max(self.counts)
        if self.present is None:
            rows = seen.view(copies, len(self.counts), most, *seen.shape[1:])
            return rows.transpose(0, 1).flatten(1, 2)
        rows = seen.view(copies, -1, *seen.shape[1:])
        classes = []
        for images in torch.split(rows, list(self.counts), 1):
            flat = images.flatten(0, 1)
            classes.append(torch.cat([flat, flat[:1].expand(copies * most - len(flat), -1, -1, -1)]))
        return torch.stack(classes)

    def of_class(self, label: int) -> tuple[Float[Tensor, "m c h w"], Int[Tensor, " m"]]:
        """Returns the images of one class, seen through the view, and their labels."""
        first = sum(self.counts[:label])
        return self.minibatch(torch.arange(first, first + self.counts[label], device=self.images.device))

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
