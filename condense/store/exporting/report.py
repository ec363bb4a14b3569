"""What an export wrote, and what it lost."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from condense.store.base import DistilledSet


@dataclass(frozen=True)
class Exported:
    """An exported set.

    Attributes:
        path: The file or folder.
        lossless: Whether the written numbers are those of the set.
        notes: What was changed or lost, one sentence each.
    """

    path: Path
    lossless: bool
    notes: tuple[str, ...] = ()


LICENCE = (
    "The images are derived from {dataset}: its licence holds for them, too. "
    "Set {hash} of condense, method {method}."
)
"""The note that goes with an exported set."""


def about(made: DistilledSet) -> dict[str, object]:
    """Returns what anybody needs to know of an exported set, as JSON values."""
    content = made.content
    dataset, method = content["dataset"]["name"], content["method"]["name"]
    return {
        "classes": list(content["dataset"]["classes"]),
        "dataset": dataset,
        "hash": made.hash,
        "ipc": content["ipc"],
        "kind": content["kind"],
        "method": method,
        "note": LICENCE.format(dataset=dataset, hash=made.hash[:16], method=method),
    }


def as_torch(values: Mapping[str, object]) -> bytes:
    """Returns a PyTorch file of plain tensors, lists and text, which ``weights_only=True`` reads."""
    file = io.BytesIO()
    torch.save(dict(values), file)
    return file.getvalue()
