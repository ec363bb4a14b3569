"""Sets of images as arrays, pictures and archives.

Arrays hold the stored tensors as they are, with the pixel space beside them, so that they can be imported
again bit by bit. If a set has decode steps, they hold the decoded images, as students see them. Pictures hold
pixels of 8 bits: what lies outside of black and white is clamped, which for some methods is most of a set.
"""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from condense.errors import Refused, install
from condense.files import canonical, safe_name, write_atomic
from condense.store.exporting.report import Exported, about, as_torch
from condense.store.images.image_set import ImageSet

PADDING = 2
"""Pixels between the images of a grid."""


def arrays(made: ImageSet) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Returns the images and labels that students train on, and what describes them.

    The images are in the space of the set, or, if they are decoded from stored ones, in that of evaluation.
    """
    told = about(made) | {"pixels": dict(made.content["pixels"])}
    ids = made.labels
    images = made.images
    if made.steps:
        images = made.images_at(torch.arange(len(made)))
        pixels = made.content["pixels"]
        told["pixels"] = {"space": "normalized", "mean": pixels["mean"], "std": pixels["std"]}
        ids = ids.repeat(made.copies)
    vectors = {"soft": made.soft, "features": made.features}
    labels = {name: one.repeat(made.copies, 1) for name, one in vectors.items() if one is not None}
    return {"images": images, "labels": ids, **labels}, told


def _lost_labels(made: ImageSet) -> tuple[str, ...]:
    """Returns the note on labels that the form does not hold."""
    kind = made.content["label"]["kind"]
    return () if kind == "hard" else (f"the {kind} labels are left out: the classes alone are exported",)


def to_npz(made: ImageSet, to: Path) -> Exported:
    """Writes the arrays of `arrays` and, as JSON text in ``about``, what describes them."""
    tensors, told = arrays(made)
    file = io.BytesIO()
    values: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
    np.savez(file, about=np.array(canonical(told)), **values)
    write_atomic(to, file.getvalue())
    return Exported(to, lossless=True, notes=_views(made))


def to_pt(made: ImageSet, to: Path) -> Exported:
    """Writes a dictionary of plain tensors, lists and text, which ``torch.load(weights_only=True)`` reads."""
    tensors, told = arrays(made)
    write_atomic(to, as_torch({**tensors, **told}))
    return Exported(to, lossless=True, notes=_views(made))


def _views(made: ImageSet) -> tuple[str, ...]:
    kind = made.content["label"]["kind"]
    if kind not in ("replayed", "projected"):
        return ()
    return (f"the {kind} labels are left out: they belong to views of the images",)


def as_bytes(made: ImageSet) -> tuple[UInt8[Tensor, "m c h w"], Int64[Tensor, " m"], tuple[str, ...]]:
    """Returns the images as pixels of 8 bits, their classes, and what was lost.

    Raises:
        Refused: if the set is whitened and does not know its own space.
    """
    if made.steps:
        tensors, _ = arrays(made)
        mean, std = (torch.tensor(made.content["pixels"][name]).view(-1, 1, 1) for name in ("mean", "std"))
        pixels, ids = tensors["images"] * std + mean, tensors["labels"]
    else:
        pixels, ids = made.pixels(), made.labels
    shown = (pixels * 255).round().clamp(0, 255).to(torch.uint8)
    return shown, ids, (*_clipped(pixels, shown), *_lost_labels(made))


def _clipped(pixels: Float[Tensor, "m c h w"], shown: UInt8[Tensor, "m c h w"]) -> tuple[str, ...]:
    """Returns how many pixels lie outside of black and white, and how far the others were rounded."""
    if torch.equal(shown.float() / 255, pixels.float()):
        return ()
    outside = float(((pixels < -0.5 / 255) | (pixels > 1 + 0.5 / 255)).float().mean())
    moved = float((shown.float() / 255 - pixels).abs().mean())
    return (
        f"{100 * outside:.1f} % of the pixels lie outside of black and white and were clamped; rounding and "
        f"clamping move a pixel by {moved:.3f} on average, where white is 1",
    )


def to_folder(made: ImageSet, to: Path) -> Exported:
    """Writes a PNG file for each image into a folder of its class, as torchvision's ``ImageFolder`` reads."""
    shown, ids, notes = as_bytes(made)
    classes = made.content["dataset"]["classes"]
    names = [safe_name(name) for name in classes]
    if len(set(names)) < len(names):
        names = [f"{number:04d}" for number in range(len(names))]
    for number, (image, label) in enumerate(zip(shown, ids.tolist(), strict=True)):
        write_atomic(to / names[label] / f"{number:05d}.png", _png(image))
    write_atomic(to / "about.json", canonical(about(made)))
    return Exported(to, lossless=not notes, notes=notes)


def _png(image: UInt8[Tensor, "c h w"]) -> bytes:
    array = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(file, format="PNG")
    return file.getvalue()


def to_grid(made: ImageSet, to: Path) -> Exported:
    """Writes a picture with a row of images for each class, as the programs of DC and DM do."""
    shown, ids, notes = as_bytes(made)
    k, (c, h, w) = made.num_classes, shown.shape[1:]
    counts = torch.bincount(ids, minlength=k)
    if int(counts.min()) != int(counts.max()):
        raise Refused("a grid has as many images in each row: the classes have different numbers")
    columns = int(counts.max())
    grid = torch.zeros(c, k * (h + PADDING) + PADDING, columns * (w + PADDING) + PADDING, dtype=torch.uint8)
    for row in range(k):
        for column, image in enumerate(shown[ids == row]):
            top, left = PADDING + row * (h + PADDING), PADDING + column * (w + PADDING)
            grid[:, top : top + h, left : left + w] = image
    write_atomic(to, _png(grid))
    return Exported(to, lossless=not notes, notes=notes)


def to_webdataset(made: ImageSet, to: Path) -> Exported:
    """Writes a tar archive of ``.npy`` images with their classes as ``.cls``, as webdataset reads them."""
    tensors, told = arrays(made)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        _add(archive, "about.json", canonical(told).encode())
        for number, (image, label) in enumerate(
            zip(tensors["images"], tensors["labels"].tolist(), strict=True)
        ):
            array = io.BytesIO()
            np.save(array, image.numpy())
            _add(archive, f"{number:05d}.npy", array.getvalue())
            _add(archive, f"{number:05d}.cls", str(label).encode())
            for name in ("soft", "features"):
                if name in tensors:
                    values = [float(value) for value in tensors[name][number]]
                    _add(archive, f"{number:05d}.{name}.json", json.dumps(values).encode())
    write_atomic(to, file.getvalue())
    return Exported(to, lossless=True, notes=_views(made))


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a file to an archive, with nothing that differs from one run to the next."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def to_hf(made: ImageSet, to: Path) -> Exported:
    """Writes a folder that ``datasets.load_from_disk`` reads: arrays of floats or bytes, and named classes.

    Raises:
        Refused: if the library ``datasets`` is not installed.
    """
    try:
        import datasets
    except ImportError as error:
        raise Refused(
            f"the form hf is written by the library datasets, which the extra hub installs: {install('hub')}"
        ) from error
    tensors, told = arrays(made)
    _, c, h, w = tensors["images"].shape
    dtype = str(tensors["images"].dtype).removeprefix("torch.")
    features: dict[str, Any] = {
        "image": datasets.Array3D(shape=(c, h, w), dtype=dtype),
        "label": datasets.ClassLabel(names=list(made.content["dataset"]["classes"])),
    }
    columns: dict[str, Any] = {"image": list(tensors["images"].numpy()), "label": tensors["labels"].tolist()}
    for name in ("soft", "features"):
        if name in tensors:
            features[name] = datasets.Sequence(datasets.Value("float32"), length=tensors[name].shape[1])
            columns[name] = tensors[name].float().tolist()
    info = datasets.DatasetInfo(description=canonical(told), features=datasets.Features(features))
    datasets.Dataset.from_dict(columns, info=info).save_to_disk(str(to))
    return Exported(to, lossless=True, notes=_views(made))


IMAGE_FORMS: Mapping[str, Callable[[ImageSet, Path], Exported]] = {
    "npz": to_npz, "pt": to_pt, "imagefolder": to_folder, "grid": to_grid, "webdataset": to_webdataset,
    "hf": to_hf,
}  # fmt: skip
"""The forms of sets of images, the default first."""
