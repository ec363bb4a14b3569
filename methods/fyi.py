"""FYI: a matching method sees every synthetic image together with its mirror image.

Most real objects appear in both orientations, so a matching method spends part of its few pixels on showing
both. With the mirror images put beside the synthetic images wherever the method looks at them, one
orientation is enough. Nothing more is stored: students see mirror images through augmentation, as they always
do.

A method sees the doubled set through its view, without a change of its own: class means and gradients are
over twice as many images, and a method that unrolls mini-batches divides their number by the view's
``copies``, as the authors do for MTT. The gradient of an image is the sum of its own and that of its mirror
image.

Paper: Son, Oh, Baek and Ham, FYI: Flip Your Images for Dataset Distillation, ECCV 2024,
https://arxiv.org/abs/2407.08113. Authors' code: cvlab-yonsei/FYI.

This implementation differs from the authors' code in these points:

- The authors take ``flip`` out of the operations that DSA chooses from, and apply it in every batch, in
  matching, network training and evaluation. So their students see more augmentation than those of the methods
  that they compare with. Here there are two settings, `FYI.flip_first` and, for the experts of trajectory
  matching, `FYI.edited_experts`; students have an augmentation of its own, ``dsa-flip-first``. The published
  recipes have all of it, and the protocol hard-v1 nothing.
- Around MTT the authors' code takes TESLA's truncated gradient, and 10000 updates. Here both are the host's
  settings, which the published recipe changes (`AS_RUN`); the exact gradient needs no more memory.
- It wraps any method that learns its images through a view; theirs is built into DC, DSA, DM and MTT.

When not to use it: where a mirror image belongs to another class or to none, as with digits and letters; or
where all images have one orientation. Fashion-MNIST's shoes all point the same way, and there it does not
improve DM.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, Recipe, Wrapper, register
from condense.errors import Refused
from condense.protocol import Protocol
from condense.store import ImageSet

AS_RUN: Mapping[str, Mapping[str, Any]] = {"mtt": {"gradient": "tesla", "iterations": 10000}}
"""Settings of hosts with experts in the authors' code, where they are not those of the host's authors."""


class Mirrored:
    """A view that shows all images, followed by their mirror images."""

    copies = 2

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "2*n c h w"], Int[Tensor, " 2*n"]]:
        """Returns the images and their mirror images, and the labels twice."""
        return torch.cat([images, images.flip(-1)]), labels.repeat(2)


@register
@dataclass(frozen=True, kw_only=True)
class FYI(Wrapper):
    """A wrapper that shows a matching method every synthetic image together with its mirror image.

    Attributes:
        flip_first: Whether the host's augmentation applies the flip in every batch, followed by one of the
            other operations, as in the authors' code and in the recipes; otherwise the flip is one of the
            operations to choose from.
        edited_experts: Whether a host's experts are trained under that augmentation too, as in the authors'
            code; otherwise the host may share them with runs without this wrapper.
    """

    name = "fyi"
    wraps = "a method that matches synthetic images with real ones"
    added = frozenset({"edited_experts"})

    flip_first: bool = False
    edited_experts: bool = False

    def __post_init__(self) -> None:
        """Checks the fields, that the host learns its images through a view, and that it has experts to edit.

        Raises:
            Refused: if a value is out of range, or the host cannot be wrapped.
        """
        super().__post_init__()
        if not self.through_view:
            raise Refused(f"{self.title}: {self.name} wraps {self.wraps}, and {self.host.title} does not")
        if self.edited_experts and "experts" not in self.links()[0].config():
            raise self.refused("edited_experts", f"{self.host.title} trains no experts")

    @classmethod
    def published(cls, host: ImageMethod, protocol: Protocol, source: str) -> Recipe | None:
        """Returns the host's recipe with `AS_RUN` and the edited augmentation, as in the authors' code."""
        own = AS_RUN.get(host.name, {})
        return Recipe(
            method=cls(host=replace(host, **own), flip_first=True, edited_experts=host.name in AS_RUN),
            protocol=replace(protocol, augment=edited(protocol.augment)),
            source=f"{source}; around it, cvlab-yonsei/FYI",
        )

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs the host on the doubled set."""
        if not run.spec.flips:
            run.warn(f"{self.title}: mirrored images of {run.spec.name} are of no class, and fyi shows them")
        edited = dsa.with_flip_first(run.strategy)
        inner = run.with_view(
            Mirrored(),
            strategy=edited if self.flip_first else None,
            expert_strategy=edited if self.edited_experts else None,
        )
        return self.host.distill(train, inner)


def edited(augment: str) -> str:
    """Returns a protocol's augmentation with the flip applied in every batch, if it is one of DSA's."""
    if augment == "dsa":
        return "dsa-flip-first"
    family, colon, operations = augment.partition(":")
    return f"dsa:{dsa.with_flip_first(operations)}" if family == "dsa" and colon else augment
