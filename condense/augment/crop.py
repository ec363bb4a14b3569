"""The plain augmentation of images: a random crop of the padded image, and a flip where flips make sense.

The usual recipe for CIFAR-10 (padding of 4 around 32 pixels), here by an eighth of each side. Unlike an
operation of `condense.augment.dsa`, both happen to every image, each with a draw of its own.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn.functional import pad

PADDING = 8
"""A side over its padding."""
FLIP = 0.5
"""Probability of a flip."""


def random_crop(
    x: Float[Tensor, "n c h w"], generator: torch.Generator, *, flip: bool
) -> Float[Tensor, "n c h w"]:
    """Shifts each image by whole pixels, up to an eighth of each side, and mirrors it or not.

    Args:
        x: The images; what enters from outside is 0 in their space.
        generator: A CPU generator.
        flip: Whether images are mirrored, left to right, with probability 1/2.
    """
    down, right, flips = draw_crops(len(x), (x.shape[-2], x.shape[-1]), generator, flip=flip)
    rows, columns = (side // PADDING for side in x.shape[-2:])
    cropped = shifted(x, down.to(x.device), right.to(x.device), rows, columns)
    return cropped if flips is None else flipped(cropped, flips.to(x.device))


def draw_crops(
    n: int, size: tuple[int, int], generator: torch.Generator, *, flip: bool
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"], Bool[Tensor, " n"] | None]:
    """Draws how far each image is shifted, and whether it is mirrored.

    Args:
        n: Images.
        size: Their (h, w) in pixels.
        generator: A CPU generator.
        flip: Whether there are mirror images; else nothing is drawn for them.

    Returns:
        On the CPU: the row and the column of the padded image where its crop starts, and which are mirrored.
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
    """A crop of each image, which is padded with zeros first.

    Args:
        x: The images.
        down: The first row of each crop in the padded image, on the device of the images.
        right: Its first column, likewise.
        rows: Rows of padding above and below.
        columns: Columns of padding to the left and right.
    """
    h, w = x.shape[-2:]
    # windows: (n, c, 2 rows + 1, 2 columns + 1, h, w), every crop there is, as a view of the padded images
    windows = pad(x, (columns, columns, rows, rows)).unfold(2, h, 1).unfold(3, w, 1)
    return windows[torch.arange(len(x), device=x.device), :, down, right]


def flipped(x: Float[Tensor, "n c h w"], flips: Bool[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
    """The images, those that are marked mirrored left to right."""
    return torch.where(flips[:, None, None, None], x.flip(-1), x)
