"""Loads an image dataset by its name, or from an ``.npz`` file or a folder of images."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from condense.data.graphs.sources import GRAPH_NAMES
from condense.data.images import folders
from condense.data.images.arrays import RawImages, download, read_digits, read_npz
from condense.data.images.augmentation import on_strategy, usual_strategy
from condense.data.images.known import (
    COUNTS,
    FULL,
    HASHES,
    IMAGE_NAMES,
    KNOWN,
    NO_FLIP,
    SUBSETS,
    KnownImages,
    imagenet,
)
from condense.data.images.pixels import statistics
from condense.data.images.resize import require_size, resized
from condense.data.images.spec import ImageDataset, Images, ImageSpec
from condense.data.images.splits import notes_on_splits, require_content
from condense.data.notes import on_resizing
from condense.errors import Refused, unknown
from condense.files import data_folder, digest, hash_tensors

__all__ = ["IMAGE_NAMES", "load_images"]

MAX_IDS_IN_NAME = 20
"""Largest number of WordNet ids in a name: names become folders, and these have at most 255 characters."""


def load_images(
    name_or_path: str,
    *,
    data_dir: Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
) -> ImageDataset:
    """Loads an image dataset.

    - A name of `IMAGE_NAMES`: ``digits`` comes with scikit-learn. For any other name, ``NAME.npz`` in the
      data folder is read if it exists. Otherwise torchvision downloads the dataset; Tiny-ImageNet and
      ImageNet's subsets are read from the folders ``tiny-imagenet-200`` and ``imagenet`` in the data folder.
      All sources give the same specification and the same hash.
    - ``imagenet:n01440764,n02102040``: the ImageNet subset of these WordNet ids, in this order.
    - A path of an ``.npz`` file with MedMNIST's keys. If it has the name of a known dataset, it is loaded as
      that dataset.

    An ``.npz`` file is a known dataset only if its data are: they are compared with `HASHES`, or else with
    `COUNTS`. Other data lose the name, and with it everything published; a note says so.

    - A path of a folder of images: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone, where a
      fifth of each class becomes the test split.

    Args:
        name_or_path: Name or path of the dataset; ``NAME@32`` stands for ``size=32``.
        data_dir: Folder with the files of named datasets; None takes `condense.files.data_folder`.
        size: Side in pixels to resize all images to. It becomes part of the dataset's name, and the mean and
            the standard deviation are computed anew.
        skip_unreadable: Whether to leave out image files that cannot be read, with a note, instead of
            refusing the folder. The hash covers the remaining images.

    Returns:
        The dataset. The notes of its specification say what was left out or changed.

    Raises:
        Refused: If there is no such dataset, or its files are damaged or contradict each other.
    """
    name, at = name_or_path, re.fullmatch(r"([^/]+)@([0-9]{1,12})", name_or_path)
    if at and (at[1] in KNOWN or at[1].startswith("imagenet:")):
        if size not in (None, int(at[2])):
            raise Refused(f"{name_or_path} already contains another size", setting="size", value=size)
        name, size = at[1], int(at[2])
    require_size(size)
    folder = data_folder(data_dir)
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
        raise Refused(f"{path} is neither an .npz file nor a folder of images")
    if "/" in name_or_path or os.sep in name_or_path:
        raise Refused(f"there is no file or folder {path}")
    if name_or_path in GRAPH_NAMES:
        raise Refused(f"{name_or_path} holds graphs, but images are needed here")
    raise unknown("dataset", name_or_path, [*IMAGE_NAMES, *GRAPH_NAMES], setting="dataset")


def _named(name: str, known: KnownImages, data_dir: Path, size: int | None, skip: bool) -> ImageDataset:
    """Loads a dataset of `IMAGE_NAMES`."""
    file = data_dir / f"{name}.npz"
    if name == "digits":
        raw = read_digits()
    elif file.is_file():
        return _known_file(file, size)
    elif known.torchvision:
        raw = download(name, known, data_dir)
    elif name == "tiny-imagenet":
        raw = folders.read_tiny(data_dir / "tiny-imagenet-200", known.classes, skip_unreadable=skip)
    else:
        return _from_imagenet(name, known, data_dir, size, skip)
    return _known(name, known, raw, size)


def _subset(name: str, data_dir: Path, size: int | None, skip: bool) -> ImageDataset:
    """Loads the ImageNet subset of the WordNet ids in a name."""
    ids = tuple(part.strip() for part in name.removeprefix("imagenet:").split(","))
    for wnid in ids:
        if not re.fullmatch(r"n\d{8}", wnid):
            raise Refused(f"{wnid!r} is not a WordNet id; write imagenet:n01440764,n02102040")
        if ids.count(wnid) > 1:
            raise Refused(f"the WordNet id {wnid} occurs {ids.count(wnid)} times")
    short = f"imagenet-{len(ids)}-{digest(list(ids))[:8]}"
    name = f"imagenet:{','.join(ids)}" if len(ids) <= MAX_IDS_IN_NAME else short
    return _from_imagenet(name, imagenet(ids), data_dir, size, skip)


def _from_imagenet(
    name: str, known: KnownImages, data_dir: Path, size: int | None, skip: bool
) -> ImageDataset:
    """Loads an ImageNet subset; the size is the side of the crop."""
    side = size or known.shape[1]
    raw = folders.read_imagenet(
        data_dir / "imagenet", known.classes, side, subset=name in SUBSETS, skip_unreadable=skip
    )
    raw = replace(raw, changed=side != known.shape[1])
    return _known(name, replace(known, shape=(3, side, side)), raw, size)


def _known(name: str, known: KnownImages, raw: RawImages, size: int | None) -> ImageDataset:
    """Builds a known dataset from its arrays after comparing the images with the expected shape."""
    _require_shape(name, known, raw)
    return _dataset(name, replace(raw, classes=known.classes), known, size, named=True)


def _require_shape(name: str, known: KnownImages, raw: RawImages) -> None:
    for images in (raw.train_images, raw.test_images):
        if tuple(images.shape[1:]) != known.shape:
            channels, height, width = images.shape[1:]
            raise Refused(
                f"{raw.where} holds images of {height} x {width} x {channels}, but {name}'s are "
                f"{known.shape[1]} x {known.shape[2]} x {known.shape[0]}"
            )


def _file(path: Path, size: int | None) -> ImageDataset:
    """Loads an ``.npz`` file: a user's dataset, or a known dataset by the name of the file."""
    if path.stem in KNOWN and path.stem != "digits":
        return _known_file(path, size)
    return _own(_free_name(path), read_npz(path), size)


def _known_file(path: Path, size: int | None) -> ImageDataset:
    """Loads an ``.npz`` file with the name of a known dataset, which it keeps only if it holds these data."""
    raw, name = read_npz(path), path.stem
    _require_shape(name, KNOWN[name], raw)
    splits = [(raw.train_images, raw.train_labels), (raw.test_images, raw.test_labels)]
    counts = (len(raw.train_images), len(raw.test_images))
    hashes = tuple(hash_tensors({"images": images, "labels": labels}) for images, labels in splits)
    if hashes == HASHES.get(name):
        return _known(name, KNOWN[name], raw, size)
    if name in HASHES:
        why = f"its hashes are {_starts(hashes)}, not {_starts(HASHES[name])}"
    elif name in COUNTS and counts != COUNTS[name]:
        why = f"it holds {counts[0]} + {counts[1]} images, not {COUNTS[name][0]} + {COUNTS[name][1]}"
    else:
        note = f"{path} is taken for {name} by its name: there is no known hash to compare its data with"
        return _known(name, KNOWN[name], replace(raw, notes=(*raw.notes, note)), size)
    own = f"{name}-{digest(list(hashes))[:8]}"
    note = f"{path} is not {name} ({why}): called {own}, without published settings and numbers"
    return _own(own, replace(raw, notes=(note, *raw.notes)), size, renamed=True)


def _starts(hashes: Sequence[str]) -> str:
    return " + ".join(one[:8] for one in hashes)


def _free_name(path: Path) -> str:
    """Returns the name of a user's file or folder; refuses the name of a known dataset."""
    name = Path(os.path.realpath(path)).stem if path.suffix == ".npz" else Path(os.path.realpath(path)).name
    if name.split("@")[0] in KNOWN:
        raise Refused(f"{path} has the name of a known dataset: rename it, so that results are not mixed up")
    return name


def _own(name: str, raw: RawImages, size: int | None, *, renamed: bool = False) -> ImageDataset:
    """Builds a user's dataset; its specification follows from its arrays.

    The augmentation is a part of keys where older versions took another one: for images that lost a known
    name, and for grey ones with three channels.
    """
    shapes = [tuple(images.shape[1:]) for images in (raw.train_images, raw.test_images)]
    if shapes[0] != shapes[1]:
        raise Refused(
            f"{raw.where} has training images of {shapes[0]} and test images of {shapes[1]} (c, h, w)"
        )
    channels, height, width = shapes[0]
    top = int(raw.train_labels.max())
    if raw.classes is None and top >= len(raw.train_labels):
        raise Refused(f"{raw.where} has labels up to {top}, but only {len(raw.train_labels)} training images")
    classes = raw.classes or tuple(str(label) for label in range(top + 1))
    strategy, reason = usual_strategy(raw.train_images)
    known = KnownImages(classes=classes, shape=(channels, height, width), dsa=strategy)
    extents = Counter({(width, height): len(raw.train_images) + len(raw.test_images)})
    resizing = [] if size is None else on_resizing(extents, (size, size))
    raw = replace(raw, classes=classes, notes=(*raw.notes, *resizing))
    data = _dataset(name, raw, known, size, named=False)
    require_content(data.train.images, raw.where)
    notes = (*raw.notes, *notes_on_splits(data.train, data.test, classes), on_strategy(strategy, reason))
    keyed = renamed or strategy != (FULL if channels == 3 else NO_FLIP)
    return replace(data, spec=replace(data.spec, notes=notes, dsa_in_keys=keyed))


def _dataset(name: str, raw: RawImages, known: KnownImages, size: int | None, *, named: bool) -> ImageDataset:
    """Checks the arrays, resizes the images if requested, and specifies the dataset."""
    assert raw.classes is not None
    _check(raw, raw.classes)
    train, test = raw.train_images, raw.test_images
    changed = raw.changed or (size is not None and known.shape[1:] != (size, size))
    if size is not None:
        train, test = resized(train, size, size), resized(test, size, size)
    mean, std = (known.mean, known.std) if not changed else (None, None)
    if mean is None or std is None:
        mean, std = statistics(train)
    channels, height, width = train.shape[1:]
    spec = ImageSpec(
        name=f"{name}@{size}" if changed else name,
        classes=raw.classes,
        shape=(channels, height, width),
        mean=mean,
        std=std,
        dsa=known.dsa,
        named=named,
        notes=raw.notes,
    )
    splits = ((train, raw.train_labels), (test, raw.test_labels))
    return ImageDataset(spec, *(Images.of(images, labels, spec.num_classes) for images, labels in splits))


def _check(raw: RawImages, classes: tuple[str, ...]) -> None:
    """Refuses labels that contradict the images or the classes."""
    parts = (("training", raw.train_images, raw.train_labels), ("test", raw.test_images, raw.test_labels))
    for part, images, labels in parts:
        if len(images) != len(labels):
            raise Refused(f"{raw.where} has {len(images)} {part} images, but {len(labels)} {part} labels")
        for label in (int(labels.min()), int(labels.max())):
            if not 0 <= label < len(classes):
                raise Refused(
                    f"{raw.where} has the {part} label {label}, but its classes are 0 to {len(classes) - 1}"
                )
    if len(classes) < 2:
        raise Refused(f"{raw.where} has only one class, {classes[0]!r}; a classifier needs at least two")
    counts = torch.bincount(raw.train_labels, minlength=len(classes))
    if empty := [classes[label] for label in (counts == 0).nonzero().flatten().tolist()]:
        raise Refused(
            f"{raw.where} has no training image of the class {empty[0]!r} ({len(empty)} such classes)"
        )
