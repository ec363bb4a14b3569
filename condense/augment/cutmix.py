"""CutMix: a box of each image comes from another image of the batch, and their labels mix by area.

Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (ICCV
2019, https://arxiv.org/abs/1905.04899); the box as in https://github.com/clovaai/CutMix-PyTorch
(``train.py``, ``rand_bbox``), which the code of IDC and NCFM has too.

One box and one permutation serve the whole batch. The box is to have the share u of the image, u uniform (the
paper's Beta(1, 1)): with s = int(side * sqrt(u)) it runs from s // 2 before a uniform pixel to s // 2 after
it, so its sides are even numbers of pixels, and the image clips it. The share that labels are weighted with
is counted from the pixels of the clipped box, not taken from u.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mix:
    """A drawn mixture, ready to be applied to the batch that it was drawn for.

    Attributes:
        order: Image i gets its box from image ``order[i]``, (n,).
        box: (top, bottom, left, right) in pixels; bottom and right lie outside it.
        share: The share of each image's pixels that are its own.
    """

    order: Int64[Tensor, " n"]
    box: tuple[int, int, int, int]
    share: float

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The mixed images, as new ones; differentiable in them.

        Args:
            images: On the device of ``order``.
        """
        top, bottom, left, right = self.box
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[:, :, top:bottom, left:right][self.order]
        return mixed

    def to(self, device: torch.device | str) -> "Mix":
        """The same mixture for images on a device."""
        return replace(self, order=self.order.to(device))


def draw_cutmix(n: int, size: tuple[int, int], generator: torch.Generator) -> Mix:
    """Draws a box and a permutation.

    Args:
        n: Images in the batch.
        size: (h, w) of the images in pixels.
        generator: A CPU generator.

    Returns:
        The mixture, on the CPU.
    """
    # In float64 no product with a side is rounded up to the side itself.
    area, row, column = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
    order = torch.randperm(n, generator=generator)
    top, bottom = _interval(size[0], area, row)
    left, right = _interval(size[1], area, column)
    pixels = size[0] * size[1]
    kept = pixels - (bottom - top) * (right - left)
    return Mix(order, (top, bottom, left, right), kept / pixels)


def _interval(side: int, area: float, centre: float) -> tuple[int, int]:
    """What the box covers of a side: half of its length to both sides of the centre, within the image."""
    half = int(side * math.sqrt(area)) // 2
    middle = int(side * centre)
    return max(middle - half, 0), min(middle + half, side)
