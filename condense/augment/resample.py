"""Bilinear resampling of boxes of images, as one small matrix for the rows and one for the columns.

A box that is enlarged is sampled at the places of its new pixels, none of them before the centre of its
first pixel nor after that of its last: ``torch.nn.functional.interpolate`` without aligned corners. One that
shrinks is averaged over triangles that are as wide as the shrinking asks, which is its ``antialias=True``.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def resampled(
    x: Float[Tensor, "n c h w"], boxes: Int64[Tensor, "n 4"], size: tuple[int, int]
) -> Float[Tensor, "n c height width"]:
    """A box of each image in some size; differentiable in the images.

    Args:
        x: The images.
        boxes: (top, left, height, width) of each in pixels, inside it, on the device of the images.
        size: (height, width) of the result in pixels.
    """
    top, left, height, width = boxes.T
    rows = taps(top, height, x.shape[-2], size[0]).to(x.dtype)
    return mapped(x, rows, taps(left, width, x.shape[-1], size[1]).to(x.dtype))


def mapped(
    x: Float[Tensor, "p ... h w"], rows: Float[Tensor, "p r h"], columns: Float[Tensor, "p s w"]
) -> Float[Tensor, "p ... r s"]:
    """Each item with its rows and its columns mapped: R x C^T for every channel x."""
    return torch.einsum("p...hw,prh,psw->p...rs", x, rows, columns)


def taps(
    start: Int64[Tensor, " n"],
    length: Int64[Tensor, " n"],
    side: int,
    out: int,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "n out side"]:
    """The matrices that resample an interval of each side.

    Output pixel i stands at the place (i + 1/2) s - 1/2 of the interval, s = length / out, between the
    centres of its first and last pixel; a pixel of the interval that is d away from there has the weight
    max(0, 1 - d / max(s, 1)). The weights of an output pixel add up to 1; where s > 1 they are scaled to.

    Args:
        start: The first pixel of each interval.
        length: Its pixels.
        side: Pixels of the side.
        out: Pixels that come out.
        dtype: Of the result, and of the arithmetic.
    """
    pixels, first, extent = torch.arange(side, device=start.device), start[:, None], length[:, None]
    scale = extent.to(dtype) / out
    within = (torch.arange(out, device=start.device).to(dtype) + 0.5) * scale - 0.5
    place = first.to(dtype) + torch.minimum(within.clamp_min(0), extent.to(dtype) - 1)
    distance = (pixels.to(dtype) - place[..., None]).abs() / scale.clamp_min(1)[..., None]
    inside = (pixels >= first) & (pixels < first + extent)
    weights = (1 - distance).clamp_min(0) * inside[:, None]
    return weights / torch.where(scale[..., None] > 1, weights.sum(2, keepdim=True), 1)
