"""The parts that the manifest of every stored set has, and the checks that hold for sets of every kind.

A manifest is the file `set.json`. The `TypedDict`s here, in `condense.store.images.manifest` and in
`condense.store.graphs.manifest` are the only description of the format: `find_form_error` checks a file
against them. Keys that they do not name are kept and hashed like all others, so that a later version may add
some.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import NotRequired, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

import torch
from jaxtyping import Int64
from torch import Tensor
from typing_extensions import ReadOnly

FORMAT = "condense-set"
VERSION = 1
MAX_BYTES = 16 * 2**20
"""Largest `set.json` that is read, in bytes; real ones are far smaller."""


class DatasetPart(TypedDict):
    """The dataset that a set stands for; `train_hash` is the hash of its training samples."""

    name: str
    classes: list[str]
    train_hash: str


class CountsPart(TypedDict):
    """Numbers of samples: stored ones, those that a student trains on, and the stored ones of each class."""

    stored: int
    effective: int
    per_class: list[int]


class LabelPart(TypedDict):
    """The kind of the labels; `teacher` is the content hash of the network that gave them, if one did."""

    kind: str
    temperature: float
    teacher: str | None


class ChainLinkPart(TypedDict):
    """One method of a chain, with every hyper-parameter."""

    name: str
    version: int
    config: dict[str, object]


class MethodPart(TypedDict):
    """The method's name, its chain, and the source of its published recipe."""

    name: str
    chain: list[ChainLinkPart]
    source: str | None


class TensorPart(TypedDict):
    """One tensor of `data.safetensors`."""

    name: str
    dtype: str
    shape: list[int]


class SetContent(TypedDict):
    """The part of `set.json` that the content hash covers, as far as sets of every kind have it.

    `bytes` and `tensors` follow from the tensors: a `condense.store.base.DistilledSet` fills them in.
    """

    format: str
    version: int
    kind: str
    key: str
    dataset: ReadOnly[DatasetPart]
    ipc: int
    counts: CountsPart
    bytes: NotRequired[dict[str, int]]
    label: LabelPart
    protocol: dict[str, object] | None
    method: MethodPart
    seed: int
    tensors: NotRequired[list[TensorPart]]


def find_form_error(value: object, form: object, where: str) -> str | None:
    """Says where a JSON value does not have a form, or returns None if it has.

    Args:
        value: The value, as `json.loads` returns it.
        form: The type that the value should have: a `TypedDict`, list, dict, union or plain type.
        where: The name of the value's place, for the answer.
    """
    if is_typeddict(form):
        assert isinstance(form, type)
        if not isinstance(value, dict):
            return f"{where} is not an object"
        for key, inner in get_type_hints(form).items():
            if key not in value and key in form.__optional_keys__:  # type: ignore[attr-defined]
                continue
            if key not in value:
                return f"{where}.{key} is missing"
            if wrong := find_form_error(value[key], inner, f"{where}.{key}"):
                return wrong
        return None
    if isinstance(form, UnionType):
        answers = [find_form_error(value, inner, where) for inner in get_args(form)]
        return None if None in answers else answers[0]
    if get_origin(form) is list:
        if not isinstance(value, list):
            return f"{where} is not a list"
        (inner,) = get_args(form)
        found = (find_form_error(one, inner, f"{where}[{i}]") for i, one in enumerate(value))
        return next(filter(None, found), None)
    if get_origin(form) is dict:
        if not isinstance(value, dict):
            return f"{where} is not an object"
        (_, inner) = get_args(form)
        found = (find_form_error(one, inner, f"{where}.{key}") for key, one in value.items())
        return next(filter(None, found), None)
    names = {str: "a text", int: "a whole number", float: "a number", NoneType: "null", object: "a value"}
    assert isinstance(form, type)
    wanted = (int, float) if form is float else form
    if not isinstance(value, wanted) or (form in (int, float) and isinstance(value, bool)):
        return f"{where} is not {names[form]}"
    return None


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
    return None


def find_infinite(tensors: Mapping[str, Tensor]) -> str | None:
    """Says which tensor holds numbers that are not finite."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and (bad := int((~tensor.isfinite()).sum())):
            return f"{bad} numbers of the {name} are not finite"
    return None
