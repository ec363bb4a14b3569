"""Variants of a dataset: deterministic changes of uint8 images that keep their classes.

A variant makes a domain of a federation out of plain images. All sums are sums of integers, so the results,
and with them the hashes, are the same on every machine.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import pad

from condense.errors import unknown

Pixels = UInt8[Tensor, "_ _ _ _"]
"""Images: n, c, h and w. A variant may change c."""

TINTS = ((255, 64, 0), (0, 192, 64), (64, 96, 255), (255, 224, 0))
"""The colours of `coloured`, red, green and blue: image i of a split gets colour i mod 4."""


def plain(images: Pixels) -> Pixels:
    """Returns the images as they are."""
    return images


def inverted(images: Pixels) -> Pixels:
    """Turns black into white: 255 - x."""
    return 255 - images


def rotated(images: Pixels) -> Pixels:
    """Turns the images by 90 degrees, counter-clockwise."""
    return torch.rot90(images, 1, (2, 3)).contiguous()


def blurred(images: Pixels) -> Pixels:
    """Takes the mean over 3 x 3 pixels, rounded half up; pixels at the edge are repeated beyond it."""
    wide = pad(images.to(torch.float32), (1, 1, 1, 1), mode="replicate").to(torch.int32)
    height, width = images.shape[2:]
    places = [(top, left) for top in range(3) for left in range(3)]
    shifted = [wide[..., top : top + height, left : left + width] for top, left in places]
    total = torch.stack(shifted).sum(0)
    return ((2 * total + 9) // 18).to(torch.uint8)


def faded(images: Pixels) -> Pixels:
    """Halves the contrast around the middle grey: 64 + x / 2, rounded down."""
    return (64 + images.to(torch.int32) // 2).to(torch.uint8)


def coloured(images: Pixels) -> Pixels:
    """Colours the images one after the other with the four `TINTS`; grey images get three channels."""
    tints = torch.tensor(TINTS, dtype=torch.int32)[torch.arange(len(images)) % len(TINTS)]
    product = in_colour(images).to(torch.int32) * tints[..., None, None]
    return ((2 * product + 255) // 510).to(torch.uint8)


def in_colour(images: Pixels) -> Pixels:
    """Repeats the channel of grey images three times; images in colour stay as they are."""
    return images.expand(-1, 3, -1, -1).contiguous() if images.shape[1] == 1 else images


VARIANTS: Mapping[str, Callable[[Pixels], Pixels]] = {
    one.__name__: one for one in (plain, inverted, rotated, blurred, coloured, faded)
}
"""The variants by name. The first five are those that are taken unless some are named."""

USUAL = tuple(VARIANTS)[:5]
"""The variants of a federation that names none."""


def require_variants(names: tuple[str, ...]) -> None:
    """Refuses the name of a variant that does not exist."""
    for name in names:
        if name not in VARIANTS:
            raise unknown("variant", name, VARIANTS)
