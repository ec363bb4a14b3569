"""Checks of a set of images against its manifest. Each returns a sentence about the fault, or None."""

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from condense.store.images.decode import Compensated, DecodeStep
from condense.store.images.encode import EncodedImages
from condense.store.images.manifest import ImageContent, ReplayedLabelPart
from condense.store.images.replay import Replay, hash_images

FLOATS = (torch.float16, torch.float32)
"""The floating-point types of stored tensors."""


@runtime_checkable
class ImageParts(Protocol):
    """The parts of a set of images that are checked: see `condense.store.images.image_set.ImageSet`."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def soft(self) -> Tensor | None: ...
    @property
    def compensators(self) -> Tensor | None: ...
    @property
    def encoded(self) -> EncodedImages | None: ...
    @property
    def replay(self) -> Replay | None: ...
    @property
    def content(self) -> ImageContent: ...
    @property
    def steps(self) -> Sequence[DecodeStep]: ...
    def tensors(self) -> dict[str, Tensor]: ...


def find_image_tensor_error(parts: ImageParts) -> str | None:
    """Says which tensor does not have the type or the shape that the manifest calls for."""
    images, labels, n = parts.images, parts.labels, len(parts.images)
    space = parts.content["pixels"]["space"]
    shape = parts.content["dataset"]["shape"]
    if images.dtype not in (torch.uint8, *FLOATS):
        return f"images of {images.dtype} are not stored; float16, float32 and raw uint8 are"
    if images.dtype == torch.uint8 and space != "raw":
        return f"images of uint8 are raw pixels, not {space} ones"
    if n == 0 or list(images.shape[1:]) != shape:
        return f"images of shape {tuple(images.shape)} are not (n, c, h, w) of {shape}"
    if labels.dtype != torch.int64 or labels.shape != (n,):
        return f"labels of {labels.dtype}, {tuple(labels.shape)} are no class ids of {n} images"
    return _find_encoding_error(parts) or _find_label_kind_error(parts) or _find_compensator_error(parts)


def find_replay_inconsistency(parts: ImageParts) -> str | None:
    """Says that the stored labels belong to other images, or that their files have another size."""
    if (replay := parts.replay) is None:
        return None
    labelled = cast(ReplayedLabelPart, parts.content["label"])["images"]
    if labelled != (own := hash_images(parts.tensors(), parts.content)):
        return f"its stored labels are of other images, {labelled[:16]}..., not of its own, {own[:16]}..."
    for shard in replay.shards:
        if shard["bytes"] != replay.layout.nbytes:
            return f"{shard['file']} is said to hold {shard['bytes']} bytes: {replay.layout.nbytes}"
    return None


def _find_encoding_error(parts: ImageParts) -> str | None:
    if (parts.encoded is not None) != ("encoding" in parts.content):
        return "encoded images and content.encoding go together"
    if parts.encoded is None:
        return None
    data, offsets = parts.encoded.data, parts.encoded.offsets
    if parts.images.dtype != torch.uint8:
        return f"encoded images are bytes, not {parts.images.dtype}"
    n = len(parts.images)
    if data.dtype != torch.uint8 or offsets.dtype != torch.int64 or offsets.shape != (n + 1,):
        return f"encoded images of {data.dtype} with {len(offsets)} offsets are not those of {n} images"
    return None


def _find_label_kind_error(parts: ImageParts) -> str | None:
    kind, soft = parts.content["label"]["kind"], parts.soft
    if (soft is not None) != (kind == "soft"):
        return f"the label kind is {kind}, but there are {'no ' if soft is None else ''}soft labels"
    if (parts.replay is not None) != (kind == "replayed"):
        return f"the label kind is {kind}, but there are {'no ' if parts.replay is None else ''}stored labels"
    n, k = len(parts.images), len(parts.content["dataset"]["classes"])
    if soft is not None and (soft.dtype not in FLOATS or soft.shape != (n, k)):
        return f"soft labels of {soft.dtype}, {tuple(soft.shape)} are no float16 or float32 ({n}, {k})"
    return None


def _find_compensator_error(parts: ImageParts) -> str | None:
    wanted = [step.networks for step in parts.steps if isinstance(step, Compensated)]
    if (u := parts.compensators) is None:
        return "there are no compensators for its decode step" if wanted else None
    if not wanted:
        return "there are compensators, but no decode step for them"
    shape = parts.content["dataset"]["shape"]
    formed = u.dtype == torch.int8 and u.ndim == 5 and list(u.shape[1:]) == [*wanted, *shape]
    if not formed or len(u) == 0 or len(parts.images) % len(u):
        found, form = f"{u.dtype}, {tuple(u.shape)}", f"(g, {wanted[0]}, *{shape})"
        return f"compensators of {found} are no int8 {form} with g a divisor of {len(parts.images)}"
    return None
