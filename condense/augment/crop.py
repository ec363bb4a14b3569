"""The usual augmentation for CIFAR-10: a random crop of the padded image, and a horizontal flip.

The padding is an eighth of each side, 4 pixels for 32. Every image gets a crop and, if flips are allowed, a
flip with probability 1/2, whereas `condense.augment.dsa` applies one operation.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import pad

PADDING = 8
"""Ratio of a side to its padding."""
FLIP = 0.5
"""Probability of a flip."""


def random_crop(
    x: Float[Tensor, "n c h w"], generator: torch.Generator, *, flip: bool
) -> Float[Tensor, "n c h w"]:
    """Shifts each image by up to an eighth of each side and, if ``flip``, mirrors it with probability 1/2.

    Pixels from outside an image are 0. The generator must be on the CPU.
    """
    down, right, flips = draw_crops(len(x), (x.shape[-2], x.shape[-1]), generator, flip=flip)
    rows, columns = (side // PADDING for side in x.shape[-2:])
    cropped = shifted(x, down.to(x.device), right.to(x.device), rows, columns)
    return cropped if flips is None else flipped(cropped, flips.to(x.device))


def draw_crops(
    n: int, size: tuple[int, int], generator: torch.Generator, *, flip: bool
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"], Bool[Tensor, " n"] | None]:
    """Draws the shift of each of n images of (h, w) pixels and, if ``flip``, whether it is flipped.

    Returns:
        First row and first column of each crop in the padded image, and whether it is flipped, on the CPU.
    """
    down, right = (torch.randint(2 * (side // PADDING) + 1, (n,), generator=generator) for side in size)
    return down, right, torch.rand(n, generator=generator) < FLIP if flip else None


def shifted(
    x: Float[Tensor, "n c h w"],
    down: Int64[Tensor, " n"],
    right: Int64[Tensor, " n"],
    rows: int,
    columns: int,
) -> Float[Tensor, "n c h w"]:
    """Pads images with rows and columns of zeros on each side and crops them to their size.

    In the padded image, a crop begins at row ``down`` and column ``right``. All tensors are on one device.
    """
    h, w = x.shape[-2:]
    # windows: (n, c, 2 rows + 1, 2 columns + 1, h, w), all possible crops as a view of the padded images
    windows = pad(x, (columns, columns, rows, rows)).unfold(2, h, 1).unfold(3, w, 1)
    return windows[torch.arange(len(x), device=x.device), :, down, right]


def flipped(x: Float[Tensor, "n c h w"], flips: Bool[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """Mirrors the marked images left to right."""
    return torch.where(flips[:, None, None, None], x.flip(-1), x)
