"""The augmentation of larger images: a random box of each image, enlarged to its size, and perhaps a flip.

Szegedy et al., "Going Deeper with Convolutions" (CVPR 2015, https://arxiv.org/abs/1409.4842), section 6; the
draws are those of ``torchvision.transforms.RandomResizedCrop``: a box of a uniform share of the area and of
a log-uniform aspect ratio from 3/4 to 4/3, drawn up to ten times until it fits, at a uniform place.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment.crop import FLIP
from condense.augment.resample import resampled
from condense.errors import Refused

SMALLEST = 0.08
"""The least share of the area of a box, by default."""
ASPECTS = (3 / 4, 4 / 3)
"""Bounds of a box's width over its height."""
TRIES = 10
"""Boxes that are drawn for an image; if none fits, it is the largest central one of a fitting aspect."""


def random_resized_crop(
    x: Float[Tensor, "n c h w"], generator: torch.Generator, *, flip: bool
) -> Float[Tensor, "n c h w"]:
    """Shows a box of each image in its full size, and mirrors it or not.

    Args:
        x: The images.
        generator: A CPU generator.
        flip: Whether images are mirrored, left to right, with probability 1/2.
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
    aspects: tuple[float, float] | None = ASPECTS,
) -> Int64[Tensor, "n 4"]:
    """Draws a box for each image: (top, left, height, width) in pixels, inside the image.

    Args:
        n: Images.
        size: Their (h, w) in pixels.
        generator: A CPU generator.
        smallest: The least share of the area, or one an image; 1 may still leave some out, as few boxes fit
            then.
        aspects: Bounds of a box's width over its height. None is the image's own: every such box fits, so one
            is drawn, and nothing for its aspect; a side of less than half a pixel has one.

    Returns:
        On the CPU.
    """
    h, w = size
    tries, numbers = (1, 1) if aspects is None else (TRIES, 2)
    # In float64 no product with a side is rounded up to the side itself.
    u = torch.rand(tries, numbers, n, generator=generator, dtype=torch.float64)
    area = h * w * (smallest + (1 - smallest) * u[:, 0])
    aspect = torch.full_like(area, w / h) if aspects is None else _between(aspects, u[:, 1])
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
    """A box of each image, bilinearly enlarged to the size of the image; differentiable in the images.

    Args:
        x: The images.
        boxes: (top, left, height, width) of each in pixels, inside it, on the device of the images.
    """
    return resampled(x, boxes, (x.shape[-2], x.shape[-1]))


def require_share(what: str, share: float) -> None:
    """Refuses a least share of the area that is none.

    Args:
        what: It has that share, for the sentence: ``sre2l: crop_min``.
        share: The number.

    Raises:
        Refused: if it is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise Refused(f"{what} = {share} is no share of an image: it is in (0, 1]")


def _between(aspects: tuple[float, float], u: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
    """Aspect ratios from uniform numbers, uniform on a logarithmic scale."""
    least, most = (math.log(aspect) for aspect in aspects)
    return torch.exp(least + (most - least) * u)


def _central(h: int, w: int, aspects: tuple[float, float]) -> tuple[int, int]:
    """(height, width) of the largest box whose aspect ratio is within bounds."""
    least, most = aspects
    if w / h < least:
        return round(w / least), w
    if w / h > most:
        return h, round(h * most)
    return h, w
