"""What a foreign file holds before it is checked, and how its labels are told apart."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from condense.errors import Refused

ROWS = "rows"
"""In place of a file of labels: the images are in the order of the classes, equally many of each."""
LABELS_ARE = ("probabilities", "logits", "vectors")
"""What labels with a number for each class may be."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the user says about a foreign file.

    Attributes:
        labels: The file of the labels, where the images have a file of their own; ``rows`` stands for images
            in the order of the classes.
        labels_are: What labels with a number for each class are, one of `LABELS_ARE`; None measures it.
        experiment: Number of the experiment in a file with several; None takes the last.
        tile: Height and width in pixels of the images of a grid; None takes those of the dataset.
        padding: Pixels between the images of a grid.
    """

    labels: str | None = None
    labels_are: str | None = None
    experiment: int | None = None
    tile: int | None = None
    padding: int = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The content of a foreign file.

    Attributes:
        images: The images, as uint8 or as floating point, with the channels in front.
        labels: Class ids (n,), or a number for each class (n, k).
        files: All files that were read.
        labels_are: What labels with a number for each class are in such files; None if that is not known.
        space: The pixel space that such files are known to be in.
        lr: A learned learning rate.
        details: What the file was read with besides its kind: it enters the set's key.
        notes: What the reader chose, one sentence each.
    """

    images: Shaped[Tensor, "n c h w"]
    labels: Shaped[Tensor, "*labels"]
    files: Sequence[Path]
    labels_are: str | None = None
    space: str | None = None
    lr: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def as_tensor(value: Any, what: str) -> Tensor:
    """Returns an array or a tensor of numbers as a tensor; refuses anything else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise Refused(f"{what} are an array of {value.dtype}, not of numbers")
        value = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))))
    if not isinstance(value, Tensor):
        raise Refused(f"{what} are {type(value).__name__}, not a tensor")
    return value.detach()


def channels_first(images: Tensor, what: str) -> Shaped[Tensor, "n c h w"]:
    """Returns images with their channels in front; refuses what has not the form of images.

    Images (n, h, w, c) and (n, h, w) are turned; the channels are 1 or 3.
    """
    if images.ndim == 3:
        images = images[:, None]
    if images.ndim != 4 or 0 in images.shape:
        raise Refused(f"{what} have the shape {tuple(images.shape)}, which is not that of images")
    if images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    if images.dtype != torch.uint8:
        if not images.is_floating_point():
            raise Refused(f"{what} are {images.dtype}; images are uint8 or floating point")
        images = images.to(torch.float32)
    return images.contiguous()


def in_rows(n: int, k: int, what: str) -> Tensor:
    """Returns the class ids of n images in the order of k classes; refuses numbers that do not divide."""
    if n % k:
        raise Refused(f"{what}: {n} images are not equally many of {k} classes")
    return torch.arange(k).repeat_interleave(n // k)
