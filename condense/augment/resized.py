"""The usual augmentation of larger images: a random box is enlarged to the size of the image, then flipped.

Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015, https://arxiv.org/abs/1409.4842), section 6. As
in ``torchvision.transforms.RandomResizedCrop``, the share of the area is uniform, the aspect ratio is
log-uniform from 3/4 to 4/3, and the place is uniform; a box is drawn up to ten times until it fits.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment.crop import FLIP
from condense.augment.resample import resampled
from condense.errors import Refused

SMALLEST = 0.08
"""Default of the smallest share of the area of a box."""
ASPECTS = (3 / 4, 4 / 3)
"""Bounds of the ratio of a box's width to its height."""
TRIES = 10
"""Boxes drawn for an image; if none fits, the largest central box within the bounds is taken."""


def random_resized_crop(
    x: Float[Tensor, "n c h w"], generator: torch.Generator, *, flip: bool
) -> Float[Tensor, "n c h w"]:
    """Enlarges a random box of each image to the image's size and, if ``flip``, mirrors half of the images.

    Each image is mirrored left to right with probability 1/2. The generator must be on the CPU.
    """
    n, _, h, w = x.shape
    shown = enlarged(x, boxes(n, (h, w), generator).to(x.device))
    if not flip:
        return shown
    coins = (torch.rand(n, generator=generator) < FLIP).to(x.device)
    return torch.where(coins[:, None, None, None], shown.flip(-1), shown)


def boxes(
    n: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    smallest: float | Float[Tensor, " n"] = SMALLEST,
    largest: float = 1.0,
    aspects: tuple[float, float] | None = ASPECTS,
) -> Int64[Tensor, "n 4"]:
    """Draws a box for each image.

    Args:
        n: Number of images.
        size: (h, w) of the images in pixels.
        generator: A CPU generator.
        smallest: Smallest share of the area, for all images or for each. Even with 1 a box may be smaller
            than the image, as few boxes fit then.
        largest: Largest share of the area.
        aspects: Bounds of the ratio of a box's width to its height. None takes the ratio of the image; such a
            box always fits, so only one is drawn, and sides are at least one pixel.

    Returns:
        (top, left, height, width) of each box in pixels, inside the image, on the CPU.
    """
    h, w = size
    tries, numbers = (1, 1) if aspects is None else (TRIES, 2)
    # In float64, the product of a side and a number below 1 is never rounded up to the side.
    u = torch.rand(tries, numbers, n, generator=generator, dtype=torch.float64)
    area = h * w * (smallest + (largest - smallest) * u[:, 0])
    aspect = torch.full_like(area, w / h) if aspects is None else _log_uniform(aspects, u[:, 1])
    # heights, widths: (tries, n)
    widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    if aspects is None:
        widths, heights = widths.clamp_min(1), heights.clamp_min(1)
    fits = (widths > 0) & (widths <= w) & (heights > 0) & (heights <= h)
    first = fits.int().argmax(0)
    chosen = torch.stack([heights, widths])[:, first, torch.arange(n)]
    central = torch.tensor((h, w) if aspects is None else _central(h, w, aspects))
    height, width = torch.where(fits.any(0), chosen, central[:, None])
    place = torch.rand(2, n, generator=generator, dtype=torch.float64)
    top, left = (place[0] * (h - height + 1)).long(), (place[1] * (w - width + 1)).long()
    top = torch.where(fits.any(0), top, (h - height) // 2)
    left = torch.where(fits.any(0), left, (w - width) // 2)
    return torch.stack([top, left, height, width], 1)


def enlarged(x: Float[Tensor, "n c h w"], boxes: Int64[Tensor, "n 4"]) -> Float[Tensor, "n c h w"]:
    """Enlarges a box of each image bilinearly to the size of the image; differentiable.

    Args:
        x: The images.
        boxes: (top, left, height, width) of each box in pixels, inside its image and on the same device.
    """
    return resampled(x, boxes, (x.shape[-2], x.shape[-1]))


def require_share(setting: str, share: float) -> None:
    """Checks a setting that is the smallest share of the area.

    Raises:
        Refused: If the share is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise Refused("a share of an image is above 0 and at most 1", setting=setting, value=share)


def _log_uniform(aspects: tuple[float, float], u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    least, most = (math.log(aspect) for aspect in aspects)
    return torch.exp(least + (most - least) * u)


def _central(h: int, w: int, aspects: tuple[float, float]) -> tuple[int, int]:
    """Returns (height, width) of the largest box with an aspect ratio within the bounds."""
    least, most = aspects
    if w / h < least:
        return round(w / least), w
    return (h, round(h * most)) if w / h > most else (h, w)
