"""Resamples boxes of images bilinearly, with one matrix for the rows and one for the columns.

The result equals ``torch.nn.functional.interpolate(box, antialias=True)`` without aligned corners: an
enlarged box is interpolated linearly between the centres of its pixels, and a reduced box is averaged over
triangles whose width grows with the reduction.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def resampled(
    x: Float[Tensor, "n c h w"], boxes: Int64[Tensor, "n 4"], size: tuple[int, int]
) -> Float[Tensor, "n c height width"]:
    """Resamples a box of each image to a size; differentiable.

    Args:
        x: The images.
        boxes: (top, left, height, width) of each box in pixels, inside its image and on the same device.
        size: (height, width) of the result in pixels.
    """
    top, left, height, width = boxes.T
    rows = taps(top, height, x.shape[-2], size[0]).to(x.dtype)
    return mapped(x, rows, taps(left, width, x.shape[-1], size[1]).to(x.dtype))


def mapped(
    x: Float[Tensor, "p ... h w"], rows: Float[Tensor, "p r h"], columns: Float[Tensor, "p s w"]
) -> Float[Tensor, "p ... r s"]:
    """Applies matrices R and C to the rows and the columns of every channel X: R X C^T."""
    return torch.einsum("p...hw,prh,psw->p...rs", x, rows, columns)


def taps(
    start: Int64[Tensor, " n"],
    length: Int64[Tensor, " n"],
    side: int,
    out: int,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "n out side"]:
    """Returns the matrices that resample an interval of a side.

    Output pixel i lies at (i + 1/2) s - 1/2 in the interval, where s = length / out, clamped to the centres
    of the first and the last pixel. An input pixel at distance d from there has the weight
    max(0, 1 - d / max(s, 1)). If s > 1, the weights are divided by their sum; otherwise they sum to 1.

    Args:
        start: First pixel of each interval.
        length: Number of pixels of each interval.
        side: Number of pixels of the side.
        out: Number of output pixels.
        dtype: Data type of the result and of the arithmetic.
    """
    pixels, first, extent = torch.arange(side, device=start.device), start[:, None], length[:, None]
    scale = extent.to(dtype) / out
    within = (torch.arange(out, device=start.device).to(dtype) + 0.5) * scale - 0.5
    place = first.to(dtype) + torch.minimum(within.clamp_min(0), extent.to(dtype) - 1)
    distance = (pixels.to(dtype) - place[..., None]).abs() / scale.clamp_min(1)[..., None]
    inside = (pixels >= first) & (pixels < first + extent)
    weights = (1 - distance).clamp_min(0) * inside[:, None]
    return weights / torch.where(scale[..., None] > 1, weights.sum(2, keepdim=True), 1)
