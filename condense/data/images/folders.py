"""Reads image datasets that are folders of image files: the user's own, Tiny-ImageNet, ImageNet.

Large folders contain files that cannot be used: truncated or damaged ones, files that are not images, and
images with one channel of more than 8 bits (Pillow's modes I and F; Pillow itself converts 16-bit colours to
8 bits). An error counts these files and names the first few. They are left out, with a note, only if the
caller asks for it; the hash then covers the remaining images.

Images in other colours than RGB (grey, CMYK, palettes) are converted to RGB, with a note. A user's own
pictures are read as a viewer shows them: see `condense.data.images.pictures`. Hidden files, and those that
systems leave behind, are no data; these and whatever else lies beside the class folders are left out, with a
note.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from condense.data.images.arrays import RawImages
from condense.data.images.pictures import (
    COLOURS,
    TRAITS,
    DecodedImage,
    Unreadable,
    as_shown,
    opened,
    plain,
)
from condense.data.images.resize import centred, resized
from condense.data.notes import few, is_leftover, on_resizing
from condense.errors import Refused, Remedy
from condense.reading import read_text

TEST_SHARE = 0.2
"""Share of each class that becomes the test split if the folder has none."""

T = TypeVar("T")

ImageFile = tuple[Path, int]
"""An image file and its class id."""

Extent = tuple[int, int]
"""Width and height in pixels."""

Prepare = Callable[[UInt8[Tensor, "c h w"]], UInt8[Tensor, "c height width"]]
"""Resizes an image to the requested size."""


def read_folder(root: Path, size: int | None, *, skip_unreadable: bool = False) -> RawImages:
    """Reads a user's folder: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` without a split.

    Classes and files are sorted by name. Every file in a class folder must be an image, except those that
    `condense.data.notes.is_leftover` knows. Without a split, a fifth of each class (at least one image)
    becomes the test split: the first files in the order of ``numpy.random.RandomState(0).permutation``.
    Skipped files do not change the split of the other files. If all images are grey, they keep one channel;
    otherwise all are converted to RGB.

    Args:
        root: The folder.
        size: Side in pixels to resize images to; None if all have the same size.
        skip_unreadable: Whether to leave out files that cannot be read.

    Raises:
        Refused: If the folder has another structure, a file cannot be read, or the images differ in size and
            ``size`` is None.
    """
    if (root / "train").is_dir():
        classes = _class_names(root / "train")
        if not (root / "test").is_dir():
            raise Refused(f"{root} has a folder train but no folder test")
        if strangers := sorted(set(_class_names(root / "test")) - set(classes)):
            raise Refused(
                f"{root / 'test'} has the class {strangers[0]!r}, which is missing in {root / 'train'}"
            )
        train = _of_classes([root / "train" / name for name in classes])
        tested = [label for label, name in enumerate(classes) if (root / "test" / name).is_dir()]
        found = _of_classes([root / "test" / classes[label] for label in tested])
        test = [(file, tested[place]) for file, place in found]
        parts = [root / "train", root / "test"]
        folders = [part / name for part in parts for name in classes if (part / name).is_dir()]
        notes = _left_out(root, [root, *parts], folders)
    else:
        classes = _class_names(root)
        train, test = _split(root, classes)
        notes = _left_out(root, [root], [root / name for name in classes])
        notes.append(f"the test split is a fifth of each class, {len(test)} of {len(train + test)} files")
    if size is None:
        _require_one_shape(train + test)

    def prepare(image: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c h2 w2"]:
        return image if size is None else resized(image[None], size, size)[0]

    raw = _decoded(train, test, classes, root, prepare, skip_unreadable, own=True)
    return replace(raw, notes=(*notes, *raw.notes))


def read_tiny(root: Path, classes: tuple[str, ...], *, skip_unreadable: bool = False) -> RawImages:
    """Reads Tiny-ImageNet as it is distributed; its validation split becomes the test split.

    The folder holds ``train/WNID/images/*``, ``val/images/*`` and ``val/val_annotations.txt``.

    Raises:
        Refused: If a folder is missing or a file cannot be read.
    """
    annotations = root / "val" / "val_annotations.txt"
    if not os.path.isfile(annotations):
        raise Refused(
            f"tiny-imagenet is not at {root} (no {annotations}); unpack tiny-imagenet-200.zip there"
        )
    label_of = {name: label for label, name in enumerate(classes)}
    train = _of_classes([root / "train" / name / "images" for name in classes])
    test: list[ImageFile] = []
    for number, line in enumerate(read_text(annotations).splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in label_of:
            raise Refused(f"line {number} of {annotations} names no class of tiny-imagenet: {line[:60]!r}")
        test.append((root / "val" / "images" / fields[0], label_of[fields[1]]))
    return _decoded(train, sorted(test), classes, root, lambda image: image, skip_unreadable)


def read_imagenet(
    root: Path, classes: tuple[str, ...], size: int, *, subset: bool, skip_unreadable: bool = False
) -> RawImages:
    """Reads some classes of ImageNet; each image's shorter side is resized and its centre cropped.

    The folder holds ``train/WNID/*`` and ``val/WNID/*``. If ``subset`` is true, the refusal of a missing
    class also suggests an ``.npz`` file.

    Raises:
        Refused: If a class is missing or a file cannot be read.
    """
    parts = [[root / part / name for name in classes] for part in ("train", "val")]
    hint = ", or a file NAME.npz in the data folder (imagenet:ID,ID takes fewer classes)" if subset else ""
    _require_folders(parts[0] + parts[1], f"; place ImageNet's images there{hint}")
    train, test = (_of_classes(part) for part in parts)
    return _decoded(train, test, classes, root, lambda image: centred(image, size), skip_unreadable)


def _class_names(root: Path) -> tuple[str, ...]:
    names = tuple(
        sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_leftover(entry.name))
    )
    if not names:
        raise Refused(f"{root} has no folders; a folder of images must hold one folder for each class")
    return names


def _left_out(root: Path, parents: Sequence[Path], folders: Sequence[Path]) -> list[str]:
    """Says what of a folder is not read.

    Args:
        root: The folder.
        parents: The folders in it that hold the class folders, and itself.
        folders: The class folders.
    """
    used = {*parents, *folders}
    beside = [entry for parent in parents for entry in sorted(parent.iterdir()) if entry not in used]
    inside = [entry for folder in folders for entry in sorted(folder.iterdir())]

    def named(entries: Sequence[Path]) -> str:
        return few([f"{entry.relative_to(root)}{'/' if entry.is_dir() else ''}" for entry in entries])

    notes = []
    if others := [entry for entry in beside if not is_leftover(entry.name)]:
        notes.append(f"left out: {len(others)} beside the class folders: {named(others)}")
    if leftovers := [entry for entry in [*beside, *inside] if is_leftover(entry.name)]:
        notes.append(f"left out: {len(leftovers)} hidden or left behind by a system: {named(leftovers)}")
    return notes


def _require_folders(folders: Sequence[Path], remedy: str = "") -> None:
    """Refuses missing class folders, all of them in one error."""
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        verb = "is" if len(missing) == 1 else "are"
        raise Refused(
            f"{len(missing)} of {len(folders)} class folders {verb} missing: {few(missing)}{remedy}"
        )


def _of_classes(folders: Sequence[Path]) -> list[ImageFile]:
    """Lists the files of all classes; a class id is the position of the folder."""
    return [(file, label) for label, files in enumerate(_files(folders)) for file in files]


def _files(folders: Sequence[Path]) -> list[list[Path]]:
    """Lists the files of each folder, sorted by name, without what systems leave behind."""
    _require_folders(folders)
    files = [sorted(entry for entry in folder.iterdir() if not is_leftover(entry.name)) for folder in folders]
    if empty := [str(folder) for folder, found in zip(folders, files, strict=True) if not found]:
        verb = "is" if len(empty) == 1 else "are"
        raise Refused(f"{len(empty)} of {len(folders)} class folders {verb} empty: {few(empty)}")
    return files


def _split(root: Path, classes: tuple[str, ...]) -> tuple[list[ImageFile], list[ImageFile]]:
    """Splits each class by itself, so that an added class does not change the split of the others."""
    train: list[ImageFile] = []
    test: list[ImageFile] = []
    for label, files in enumerate(_files([root / name for name in classes])):
        if len(files) < 2:
            raise Refused(
                f"the class {root / classes[label]} has only one image, which leaves none to test on"
            )
        tested = max(1, round(TEST_SHARE * len(files)))
        chosen = set(np.random.RandomState(0).permutation(len(files))[:tested].tolist())
        for position, file in enumerate(files):
            (test if position in chosen else train).append((file, label))
    return train, test


def _require_one_shape(files: Sequence[ImageFile]) -> None:
    """Refuses images that differ in size and not only in orientation; only the files' headers are read."""
    sizes = _each(lambda path: opened(path, lambda image: image.size), files)
    known = [(path, size) for (path, _), size in zip(files, sizes, strict=True) if isinstance(size, tuple)]
    for path, size in known:
        if sorted(size) != sorted(known[0][1]):
            raise _of_two_sizes(known[0], (path, size))


def _of_two_sizes(one: tuple[Path, Extent], other: tuple[Path, Extent], own: bool = True) -> Refused:
    (path, (width, height)), (second, size) = one, other
    remedy = Remedy(settings={"size": None}, effect="resizes all images to one size")
    return Refused(
        f"{path} is {width} x {height} pixels, but {second} is {size[0]} x {size[1]}",
        remedies=[remedy] if own else [],
    )


def _decoded(
    train: Sequence[ImageFile],
    test: Sequence[ImageFile],
    classes: tuple[str, ...],
    where: Path,
    prepare: Prepare,
    skip: bool,
    own: bool = False,
) -> RawImages:
    """Decodes all image files, resizes them with ``prepare`` and stacks the images of each split.

    If ``own`` is true, the images are a user's: they are read `as_shown`, and keep one channel if all are
    grey.
    """

    def decode(path: Path) -> DecodedImage | Unreadable:
        found = opened(path, as_shown if own else plain)
        return found if isinstance(found, Unreadable) else replace(found, image=prepare(found.image))

    files, notes = [*train, *test], list[str]()
    attempts = list(zip(files, _each(decode, files), strict=True))
    broken = [(path, label, one) for (path, label), one in attempts if isinstance(one, Unreadable)]
    decoded = [one for _, one in attempts if isinstance(one, DecodedImage)]
    kept = [file for file, one in attempts if isinstance(one, DecodedImage)]
    n = sum(isinstance(one, DecodedImage) for _, one in attempts[: len(train)])
    for part, before, after in (("training", train, kept[:n]), ("test", test, kept[n:])):
        if lost := sorted({label for _, label in before} - {label for _, label in after}):
            example = next(f"{path} ({why.reason})" for path, label, why in broken if label == lost[0])
            raise Refused(
                f"no {part} image of the class {classes[lost[0]]!r} in {where} can be read "
                f"({len(lost)} such classes): {example}"
            )
    if broken:
        notes.append(_unreadable([f"{path} ({one.reason})" for path, _, one in broken], len(files), skip))
    all_grey = own and all(len(one.image) == 1 for one in decoded)
    if not all_grey:
        notes += _converted(decoded)
    if own:
        notes += _shown(decoded)
    images = [one.image if all_grey else one.image.expand(3, -1, -1) for one in decoded]
    for (path, _), one, image in zip(kept, decoded, images, strict=True):
        if image.shape != images[0].shape:
            raise _of_two_sizes((kept[0][0], decoded[0].extent), (path, one.extent), own)
    stacked = torch.stack(images)
    labels = torch.tensor([label for _, label in kept], dtype=torch.int64)
    changed = any(one.extent != (one.image.shape[2], one.image.shape[1]) for one in decoded)
    return RawImages(
        stacked[:n], labels[:n], stacked[n:], labels[n:], classes, str(where), changed, tuple(notes)
    )


def _each(work: Callable[[Path], T], files: Sequence[ImageFile]) -> list[T]:
    """Applies a function to every file in parallel threads, as decoding releases Python's global lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, [path for path, _ in files]))


def _unreadable(broken: Sequence[str], count: int, skip: bool) -> str:
    """Refuses unreadable files, or returns the note that they are left out."""
    reason = f"{len(broken)} of {count} files cannot be read as 8-bit images: {few(broken)}"
    if not skip:
        raise Refused(
            reason, remedies=[Remedy(settings={"skip_unreadable": True}, effect="leaves these files out")]
        )
    return f"left out: {reason}"


def _converted(decoded: Sequence[DecodedImage]) -> list[str]:
    """Returns the note of how many images of each other colour mode were converted to RGB, if any were."""
    modes = Counter(one.mode for one in decoded if one.mode != "RGB")
    told = ", ".join(f"{count} {COLOURS.get(mode, mode)}" for mode, count in sorted(modes.items()))
    return [f"of {len(decoded)} images, converted to RGB: {told}"] if modes else []


def _shown(decoded: Sequence[DecodedImage]) -> list[str]:
    """Returns a note of each trait that a user's images have, and of how they were resized."""
    traits = Counter(trait for one in decoded for trait in one.traits)
    notes = [f"{traits[trait]} of {len(decoded)} {told}" for trait, told in TRAITS.items() if traits[trait]]
    height, width = decoded[0].image.shape[1:]
    return notes + on_resizing(Counter(one.extent for one in decoded), (width, height))
