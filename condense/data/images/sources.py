"""Where datasets come from: a name, an ``.npz`` file or a folder of pictures becomes a `ImageDataset`."""

import os
import re
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from condense.data.graphs.sources import GRAPH_NAMES
from condense.data.images import folders
from condense.data.images.arrays import RawImages, download, read_digits, read_npz
from condense.data.images.known import FULL, IMAGE_NAMES, KNOWN, NO_FLIP, SUBSETS, KnownImages, imagenet
from condense.data.images.resize import require_size, resized
from condense.data.images.spec import ImageDataset, Images, ImageSpec
from condense.errors import Refused, unknown
from condense.files import digest, home

__all__ = ["IMAGE_NAMES", "load_images"]

MAX_IDS_IN_NAME = 20
"""A name is a folder in the results, and file systems stop at 255 characters."""


def load_images(
    name_or_path: str,
    *,
    data_dir: Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
) -> ImageDataset:
    """Loads a dataset of images.

    - A name of `NAMES`. ``digits`` comes with scikit-learn (`condense.data.images.arrays.read_digits` tells its frozen
      split). Of the others ``NAME.npz`` in the data folder comes first; without it torchvision downloads its
      own, and Tiny-ImageNet and ImageNet's subsets are read from the folders ``tiny-imagenet-200`` and
      ``imagenet`` in the data folder. Every source gives the same description and the same hash.
    - ``imagenet:n01440764,n02102040``: the ImageNet subset of these WordNet ids, in this order.
    - A path to an ``.npz`` file with MedMNIST's keys. One whose name is a known dataset's *is* that dataset.
    - A path to a folder of pictures: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone, of which a
      stratified fifth becomes the test split, by a fixed seed.

    Args:
        name_or_path: What to load; ``NAME@32`` is the same as ``size=32``.
        data_dir: Where files of named datasets lie; ``$CONDENSE_DATA``, else ``data`` below the home folder.
        size: Side to resize all images to. The size becomes part of the name, and mean and standard deviation
            are computed anew.
        skip_unreadable: Whether to leave out the pictures of a folder that cannot be read, and to say so;
            what is left has its own hash.

    Raises:
        Refused: in one sentence, if there is no such dataset or it is not sound.
    """
    name, at = name_or_path, re.fullmatch(r"([^/]+)@(\d+)", name_or_path)
    if at and (at[1] in KNOWN or at[1].startswith("imagenet:")):
        if size not in (None, int(at[2])):
            raise Refused(f"{name_or_path} already names a size, so --size {size} contradicts it")
        name, size = at[1], int(at[2])
    require_size(size)
    folder = data_dir or Path(os.environ.get("CONDENSE_DATA") or home() / "data")
    path = Path(name_or_path)
    if name in KNOWN:
        return _named(name, KNOWN[name], folder, size, skip_unreadable)
    if name.startswith("imagenet:"):
        return _subset(name, folder, size, skip_unreadable)
    if path.suffix == ".npz":
        return _file(path, size)
    if path.is_dir():
        return _own(_free_name(path), folders.read_folder(path, size, skip_unreadable=skip_unreadable), size)
    if path.is_file():
        raise Refused(f"{path} is neither an .npz file nor a folder of pictures")
    if "/" in name_or_path or os.sep in name_or_path:
        raise Refused(f"there is no file or folder {path}")
    if name_or_path in GRAPH_NAMES:
        raise Refused(f"{name_or_path} holds graphs, and images are needed here")
    raise unknown("dataset", name_or_path, [*IMAGE_NAMES, *GRAPH_NAMES])


def _named(name: str, known: KnownImages, data_dir: Path, size: int | None, skip: bool) -> ImageDataset:
    """A known dataset from wherever it lies."""
    file = data_dir / f"{name}.npz"
    if name == "digits":
        held = read_digits()
    elif file.is_file():
        held = read_npz(file)
    elif known.torchvision:
        held = download(name, known, data_dir)
    elif name == "tiny-imagenet":
        held = folders.read_tiny(data_dir / "tiny-imagenet-200", known.classes, skip_unreadable=skip)
    else:
        return _from_imagenet(name, known, data_dir, size, skip)
    return _known(name, known, held, size)


def _subset(name: str, data_dir: Path, size: int | None, skip: bool) -> ImageDataset:
    """An ImageNet subset by WordNet ids."""
    ids = tuple(part.strip() for part in name.removeprefix("imagenet:").split(","))
    for wnid in ids:
        if not re.fullmatch(r"n\d{8}", wnid):
            raise Refused(f"{wnid!r} is no WordNet id; write imagenet:n01440764,n02102040")
        if ids.count(wnid) > 1:
            raise Refused(f"the WordNet id {wnid} is named {ids.count(wnid)} times")
    short = f"imagenet-{len(ids)}-{digest(list(ids))[:8]}"
    name = f"imagenet:{','.join(ids)}" if len(ids) <= MAX_IDS_IN_NAME else short
    return _from_imagenet(name, imagenet(ids), data_dir, size, skip)


def _from_imagenet(
    name: str, known: KnownImages, data_dir: Path, size: int | None, skip: bool
) -> ImageDataset:
    """An ImageNet subset from its pictures: the size is that of the crop."""
    side = size or known.shape[1]
    held = folders.read_imagenet(
        data_dir / "imagenet", known.classes, side, subset=name in SUBSETS, skip_unreadable=skip
    )
    held = replace(held, changed=side != known.shape[1])
    return _known(name, replace(known, shape=(3, side, side)), held, size)


def _known(name: str, known: KnownImages, held: RawImages, size: int | None) -> ImageDataset:
    """A known dataset from its arrays, which must have its shape."""
    for images in (held.train_images, held.test_images):
        if tuple(images.shape[1:]) != known.shape:
            channels, height, width = images.shape[1:]
            raise Refused(
                f"{held.where} holds images of {height} x {width} x {channels}, but {name}'s are "
                f"{known.shape[1]} x {known.shape[2]} x {known.shape[0]}"
            )
    return _dataset(name, replace(held, classes=known.classes), known, size)


def _file(path: Path, size: int | None) -> ImageDataset:
    """A user's ``.npz`` file, or a named dataset lying elsewhere."""
    known = KNOWN.get(path.stem)
    if known and path.stem != "digits":
        return _known(path.stem, known, read_npz(path), size)
    return _own(_free_name(path), read_npz(path), size)


def _free_name(path: Path) -> str:
    """The name of a user's dataset: its file's or folder's, unless that is a known dataset's."""
    name = path.resolve().stem if path.suffix == ".npz" else path.resolve().name
    if name.split("@")[0] in KNOWN:
        raise Refused(
            f"{path} bears the name of a known dataset: rename it, so that results are not mixed up"
        )
    return name


def _own(name: str, held: RawImages, size: int | None) -> ImageDataset:
    """A user's dataset: described by what it holds."""
    shapes = [tuple(images.shape[1:]) for images in (held.train_images, held.test_images)]
    if shapes[0] != shapes[1]:
        raise Refused(
            f"{held.where} has training images of {shapes[0]} and test images of {shapes[1]} (c, h, w)"
        )
    channels, height, width = shapes[0]
    top = int(held.train_labels.max())
    if held.classes is None and top >= len(held.train_labels):
        raise Refused(
            f"{held.where} has labels up to {top}, but only {len(held.train_labels)} training images"
        )
    classes = held.classes or tuple(str(label) for label in range(top + 1))
    known = KnownImages(
        classes=classes, shape=(channels, height, width), dsa=FULL if channels == 3 else NO_FLIP
    )
    return _dataset(name, replace(held, classes=classes), known, size)


def _dataset(name: str, held: RawImages, known: KnownImages, size: int | None) -> ImageDataset:
    """Checks the arrays against each other, resizes them if asked, and describes them."""
    assert held.classes is not None
    _check(held, held.classes)
    train, test = held.train_images, held.test_images
    changed = held.changed or (size is not None and known.shape[1:] != (size, size))
    if size is not None:
        train, test = resized(train, size, size), resized(test, size, size)
    mean, std = (known.mean, known.std) if not changed else (None, None)
    if mean is None or std is None:
        mean, std = statistics(train)
    channels, height, width = train.shape[1:]
    spec = ImageSpec(
        name=f"{name}@{size}" if changed else name,
        classes=held.classes,
        shape=(channels, height, width),
        mean=mean,
        std=std,
        dsa=known.dsa,
    )
    count = spec.num_classes
    return ImageDataset(
        spec, Images.of(train, held.train_labels, count), Images.of(test, held.test_labels, count)
    )


def _check(held: RawImages, classes: tuple[str, ...]) -> None:
    """Refuses labels that do not fit the images, the classes or each other."""
    parts = (("training", held.train_images, held.train_labels), ("test", held.test_images, held.test_labels))
    for part, images, labels in parts:
        if len(images) != len(labels):
            raise Refused(f"{held.where} has {len(images)} {part} images, but {len(labels)} {part} labels")
        for label in (int(labels.min()), int(labels.max())):
            if not 0 <= label < len(classes):
                raise Refused(
                    f"{held.where} has the {part} label {label}, but its classes are 0 to {len(classes) - 1}"
                )
    if len(classes) < 2:
        raise Refused(f"{held.where} has one class only, {classes[0]!r}; there is nothing to tell apart")
    counts = torch.bincount(held.train_labels, minlength=len(classes))
    if empty := [classes[label] for label in (counts == 0).nonzero().flatten().tolist()]:
        raise Refused(
            f"{held.where} has no training image of the class {empty[0]!r} ({len(empty)} such classes)"
        )


def statistics(images: UInt8[Tensor, "n c h w"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and population standard deviation of each channel over pixels in [0, 1], to four decimals.

    The sums are of integers, so they are exact and the same everywhere. A constant channel gets 1 for its
    standard deviation: there is nothing to scale.
    """
    total: Int64[Tensor, " c"] = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for start in range(0, len(images), 2048):
        chunk = images[start : start + 2048].to(torch.int32)
        total += chunk.sum((0, 2, 3))
        squares += (chunk * chunk).sum((0, 2, 3))
    count = images.numel() // images.shape[1]
    mean = total.double() / count
    variance = (squares.double() / count - mean * mean).clamp_min(0)
    means = tuple(round(value / 255, 4) for value in mean.tolist())
    stds = tuple(round(value / 255, 4) or 1.0 for value in variance.sqrt().tolist())
    return means, stds
