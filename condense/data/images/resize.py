"""Resizes and crops uint8 images with exactly the same result on every machine."""

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from condense.errors import Refused

MIN_SIZE = 4
MAX_SIZE = 8192
"""Bounds of the side that images are resized to, in pixels."""


def require_size(size: int | None) -> None:
    """Refuses a size below `MIN_SIZE`, which is too small for every network, and one above `MAX_SIZE`."""
    if size is not None and size < MIN_SIZE:
        reason = f"the size {size} is too small: images must be at least {MIN_SIZE} x {MIN_SIZE} pixels"
        raise Refused(reason, setting="size", value=size)
    if size is not None and size > MAX_SIZE:
        reason = f"the size {size} is too large: images can have at most {MAX_SIZE} x {MAX_SIZE} pixels"
        raise Refused(reason, setting="size", value=size)


def resized(images: UInt8[Tensor, "n c h w"], height: int, width: int) -> UInt8[Tensor, "n c height width"]:
    """Resizes images bilinearly with antialiasing.

    A data hash covers the result, so it must not depend on the processor as the results of uint8 and float32
    kernels do. The sums are therefore taken in float64 and rounded half up with a margin far above their
    error.
    """
    if tuple(images.shape[2:]) == (height, width):
        return images
    result = torch.empty(*images.shape[:2], height, width, dtype=torch.uint8)
    for start in range(0, len(images), 256):
        chunk = images[start : start + 256].to(torch.float64)
        fine = interpolate(chunk, (height, width), mode="bilinear", align_corners=False, antialias=True)
        result[start : start + 256] = fine.add_(0.5 + 1e-6).floor_().clamp_(0, 255).to(torch.uint8)
    return result


def centred(image: UInt8[Tensor, "c h w"], size: int) -> UInt8[Tensor, "c size size"]:
    """Resizes an image's shorter side to ``size`` and crops its centre, as usual for ImageNet's subsets."""
    height, width = image.shape[1:]
    shorter = min(height, width)
    tall, wide = size * height // shorter, size * width // shorter
    top, left = round((tall - size) / 2), round((wide - size) / 2)
    return resized(image[None], tall, wide)[0, :, top : top + size, left : left + size]
