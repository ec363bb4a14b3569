"""Reads image datasets that are folders of image files: the user's own, Tiny-ImageNet, ImageNet.

Large folders contain files that cannot be used: truncated or damaged ones, files that are not images, and
images with one channel of more than 8 bits (Pillow's modes I and F; Pillow itself converts 16-bit colours to
8 bits). An error counts these files and names the first few. They are left out, with a note, only if the
caller asks for it; the hash then covers the remaining images.

Images in other colours than RGB (grey, CMYK, palettes) are converted to RGB, with a note. Transparency is
dropped.
"""

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
from condense.errors import Refused, Remedy
from condense.files import first_line

TEST_SHARE = 0.2
"""Share of each class that becomes the test split if the folder has none."""

FEW = 3
"""Number of files that a message names."""

COLOURS = {"L": "grey", "1": "black and white", "LA": "grey with transparency", "P": "with a palette"}
"""Readable names of Pillow's colour modes."""

T = TypeVar("T")

ImageFile = tuple[Path, int]
"""An image file and its class id."""

Prepare = Callable[[UInt8[Tensor, "c h w"]], UInt8[Tensor, "c height width"]]
"""Resizes an image to the requested size."""


@dataclass(frozen=True)
class Unreadable:
    """The reason why a file cannot be used as an image."""

    reason: str


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A decoded image file.

    Attributes:
        image: The resized image, with one channel if the file is grey.
        mode: Pillow's name of the file's colour mode.
        extent: Width and height of the image in the file.
    """

    image: UInt8[Tensor, "c h w"]
    mode: str
    extent: tuple[int, int]


def read_folder(root: Path, size: int | None, *, skip_unreadable: bool = False) -> RawImages:
    """Reads a user's folder: ``train/CLASS/*`` and ``test/CLASS/*``, or ``CLASS/*`` without a split.

    Classes and files are sorted by name. Hidden files are ignored; every other file must be an image. Without
    a split, a fifth of each class (at least one image) becomes the test split: the first files in the order
    of ``numpy.random.RandomState(0).permutation``. Skipped files do not change the split of the other files.
    If all images are grey, they keep one channel; otherwise all are converted to RGB.

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
    else:
        classes = _class_names(root)
        train, test = _split(root, classes)
    if size is None:
        _require_one_size(train + test)

    def prepare(image: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c h2 w2"]:
        return image if size is None else resized(image[None], size, size)[0]

    return _decoded(train, test, classes, root, prepare, skip_unreadable, grey=True)


def read_tiny(root: Path, classes: tuple[str, ...], *, skip_unreadable: bool = False) -> RawImages:
    """Reads Tiny-ImageNet as it is distributed; its validation split becomes the test split.

    The folder holds ``train/WNID/images/*``, ``val/images/*`` and ``val/val_annotations.txt``.

    Raises:
        Refused: If a folder is missing or a file cannot be read.
    """
    annotations = root / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise Refused(
            f"tiny-imagenet is not at {root} (no {annotations}); unpack tiny-imagenet-200.zip there"
        )
    label_of = {name: label for label, name in enumerate(classes)}
    train = _of_classes([root / "train" / name / "images" for name in classes])
    test: list[ImageFile] = []
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
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
    names = tuple(sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if not names:
        raise Refused(f"{root} has no folders; a folder of images must hold one folder for each class")
    return names


def _require_folders(folders: Sequence[Path], remedy: str = "") -> None:
    """Refuses missing class folders, all of them in one error."""
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        verb = "is" if len(missing) == 1 else "are"
        raise Refused(
            f"{len(missing)} of {len(folders)} class folders {verb} missing: {_few(missing)}{remedy}"
        )


def _of_classes(folders: Sequence[Path]) -> list[ImageFile]:
    """Lists the files of all classes; a class id is the position of the folder."""
    return [(file, label) for label, files in enumerate(_files(folders)) for file in files]


def _files(folders: Sequence[Path]) -> list[list[Path]]:
    """Lists the files of each folder, sorted by name, without hidden files."""
    _require_folders(folders)
    files = [sorted(entry for entry in folder.iterdir() if entry.name[0] != ".") for folder in folders]
    if empty := [str(folder) for folder, found in zip(folders, files, strict=True) if not found]:
        verb = "is" if len(empty) == 1 else "are"
        raise Refused(f"{len(empty)} of {len(folders)} class folders {verb} empty: {_few(empty)}")
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


def _require_one_size(files: Sequence[ImageFile]) -> None:
    """Refuses images of different sizes; only the headers of the files are read."""
    seen: dict[tuple[int, int], Path] = {}
    sizes = _each(lambda path: _opened(path, lambda image: image.size), files)
    for (path, _), found in zip(files, sizes, strict=True):
        if not isinstance(found, Unreadable):
            seen.setdefault(found, path)
    if len(seen) > 1:
        (first, one), (second, other) = list(seen.items())[:2]
        raise Refused(
            f"{one} is {first[0]} x {first[1]} pixels, but {other} is {second[0]} x {second[1]}",
            remedies=[Remedy(settings={"size": None}, effect="resizes all images to one size")],
        )


def _decoded(
    train: Sequence[ImageFile],
    test: Sequence[ImageFile],
    classes: tuple[str, ...],
    where: Path,
    prepare: Prepare,
    skip: bool,
    grey: bool = False,
) -> RawImages:
    """Decodes all image files, resizes them with ``prepare`` and stacks the images of each split.

    If ``grey`` is true and all images are grey, they keep one channel.
    """

    def decode(path: Path) -> DecodedImage | Unreadable:
        found = _opened(path, _pixels)
        if isinstance(found, Unreadable):
            return found
        return DecodedImage(prepare(found.image), found.mode, found.extent)

    files, notes = [*train, *test], list[str]()
    attempts = list(zip(files, _each(decode, files), strict=True))
    if broken := [f"{path} ({one.reason})" for (path, _), one in attempts if isinstance(one, Unreadable)]:
        notes.append(_unreadable(broken, len(files), skip))
    decoded = [one for _, one in attempts if isinstance(one, DecodedImage)]
    kept = [file for file, one in attempts if isinstance(one, DecodedImage)]
    n = sum(isinstance(one, DecodedImage) for _, one in attempts[: len(train)])
    for part, before, after in (("training", train, kept[:n]), ("test", test, kept[n:])):
        if lost := sorted({label for _, label in before} - {label for _, label in after}):
            raise Refused(
                f"no {part} image of the class {classes[lost[0]]!r} in {where} can be read "
                f"({len(lost)} such classes)"
            )
    all_grey = grey and all(len(one.image) == 1 for one in decoded)
    if not all_grey:
        notes += _converted(decoded)
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
    return RawImages(
        stacked[:n], labels[:n], stacked[n:], labels[n:], classes, str(where), changed, tuple(notes)
    )


def _pixels(image: Image.Image) -> DecodedImage:
    """Returns the pixels of an open image, with one channel if it is grey and as RGB otherwise."""
    grey = image.mode in ("L", "1")
    pixels = torch.from_numpy(np.array(image.convert("L" if grey else "RGB")))
    tensor = pixels[None] if grey else pixels.permute(2, 0, 1).contiguous()
    return DecodedImage(tensor, image.mode, image.size)


def _opened(path: Path, work: Callable[[Image.Image], T]) -> T | Unreadable:
    """Opens an image and applies a function to it; returns the reason if that fails."""
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":  # a conversion would clip these values to 0 .. 255, not scale them
                return Unreadable("not 8 bits a channel")
            return work(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders may raise anything for a damaged file
        return Unreadable(_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return first_line(error)[:60]


def _each(work: Callable[[Path], T], files: Sequence[ImageFile]) -> list[T]:
    """Applies a function to every file in parallel threads, as decoding releases Python's global lock."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(work, [path for path, _ in files]))


def _unreadable(broken: Sequence[str], count: int, skip: bool) -> str:
    """Refuses unreadable files, or returns the note that they are left out."""
    reason = f"{len(broken)} of {count} files cannot be read as 8-bit images: {_few(broken)}"
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


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more
