"""What a set's tensors and its manifest must agree on, each check an answer in words or None."""

from typing import TYPE_CHECKING, cast

import torch

from condense.store.images.decode import Compensated
from condense.store.images.replay import hash_images
from condense.store.manifest import Replayed

if TYPE_CHECKING:
    from condense.store.images.image_set import ImageSet

FLOATS = (torch.float16, torch.float32)
"""What floating-point tensors are stored as."""


def ill_formed(held: "ImageSet") -> str | None:
    """Says which tensor has not the type or shape that the manifest calls for."""
    n = len(held.images)
    space = held.content["pixels"]["space"]
    shape = held.content["dataset"]["shape"]
    if held.images.dtype not in (torch.uint8, *FLOATS):
        return f"images of {held.images.dtype} are not stored; float16, float32 and raw uint8 are"
    if held.images.dtype == torch.uint8 and space != "raw":
        return f"images of uint8 are raw pixels, not {space} ones"
    if n == 0 or list(held.images.shape[1:]) != shape:
        return f"images of shape {tuple(held.images.shape)} are not (n, c, h, w) of {shape}"
    if held.labels.dtype != torch.int64 or held.labels.shape != (n,):
        return f"labels of {held.labels.dtype}, {tuple(held.labels.shape)} are no class ids of {n} images"
    return _misencoded_form(held) or _mislabelled(held) or _uncompensated(held)


def find_inconsistency(held: "ImageSet") -> str | None:
    """Says what in a set is not true of its tensors: counts, class ids, finite numbers, whose labels."""
    low, high = int(held.labels.min()), int(held.labels.max())
    if low < 0 or high >= held.num_classes:
        return f"class ids run from {low} to {high}, but there are {held.num_classes} classes"
    counts = held.content["counts"]
    if counts["stored"] != (stored := len(held.images)):
        return f"content.counts.stored is {counts['stored']}, but there are {stored} images"
    if counts["effective"] != len(held):
        return f"content.counts.effective is {counts['effective']}, but {stored} images make {len(held)}"
    if counts["per_class"] != torch.bincount(held.labels, minlength=held.num_classes).tolist():
        return "content.counts.per_class does not agree with the labels"
    for name, tensor in held.tensors().items():
        if tensor.is_floating_point() and (bad := int((~tensor.isfinite()).sum())):
            return f"{bad} numbers of the {name} are not finite"
    if held.replay is not None:
        labelled = cast(Replayed, held.content["label"])["images"]
        if labelled != (own := hash_images(held.tensors(), held.content)):
            return f"its stored labels are of other images, {labelled[:16]}..., not of its own, {own[:16]}..."
        for shard in held.replay.shards:
            if shard["bytes"] != held.replay.layout.nbytes:
                return f"{shard['file']} is said to hold {shard['bytes']} bytes: {held.replay.layout.nbytes}"
    return None


def misencoded(held: "ImageSet") -> str | None:
    """Says that a set's images are not what their encoded form is read as."""
    if held.encoded is None:
        return None
    read = held.encoded.images(tuple(held.images.shape[1:]))
    return None if torch.equal(read, held.images.cpu()) else "its images are not those that are encoded"


def _misencoded_form(held: "ImageSet") -> str | None:
    if (held.encoded is not None) != ("encoding" in held.content):
        return "encoded images and content.encoding go together"
    if held.encoded is None:
        return None
    data, offsets = held.encoded.data, held.encoded.offsets
    if held.images.dtype != torch.uint8:
        return f"encoded images are bytes, not {held.images.dtype}"
    n = len(held.images)
    if data.dtype != torch.uint8 or offsets.dtype != torch.int64 or offsets.shape != (n + 1,):
        return f"encoded images of {data.dtype} with {len(offsets)} offsets are not those of {n} images"
    return None


def _mislabelled(held: "ImageSet") -> str | None:
    kind, soft = held.content["label"]["kind"], held.soft
    if (soft is not None) != (kind == "soft"):
        return f"the label kind is {kind}, but there are {'no ' if soft is None else ''}soft labels"
    if (held.replay is not None) != (kind == "replayed"):
        return f"the label kind is {kind}, but there are {'no ' if held.replay is None else ''}stored labels"
    n, k = len(held.images), held.num_classes
    if soft is not None and (soft.dtype not in FLOATS or soft.shape != (n, k)):
        return f"soft labels of {soft.dtype}, {tuple(soft.shape)} are no float16 or float32 ({n}, {k})"
    return None


def _uncompensated(held: "ImageSet") -> str | None:
    wanted = [step.networks for step in held.steps if isinstance(step, Compensated)]
    if (u := held.compensators) is None:
        return "there are no compensators for its decode step" if wanted else None
    if not wanted:
        return "there are compensators, but no decode step for them"
    shape = held.content["dataset"]["shape"]
    formed = u.dtype == torch.int8 and u.ndim == 5 and list(u.shape[1:]) == [*wanted, *shape]
    if not formed or len(u) == 0 or len(held.images) % len(u):
        found, form = f"{u.dtype}, {tuple(u.shape)}", f"(g, {wanted[0]}, *{shape})"
        return f"compensators of {found} are no int8 {form} with g a divisor of {len(held.images)}"
    return None
