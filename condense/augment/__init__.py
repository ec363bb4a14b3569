"""Augmentations, as pure functions of images and a generator."""

from condense.augment.named import Augmentation, by_name

__all__ = ["Augmentation", "by_name"]
