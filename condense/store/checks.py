"""Whether a manifest is true of a set's tensors: the checks that hold for sets of every kind."""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.store.manifest import SetContent, TensorPart


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
