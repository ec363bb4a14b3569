"""Readers of the files in which other code bases keep distilled sets of images. None executes anything."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from condense.data import ImageSpec
from condense.data.images.arrays import read_array
from condense.errors import Refused, unknown
from condense.files import safe_name
from condense.reading import open_file, open_zip, read_file, refused_if_damaged
from condense.store.foreign.found import ROWS, Asked, Found, as_tensor, channels_first, in_rows
from condense.store.foreign.plain import read_plain

Reader = Callable[[Path, ImageSpec, Asked], Found]
"""Reads a file of one kind for a dataset."""

LARGEST = 2**31
"""Largest file that is read, in bytes."""


def read_dc(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads the dictionary of DC, DSA, DM and IDC: ``data`` is a list of [images, labels], one an experiment.

    ``accs_all_exps`` holds the test accuracies of each evaluation network, which are noted.
    """
    held = read_plain(path)
    if not isinstance(held, Mapping) or not isinstance(held.get("data"), list) or not held["data"]:
        raise Refused(f"{path} holds no list of experiments under 'data', as the files of DC do")
    data = held["data"]
    number = len(data) - 1 if asked.experiment is None else asked.experiment
    if not 0 <= number < len(data):
        raise Refused(
            f"{path} holds the experiments 0 to {len(data) - 1}", setting="experiment", value=number
        )
    pair = data[number]
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise Refused(f"{path}: experiment {number} is no pair of images and labels")
    notes = []
    if len(data) > 1:
        notes.append(f"experiment {number} of {len(data)} was taken")
    if told := _stated(held.get("accs_all_exps")):
        notes.append(f"its authors' file states {told}")
    return Found(
        images=channels_first(as_tensor(pair[0], "the images"), "the images"),
        labels=as_tensor(pair[1], "the labels"),
        files=(path,),
        details={"experiment": number} if len(data) > 1 else {},
        notes=tuple(notes),
    )


def _stated(accuracies: Any) -> str:
    """Returns the mean accuracy in percent of each network that a file of DC states."""
    found = []
    for name, values in accuracies.items() if isinstance(accuracies, Mapping) else ():
        numbers = [float(value) for value in values] if isinstance(values, list | tuple) else []
        if numbers and all(math.isfinite(value) for value in numbers):
            found.append(f"{str(name)[:40]} {100 * sum(numbers) / len(numbers):.1f} %")
    return ", ".join(found)


def read_mtt(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads the files of MTT and its kin: ``images_X.pt``, ``labels_X.pt``, and ``lr_X.pt`` if it exists."""
    if path.is_dir():
        path = path / "images_best.pt"
    if not path.name.startswith("images"):
        raise Refused(f"{path.name}: the files of MTT are called images_best.pt and labels_best.pt")
    labels = Path(asked.labels) if asked.labels not in (None, ROWS) else _beside(path, "labels")
    files, lr = [path, labels], None
    if (rate := _beside(path, "lr")).is_file():
        files.append(rate)
        value = read_plain(rate)
        lr = (
            float(value) if isinstance(value, int | float) else _number(as_tensor(value, "the learning rate"))
        )
    return Found(
        images=channels_first(as_tensor(read_plain(path), "the images"), "the images"),
        labels=as_tensor(read_plain(labels), "the labels"),
        files=files,
        lr=lr,
    )


def _beside(path: Path, word: str) -> Path:
    return path.with_name(path.name.replace("images", word, 1))


def _number(value: Tensor) -> float:
    if value.numel() != 1:
        raise Refused(f"the learning rate has the shape {tuple(value.shape)}; it is one number")
    return float(value)


def read_tensors(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads images from a .pt, .npy or .npz file, and labels from it or another one."""
    held = _arrays(path)
    images = _named(held, ("images", "x", "x_proto", "data", "image_syn"), path, "images")
    files = [path]
    if asked.labels == ROWS:
        labels = in_rows(len(images), spec.num_classes, str(path))
    elif asked.labels is not None:
        files.append(other := Path(asked.labels))
        labels = _named(_arrays(other), LABELS, other, "labels")
    elif isinstance(held, Mapping) and any(name in held for name in LABELS):
        labels = _named(held, LABELS, path, "labels")
    else:
        raise Refused(
            f"{path} holds no labels: name their file, or {ROWS} for images in the order of the classes",
            setting="labels",
        )
    return Found(
        images=channels_first(as_tensor(images, "the images"), "the images"),
        labels=as_tensor(labels, "the labels"),
        files=files,
    )


LABELS = ("labels", "y", "y_proto", "targets", "label_syn")
"""Names that labels have in the files of this field."""


def _arrays(path: Path) -> Any:
    """Returns the array or the mapping of arrays that a file holds."""
    with open_file(path, LARGEST) as file:
        start = file.read(6)
    if start == np.lib.format.MAGIC_PREFIX:
        return read_npy(path)
    if path.suffix == ".npz":
        return read_npz(path)
    return read_plain(path)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of numbers of an .npz file by name."""
    with open_file(path, LARGEST) as file, open_zip(file, str(path), "an intact .npz file") as archive:
        with refused_if_damaged(f"{path} is not an intact .npz file"):
            return {
                name.removesuffix(".npy"): read_array(archive, name, f"{name} in {path}")
                for name in archive.namelist()
            }


def read_npy(path: Path) -> np.ndarray:
    """Returns the array of numbers of an .npy file."""
    with open_file(path, LARGEST) as file, refused_if_damaged(f"{path} is not an intact .npy file"):
        return np.asarray(np.load(file, allow_pickle=False, max_header_size=1000))


def _named(held: Any, names: tuple[str, ...], path: Path, what: str) -> Any:
    """Returns the array that has one of several names, or the only one."""
    if not isinstance(held, Mapping):
        return held
    for name in names:
        if name in held:
            return held[name]
    raise Refused(f"{path} holds no {what}, only {', '.join(sorted(map(str, held))[:8])}")


def read_kip(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads the .npz file of KIP and RFAD: whitened ``images``, ``labels`` with a number for each class."""
    held = read_npz(path)
    for name in ("images", "labels"):
        if name not in held:
            raise Refused(f"{path} holds no {name!r}, only {', '.join(sorted(held)[:8])}")
    return Found(
        images=channels_first(as_tensor(held["images"], "the images"), "the images"),
        labels=as_tensor(held["labels"], "the labels"),
        files=(path,), labels_are="vectors", space="zca-relative",
    )  # fmt: skip


def read_frepo(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads a checkpoint of FRePo or RCIG: flax's msgpack with ``x_proto`` and ``y_proto``.

    Of RCIG's, which hold two states, the average over the steps is taken, as its authors do.
    """
    held = read_flax(path)
    averaged = "ema_average" in held
    for place in ("ema_average", "params", "ema_hidden"):
        inner = held.get(place)
        if isinstance(inner, Mapping) and {"x_proto", "y_proto"} <= inner.keys():
            held = dict(inner)
            break
    if not {"x_proto", "y_proto"} <= held.keys():
        raise Refused(f"{path} holds no x_proto and y_proto, only {', '.join(sorted(map(str, held))[:8])}")
    images, labels = (as_tensor(held[name], name) for name in ("x_proto", "y_proto"))
    colours = spec.shape
    if images.ndim == 2 and images.shape[1] == math.prod(colours):
        images = images.view(-1, colours[1], colours[2], colours[0])
    if images.ndim == 4:  # flax keeps the channels last
        images = images.permute(0, 3, 1, 2)
    return Found(
        images=channels_first(images, "the images"), labels=labels, files=(path,), labels_are="vectors",
        space="zca-relative", notes=("the average over the steps was taken",) if averaged else (),
    )  # fmt: skip


FLAX_ARRAY, FLAX_SCALAR = 1, 3
"""The numbers by which flax marks an array and a NumPy scalar in msgpack."""


def read_flax(path: Path) -> dict[str, Any]:
    """Returns the nested mapping of arrays that flax wrote as msgpack, read without flax."""
    data = read_file(path, LARGEST)
    with refused_if_damaged(f"{path} is no msgpack file of flax"):
        held = msgspec.msgpack.decode(data, ext_hook=_flax_value)
    if not isinstance(held, dict):
        raise Refused(f"{path} is no msgpack file of flax: it holds no mapping")
    return held


def _flax_value(code: int, data: memoryview) -> object:
    """Returns an array from its shape, the name of its type and its bytes."""
    if code not in (FLAX_ARRAY, FLAX_SCALAR):
        return None
    shape, dtype, content = msgspec.msgpack.decode(data)
    kind = np.dtype(dtype if isinstance(dtype, str) else dtype.decode())
    if kind.hasobject:
        raise ValueError(f"an array of {kind}")
    return np.frombuffer(content, dtype=kind).reshape(tuple(shape)).copy()


def read_grid(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads a picture with a row of images for each class, as the programs of DC and DM save it.

    Its pixels have 8 bits and were clamped: what a set had outside of black and white is lost.
    """
    with refused_if_damaged(f"{path} is no picture"), open_file(path, LARGEST) as file:
        picture = Image.open(file)
        if math.prod(picture.size) > 2**26:
            raise Refused(f"{path}: a picture of {picture.size[0]} x {picture.size[1]} pixels is no grid")
        pixels = np.asarray(picture.convert("L" if spec.channels == 1 else "RGB"))
    height, width = (asked.tile,) * 2 if asked.tile else (spec.height, spec.width)
    step = (height + asked.padding, width + asked.padding)
    rows, columns = ((size - asked.padding) // one for size, one in zip(pixels.shape, step, strict=False))
    whole = (rows * step[0] + asked.padding, columns * step[1] + asked.padding)
    if whole != pixels.shape[:2] or rows < 1 or columns < 1:
        raise Refused(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, which are no tiles of "
            f"{width} x {height} with {asked.padding} pixels between them"
        )
    if rows != spec.num_classes:
        raise Refused(f"{path} has {rows} rows, and {spec.name} {spec.num_classes} classes: a row is a class")
    tensor = torch.from_numpy(pixels.copy()).view(*pixels.shape[:2], spec.channels).permute(2, 0, 1)
    corners = [
        (asked.padding + step[0] * row, asked.padding + step[1] * column)
        for row in range(rows) for column in range(columns)
    ]  # fmt: skip
    return Found(
        images=torch.stack([tensor[:, y : y + height, x : x + width] for y, x in corners]),
        labels=torch.arange(rows).repeat_interleave(columns),
        files=(path,), space="raw",
        details={"tile": height, "padding": asked.padding},
        notes=("a picture holds 8 bits: pixels outside of black and white are lost",),
    )  # fmt: skip


def read_folder(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    """Reads a folder with a folder of pictures for each class, named as the classes or by their numbers.

    The pictures must have the size of the dataset: none is resized.
    """
    if not path.is_dir():
        raise Refused(f"{path} is no folder")
    folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith((".", "__")))
    places = _classes([one.name for one in folders], spec, path)
    images: list[Tensor] = []
    labels: list[int] = []
    files: list[Path] = []
    left = 0
    for folder, label in sorted(zip(folders, places, strict=True), key=lambda pair: pair[1]):
        for file in sorted(one for one in folder.iterdir() if one.is_file() and not one.name.startswith(".")):
            if file.suffix.lower() not in (".png", ".jpg", ".jpeg", ".bmp", ".webp"):
                left += 1
                continue
            images.append(_picture(file, spec))
            labels.append(label)
            files.append(file)
    if not images:
        raise Refused(f"{path} holds no pictures in its folders")
    notes = (f"left out: {left} files that are no pictures",) if left else ()
    return Found(
        images=torch.stack(images), labels=torch.tensor(labels), files=files, space="raw", notes=notes
    )


def _classes(names: list[str], spec: ImageSpec, path: Path) -> list[int]:
    """Returns the class of each folder, by its name or its number; refuses folders that are neither."""
    by_name = {text: place for place, name in enumerate(spec.classes) for text in (safe_name(name), name)}
    if all(name in by_name for name in names):
        return [by_name[name] for name in names]
    numbers = [int(name) if name.isdecimal() and len(name) < 8 else -1 for name in names]
    if names and len(set(numbers)) == len(names) and set(numbers) <= set(range(spec.num_classes)):
        return numbers
    strange = next((name for name in names if name not in by_name), "")
    raise Refused(
        f"{path}: the folder {strange!r} is no class of {spec.name} "
        f"({', '.join(spec.classes[:5])}{', ...' if spec.num_classes > 5 else ''}), nor the number of one"
    )


def _picture(file: Path, spec: ImageSpec) -> Tensor:
    with refused_if_damaged(f"{file} is no picture"), open_file(file, LARGEST) as handle:
        picture = Image.open(handle)
        if picture.size != (spec.width, spec.height):
            raise Refused(
                f"{file} has {picture.size[0]} x {picture.size[1]} pixels; the images of {spec.name} have "
                f"{spec.width} x {spec.height}"
            )
        pixels = np.array(picture.convert("L" if spec.channels == 1 else "RGB"))
    return torch.from_numpy(pixels).view(spec.height, spec.width, spec.channels).permute(2, 0, 1)


def refuse_fkd(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    raise Refused(
        f"{path}: label files of FKD and SRe2L hold the views of a batch without the numbers of its images, "
        "which follow from their authors' data loader alone: import the images and label them here"
    )


def refuse_nodes(path: Path, spec: ImageSpec, asked: Asked) -> Found:
    raise Refused(f"{path}: sets of nodes (GCond, SFGC) are not judged: condense has graphs and images")


READERS: Mapping[str, Reader] = {
    "dc": read_dc, "mtt": read_mtt, "tensors": read_tensors, "frepo": read_frepo, "rcig": read_frepo,
    "kip": read_kip, "rfad": read_kip, "grid": read_grid, "folder": read_folder,
    "fkd": refuse_fkd, "gcond": refuse_nodes, "sfgc": refuse_nodes,
}  # fmt: skip
"""The readers by the kind of file."""


def reader_of(kind: str) -> Reader:
    """Returns the reader of a kind of file.

    Raises:
        Refused: if there is none.
    """
    if kind not in READERS:
        raise unknown("kind of file", kind, READERS, setting="from")
    return READERS[kind]
