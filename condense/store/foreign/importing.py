"""From a foreign file to a stored set: its space is measured, its labels compared, and nothing guessed."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.data import ImageDataset, PixelSpace
from condense.data.images.pixels import SPACES, WHITENED, affine, unit
from condense.errors import Refused, Remedy, unknown
from condense.files import digest
from condense.resources import versions
from condense.store.foreign.found import LABELS_ARE, ROWS, Asked, Found
from condense.store.foreign.layouts import reader_of
from condense.store.foreign.match import AFFINE, class_fit, distances, spaces_of
from condense.store.images.image_set import ImageSet
from condense.store.images.manifest import ImageContent
from condense.store.manifest import FORMAT, VERSION

IMPORTED = "imported-"
"""What the names of the methods of imported sets start with."""
IMPORTER = 1
"""Version of the importer, which rises where an equal file gives another set."""
CLEAR = 0.3
"""By how much a pixel space must fit better than another to be told apart from it."""
WHITE = 0.6
"""Distance of the best affine space from real images above which whitened spaces are tried as well.

Neighbouring pixels correlate in real images and hardly in whitened ones; this alone is a larger distance."""
AGREES, CONTRADICTS = 2.0, 0.5
"""Standard deviations above labels in a random order, from which labels fit, and below which they do not."""


@dataclass(frozen=True, eq=False)
class Origin:
    """Where an imported set comes from.

    Attributes:
        kind: The kind of file.
        method: Name of the method that made the set; None if it is not known, and no published number or
            protocol belongs to the set then.
        source: Address or description of the file's origin.
    """

    kind: str
    method: str | None = None
    source: str | None = None


def import_set(
    path: Path,
    origin: Origin,
    dataset: ImageDataset,
    asked: Asked | None = None,
    *,
    space: str | None = None,
    ipc: int | None = None,
    trusted: bool = False,
) -> ImageSet:
    """Makes a stored set of a file of another code base.

    Args:
        path: The file, or the folder.
        origin: What it is.
        dataset: The dataset that the set stands for; its training images are what the file is compared with.
        asked: What the user says about the file.
        space: The pixel space of the images: one of `condense.data.images.pixels.SPACES` or ``normalized-dc``
            (see `condense.store.foreign.match.AUTHORS`); None takes the one that the kind of file is known to
            have, or the one that the images fit.
        ipc: Images of each class, if they are to be checked.
        trusted: Whether labels are taken that do not fit the images.

    Returns:
        The set. Its images are those of the file, bit by bit; its provenance says what was measured.

    Raises:
        Refused: if the file is damaged, asks for something to be executed, or contradicts the dataset, the
            space or the labels.
    """
    asked, spec = asked or Asked(), dataset.spec
    if asked.labels_are not in (None, *LABELS_ARE):
        raise unknown("kind of labels", asked.labels_are, LABELS_ARE, setting="labels_are")
    found = reader_of(origin.kind)(path, spec, asked)
    _require_shape(found, dataset, path)
    chosen, pixel_space, measured = _placed(found, dataset, space, path)
    ids, labels, told = _labelled(found, asked, dataset, path)
    per_class = _counts(ids, dataset, ipc, path)
    fit = class_fit(pixel_space.decode(unit(found.images)), ids, dataset.train)
    notes = [*found.notes, measured, *told]
    if fit.z >= AGREES:
        notes.append(f"the labels fit the images: {fit.z:.1f} standard deviations above a random order")
    elif fit.z < CONTRADICTS and fit.best_z > AGREES and not trusted:
        place = next(label for label, other in enumerate(fit.best) if label != other)
        raise Refused(
            f"{path}: the labels do not fit the images, which are no more like real ones of their classes "
            f"than in a random order: images of label {place} look like {spec.classes[fit.best[place]]!r}",
            remedies=[Remedy(settings={"trust_labels": True}, effect="takes the labels as they are")],
        )
    else:
        notes.append(f"the images do not tell whether the labels fit them ({fit.z:.1f} standard deviations)")
    config = {"file": _hash(found.files, path), "from": origin.kind, "space": chosen} | _chosen(asked)
    content = _content(found, origin, dataset, per_class, config | found.details)
    content["pixels"] = pixel_space.describe()
    return ImageSet(
        images=found.images, labels=ids, soft=labels.soft, features=labels.features,
        space=pixel_space, content=cast(ImageContent, content | {"label": labels.part}),
        provenance={"versions": versions(), "data_notes": [*spec.notes], "import_notes": notes},
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Labels:
    """The labels of a set beside the class ids, and the manifest's part."""

    part: dict[str, Any]
    soft: Tensor | None = None
    features: Tensor | None = None


def _require_shape(found: Found, dataset: ImageDataset, path: Path) -> None:
    """Refuses images that are not of the dataset's size, or hold numbers that are none."""
    shape, spec = tuple(found.images.shape[1:]), dataset.spec
    if shape != spec.shape:
        theirs, ours = (" x ".join(map(str, one)) for one in (shape, spec.shape))
        raise Refused(f"{path} holds images of {theirs}; those of {spec.name} are {ours}")
    if found.images.is_floating_point() and (bad := int((~found.images.isfinite()).sum())):
        raise Refused(f"{path}: {bad} numbers of the images are not finite")
    if len(found.labels) != len(found.images):
        raise Refused(f"{path}: {len(found.images)} images have {len(found.labels)} labels")


def _placed(
    found: Found, dataset: ImageDataset, space: str | None, path: Path
) -> tuple[str, PixelSpace, str]:
    """Returns the pixel space of the images by name and value, and a sentence on how it was found."""
    if space is not None and space not in (*SPACES, "normalized-dc"):
        raise unknown("pixel space", space, (*SPACES, "normalized-dc"), setting="space")
    spec = dataset.spec
    if not found.images.is_floating_point():
        if space not in (None, "raw"):
            raise Refused(f"{path} holds bytes, which are raw pixels", setting="space", value=space)
        return "raw", affine("raw", spec.mean, spec.std), "the images are pixels of 8 bits"
    claimed = space or found.space
    spaces = spaces_of(dataset, AFFINE)
    how = distances(found.images, spaces, dataset.train)
    if claimed in WHITENED or (claimed is None and min(how.values()) > WHITE):  # fitting them takes a minute
        spaces |= spaces_of(dataset, WHITENED)
        how = distances(found.images, spaces, dataset.train)
    if claimed is not None and claimed not in spaces:
        raise Refused(f"the code of others has no constants for {spec.name}", setting="space", value=claimed)
    told = ", ".join(f"{name} {value:.2f}" for name, value in how.items())
    best = next(iter(how))
    if claimed is None:
        rivals = [name for name in how if name != best and how[name] < how[best] + CLEAR]
        different = [name for name in rivals if spaces[name].describe() != spaces[best].describe()]
        if different:
            raise Refused(
                f"{path}: the images fit the pixel spaces {best} and {different[0]} about equally well "
                f"(distances from real images: {told})",
                remedies=[Remedy(settings={"space": None}, effect="names it")],
            )
        claimed = best
    elif how[claimed] > how[best] + CLEAR:
        raise Refused(
            f"{path}: the images are not in the pixel space {claimed}: they fit {best} far better (distances "
            f"from real images: {told})",
            remedies=[Remedy(settings={"space": best}, effect="takes that one")],
        )
    return claimed, spaces[claimed], f"the pixel space is {claimed} (distances from real images: {told})"


def _labelled(
    found: Found, asked: Asked, dataset: ImageDataset, path: Path
) -> tuple[Int64[Tensor, " n"], _Labels, list[str]]:
    """Returns the class ids, the labels that students are trained with, and what was chosen."""
    labels, k = found.labels, dataset.spec.num_classes
    plain: dict[str, Any] = {"kind": "hard", "temperature": 1.0, "teacher": None}
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 1:
        if asked.labels_are is not None:
            raise Refused(f"{path} holds class ids", setting="labels_are", value=asked.labels_are)
        ids = labels.long()
        if labels.is_floating_point() and not torch.equal(ids.to(labels.dtype), labels):
            raise Refused(f"{path}: the labels are no class ids: {float(labels.flatten()[0])}")
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= k:
            raise Refused(f"{path}: the labels go from {low} to {high}; {dataset.spec.name} has {k} classes")
        return ids, _Labels(plain), []
    if labels.ndim != 2 or labels.shape[1] != k:
        raise Refused(
            f"{path}: labels of the shape {tuple(labels.shape)} are not those of {k} classes, which "
            f"{dataset.spec.name} has"
        )
    labels = labels.to(torch.float32)
    if bad := int((~labels.isfinite()).sum()):
        raise Refused(f"{path}: {bad} numbers of the labels are not finite")
    rows = bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() < 1e-3).all())
    what = asked.labels_are or found.labels_are or ("probabilities" if rows else None)
    if what is None:
        raise Refused(
            f"{path}: the labels hold {k} numbers that are no probabilities: they may be logits, or vectors "
            "that a network's outputs are to equal",
            remedies=[Remedy(settings={"labels_are": "logits"}, effect="takes their softmax")],
        )
    if what == "probabilities" and not rows:
        raise Refused(f"{path}: the labels are no probabilities", setting="labels_are", value=what)
    ids = labels.argmax(1)
    if what == "vectors":
        part = {**plain, "kind": "features", "dim": k, "scale": 0.5}
        told = "the labels are vectors that a network's outputs are to equal; the class is the largest number"
        return ids, _Labels(part, features=labels), [told]
    told = "the labels are probabilities" + (", the softmax of the file's" if what == "logits" else "")
    soft = labels.softmax(1) if what == "logits" else labels
    return ids, _Labels({**plain, "kind": "soft"}, soft=soft), [told]


def _counts(ids: Tensor, dataset: ImageDataset, ipc: int | None, path: Path) -> list[int]:
    """Returns the number of images of each class; refuses a class without any, and a number not asked for."""
    spec = dataset.spec
    per_class: list[int] = torch.bincount(ids, minlength=spec.num_classes).tolist()
    if 0 in per_class:
        empty = spec.classes[per_class.index(0)]
        raise Refused(f"{path} holds no image of class {empty!r} of {spec.name}")
    if ipc is not None and set(per_class) != {ipc}:
        raise Refused(
            f"{path} holds {min(per_class)} to {max(per_class)} images a class", setting="ipc", value=ipc
        )
    return per_class


def _chosen(asked: Asked) -> dict[str, Any]:
    """Returns what the user said about the labels, without which the file would give another set."""
    said = {"labels": ROWS if asked.labels == ROWS else None, "labels_are": asked.labels_are}
    return {name: value for name, value in said.items() if value is not None}


def _hash(files: Sequence[Path], path: Path) -> str:
    """Returns SHA-256 of the files: of one its own, of several that of their names and hashes.

    The name of a file in a folder has the folders between, which say the class of a picture.
    """
    hashes = {}
    for file in files:
        name = str(file.relative_to(path)) if file.is_relative_to(path) else file.name
        with file.open("rb") as handle:
            hashes[name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return digest(hashes) if len(hashes) > 1 else next(iter(hashes.values()))


def _content(
    found: Found, origin: Origin, dataset: ImageDataset, per_class: list[int], config: dict[str, Any]
) -> dict[str, Any]:
    """Returns the manifest's content without pixels and labels. The key holds no path."""
    spec, name = dataset.spec, f"{IMPORTED}{origin.method or f'{origin.kind}-file'}"
    key: dict[str, Any] = {"imported": config, "name": name, "version": IMPORTER, "train": dataset.train.hash}
    equal = len(set(per_class)) == 1
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": spec.kind,
        "key": digest(key | ({"given": spec.given} if spec.given else {})),
        "dataset": {
            "name": spec.name, "classes": list(spec.classes), "train_hash": dataset.train.hash,
            "shape": list(spec.shape), "dsa": spec.dsa,
        },
        "ipc": max(per_class),
        "counts": {"stored": sum(per_class), "effective": sum(per_class), "per_class": per_class}
        | ({} if equal else {"asked": per_class}),
        "decode": [],
        "hints": {"lr": found.lr, "augment": "dsa"},
        "protocol": None,
        "method": {
            "name": name, "chain": [{"name": name, "version": IMPORTER, "config": config}],
            "source": origin.source,
        },
        "seed": 0,
    }  # fmt: skip
