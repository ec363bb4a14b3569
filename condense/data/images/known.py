"""Image datasets with a name: their classes, image shapes and published statistics.

Means and standard deviations are rounded as in the code that the field shares (VICO-UoE/DatasetCondensation,
``utils.py``), so that normalised pixels equal those of published work. Tiny-ImageNet and the subsets of
ImageNet use ImageNet's statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FULL = "color_crop_cutout_flip_scale_rotate"
"""Strategy of differentiable augmentation with all operations."""
NO_FLIP = "color_crop_cutout_scale_rotate"
"""The same without flips, for classes that a mirror image does not belong to."""

Channels = tuple[float, ...]
"""One number for each channel."""


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """Expected properties of an image dataset.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        shape: Channels, height and width of an image.
        mean: Published mean of each channel; None if it is computed from the training images.
        std: Published standard deviation of each channel; None if it is computed as well.
        dsa: Strategy of differentiable augmentation.
        torchvision: Name of the torchvision class that downloads the dataset; None if there is none.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: Channels | None = None
    std: Channels | None = None
    dsa: str = FULL
    torchvision: str | None = None


DIGITS = tuple("0123456789")

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

_CLASSES = {
    line.split()[0]: tuple(line.split()[1:])
    for line in Path(__file__).with_name("classes.txt").read_text().splitlines()
    if not line.startswith("#")
}

TINY_IMAGENET = _CLASSES["tiny-imagenet"]
"""WordNet ids of Tiny-ImageNet's 200 classes, sorted."""

SUBSETS: Mapping[str, tuple[str, ...]] = {
    name: ids for name, ids in _CLASSES.items() if name.startswith("image")
}
"""WordNet ids of the ImageNet subsets of GeorgeCazenavette/mtt-distillation, in the order of the labels."""


def imagenet(classes: tuple[str, ...], side: int = 128) -> KnownImages:
    """Returns the expected properties of a subset of ImageNet."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return KnownImages(classes=classes, shape=(3, side, side), mean=mean, std=std)


def _rgb(classes: tuple[str, ...], mean: Channels, std: Channels, name: str, dsa: str = FULL) -> KnownImages:
    """Returns the expected properties of a dataset of 32 x 32 RGB images from torchvision."""
    return KnownImages(classes=classes, shape=(3, 32, 32), mean=mean, std=std, dsa=dsa, torchvision=name)


KNOWN: Mapping[str, KnownImages] = {
    "digits": KnownImages(classes=DIGITS, shape=(1, 8, 8), dsa=NO_FLIP),
    "mnist": KnownImages(
        classes=DIGITS, shape=(1, 28, 28), mean=(0.1307,), std=(0.3081,), dsa=NO_FLIP, torchvision="MNIST"
    ),
    "fashion-mnist": KnownImages(
        classes=FASHION, shape=(1, 28, 28), mean=(0.2861,), std=(0.3530,), torchvision="FashionMNIST"
    ),
    "svhn": _rgb(DIGITS, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), "SVHN", dsa=NO_FLIP),
    "cifar10": _rgb(_CLASSES["cifar10"], (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "CIFAR10"),
    "cifar100": _rgb(_CLASSES["cifar100"], (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), "CIFAR100"),
    "tiny-imagenet": imagenet(TINY_IMAGENET, side=64),
    **{name: imagenet(ids) for name, ids in SUBSETS.items()},
}

HASHES: Mapping[str, tuple[str, str]] = {
    "mnist": (
        "b8eb97f960a619f3e836902622f7a5039618fafebd5b44c0eceffdd4bd4dd38c",
        "80520aab925e9da651716e0e30682f50d633c115747f6fd272f4aaf374dd1ae0",
    ),
    "fashion-mnist": (
        "b317137254a8cfaa834f3daac6be91320519514882a582590de3bb41eb73c75e",
        "0ef05ec9ac4baef3a9989f031e5a65792bff0e163c1468b22bc6cca85b541a6f",
    ),
    "cifar10": (
        "a28d45c8de96d9d461f0627c5fc0869e4fcb37a9cfd87dc75d8eacfbaa0e5771",
        "f20dc99e1a43693c88227f9e5c45e3de8dab931f4b6e8ea7134bdc73e4d437cd",
    ),
}
"""Hashes of the training and test split of the datasets behind the committed records.

The arrays of MNIST and Fashion-MNIST are, byte for byte, those of the files that torchvision reads (the MD5
sums of the unpacked files agree). Those of CIFAR-10 have its first labels and its means of channels; their
bytes were not compared.
"""

COUNTS: Mapping[str, tuple[int, int]] = {
    "svhn": (73257, 26032),
    "cifar100": (50000, 10000),
    "tiny-imagenet": (100000, 10000),
}
"""Numbers of training and test images of datasets whose hashes are not known."""

IMAGE_NAMES: tuple[str, ...] = tuple(KNOWN)
"""Names of the image datasets that `condense.data.load_images` knows."""
