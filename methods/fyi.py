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
  that they compare with. Here it is a setting, `FYI.flip_first`, and an augmentation of its own,
  ``dsa-flip-first``. The published recipes have both, and the protocol hard-v1 has neither.
- It wraps any method that learns its images through a view; theirs is built into DC, DSA, DM and MTT.

When not to use it: where a mirror image belongs to another class or to none, as with digits and letters; or
where all images have one orientation. Fashion-MNIST's shoes all point the same way, and there it does not
improve DM.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, Recipe, Wrapper, register
from condense.errors import Refused
from condense.protocol import Protocol
from condense.store import ImageSet


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
    """

    name = "fyi"
    wraps = "a method that matches synthetic images with real ones"

    flip_first: bool = False

    def __post_init__(self) -> None:
        """Checks the fields, and that the host learns its images through a view.

        Raises:
            Refused: if a value is out of range, or the host cannot be wrapped.
        """
        super().__post_init__()
        if not self.through_view:
            raise Refused(f"{self.title}: {self.name} wraps {self.wraps}, and {self.host.title} does not")

    @classmethod
    def published(cls, host: ImageMethod, protocol: Protocol, source: str) -> Recipe | None:
        """Returns the host's recipe, evaluated with the edited augmentation, as in the authors' code."""
        return Recipe(
            method=cls(host=host, flip_first=True),
            protocol=replace(protocol, augment=edited(protocol.augment)),
            source=f"{source}; around it, cvlab-yonsei/FYI",
        )

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs the host on the doubled set."""
        if not run.spec.flips:
            run.warn(f"{self.title}: mirrored images of {run.spec.name} are of no class, and fyi shows them")
        strategy = dsa.with_flip_first(run.strategy) if self.flip_first else run.strategy
        return self.host.distill(train, run.with_view(Mirrored(), strategy=strategy))


def edited(augment: str) -> str:
    """Returns a protocol's augmentation with the flip applied in every batch, if it is one of DSA's."""
    if augment == "dsa":
        return "dsa-flip-first"
    family, colon, operations = augment.partition(":")
    return f"dsa:{dsa.with_flip_first(operations)}" if family == "dsa" and colon else augment
