"""CutMix: replaces a box of each image by that of another image and mixes the labels by area.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (ICCV
2019, https://arxiv.org/abs/1905.04899); the box as in https://github.com/clovaai/CutMix-PyTorch
(``train.py``, ``rand_bbox``), which the code of IDC and NCFM contains too.

The whole batch has the same box and permutation. The area of the box is a share u of the image, where u is
uniform (the paper's Beta(1, 1)). With s = int(side * sqrt(u)), the box reaches from s // 2 pixels before a
uniformly drawn pixel to s // 2 pixels after it, and is clipped to the image. Labels are weighted by the
number of pixels of the clipped box, not by u.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mix:
    """A drawn box and permutation for a batch.

    Attributes:
        order: Position of the image that each image's box comes from.
        box: (top, bottom, left, right) in pixels, without the row ``bottom`` and the column ``right``.
        share: Share of an image's pixels that are kept.
    """

    order: Int64[Tensor, " n"]
    box: tuple[int, int, int, int]
    share: float

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Returns the mixed images; differentiable. The images must be on the device of ``order``."""
        top, bottom, left, right = self.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][self.order]
        return mixed

    def to(self, device: torch.device | str) -> "Mix":
        """Returns the same mixture for images on another device."""
        return replace(self, order=self.order.to(device))


def draw_cutmix(n: int, size: tuple[int, int], generator: torch.Generator) -> Mix:
    """Draws a box and a permutation for n images of (h, w) pixels, on the CPU."""
    # In float64, the product of a side and a number below 1 is never rounded up to the side.
    area, row, column = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    order = torch.randperm(n, generator=generator)
    top, bottom = _interval(size[0], area, row)
    left, right = _interval(size[1], area, column)
    pixels = size[0] * size[1]
    kept = pixels - (bottom - top) * (right - left)
    return Mix(order, (top, bottom, left, right), kept / pixels)


def _interval(side: int, area: float, centre: float) -> tuple[int, int]:
    """Returns the first pixel of the box along a side, and the pixel after its last one."""
    half = int(side * math.sqrt(area)) // 2
    middle = int(side * centre)
    return max(middle - half, 0), min(middle + half, side)
