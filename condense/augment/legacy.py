"""The augmentation of DC (gradient matching), which only DC's published protocol uses.

Zhao, Mopuri and Bilen, "Dataset Condensation with Gradient Matching" (ICLR 2021,
https://arxiv.org/abs/2006.05929); https://github.com/VICO-UoE/DatasetCondensation, ``utils.py``,
``augment``. Each image gets one operation, in a loop on the CPU (SciPy rotates), without gradients; other
protocols use `condense.augment.dsa`. The peculiarities of the authors' code are kept:

- crop: the offset in the image, which is padded by 4, is 0 to 7 and never 8, so the shifts are not symmetric;
- crop fills with the batch's mean of each channel, rotate with the mean of these means, scale with 0;
- scale: height and width have separate factors; the result is centred, and interpolated by nearest neighbour;
- rotate: by a whole number of degrees from -45 to 44 with cubic splines; the result is cropped at a whole
  pixel, which may move the centre by half a pixel.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.ndimage import rotate  # type: ignore[attr-defined]
from torch import Tensor

from condense.errors import unknown

PAD = 4
"""Padding of a crop in pixels."""
SCALE = 0.2
"""Largest relative change of a side."""
ROTATE_DEGREES = 45
"""Largest angle in degrees."""
NOISE = 0.001
"""Standard deviation of the noise."""


@dataclass(frozen=True)
class _Batch:
    """The mean (c, 1, 1) of each channel over the batch, and the generator."""

    mean: Tensor
    generator: torch.Generator

    def integer(self, low: int, high: int) -> int:
        """Draws a uniform whole number from ``low`` to ``high - 1``."""
        return int(torch.randint(low, high, (), generator=self.generator))


def _crop(image: Float[Tensor, "c h w"], batch: _Batch) -> Float[Tensor, "c h w"]:
    c, h, w = image.shape
    padded = batch.mean.repeat(1, h + 2 * PAD, w + 2 * PAD)
    padded[:, PAD : PAD + h, PAD : PAD + w] = image
    row, column = batch.integer(0, 2 * PAD), batch.integer(0, 2 * PAD)
    return padded[:, row : row + h, column : column + w]


def _scale(image: Float[Tensor, "c h w"], batch: _Batch) -> Float[Tensor, "c h w"]:
    c, h, w = image.shape
    factors = 1 - SCALE + 2 * SCALE * torch.rand(2, generator=batch.generator, dtype=torch.float64)
    new_h, new_w = int(factors[0] * h), int(factors[1] * w)
    side = max(new_h, new_w, h, w)
    canvas = image.new_zeros(c, side, side)
    row, column = (side - new_h) // 2, (side - new_w) // 2
    canvas[:, row : row + new_h, column : column + new_w] = F.interpolate(image[None], (new_h, new_w))[0]
    row, column = (side - h) // 2, (side - w) // 2
    return canvas[:, row : row + h, column : column + w]


def _rotate(image: Float[Tensor, "c h w"], batch: _Batch) -> Float[Tensor, "c h w"]:
    c, h, w = image.shape
    angle = batch.integer(-ROTATE_DEGREES, ROTATE_DEGREES)
    fill = float(batch.mean.mean())
    turned = torch.from_numpy(rotate(image.numpy(), angle, axes=(-2, -1), order=3, cval=fill))
    # A side of a rotated image that is not square may be too short; it is padded.
    lack_h, lack_w = max(h - turned.shape[1], 0), max(w - turned.shape[2], 0)
    ends = (lack_w // 2, lack_w - lack_w // 2, lack_h // 2, lack_h - lack_h // 2)
    turned = F.pad(turned, ends, value=fill)
    row, column = (turned.shape[1] - h) // 2, (turned.shape[2] - w) // 2
    return turned[:, row : row + h, column : column + w]


def _noise(image: Float[Tensor, "c h w"], batch: _Batch) -> Float[Tensor, "c h w"]:
    return image + NOISE * torch.randn(image.shape, generator=batch.generator, dtype=image.dtype)


LEGACY_OPS: Mapping[str, Callable[[Tensor, _Batch], Tensor]] = {
    "crop": _crop, "scale": _scale, "rotate": _rotate, "noise": _noise,
}  # fmt: skip


def parse_legacy(operations: str) -> tuple[str, ...]:
    """Splits a string of operation names, joined by ``_``; ``""`` and ``"none"`` have no operations.

    Raises:
        Refused: If an operation is unknown.
    """
    names = () if operations in ("", "none") else tuple(operations.split("_"))
    for name in names:
        if name not in LEGACY_OPS:
            raise unknown("augmentation of dc", name, LEGACY_OPS)
    return names


@torch.no_grad()
def augment_legacy(
    x: Float[Tensor, "n c h w"], operations: str, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Applies to each image one operation, which is drawn uniformly.

    Args:
        x: The images.
        operations: Names for `parse_legacy`; without an operation, ``x`` is returned and nothing is drawn.
        generator: A CPU generator.

    Raises:
        Refused: If an operation is unknown.
    """
    names = parse_legacy(operations)
    if not names:
        return x
    images = x.cpu()
    batch = _Batch(images.mean(dim=(0, 2, 3))[:, None, None], generator)
    choices = torch.randint(len(names), (len(x),), generator=generator).tolist()
    done = [LEGACY_OPS[names[choice]](image, batch) for choice, image in zip(choices, images, strict=True)]
    return torch.stack(done).to(x.device)
