"""Augmentations by the names that protocols use."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from condense.augment import crop, dsa, legacy, resized
from condense.errors import unknown

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""From images (n, c, h, w) and a CPU generator to images (n, c, h, w)."""

FORMS = (
    "dsa", "dsa:color_crop", "dsa-flip-first", "crop-flip", "resized-flip", "none",
    "dc:crop_scale_rotate",
)  # fmt: skip
"""What names look like."""


def named_augmentation(augment: str, spec_strategy: str) -> Augmentation:
    """The augmentation that a protocol names.

    Args:
        augment: ``dsa`` (the dataset's strategy), ``dsa:color_crop`` (a strategy of its own),
            ``dsa-flip-first`` (the dataset's, with the flip ahead of its lottery), ``crop-flip`` (see
            `condense.augment.crop`; it flips where the dataset's strategy does), ``resized-flip`` (see
            `condense.augment.resized`; flips alike), ``none``, or ``dc:crop_scale_rotate`` (the legacy
            augmentation with its operations).
        spec_strategy: The dataset's strategy: what ``dsa`` stands for.

    Raises:
        Refused: if the name or one of its operations is unknown.
    """
    family, colon, operations = augment.partition(":")
    if augment == "none":
        return _identity
    if augment == "dsa-flip-first":
        return partial(_dsa, strategy=dsa.flip_first(spec_strategy))
    if augment == "crop-flip":
        return partial(_crop, flip=dsa.has_flip(spec_strategy))
    if augment == "resized-flip":
        return partial(_resized, flip=dsa.has_flip(spec_strategy))
    if family == "dsa":
        strategy = operations if colon else spec_strategy
        dsa.parse(strategy)
        return partial(_dsa, strategy=strategy)
    if family == "dc" and colon:
        legacy.parse_legacy(operations)
        return partial(_dc, operations=operations)
    raise unknown("augmentation", augment, FORMS)


def _identity(x: Tensor, generator: torch.Generator) -> Tensor:
    return x


def _dsa(x: Tensor, generator: torch.Generator, *, strategy: str) -> Tensor:
    return dsa.augment(x, strategy, generator)


def _crop(x: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    return crop.random_crop(x, generator, flip=flip)


def _resized(x: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    return resized.random_resized_crop(x, generator, flip=flip)


def _dc(x: Tensor, generator: torch.Generator, *, operations: str) -> Tensor:
    return legacy.augment_legacy(x, operations, generator)
