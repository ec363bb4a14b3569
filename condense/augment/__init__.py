"""Augmentations, as pure functions of images and a generator."""

from condense.augment.named import Augmentation, named_augmentation

__all__ = ["Augmentation", "named_augmentation"]
