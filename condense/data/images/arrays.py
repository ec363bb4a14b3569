"""Reads image datasets that are arrays: ``.npz`` files, scikit-learn's digits, torchvision's downloads."""

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from condense.data.images.known import KnownImages
from condense.data.notes import few
from condense.errors import Refused
from condense.files import first_line, home, locked, require_writable
from condense.reading import open_file, open_zip, refused_if_damaged, require_plausible

MAX_HEADER = 1000
"""Longest header of an array that is parsed; that of images has about 100 characters."""
KEYS = ("train_images", "train_labels", "test_images", "test_labels")
LAYOUT = "train_images and test_images (N, H, W, C) uint8, train_labels and test_labels (N,) integers from 0"


@dataclass(frozen=True, eq=False)
class RawImages:
    """Both splits of an image dataset before they are checked.

    Attributes:
        train_images: Training images.
        train_labels: Class ids of the training images.
        test_images: Test images.
        test_labels: Class ids of the test images.
        classes: Class names, if the source has them.
        where: The source, for error messages.
        changed: Whether the images were resized to another size than the source's usual one.
        notes: What the reader left out, changed or chose: see `condense.data.DatasetSpec`.
    """

    train_images: UInt8[Tensor, "_ _ _ _"]
    train_labels: Int64[Tensor, " _"]
    test_images: UInt8[Tensor, "_ _ _ _"]
    test_labels: Int64[Tensor, " _"]
    classes: tuple[str, ...] | None
    where: str
    changed: bool = False
    notes: tuple[str, ...] = ()


def read_npz(path: Path) -> RawImages:
    """Reads an ``.npz`` file with MedMNIST's keys; other arrays, such as ``val_images``, are left out.

    ``train_images`` and ``test_images`` are (N, H, W), (N, H, W, 1) or (N, H, W, 3) as uint8, and
    ``train_labels`` and ``test_labels`` (N,) or (N, 1) as integers.

    Raises:
        Refused: If the file is missing or damaged, or does not contain these arrays.
    """
    with open_file(path) as handle:
        if handle.read(len(np.lib.format.MAGIC_PREFIX)) == np.lib.format.MAGIC_PREFIX:
            raise Refused(f"{path} is one array, not an .npz file with {LAYOUT}")
        with open_zip(handle, f"{path}", "an intact .npz file") as archive:
            members = {name.removesuffix(".npy"): name for name in archive.namelist()}
            for key in KEYS:
                if key not in members:
                    raise Refused(f"{path} holds no {key!r}, only {few(sorted(members)) or 'nothing'}")
            with refused_if_damaged(f"{path} is not an intact .npz file"):
                arrays = {key: read_array(archive, members[key], f"{key} in {path}") for key in KEYS}
            others = sorted(set(members) - set(KEYS))
    checks = (_images, _labels, _images, _labels)
    parts = [check(arrays[key], f"{key} in {path}") for check, key in zip(checks, KEYS, strict=True)]
    notes = (f"left out: {len(others)} other arrays: {few(others)}",) if others else ()
    return RawImages(parts[0], parts[1], parts[2], parts[3], None, str(path), notes=notes)


def read_array(archive: zipfile.ZipFile, name: str, what: str) -> np.ndarray:
    """Reads an array after comparing the size that its header declares with that of its file."""
    file, info = np.lib.format, archive.getinfo(name)
    require_plausible(info.file_size, info.compress_size, what)
    with archive.open(info) as member:
        version = file.read_magic(member)
        header = file.read_array_header_1_0 if version == (1, 0) else file.read_array_header_2_0
        shape, _, dtype = header(member, max_header_size=MAX_HEADER)
        declared, held = math.prod(shape) * dtype.itemsize, info.file_size - member.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or declared != held:
        raise Refused(f"{what} is no array of numbers: {dtype}, {shape}, in {held} bytes")
    with archive.open(info) as member:
        return np.asarray(file.read_array(member, allow_pickle=False, max_header_size=MAX_HEADER))


def read_digits() -> RawImages:
    """Reads the UCI handwritten digits, 1797 images of 8 x 8 pixels, from scikit-learn without a download.

    The values 0 to 16 become uint8 by rounding ``x * 255 / 16``. The split is fixed: in the order of
    ``numpy.random.RandomState(0).permutation(1797)``, which NumPy promises never to change, the first 1347
    images are for training and the other 450 for testing.
    """
    from sklearn.datasets import load_digits

    loaded = load_digits()
    order = np.random.RandomState(0).permutation(len(loaded.target))
    pixels = np.rint(loaded.images * (255 / 16)).astype(np.uint8)[order]
    images = torch.from_numpy(pixels).unsqueeze(1)
    labels = torch.from_numpy(loaded.target.astype(np.int64)[order])
    return RawImages(
        images[:1347], labels[:1347], images[1347:], labels[1347:], None, "scikit-learn's digits"
    )


def download(name: str, known: KnownImages, data_dir: Path) -> RawImages:
    """Reads a named dataset with torchvision, which downloads it once.

    SVHN consists of its ``train`` and ``test`` parts without ``extra``; class 0 is the digit 0. torchvision
    verifies the MD5 sums of its files, so the arrays are not compared with known hashes.

    Raises:
        Refused: If the download fails; the message says where to place the file by hand.
    """
    import torchvision

    assert known.torchvision is not None
    source = getattr(torchvision.datasets, known.torchvision)
    root = home() / "downloads"
    require_writable(root)
    parts: list[Tensor] = []
    for train in (True, False):
        part = {"split": "train" if train else "test"} if name == "svhn" else {"train": train}
        try:
            with locked(root / name, what=f"downloads {name}"):
                split = source(root=str(root), download=True, **part)
        except (OSError, RuntimeError) as error:
            file = data_dir / f"{name}.npz"
            raise Refused(
                f"cannot download {name} ({first_line(error)}); place it by hand as {file} with {LAYOUT}"
            ) from error
        pixels = np.asarray(split.data)
        labels = np.asarray(split.labels if name == "svhn" else split.targets)
        if name == "svhn":  # torchvision keeps SVHN's channels first
            pixels = pixels.transpose(0, 2, 3, 1)
        parts += [_images(pixels, f"{name}'s images"), _labels(labels, f"{name}'s labels")]
    return RawImages(parts[0], parts[1], parts[2], parts[3], None, f"torchvision's {known.torchvision}")


def _images(array: np.ndarray, what: str) -> UInt8[Tensor, "n c h w"]:
    """Checks an array of images and brings its channels to the front."""
    if array.dtype != np.uint8:
        raise Refused(f"{what} are {array.dtype}; images must be uint8, 0 to 255")
    fits = array.ndim == 3 or (array.ndim == 4 and array.shape[3] in (1, 3))
    if not fits or array.size == 0:
        raise Refused(
            f"{what} have the shape {array.shape}; images must be (N, H, W), (N, H, W, 1) or (N, H, W, 3)"
        )
    images = torch.from_numpy(array)
    return images.unsqueeze(1) if array.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def _labels(array: np.ndarray, what: str) -> Int64[Tensor, " n"]:
    if not np.issubdtype(array.dtype, np.integer):
        raise Refused(f"{what} are {array.dtype}; labels must be integers from 0")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise Refused(f"{what} have the shape {array.shape}; labels must be (N,) or (N, 1)")
    if array.size and array.min() < 0:
        raise Refused(f"{what} go down to {array.min()}; labels must be integers from 0")
    return torch.from_numpy(array.astype(np.int64))
