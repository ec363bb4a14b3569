"""Datasets that come as folders of pictures: the user's own, Tiny-ImageNet, ImageNet."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from condense.data.arrays import Arrays
from condense.data.resize import centred, resized
from condense.errors import Refused

TEST_SHARE = 0.2
"""Part of each class that becomes the test split of a folder that has none."""

T = TypeVar("T")

Picture = tuple[Path, int]
"""A file and its class id."""


def read(root: Path, size: int | None) -> Arrays:
    """A user's folder: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone.

    Classes and files are taken in the order of their names; hidden files are left alone, and everything else
    must be a picture. Of a folder without a split a fifth of each class (20 %, at least one picture) becomes
    the test split: the class's first files in the order of ``numpy.random.RandomState(0).permutation``.
    Pictures that are all grey stay one channel, otherwise all become RGB.

    Args:
        root: The folder.
        size: Side to resize every picture to; None if they are of one size.

    Raises:
        Refused: if it holds no such thing, or pictures of several sizes and no size is asked for.
    """
    if (root / "train").is_dir():
        classes = _class_names(root / "train")
        if not (root / "test").is_dir():
            raise Refused(f"{root} has a folder train but no folder test")
        if strangers := sorted(set(_class_names(root / "test")) - set(classes)):
            raise Refused(f"{root / 'test'} has the class {strangers[0]!r}, which {root / 'train'} has not")
        train = [
            (file, label) for label, name in enumerate(classes) for file in _files(root / "train" / name)
        ]
        test = [
            (file, label)
            for label, name in enumerate(classes)
            if (root / "test" / name).is_dir()
            for file in _files(root / "test" / name)
        ]
    else:
        classes = _class_names(root)
        train, test = _split(root, classes)
    mode, side = _check_headers(train + test, sized=size is not None)

    def prepare(image: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c h w"]:
        return image if size is None else resized(image[None], size, size)[0]

    held = _arrays(train, test, classes, str(root), mode, prepare)
    return replace(held, changed=size is not None and side != (size, size))


def read_tiny(root: Path, classes: tuple[str, ...]) -> Arrays:
    """Tiny-ImageNet as it is distributed; its validation part is the test split.

    Args:
        root: The folder with ``train/WNID/images/*``, ``val/images/*`` and ``val/val_annotations.txt``.
        classes: WordNet ids in the order of the labels.

    Raises:
        Refused: if a part is missing or a picture cannot be read.
    """
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise Refused(
            f"tiny-imagenet is not at {root} (no {annotations}); unpack tiny-imagenet-200.zip there"
        )
    label_of = {name: label for label, name in enumerate(classes)}
    train = [(file, label_of[name]) for name in classes for file in _files(root / "train" / name / "images")]
    test: list[Picture] = []
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in label_of:
            raise Refused(f"line {number} of {annotations} names no class of tiny-imagenet: {line[:60]!r}")
        test.append((root / "val" / "images" / fields[0], label_of[fields[1]]))
    return _arrays(train, sorted(test), classes, str(root), "RGB", lambda image: image)


def read_imagenet(root: Path, classes: tuple[str, ...], size: int, *, subset: bool) -> Arrays:
    """Some classes of ImageNet: each picture's shorter side resized, then the middle cut out.

    Args:
        root: The folder with ``train/WNID/*`` and ``val/WNID/*``.
        classes: WordNet ids in the order of the labels.
        size: Side of the crop.
        subset: Whether an ``.npz`` file could stand for it, which a refusal then mentions.

    Raises:
        Refused: if a class is missing or a picture cannot be read.
    """
    parts: list[list[Picture]] = []
    for part in ("train", "val"):
        for name in classes:
            if not (root / part / name).is_dir():
                hint = ", or a file NAME.npz in the data folder" if subset else ""
                raise Refused(
                    f"there is no folder {root / part / name}: ImageNet's pictures are wanted there{hint}"
                )
        parts.append(
            [(file, label) for label, name in enumerate(classes) for file in _files(root / part / name)]
        )
    return _arrays(parts[0], parts[1], classes, str(root), "RGB", lambda image: centred(image, size))


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if not names:
        raise Refused(f"{root} has no folders; a folder of pictures holds one folder for each class")
    return names


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise Refused(f"there is no folder {folder}")
    files = sorted(entry for entry in folder.iterdir() if entry.name[0] != ".")
    if not files:
        raise Refused(f"the folder {folder} is empty")
    return files


def _split(root: Path, classes: tuple[str, ...]) -> tuple[list[Picture], list[Picture]]:
    """Every class divided by the same rule, so that a further class moves no other's pictures."""
    train: list[Picture] = []
    test: list[Picture] = []
    for label, name in enumerate(classes):
        files = _files(root / name)
        if len(files) < 2:
            raise Refused(f"the class {root / name} has one picture, so none is left to test on")
        tested = max(1, round(TEST_SHARE * len(files)))
        chosen = set(np.random.RandomState(0).permutation(len(files))[:tested].tolist())
        for position, file in enumerate(files):
            (test if position in chosen else train).append((file, label))
    return train, test


def _check_headers(pictures: Sequence[Picture], *, sized: bool) -> tuple[str, tuple[int, int] | None]:
    """Looks at every picture's header: are they all grey, and which size do they share, if any?"""
    seen: dict[tuple[int, int], Path] = {}
    grey = True

    def header(path: Path) -> tuple[tuple[int, int], str]:
        with Image.open(path) as image:
            return image.size, image.mode

    for (path, _), (extent, mode) in zip(pictures, _each(header, pictures), strict=True):
        seen.setdefault(extent, path)
        grey = grey and mode in ("L", "1")
    if len(seen) > 1 and not sized:
        (first, one), (second, other) = list(seen.items())[:2]
        raise Refused(
            f"{one} is {first[0]} x {first[1]} pixels, but {other} is {second[0]} x {second[1]}: "
            "pictures of different sizes need --size"
        )
    return "L" if grey else "RGB", next(iter(seen)) if len(seen) == 1 else None


def _arrays(
    train: Sequence[Picture],
    test: Sequence[Picture],
    classes: tuple[str, ...],
    where: str,
    mode: str,
    prepare: Callable[[UInt8[Tensor, "c h w"]], UInt8[Tensor, "c h w"]],
) -> Arrays:
    """Decodes every picture and stacks them."""

    def decode(path: Path) -> UInt8[Tensor, "c h w"]:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # converting would clip these to 0 .. 255, not scale them
                raise ValueError("not 8 bits a channel")
            pixels = np.array(image.convert(mode))
        tensor = torch.from_numpy(pixels)
        tensor = tensor[None] if mode == "L" else tensor.permute(2, 0, 1).contiguous()
        return prepare(tensor)

    decoded = _each(decode, [*train, *test])
    for (path, _), image in zip([*train, *test], decoded, strict=True):
        if image.shape != decoded[0].shape:
            one, other = list(decoded[0].shape), list(image.shape)
            raise Refused(
                f"{path} gives an image of {other} (c, h, w), where {train[0][0]} gives one of {one}"
            )
    images = torch.stack(decoded)
    labels = torch.tensor([label for _, label in [*train, *test]], dtype=torch.int64)
    n = len(train)
    return Arrays(images[:n], labels[:n], images[n:], labels[n:], classes, where)


def _each(work: Callable[[Path], T], pictures: Sequence[Picture]) -> list[T]:
    """Does the work on every file, side by side (decoding releases the lock); tells which cannot be read."""

    def attempt(picture: Picture) -> T | Exception:
        try:
            return work(picture[0])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(attempt, pictures))
    done = [result for result in results if not isinstance(result, Exception)]
    if len(done) < len(pictures):
        broken = [str(pictures[at][0]) for at, result in enumerate(results) if isinstance(result, Exception)]
        first = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
        raise Refused(f"{len(broken)} of {len(pictures)} pictures cannot be read as 8-bit images: {first}")
    return done
