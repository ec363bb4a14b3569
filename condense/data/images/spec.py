"""Datasets of images: two splits, each in one tensor, with their specification."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from condense.augment.dsa import has_flip
from condense.data.base import Dataset, DatasetSpec, Samples
from condense.data.images.augmentation import NOTE, marked, on_strategy, require_strategy
from condense.data.images.pixels import (
    SPACES,
    PixelSpace,
    affine,
    extremes,
    fitted_relative_zca,
    fitted_zca,
    statistics,
)
from condense.errors import unknown
from condense.files import hash_tensors

CHUNK = 256
"""Images that are mapped into a pixel space at a time; they fit into a processor's cache."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec(DatasetSpec):
    """Specification of an image dataset; the name of a resized one ends in its size, ``digits@32``.

    Attributes:
        shape: Channels, height and width of one image.
        mean: Mean of each channel over the training images, for pixels in [0, 1].
        std: Population standard deviation of each channel, for pixels in [0, 1].
        dsa: Strategy of differentiable augmentation: operations joined by ``_``.
        dsa_in_keys: Whether the strategy is a part of keys: the user chose it, or it does not follow from the
            number of channels, as it did before keys could hold it.
    """

    kind: str = "images"
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dsa: str
    dsa_in_keys: bool = False
    protocol: str = "hard-v1"

    @property
    def channels(self) -> int:
        return self.shape[0]

    @property
    def height(self) -> int:
        return self.shape[1]

    @property
    def width(self) -> int:
        return self.shape[2]

    @property
    def flips(self) -> bool:
        """Whether a mirror image belongs to the same class; for digits it does not."""
        return has_flip(self.dsa)

    @property
    def augmentation(self) -> str:
        """The strategy ``dsa``."""
        return self.dsa

    @property
    def given(self) -> dict[str, object]:
        """The augmentation, if it is a part of keys."""
        return {"augment": self.dsa} if self.dsa_in_keys else {}

    def extremes(self, device: torch.device) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
        """Returns the values of black and white in normalised pixels, for each channel."""
        return extremes(self.mean, self.std, device)


@dataclass(frozen=True, eq=False)
class Images(Samples):
    """Labelled images. The hash covers the uint8 images; it stays the same in a pixel space.

    Attributes:
        images: The images, as uint8 when loaded and as float32 in a pixel space.
    """

    images: UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"]
    labels: Int64[Tensor, " n"]
    hash: str
    num_classes: int

    @classmethod
    def of(cls, images: UInt8[Tensor, "n c h w"], labels: Int64[Tensor, " n"], num_classes: int) -> "Images":
        """Joins all parts after computing the hash of the uint8 images."""
        images, labels = images.contiguous(), labels.contiguous()
        return cls(images, labels, hash_tensors({"images": images, "labels": labels}), num_classes)

    def to(self, device: torch.device | str) -> "Images":
        """Returns the same images on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def select(self, positions: Int64[Tensor, " m"]) -> "Images":
        """Returns some of the uint8 images, with a hash of their own."""
        positions = positions.to(self.labels.device)
        return Images.of(self.images[positions], self.labels[positions], self.num_classes)

    def only(self, labels: Sequence[int]) -> "Images":
        """Returns the uint8 images of some classes: see `Samples.only`."""
        positions, numbers = self._chosen(labels)
        return Images.of(self.images[positions], numbers, len(labels))

    def in_space(self, space: PixelSpace) -> "Images":
        """Maps the uint8 images into a pixel space, as float32 on the same device.

        Raises:
            ValueError: If the images are in a pixel space already.
        """
        if self.images.dtype != torch.uint8:
            raise ValueError(f"these images are {self.images.dtype}, so they are in a pixel space already")
        space = space.to(self.images.device)
        images = torch.empty(self.images.shape, dtype=torch.float32, device=self.images.device)
        for start in range(0, len(images), CHUNK):
            images[start : start + CHUNK] = space.encode(self.images[start : start + CHUNK])
        return replace(self, images=images)

    def draw(
        self, per_class: int, generator: torch.Generator, classes: Sequence[int] | None = None
    ) -> Float[Tensor, "k b c h w"] | UInt8[Tensor, "k b c h w"]:
        """Draws a batch from each of k classes without replacement.

        If a class has fewer than b images, its images are shuffled and this order is repeated.

        Args:
            per_class: Number b of images of each class.
            generator: A CPU generator.
            classes: Class ids in the order of the batches; by default all.

        Raises:
            ValueError: If a class has no images.
        """
        labels = range(self.num_classes) if classes is None else classes
        positions = [self._drawn(label, per_class, generator) for label in labels]
        index = torch.cat(positions).to(self.images.device, non_blocking=True)
        batch = self.images.index_select(0, index)
        return batch.view(len(positions), per_class, *self.images.shape[1:])

    def draw_counts(self, counts: Sequence[int], generator: torch.Generator) -> Float[Tensor, "n c h w"]:
        """Draws as many images of each class as its count, class after class: see `draw`."""
        drawn = [self.draw(count, generator, [label])[0] for label, count in enumerate(counts)]
        return torch.cat(drawn)

    def _drawn(self, label: int, count: int, generator: torch.Generator) -> Int64[Tensor, " b"]:
        """Draws positions of a class's images."""
        members = self._positions[label]
        if not len(members):
            raise ValueError(f"class {label} has no images in this split")
        order = torch.randperm(len(members), generator=generator)
        if count > len(members):
            order = order.repeat(-(-count // len(members)))
        return members[order[:count]]


@dataclass(frozen=True, eq=False)
class ImageDataset(Dataset):
    """An image dataset."""

    spec: ImageSpec
    train: Images
    test: Images

    def augmented(self, strategy: str) -> "ImageDataset":
        """Returns the images with an augmentation that the user chose: see `Dataset.augmented`."""
        require_strategy(strategy)
        notes = (*(note for note in self.spec.notes if not note.startswith(NOTE)), on_strategy(strategy))
        chosen = replace(self.spec, name=marked(self.spec.name, strategy), dsa=strategy, notes=notes)
        return replace(self, spec=replace(chosen, named=False, dsa_in_keys=True))

    def only(self, labels: Sequence[int]) -> "ImageDataset":
        """Returns some classes: see `Dataset.only`. The mean and the standard deviation are computed anew."""
        train = self.train.only(labels)
        mean, std = statistics(train.images)
        classes = tuple(self.spec.classes[label] for label in labels)
        spec = replace(self.spec, classes=classes, mean=mean, std=std)
        return ImageDataset(spec, train, self.test.only(labels))

    @cached_property
    def _zca(self) -> PixelSpace:
        return fitted_zca(self.train.images, self.train.hash)

    @cached_property
    def _relative_zca(self) -> PixelSpace:
        return fitted_relative_zca(self.train.images, self.train.hash, self.spec.mean, self.spec.std)

    def space(self, name: str) -> PixelSpace:
        """Returns a pixel space of this dataset.

        Args:
            name: ``raw`` (pixels in [0, 1]), ``normalized`` (by the mean and standard deviation), ``zca`` or
                ``zca-relative`` (whitened; fitted on the training images once and then stored in the home
                folder).

        Raises:
            Refused: If there is no such space, or the images are too large to be whitened.
        """
        if name in ("raw", "normalized"):
            return affine(name, self.spec.mean, self.spec.std)
        if name == "zca":
            return self._zca
        if name == "zca-relative":
            return self._relative_zca
        raise unknown("pixel space", name, SPACES)
