"""Checks of a set of images against its manifest. Each returns a sentence about the fault, or None."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from condense.store.images.decode import Compensated, DecodeStep
from condense.store.images.encode import EncodedImages
from condense.store.images.manifest import FeaturesLabelPart, ImageContent, ReplayedLabelPart
from condense.store.images.replay import Replay, hash_images

FLOATS = (torch.float16, torch.float32)
"""The floating-point types of stored tensors."""


def find_image_error(content: ImageContent, images: Tensor, labels: Tensor) -> str | None:
    """Says why images or class ids do not have the type or the shape that the manifest calls for."""
    space, shape, n = content["pixels"]["space"], content["dataset"]["shape"], len(images)
    if images.dtype not in (torch.uint8, *FLOATS):
        return f"images of {images.dtype} are not stored; float16, float32 and raw uint8 are"
    if images.dtype == torch.uint8 and space != "raw":
        return f"images of uint8 are raw pixels, not {space} ones"
    if n == 0 or list(images.shape[1:]) != shape:
        return f"images of shape {tuple(images.shape)} are not (n, c, h, w) of {shape}"
    if labels.dtype != torch.int64 or labels.shape != (n,):
        return f"labels of {labels.dtype}, {tuple(labels.shape)} are no class ids of {n} images"
    return None


def find_encoding_error(content: ImageContent, images: Tensor, encoded: EncodedImages | None) -> str | None:
    """Says why the compressed images cannot be those of the set."""
    if (encoded is not None) != ("encoding" in content):
        return "encoded images and content.encoding go together"
    if encoded is None:
        return None
    data, offsets, n = encoded.data, encoded.offsets, len(images)
    if images.dtype != torch.uint8:
        return f"encoded images are bytes, not {images.dtype}"
    if data.dtype != torch.uint8 or offsets.dtype != torch.int64 or offsets.shape != (n + 1,):
        return f"encoded images of {data.dtype} with {len(offsets)} offsets are not those of {n} images"
    return None


def find_label_kind_error(
    content: ImageContent, n: int, soft: Tensor | None, features: Tensor | None, replay: Replay | None
) -> str | None:
    """Says why the labels of n images do not agree with the manifest's label kind."""
    kind, k = content["label"]["kind"], len(content["dataset"]["classes"])
    given_labels = (("soft", soft, "soft"), ("feature", features, "features"), ("stored", replay, "replayed"))
    for name, given, wanted in given_labels:
        if (given is not None) != (kind == wanted):
            return f"the label kind is {kind}, but there are {'no ' if given is None else ''}{name} labels"
    if soft is not None and (soft.dtype not in FLOATS or soft.shape != (n, k)):
        return f"soft labels of {soft.dtype}, {tuple(soft.shape)} are no float16 or float32 ({n}, {k})"
    if features is not None:
        shape = (n, cast(FeaturesLabelPart, content["label"])["dim"])
        if features.dtype != torch.float32 or features.shape != shape:
            return f"feature labels of {features.dtype}, {tuple(features.shape)} are no float32 {shape}"
    return None


def find_compensator_error(
    content: ImageContent, n: int, u: Tensor | None, steps: Sequence[DecodeStep]
) -> str | None:
    """Says why the compensators `u` of n images do not fit the decode steps."""
    wanted = [step.networks for step in steps if isinstance(step, Compensated)]
    if u is None:
        return "there are no compensators for its decode step" if wanted else None
    if not wanted:
        return "there are compensators, but no decode step for them"
    shape = content["dataset"]["shape"]
    formed = u.dtype == torch.int8 and u.ndim == 5 and list(u.shape[1:]) == [*wanted, *shape]
    if not formed or len(u) == 0 or n % len(u):
        found, form = f"{u.dtype}, {tuple(u.shape)}", f"(g, {wanted[0]}, *{shape})"
        return f"compensators of {found} are no int8 {form} with g a divisor of {n}"
    return None


def find_replay_error(
    content: ImageContent, tensors: Mapping[str, Tensor], replay: Replay | None
) -> str | None:
    """Says that the stored labels belong to other images, or that their files have another size."""
    if replay is None:
        return None
    labelled = cast(ReplayedLabelPart, content["label"])["images"]
    if labelled != (own := hash_images(tensors, content)):
        return f"its stored labels are of other images, {labelled[:16]}..., not of its own, {own[:16]}..."
    for shard in replay.shards:
        if shard["bytes"] != replay.layout.nbytes:
            return f"{shard['file']} is said to hold {shard['bytes']} bytes: {replay.layout.nbytes}"
    return None
