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

SMALLEST = 0.08
"""The least share of the area of a box, by default."""
ASPECTS = (3 / 4, 4 / 3)
"""Bounds of a box's width over its height."""
TRIES = 10
"""Boxes that are drawn for an image; if none fits, it is the largest central one of a fitting aspect."""


def augment(
    x: Float[Tensor, "n c h w"], generator: torch.Generator, *, smallest: float = SMALLEST, flip: bool
) -> Float[Tensor, "n c h w"]:
    """Shows a box of each image in its full size, and mirrors it or not.

    Args:
        x: The images.
        generator: A CPU generator.
        smallest: The least share of the area that is shown.
        flip: Whether images are mirrored, left to right, with probability 1/2.
    """
    n, _, h, w = x.shape
    shown = enlarged(x, boxes(n, (h, w), generator, smallest=smallest).to(x.device))
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
) -> Int64[Tensor, "n 4"]:
    """Draws a box for each image: (top, left, height, width) in pixels, inside the image.

    Args:
        n: Images.
        size: Their (h, w) in pixels.
        generator: A CPU generator.
        smallest: The least share of the area, or one an image; 1 may still leave some out, as few boxes fit
            then.

    Returns:
        On the CPU.
    """
    h, w = size
    least, most = (math.log(aspect) for aspect in ASPECTS)
    # In float64 no product with a side is rounded up to the side itself.
    u = torch.rand(TRIES, 2, n, generator=generator, dtype=torch.float64)
    area = h * w * (smallest + (1 - smallest) * u[:, 0])
    aspect = torch.exp(least + (most - least) * u[:, 1])
    # heights, widths: (TRIES, n)
    widths, heights = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
    fits = (widths > 0) & (widths <= w) & (heights > 0) & (heights <= h)
    first = fits.int().argmax(0)
    chosen = torch.stack([heights, widths])[:, first, torch.arange(n)]
    central = torch.tensor(_central(h, w))
    height, width = torch.where(fits.any(0), chosen, central[:, None])
    place = torch.rand(2, n, generator=generator, dtype=torch.float64)
    top, left = (place[0] * (h - height + 1)).long(), (place[1] * (w - width + 1)).long()
    top = torch.where(fits.any(0), top, (h - height) // 2)
    left = torch.where(fits.any(0), left, (w - width) // 2)
    return torch.stack([top, left, height, width], 1)


def enlarged(x: Float[Tensor, "n c h w"], boxes: Int64[Tensor, "n 4"]) -> Float[Tensor, "n c h w"]:
    """A box of each image, bilinearly enlarged to the size of the image; differentiable in the images.

    Pixel i of h shows the place (i + 1/2) * height / h - 1/2 of the box, but none before the centre of its
    first pixel nor after that of its last: ``torch.nn.functional.interpolate`` without aligned corners.

    Args:
        x: The images.
        boxes: (top, left, height, width) of each in pixels, inside it, on the device of the images.
    """
    top, left, height, width = boxes.T
    return _along(_along(x.transpose(2, 3), left, width).transpose(2, 3), top, height)


def _along(
    x: Float[Tensor, "n c h w"], start: Int64[Tensor, " n"], length: Int64[Tensor, " n"]
) -> Float[Tensor, "n c h w"]:
    """Enlarges an interval of each image's rows to all of them."""
    n, _, h, _ = x.shape
    pixels = torch.arange(h, device=x.device, dtype=torch.float64) + 0.5
    place = (pixels * (length.double()[:, None] / h) - 0.5).clamp(min=0)
    below = place.long().clamp(max=length[:, None] - 1)
    above = (below + 1).clamp(max=length[:, None] - 1)
    share = (place - below).to(x.dtype)[:, None, :, None]
    items = torch.arange(n, device=x.device)[:, None]
    rows = x.transpose(1, 2)  # (n, h, c, w)
    low, high = (rows[items, start[:, None] + at].transpose(1, 2) for at in (below, above))
    return low + share * (high - low)


def _central(h: int, w: int) -> tuple[int, int]:
    """(height, width) of the largest box whose aspect ratio is within bounds."""
    least, most = ASPECTS
    if w / h < least:
        return round(w / least), w
    if w / h > most:
        return h, round(h * most)
    return h, w
