"""The plain augmentation of images: a random crop of the padded image, and a flip where flips make sense.

The usual recipe for CIFAR-10 (padding of 4 around 32 pixels), here by an eighth of each side. Unlike an
operation of `condense.augment.dsa`, both happen to every image, each with a draw of its own.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

PADDING = 8
"""A side over its padding."""
FLIP = 0.5
"""Probability of a flip."""


def augment(
    x: Float[Tensor, "n c h w"], generator: torch.Generator, *, flip: bool
) -> Float[Tensor, "n c h w"]:
    """Shifts each image by whole pixels, up to an eighth of each side, and mirrors it or not.

    Args:
        x: The images; what enters from outside is 0 in their space.
        generator: A CPU generator.
        flip: Whether images are mirrored, left to right, with probability 1/2.
    """
    n, _, h, w = x.shape
    rows, columns = h // PADDING, w // PADDING
    down = torch.randint(2 * rows + 1, (n,), generator=generator).to(x.device)
    right = torch.randint(2 * columns + 1, (n,), generator=generator).to(x.device)
    # windows: (n, c, 2 rows + 1, 2 columns + 1, h, w), every crop there is, as a view of the padded images
    windows = pad(x, (columns, columns, rows, rows)).unfold(2, h, 1).unfold(3, w, 1)
    cropped = windows[torch.arange(n, device=x.device), :, down, right]
    if not flip:
        return cropped
    coins = (torch.rand(n, generator=generator) < FLIP).to(x.device)
    return torch.where(coins[:, None, None, None], cropped.flip(-1), cropped)
