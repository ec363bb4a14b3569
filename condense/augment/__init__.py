"""Augmentations of images as pure functions of the images and a generator."""

from condense.augment.named import Augmentation, named_augmentation

__all__ = ["Augmentation", "named_augmentation"]
