"""The parts that the manifest of every stored set has, and the checks that hold for sets of every kind.

A manifest is the file `set.json`. The `TypedDict`s here, in `condense.store.images.manifest` and in
`condense.store.graphs.manifest` are the only description of the format: `condense.schema` checks a file
against them. Keys that they do not name are kept and hashed like all others, so that a later version may add
some; `condense verify` names them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, NotRequired, TypedDict

import torch
from jaxtyping import Int64
from msgspec import Meta
from torch import Tensor

from condense.files import canonical
from condense.schema import Name, Positive, ReadOnly, Text, Whole

FORMAT = "condense-set"
VERSION = 1
UNLABELLED = "unlabelled"
"""The only class of a set whose images have none."""
BY_CLASS = "-by-class"
"""What follows the IPC in names of files and folders if the classes have other numbers of samples."""
MAX_BYTES = 16 * 2**20
"""Largest `set.json` that is read, in bytes; real ones are far smaller."""


class DatasetPart(TypedDict):
    """The dataset that a set stands for; `train_hash` is the hash of its training samples."""

    name: Name
    classes: Annotated[list[Text], Meta(min_length=1)]
    train_hash: Name


class CountsPart(TypedDict):
    """Numbers of samples: stored ones, those that a student trains on, and the stored ones of each class.

    `asked` are those of each class that the user asked for, where they are not `ipc` of each.
    """

    stored: Whole
    effective: Whole
    per_class: list[Whole]
    asked: NotRequired[list[Whole]]


class LabelPart(TypedDict):
    """The kind of the labels; `teacher` is the content hash of the network that gave them, if one did."""

    kind: Name
    temperature: Positive
    teacher: Name | None


class ChainLinkPart(TypedDict):
    """One method of a chain, with every hyper-parameter."""

    name: Name
    version: Whole
    config: dict[str, object]


class MethodPart(TypedDict):
    """The method's name, its chain, and the source of its published recipe."""

    name: Name
    chain: list[ChainLinkPart]
    source: Text | None


class TensorPart(TypedDict):
    """One tensor of `data.safetensors`."""

    name: Name
    dtype: Name
    shape: list[Whole]


class StagePart(TypedDict):
    """A stage of a protocol; there may be more keys."""

    epochs: Whole


class ProtocolPart(TypedDict):
    """A protocol in short; `condense.protocol.Protocol` checks the rest of it where it is used."""

    name: Name
    stages: list[StagePart]


class SetContent(TypedDict):
    """The part of `set.json` that the content hash covers, as far as sets of every kind have it.

    `bytes` and `tensors` follow from the tensors: a `condense.store.base.DistilledSet` fills them in.
    """

    format: Name
    version: Whole
    kind: Name
    key: Name
    dataset: ReadOnly[DatasetPart]
    ipc: Whole
    counts: CountsPart
    bytes: NotRequired[dict[str, Whole]]
    label: ReadOnly[LabelPart]
    protocol: ProtocolPart | None
    method: MethodPart
    seed: Whole
    tensors: NotRequired[list[TensorPart]]


def settings(chain: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Returns the version and fields of a method as text; with wrappers, after the name of each link."""
    found = {}
    for link in chain:
        prefix = f"{link['name']}." if len(chain) > 1 else ""
        config = link["config"]
        assert isinstance(config, Mapping)
        for field, value in {"version": link["version"], **dict(sorted(config.items()))}.items():
            found[prefix + field] = value if isinstance(value, str) else canonical(value)
    return found


def list_tensors(tensors: Mapping[str, Tensor]) -> list[TensorPart]:
    """Returns the manifest's list of tensors, ordered by name."""
    return [
        {"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)}
        for name, tensor in sorted(tensors.items())
    ]


def find_label_error(labels: Int64[Tensor, " n"], num_classes: int) -> str | None:
    """Says that a class id has no class."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        return f"class ids run from {low} to {high}, but there are {num_classes} classes"
    return None


def find_count_error(content: SetContent, labels: Int64[Tensor, " n"], effective: int) -> str | None:
    """Says which of the manifest's counts is not true.

    Args:
        content: The manifest's content.
        labels: The class ids of the stored samples.
        effective: How many samples a student trains on.
    """
    counts, kind, stored = content["counts"], content["kind"], len(labels)
    if counts["stored"] != stored:
        return f"content.counts.stored is {counts['stored']}, but there are {stored} {kind}"
    if counts["effective"] != effective:
        return f"content.counts.effective is {counts['effective']}, but {stored} {kind} make {effective}"
    if counts["per_class"] != torch.bincount(labels, minlength=len(content["dataset"]["classes"])).tolist():
        return "content.counts.per_class does not agree with the labels"
    asked = counts.get("asked")
    if asked is not None and (
        len(asked) != len(counts["per_class"])
        or any(not 1 <= there <= most for there, most in zip(counts["per_class"], asked, strict=True))
    ):
        return "content.counts.asked does not agree with content.counts.per_class"
    return None


def find_infinite(tensors: Mapping[str, Tensor]) -> str | None:
    """Says which tensor holds numbers that are not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and (bad := int((~tensor.isfinite()).sum())):
            return f"{bad} numbers of the {name} are not finite"
    return None
