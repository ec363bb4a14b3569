"""Datasets that come as arrays: ``.npz`` files, scikit-learn's digits, torchvision's downloads."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from condense.data.images.known import KnownImages
from condense.errors import Refused
from condense.files import home, require_writable

KEYS = ("train_images", "train_labels", "test_images", "test_labels")
LAYOUT = "train_images and test_images (N, H, W, C) uint8, train_labels and test_labels (N,) integers from 0"


@dataclass(frozen=True, eq=False)
class RawImages:
    """Both splits as they come from a source, not yet checked against each other.

    Attributes:
        train_images: Training images.
        train_labels: Their class ids.
        test_images: Test images.
        test_labels: Their class ids.
        classes: Class names where the source knows them.
        where: The source in words, for refusals.
        changed: Whether the images were brought to another size than the source's own.
    """

    train_images: UInt8[Tensor, "n c h w"]
    train_labels: Int64[Tensor, " n"]
    test_images: UInt8[Tensor, "m c h w"]
    test_labels: Int64[Tensor, " m"]
    classes: tuple[str, ...] | None
    where: str
    changed: bool = False


def read_npz(path: Path) -> RawImages:
    """Reads an ``.npz`` file with MedMNIST's keys (its ``val`` arrays are left alone).

    Args:
        path: The file: ``train_images`` and ``test_images`` (N, H, W), (N, H, W, 1) or (N, H, W, 3) uint8,
            ``train_labels`` and ``test_labels`` (N,) or (N, 1) integers.

    Raises:
        Refused: if it is no whole ``.npz`` file or does not hold these arrays.
    """
    if not path.is_file():
        raise Refused(f"there is no file {path}")
    try:
        held = np.load(path, allow_pickle=False)
        if not isinstance(held, np.lib.npyio.NpzFile):
            raise Refused(f"{path} is one array, not an .npz file with {LAYOUT}")
        with held:
            for key in KEYS:
                if key not in held.files:
                    raise Refused(
                        f"{path} holds no {key!r}, only {', '.join(sorted(held.files)) or 'nothing'}"
                    )
            arrays = {key: held[key] for key in KEYS}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise Refused(f"{path} is not a whole .npz file: {_first_line(error)}") from error
    images = {
        part: _images(arrays[f"{part}_images"], f"{part}_images in {path}") for part in ("train", "test")
    }
    labels = {
        part: _labels(arrays[f"{part}_labels"], f"{part}_labels in {path}") for part in ("train", "test")
    }
    return RawImages(images["train"], labels["train"], images["test"], labels["test"], None, str(path))


def read_digits() -> RawImages:
    """Scikit-learn's copy of the UCI handwritten digits: 1797 real 8 x 8 images, no download.

    Values 0 .. 16 become uint8 by rounding ``x * 255 / 16``. The split is frozen: the order is
    ``numpy.random.RandomState(0).permutation(1797)``, a stream that NumPy promises never to change; its
    first 1347 are the training images, the other 450 the test images.
    """
    from sklearn.datasets import load_digits

    held = load_digits()
    order = np.random.RandomState(0).permutation(len(held.target))
    pixels = np.rint(held.images * (255 / 16)).astype(np.uint8)[order]
    images = torch.from_numpy(pixels).unsqueeze(1)
    labels = torch.from_numpy(held.target.astype(np.int64)[order])
    return RawImages(
        images[:1347], labels[:1347], images[1347:], labels[1347:], None, "scikit-learn's digits"
    )


def download(name: str, known: KnownImages, data_dir: Path) -> RawImages:
    """A named dataset through torchvision, which downloads it below the home folder once.

    SVHN is its ``train`` and ``test`` parts without ``extra``; class 0 is the digit 0.

    Args:
        name: The dataset's name.
        known: What is known of it; ``torchvision`` is not None.
        data_dir: Where an ``.npz`` file of it was looked for, for the refusal.

    Raises:
        Refused: if it cannot be downloaded, telling how to place it by hand.
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
            held = source(root=str(root), download=True, **part)
        except (OSError, RuntimeError) as error:
            file = data_dir / f"{name}.npz"
            raise Refused(
                f"cannot download {name} ({_first_line(error)}); place it by hand as {file} with {LAYOUT}"
            ) from error
        pixels = np.asarray(held.data)
        labels = np.asarray(held.labels if name == "svhn" else held.targets)
        if name == "svhn":  # torchvision keeps SVHN's channels first
            pixels = pixels.transpose(0, 2, 3, 1)
        parts += [_images(pixels, f"{name}'s images"), _labels(labels, f"{name}'s labels")]
    return RawImages(parts[0], parts[1], parts[2], parts[3], None, f"torchvision's {known.torchvision}")


def _images(array: np.ndarray, what: str) -> UInt8[Tensor, "n c h w"]:
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


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
