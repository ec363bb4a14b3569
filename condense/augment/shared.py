"""One random view for a whole batch: a crop, a flip and a cyclic shift that all of its images share.

What ``torchvision`` does to a batch that is one tensor (``RandomResizedCrop`` with bilinear sampling, then
``RandomHorizontalFlip``), followed by ``torch.roll``; crops are drawn by `condense.augment.resized`. The
three together are one linear map of the rows and one of the columns, two small matrices a step and batch, so
that several batches, each under its own view, go through in one product of the same shape at every step. All
steps are drawn beforehand: nothing is read off the device on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from condense.augment import resized
from condense.augment.crop import FLIP
from condense.augment.resample import mapped, taps


@dataclass(frozen=True, eq=False)
class SharedViews:
    """The views of p batches at each of t steps.

    Attributes:
        boxes: (p, t, 4) top, left, height and width of each crop, in pixels.
        mirrored: (p, t) whether what was cropped is then mirrored, left to right.
        rolls: (p, t, 2) how far it is then shifted down and to the right; what leaves enters opposite.
    """

    boxes: Int[Tensor, "p t 4"]
    mirrored: Bool[Tensor, "p t"]
    rolls: Int[Tensor, "p t 2"]

    @classmethod
    def draw(
        cls,
        size: tuple[int, int],
        crops: Sequence[float],
        generator: torch.Generator,
        *,
        flip: bool,
        roll: range,
    ) -> "SharedViews":
        """Draws one batch's views; what is drawn for one setting does not depend on the others.

        Args:
            size: (h, w) of the images.
            crops: For each step the smallest share of the image that a crop holds; 1 is no crop.
            generator: On the CPU.
            flip: Whether batches are mirrored with probability 1/2.
            roll: The shifts in pixels, each as likely, down and to the right independently.
        """
        shares = torch.tensor(list(crops), dtype=torch.float64)
        boxes = resized.boxes(len(shares), size, generator, smallest=shares)
        boxes = torch.where(shares[:, None] < 1, boxes, torch.tensor([0, 0, *size]))
        coins = torch.rand(len(boxes), generator=generator) < FLIP
        rolls = torch.randint(roll.start, roll.stop, (len(boxes), 2), generator=generator)
        return cls(boxes[None], (coins & flip)[None], rolls[None])

    @classmethod
    def stack(cls, views: "Sequence[SharedViews]") -> "SharedViews":
        """Several batches' views side by side."""
        return cls(*(torch.cat(parts) for parts in zip(*(view._parts() for view in views), strict=True)))

    def to(self, device: torch.device | str) -> "SharedViews":
        """The same views for images on another device."""
        return SharedViews(*(part.to(device) for part in self._parts()))

    def __call__(self, x: Float[Tensor, "p b c h w"], step: int) -> Float[Tensor, "p b c h w"]:
        """What is seen of each batch at a step; differentiable in the images.

        Args:
            x: The images, a row a batch.
            step: Which step's view.
        """
        return mapped(x, *self.maps(step, (x.shape[-2], x.shape[-1]), x.dtype))

    def maps(
        self, step: int, size: tuple[int, int], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "p h h"], Float[Tensor, "p w w"]]:
        """The views of a step as maps of the rows and of the columns: see `mapped`.

        Args:
            step: Which step's view.
            size: (h, w) of the images.
            dtype: Of the maps.
        """
        top, left, height, width = self.boxes[:, step].unbind(1)
        down, right = self.rolls[:, step].unbind(1)
        mirrored = self.mirrored[:, step]
        rows = taps(top, height, size[0], size[0], dtype)
        columns = taps(left, width, size[1], size[1], dtype)
        return _turned(rows, down, torch.zeros_like(mirrored)), _turned(columns, right, mirrored)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.boxes, self.mirrored, self.rolls


def _turned(
    taps: Float[Tensor, "p side side"], roll: Int[Tensor, " p"], mirrored: Bool[Tensor, " p"]
) -> Float[Tensor, "p side side"]:
    """The map of a view's side, from that of its crop alone.

    Pixel o of the view shows pixel q = (o - roll) mod side of the enlarged crop, or side - 1 - q if it is
    mirrored.

    Args:
        taps: What the pixels of the enlarged crop are made of.
        roll: The shift towards higher pixel numbers.
        mirrored: Whether it is mirrored.
    """
    side = taps.shape[1]
    shown = (torch.arange(side, device=taps.device) - roll[:, None]) % side
    shown = torch.where(mirrored[:, None], side - 1 - shown, shown)
    return taps.gather(1, shown[..., None].expand_as(taps))
