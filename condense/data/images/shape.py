"""Brings images into the shape of another dataset's, so that one network can see both."""

from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from condense.data.images.pixels import statistics
from condense.data.images.resize import resized
from condense.data.images.spec import ImageDataset, Images
from condense.errors import Refused

LUMA = (19595, 38470, 7471)
"""Weights of red, green and blue in grey, in parts of 65536: those of ITU-R 601, as Pillow rounds them."""


def in_shape(dataset: ImageDataset, shape: tuple[int, int, int]) -> ImageDataset:
    """Returns a dataset whose images have another shape; itself if they have it already.

    Colours become grey by `LUMA`, and grey becomes three equal channels. The images are resized as
    `condense.data.images.resize.resized` does it. The name stays; hashes, mean and standard deviation are
    those of the changed images, and a note says what was done.

    Args:
        dataset: The dataset.
        shape: Channels, height and width.

    Raises:
        Refused: If the numbers of channels differ and are not 1 and 3.
    """
    spec = dataset.spec
    if spec.shape == shape:
        return dataset
    if shape[0] != spec.channels and {shape[0], spec.channels} != {1, 3}:
        raise Refused(
            f"{spec.name} has images of {spec.channels} channels: no rule makes them images of {shape[0]}"
        )
    train, test = (_changed(split, shape) for split in (dataset.train, dataset.test))
    mean, std = statistics(train.images)
    notes = [f"the images of {_said(spec.shape)} were brought to {_said(shape)}"]
    if spec.channels != shape[0]:
        how = "grey is their luma by ITU-R 601" if shape[0] == 1 else "grey became three equal channels"
        notes.append(how)
    if spec.shape[1:] != shape[1:]:
        notes.append("resized bilinearly with antialiasing")
    changed = replace(spec, shape=shape, mean=mean, std=std, notes=(*spec.notes, ", ".join(notes)))
    return ImageDataset(changed, train, test)


def _changed(images: Images, shape: tuple[int, int, int]) -> Images:
    pixels = images.images
    if shape[0] < pixels.shape[1]:
        pixels = grey(pixels)
    pixels = resized(pixels, *shape[1:]).expand(-1, shape[0], -1, -1)
    return Images.of(pixels, images.labels, images.num_classes)


def grey(pixels: UInt8[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n 1 h w"]:
    """Returns the luma of colours by ITU-R 601, in whole numbers, as Pillow computes it."""
    weights = torch.tensor(LUMA, dtype=torch.int64).view(1, 3, 1, 1)
    made = torch.empty(len(pixels), 1, *pixels.shape[2:], dtype=torch.uint8)
    for start in range(0, len(pixels), 256):
        total = (pixels[start : start + 256].long() * weights).sum(1, keepdim=True)
        made[start : start + 256] = ((total + 0x8000) >> 16).to(torch.uint8)
    return made


def _said(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
