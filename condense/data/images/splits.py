"""What is wrong with the splits of a user's images, and what is worth a note."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor

from condense.data.images.spec import Images
from condense.data.notes import on_test_split
from condense.errors import Refused


def require_content(images: UInt8[Tensor, "n c h w"], where: str) -> None:
    """Refuses training images that are all the same: nothing can be learned from them.

    Args:
        images: The training images.
        where: Their source, for the refusal.
    """
    if not torch.equal(images, images[:1].expand_as(images)):
        return
    if bool((images == images.flatten()[0]).all()):
        raise Refused(
            f"all pixels of all training images in {where} have the value {int(images.flatten()[0])}"
        )
    raise Refused(f"all training images in {where} are equal")


def notes_on_splits(train: Images, test: Images, classes: Sequence[str]) -> list[str]:
    """Says what the test split lacks, has little of, or shares with the training split, image by image."""
    notes = on_test_split(test.counts(), classes, "image")
    known: dict[bytes, set[int]] = {}
    for image, label in zip(train.images, train.labels.tolist(), strict=True):
        known.setdefault(_hash(image), set()).add(label)
    shared = [
        (label, known[found])
        for image, label in zip(test.images, test.labels.tolist(), strict=True)
        if (found := _hash(image)) in known
    ]
    if shared:
        other = sum(label not in labels for label, labels in shared)
        notes.append(
            f"{len(shared)} of {len(test)} test images are equal to training images"
            + (f", {other} of them to images of other classes only" if other else "")
        )
    if torn := sum(len(labels) > 1 for labels in known.values()):
        notes.append(f"{torn} training images occur in several classes")
    return notes


def _hash(image: UInt8[Tensor, "c h w"]) -> bytes:
    return hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
