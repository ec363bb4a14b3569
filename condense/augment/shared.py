"""Random views for whole batches: a crop, a flip and a cyclic shift that all images of a batch share.

A view is what torchvision does to a batch in one tensor (``RandomResizedCrop`` with bilinear sampling, then
``RandomHorizontalFlip``), followed by ``torch.roll``; `condense.augment.resized` draws the crops. All three
together are a linear map of the rows and one of the columns. Several batches with different views are
therefore transformed by one matrix product of the same shape at every step. The views of all steps are drawn
in advance, so that no step has to wait for values from the device.
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
        boxes: (top, left, height, width) of each crop in pixels.
        mirrored: Whether the crop is then mirrored left to right.
        rolls: Pixels by which the crop is then shifted cyclically, down and to the right.
    """

    boxes: Int[Tensor, "p t 4"]
    mirrored: Bool[Tensor, "p t"]
    rolls: Int[Tensor, "p t 2"]

    @classmethod
    def random(
        cls,
        size: tuple[int, int],
        crops: Sequence[float],
        generator: torch.Generator,
        *,
        flip: bool,
        roll: range,
    ) -> "SharedViews":
        """Draws the views of one batch; the draws for one setting do not depend on the other settings.

        Args:
            size: (h, w) of the images.
            crops: Smallest share of the image's area that a crop contains, for each step; 1 does not crop.
            generator: A CPU generator.
            flip: Whether batches are mirrored with probability 1/2.
            roll: Shifts in pixels, which are equally likely; both directions are drawn independently.
        """
        shares = torch.tensor(list(crops), dtype=torch.float64)
        boxes = resized.boxes(len(shares), size, generator, smallest=shares)
        boxes = torch.where(shares[:, None] < 1, boxes, torch.tensor([0, 0, *size]))
        coins = torch.rand(len(boxes), generator=generator) < FLIP
        rolls = torch.randint(roll.start, roll.stop, (len(boxes), 2), generator=generator)
        return cls(boxes[None], (coins & flip)[None], rolls[None])

    @classmethod
    def stack(cls, views: "Sequence[SharedViews]") -> "SharedViews":
        """Joins the views of several batches."""
        return cls(*map(torch.cat, zip(*(vars(view).values() for view in views), strict=True)))

    def to(self, device: torch.device | str) -> "SharedViews":
        """Returns the same views for images on another device."""
        return SharedViews(*(part.to(device) for part in vars(self).values()))

    def __call__(self, x: Float[Tensor, "p b c h w"], step: int) -> Float[Tensor, "p b c h w"]:
        """Returns the views of p batches at a step; differentiable."""
        return mapped(x, *self.maps(step, (x.shape[-2], x.shape[-1]), x.dtype))

    def maps(
        self, step: int, size: tuple[int, int], dtype: torch.dtype
    ) -> tuple[Float[Tensor, "p h h"], Float[Tensor, "p w w"]]:
        """Returns a step's views of images (h, w) as matrices for the rows and the columns, see `mapped`."""
        top, left, height, width = self.boxes[:, step].unbind(1)
        down, right = self.rolls[:, step].unbind(1)
        mirrored = self.mirrored[:, step]
        rows = taps(top, height, size[0], size[0], dtype)
        columns = taps(left, width, size[1], size[1], dtype)
        return _turned(rows, down, torch.zeros_like(mirrored)), _turned(columns, right, mirrored)


def _turned(
    taps: Float[Tensor, "p side side"], roll: Int[Tensor, " p"], mirrored: Bool[Tensor, " p"]
) -> Float[Tensor, "p side side"]:
    """Adds the flip and the shift to the matrix that enlarges a crop.

    Pixel o of the view is pixel q = (o - roll) mod side of the enlarged crop, or side - 1 - q if it is
    mirrored.
    """
    side = taps.shape[1]
    shown = (torch.arange(side, device=taps.device) - roll[:, None]) % side
    shown = torch.where(mirrored[:, None], side - 1 - shown, shown)
    return taps.gather(1, shown[..., None].expand_as(taps))
