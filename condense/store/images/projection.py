"""Labels that a set regenerates: low-rank adapters which make an encoder's logits the labels of any view.

"Heavy Labels Out! Dataset Distillation with Label Space Lightening", ICCV 2025,
https://arxiv.org/abs/2408.08201 (the method ``hello``). A weight of the encoder is a matrix W of d_out rows
and d_in columns; for a convolution d_in is the number of input channels times the pixels of the kernel. An
adapter of rank r replaces W by W + A B, with A of (d_out, r) and B of (r, d_in), which are r (d_in + d_out)
numbers. For a convolution B is a convolution by a kernel of the same size to r channels, and A one by 1 x 1
from these to the output: the factors of the matrix and the two convolutions are the same numbers.

All numbers lie in one tensor, weight after weight: A and then B, each row by row; for a weight that is stored
whole, the weight and then its bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from condense.store.images.manifest import AdaptedPart, ImageContent, ProjectedLabelPart

FLOATS = (torch.float16, torch.float32)
"""The types in which the numbers are stored."""


@dataclass(frozen=True)
class Adapted:
    """A weight of the encoder that is changed.

    Attributes:
        name: Name of the layer in the network, such as ``body.0``.
        rows: Number d_out of rows of the weight as a matrix.
        columns: Number d_in of its columns.
        rank: Rank r of what is added to it; None if the whole weight is stored, with its bias.
    """

    name: str
    rows: int
    columns: int
    rank: int | None

    @property
    def numbers(self) -> int:
        """Number of stored numbers: r (d_in + d_out), or (d_in + 1) d_out for a whole weight and its bias."""
        if self.rank is None:
            return (self.columns + 1) * self.rows
        return self.rank * (self.columns + self.rows)

    def describe(self) -> AdaptedPart:
        """Returns the adapter as a manifest lists it."""
        return {"name": self.name, "rows": self.rows, "columns": self.columns, "rank": self.rank}


@dataclass(frozen=True, eq=False)
class Projection:
    """What a set stores for its labels beside the name of the encoder.

    Attributes:
        adapted: The weights that are changed, in the order of their numbers.
        numbers: The p numbers of all of them.
        beta: Weight of the class ids in a student's loss: see `condense.store.targets.Regressed`.
    """

    adapted: tuple[Adapted, ...]
    numbers: Float[Tensor, " p"]
    beta: float

    @classmethod
    def of(cls, content: ImageContent, numbers: Float[Tensor, " p"]) -> "Projection":
        """Returns the projection of a set whose labels are ``projected``."""
        label = cast(ProjectedLabelPart, content["label"])
        return cls(tuple(Adapted(**part) for part in label["adapted"]), numbers, float(label["beta"]))

    def label(self, encoder: str) -> ProjectedLabelPart:
        """Returns the label part of a manifest, given the encoder's hash."""
        adapted = [one.describe() for one in self.adapted]
        return {
            "kind": "projected", "temperature": 1.0, "teacher": encoder, "adapted": adapted, "beta": self.beta
        }  # fmt: skip


def factors(adapted: Sequence[Adapted], numbers: Float[Tensor, " p"]) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns views of the numbers by the layer's name: A (d_out, r) and B (r, d_in), or weight and bias."""
    pieces = torch.split(numbers, [one.numbers for one in adapted])
    found = {}
    for one, piece in zip(adapted, pieces, strict=True):
        first = one.rows * (one.columns if one.rank is None else one.rank)
        left, right = piece[:first].view(one.rows, -1), piece[first:]
        found[one.name] = left, right if one.rank is None else right.view(one.rank, one.columns)
    return found


def find_projection_error(content: ImageContent, numbers: Tensor | None) -> str | None:
    """Says why the numbers of a set's adapters do not agree with its manifest."""
    label = content["label"]
    if (numbers is not None) != (label["kind"] == "projected"):
        there = "there are no adapters" if numbers is None else "there are adapters"
        return f"the label kind is {label['kind']}, but {there}"
    if numbers is None:
        return None
    encoder, own = content.get("teacher"), cast(ProjectedLabelPart, label)
    if encoder is None or encoder["hash"] != own["teacher"]:
        return f"the adapters are those of the encoder {own['teacher']}, which content.teacher does not name"
    if len({part["name"] for part in own["adapted"]}) < len(own["adapted"]):
        return "content.label.adapted lists a weight twice"
    adapted = [Adapted(**part) for part in own["adapted"]]
    if bad := [one.name for one in adapted if 0 in (one.rows, one.columns, one.rank)]:
        return f"content.label.adapted lists {bad[0]!r} with a side or a rank of 0"
    wanted = sum(one.numbers for one in adapted)
    if numbers.dtype not in FLOATS or numbers.shape != (wanted,):
        found = f"{str(numbers.dtype).removeprefix('torch.')}, {tuple(numbers.shape)}"
        return f"adapters of {found} are not the {wanted} numbers in float16 or float32 that it lists"
    return None
