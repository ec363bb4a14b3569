"""Datasets that come as folders of pictures: the user's own, Tiny-ImageNet, ImageNet.

Large folders hold files that cannot be read: cut off, damaged, no picture at all, or in one channel of more
than 8 bits (Pillow's modes I and F; 16-bit colours it gives as 8 bits itself). They are counted and the first
few are named; nothing is left out unless that is asked for (``--skip-unreadable``), and then it is said.
Without a file the data are other data: their hash tells.
Pictures in other colours than RGB (grey ones, CMYK, palettes) become RGB, which is said too; transparency is
dropped.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from condense.data.images.arrays import RawImages
from condense.data.images.resize import centred, resized
from condense.errors import Refused

TEST_SHARE = 0.2
"""Part of each class that becomes the test split of a folder that has none."""

FEW = 3
"""How many files a sentence names."""

COLOURS = {"L": "grey", "1": "black and white", "LA": "grey with transparency", "P": "with a palette"}
"""What Pillow's modes are called, where they have a better name."""

T = TypeVar("T")

Picture = tuple[Path, int]
"""A file and its class id."""

Prepare = Callable[[UInt8[Tensor, "c h w"]], UInt8[Tensor, "c height width"]]
"""Brings a picture to the size wanted."""


@dataclass(frozen=True)
class Unreadable:
    """Why a file is no picture that can be used."""

    reason: str


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A picture as it was read.

    Attributes:
        image: As prepared; one channel if it is grey.
        mode: Pillow's name of its colours in the file.
        extent: Width and height in the file.
    """

    image: UInt8[Tensor, "c h w"]
    mode: str
    extent: tuple[int, int]


def read_folder(root: Path, size: int | None, *, skip_unreadable: bool = False) -> RawImages:
    """A user's folder: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` alone.

    Classes and files are taken in the order of their names; hidden files are left alone, and everything else
    must be a picture. Of a folder without a split a fifth of each class (20 %, at least one picture) becomes
    the test split: the class's first files in the order of ``numpy.random.RandomState(0).permutation``; files
    that are then skipped move no other from one split to the other.
    Pictures that are all grey stay one channel, otherwise all become RGB.

    Args:
        root: The folder.
        size: Side to resize every picture to; None if they are of one size.
        skip_unreadable: Whether to leave out what cannot be read.

    Raises:
        Refused: if it holds no such thing, files that cannot be read, or pictures of several sizes and no
            size is asked for.
    """
    if (root / "train").is_dir():
        classes = _class_names(root / "train")
        if not (root / "test").is_dir():
            raise Refused(f"{root} has a folder train but no folder test")
        if strangers := sorted(set(_class_names(root / "test")) - set(classes)):
            raise Refused(f"{root / 'test'} has the class {strangers[0]!r}, which {root / 'train'} has not")
        train = _of_classes([root / "train" / name for name in classes])
        tested = [label for label, name in enumerate(classes) if (root / "test" / name).is_dir()]
        found = _of_classes([root / "test" / classes[label] for label in tested])
        test = [(file, tested[place]) for file, place in found]
    else:
        classes = _class_names(root)
        train, test = _split(root, classes)
    if size is None:
        _require_one_size(train + test)

    def prepare(image: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c h w"]:
        return image if size is None else resized(image[None], size, size)[0]

    return _arrays(train, test, classes, root, prepare, skip_unreadable, grey=True)


def read_tiny(root: Path, classes: tuple[str, ...], *, skip_unreadable: bool = False) -> RawImages:
    """Tiny-ImageNet as it is distributed; its validation part is the test split.

    Args:
        root: The folder with ``train/WNID/images/*``, ``val/images/*`` and ``val/val_annotations.txt``.
        classes: WordNet ids in the order of the labels.
        skip_unreadable: Whether to leave out what is missing or cannot be read.

    Raises:
        Refused: if a part is missing or a picture cannot be read.
    """
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise Refused(
            f"tiny-imagenet is not at {root} (no {annotations}); unpack tiny-imagenet-200.zip there"
        )
    label_of = {name: label for label, name in enumerate(classes)}
    train = _of_classes([root / "train" / name / "images" for name in classes])
    test: list[Picture] = []
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in label_of:
            raise Refused(f"line {number} of {annotations} names no class of tiny-imagenet: {line[:60]!r}")
        test.append((root / "val" / "images" / fields[0], label_of[fields[1]]))
    return _arrays(train, sorted(test), classes, root, lambda image: image, skip_unreadable)


def read_imagenet(
    root: Path, classes: tuple[str, ...], size: int, *, subset: bool, skip_unreadable: bool = False
) -> RawImages:
    """Some classes of ImageNet: each picture's shorter side resized, then the middle cut out.

    Args:
        root: The folder with ``train/WNID/*`` and ``val/WNID/*``.
        classes: WordNet ids in the order of the labels.
        size: Side of the crop.
        subset: Whether an ``.npz`` file could stand for it, which a refusal then mentions.
        skip_unreadable: Whether to leave out what cannot be read.

    Raises:
        Refused: if a class is missing or a picture cannot be read.
    """
    parts = [[root / part / name for name in classes] for part in ("train", "val")]
    hint = ", or a file NAME.npz in the data folder (imagenet:ID,ID takes fewer classes)" if subset else ""
    _require_folders(
        [folder for part in parts for folder in part],
        f"; ImageNet's pictures are wanted there{hint}",
    )
    train, test = (_of_classes(part) for part in parts)
    return _arrays(train, test, classes, root, lambda image: centred(image, size), skip_unreadable)


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if not names:
        raise Refused(f"{root} has no folders; a folder of pictures holds one folder for each class")
    return names


def _require_folders(folders: Sequence[Path], remedy: str = "") -> None:
    """Refuses class folders that are not there, all of them at once."""
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        verb = "is" if len(missing) == 1 else "are"
        raise Refused(
            f"{len(missing)} of {len(folders)} class folders {verb} missing: {_few(missing)}{remedy}"
        )


def _of_classes(folders: Sequence[Path]) -> list[Picture]:
    """The files of all classes; a class's id is the place of its folder."""
    return [(file, label) for label, files in enumerate(_files(folders)) for file in files]


def _files(folders: Sequence[Path]) -> list[list[Path]]:
    """The files of each folder in the order of their names, without the hidden ones."""
    _require_folders(folders)
    files = [sorted(entry for entry in folder.iterdir() if entry.name[0] != ".") for folder in folders]
    if empty := [str(folder) for folder, held in zip(folders, files, strict=True) if not held]:
        verb = "is" if len(empty) == 1 else "are"
        raise Refused(f"{len(empty)} of {len(folders)} class folders {verb} empty: {_few(empty)}")
    return files


def _split(root: Path, classes: tuple[str, ...]) -> tuple[list[Picture], list[Picture]]:
    """Every class divided by the same rule, so that a further class moves no other's pictures."""
    train: list[Picture] = []
    test: list[Picture] = []
    for label, files in enumerate(_files([root / name for name in classes])):
        if len(files) < 2:
            raise Refused(f"the class {root / classes[label]} has one picture, so none is left to test on")
        tested = max(1, round(TEST_SHARE * len(files)))
        chosen = set(np.random.RandomState(0).permutation(len(files))[:tested].tolist())
        for position, file in enumerate(files):
            (test if position in chosen else train).append((file, label))
    return train, test


def _require_one_size(pictures: Sequence[Picture]) -> None:
    """Looks at every picture's header, before anything is decoded, for the size that they share."""
    seen: dict[tuple[int, int], Path] = {}

    def extent(path: Path) -> tuple[int, int] | Unreadable:
        return _opened(path, lambda image: image.size)

    for (path, _), found in zip(pictures, _each(extent, pictures), strict=True):
        if not isinstance(found, Unreadable):
            seen.setdefault(found, path)
    if len(seen) > 1:
        (first, one), (second, other) = list(seen.items())[:2]
        raise Refused(
            f"{one} is {first[0]} x {first[1]} pixels, but {other} is {second[0]} x {second[1]}: "
            "pictures of different sizes need --size"
        )


def _arrays(
    train: Sequence[Picture],
    test: Sequence[Picture],
    classes: tuple[str, ...],
    where: Path,
    prepare: Prepare,
    skip: bool,
    grey: bool = False,
) -> RawImages:
    """Decodes every picture and stacks them.

    Args:
        train: Files of the training split.
        test: Files of the test split.
        classes: Names of the classes.
        where: The folder that all of it is in.
        prepare: Is given each picture in its own size, grey ones with one channel.
        skip: Whether to leave out what cannot be read.
        grey: Whether pictures that are all grey stay one channel.
    """

    def decode(path: Path) -> DecodedImage | Unreadable:
        found = _opened(path, _pixels)
        if isinstance(found, Unreadable):
            return found
        return DecodedImage(prepare(found.image), found.mode, found.extent)

    everything = [*train, *test]
    attempts = _each(decode, everything)
    read_folder = [isinstance(one, DecodedImage) for one in attempts]
    decoded = [one for one in attempts if isinstance(one, DecodedImage)]
    if not all(read_folder):
        broken = [
            f"{path} ({one.reason})"
            for (path, _), one in zip(everything, attempts, strict=True)
            if isinstance(one, Unreadable)
        ]
        _tell_unreadable(broken, len(everything), skip)
    kept = [picture for picture, good in zip(everything, read_folder, strict=True) if good]
    n = sum(read_folder[: len(train)])
    for part, before, after in (("training", train, kept[:n]), ("test", test, kept[n:])):
        if lost := sorted({label for _, label in before} - {label for _, label in after}):
            raise Refused(
                f"no {part} picture of the class {classes[lost[0]]!r} in {where} can be read "
                f"({len(lost)} such classes)"
            )
    all_grey = grey and all(len(one.image) == 1 for one in decoded)
    if not all_grey:
        _tell_converted(decoded, where)
    images = [one.image if all_grey else one.image.expand(3, -1, -1) for one in decoded]
    for (path, _), image in zip(kept, images, strict=True):
        if image.shape != images[0].shape:
            one, other = list(images[0].shape), list(image.shape)
            raise Refused(
                f"{path} gives an image of {other} (c, h, w), where {kept[0][0]} gives one of {one}"
            )
    stacked = torch.stack(images)
    labels = torch.tensor([label for _, label in kept], dtype=torch.int64)
    changed = any(one.extent != (one.image.shape[2], one.image.shape[1]) for one in decoded)
    return RawImages(stacked[:n], labels[:n], stacked[n:], labels[n:], classes, str(where), changed)


def _pixels(image: Image.Image) -> DecodedImage:
    """An open picture's pixels: one channel if it is grey, else RGB."""
    grey = image.mode in ("L", "1")
    pixels = torch.from_numpy(np.array(image.convert("L" if grey else "RGB")))
    tensor = pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()
    return DecodedImage(tensor, image.mode, image.size)


def _opened(path: Path, work: Callable[[Image.Image], T]) -> T | Unreadable:
    """What is made of an open picture, or why nothing can be made of it."""
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # converting would clip these to 0 .. 255, not scale them
                return Unreadable("not 8 bits a channel")
            return work(image)
    except MemoryError:
        raise
    except Exception as error:  # of a damaged file, a decoder may raise anything
        return Unreadable(_reason(error))


def _reason(error: Exception) -> str:
    """Why a file could not be read, in few words."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "no picture"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:60]


def _each(work: Callable[[Path], T], pictures: Sequence[Picture]) -> list[T]:
    """Does the work on every file, side by side: decoding releases the lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, [path for path, _ in pictures]))


def _tell_unreadable(broken: Sequence[str], count: int, skip: bool) -> None:
    """Says what is left out, or refuses it."""
    told = f"{len(broken)} of {count} pictures cannot be read as 8-bit images: {_few(broken)}"
    if not skip:
        raise Refused(f"{told}; replace them, or leave them out with --skip-unreadable")
    print(f"left out: {told}", file=sys.stderr, flush=True)


def _tell_converted(decoded: Sequence[DecodedImage], where: Path) -> None:
    """Says how many pictures were in other colours than RGB, if any were."""
    modes = Counter(one.mode for one in decoded if one.mode != "RGB")
    if modes:
        told = ", ".join(f"{count} {COLOURS.get(mode, mode)}" for mode, count in sorted(modes.items()))
        print(f"{where}: of {len(decoded)} pictures, read as RGB: {told}", file=sys.stderr, flush=True)


def _few(names: Sequence[str]) -> str:
    """The first few of many names, and how many more there are."""
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more
