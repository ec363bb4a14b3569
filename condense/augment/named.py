"""Looks up augmentations by the names that protocols use."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from condense.augment import crop, dsa, legacy, resized
from condense.errors import unknown

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
"""Maps images (n, c, h, w) and a CPU generator to images (n, c, h, w)."""

FORMS = (
    "dsa", "dsa:color_crop", "dsa-flip-first", "crop-flip", "resized-flip", "none",
    "dc:crop_scale_rotate",
)  # fmt: skip
"""Examples of all forms of names, for error messages."""


def named_augmentation(augment: str, spec_strategy: str) -> Augmentation:
    """Returns the augmentation of a name.

    - ``dsa``: `condense.augment.dsa` with the dataset's strategy.
    - ``dsa:color_crop``: the same with another strategy.
    - ``dsa-flip-first``: the same with the dataset's strategy after `condense.augment.dsa.with_flip_first`.
    - ``crop-flip``: `condense.augment.crop`, with flips if the dataset's strategy contains them.
    - ``resized-flip``: `condense.augment.resized`, with flips in the same case.
    - ``dc:crop_scale_rotate``: `condense.augment.legacy` with these operations.
    - ``none``: the identity.

    Args:
        augment: The name.
        spec_strategy: Strategy of the dataset, `condense.data.ImageSpec.dsa`.

    Raises:
        Refused: If the name or one of its operations is unknown.
    """
    family, colon, operations = augment.partition(":")
    if augment == "none":
        return lambda x, generator: x
    if augment == "dsa-flip-first":
        return _dsa(dsa.with_flip_first(spec_strategy))
    if augment == "crop-flip":
        return partial(crop.random_crop, flip=dsa.has_flip(spec_strategy))
    if augment == "resized-flip":
        return partial(resized.random_resized_crop, flip=dsa.has_flip(spec_strategy))
    if family == "dsa":
        return _dsa(operations if colon else spec_strategy)
    if family == "dc" and colon:
        legacy.parse_legacy(operations)
        return lambda x, generator: legacy.augment_legacy(x, operations, generator)
    raise unknown("augmentation", augment, FORMS)


def _dsa(strategy: str) -> Augmentation:
    dsa.parse(strategy)
    return lambda x, generator: dsa.augment(x, strategy, generator)
