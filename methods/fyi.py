"""FYI: a matching method sees every synthetic image together with its mirror image.

Son, Oh, Baek and Ham: FYI: Flip Your Images for Dataset Distillation, ECCV 2024,
https://arxiv.org/abs/2407.08113; authors' code cvlab-yonsei/FYI. Real classes are as likely the one way round
as the other, so a matching method spends its few pixels on showing both; with the mirror images put beside
the synthetic ones wherever it looks at them, one way round is enough. Nothing more is stored: students meet
the mirror images through augmentation, as they always do.

A method sees the doubled set through its view and needs no line for it: class means and gradients are over
twice the images, and one that unrolls minibatches halves their number by the view's ``copies``, as the
authors do for MTT. An image's gradient is the sum of its own and its mirrored twin's.

Where this differs from the authors' code, and why:

- They take ``flip`` out of DSA's lottery and draw it always, in matching, network training and evaluation, so
  their students are augmented more than those of the methods that they compare with. Here that is a setting,
  `FYI.flip_first`, and an augmentation of its own, ``dsa-flip-first``: both belong to the published recipes,
  and hard-v1 knows neither.
- It stands behind any method that learns through a view; theirs is written into DC, DSA, DM and MTT.

When not to use it: on data where a mirrored image is of another class or of none, as digits and letters are,
or unlike any that is tested: Fashion-MNIST's shoes all point the same way, and there it brings DM nothing.
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
    """Every image, and after them all their mirror images."""

    copies = 2

    def __call__(
        self, images: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "2*n c h w"], Int[Tensor, " 2*n"]]:
        """The images and labels, twice."""
        return torch.cat([images, images.flip(-1)]), labels.repeat(2)


@register
@dataclass(frozen=True, kw_only=True)
class FYI(Wrapper):
    """Mirror images beside the synthetic ones, wherever a matching method looks at them.

    Attributes:
        flip_first: Whether the host's augmentation always draws the flip, ahead of one of the others, in
            place of drawing one of all; the authors' code does, and the recipes with it.
    """

    name = "fyi"
    wraps = "a method that matches synthetic images with real ones"

    flip_first: bool = False

    def __post_init__(self) -> None:
        """Refuses a host that does not learn images through a view."""
        super().__post_init__()
        if not self.through_view:
            raise Refused(f"{self.title}: {self.name} wraps {self.wraps}, and {self.host.title} does not")

    @classmethod
    def published(cls, host: ImageMethod, protocol: Protocol, source: str) -> Recipe | None:
        """The host's settings, evaluated with the edited augmentation, as the authors' code does."""
        return Recipe(
            method=cls(host=host, flip_first=True),
            protocol=replace(protocol, augment=edited(protocol.augment)),
            source=f"{source}; around it, cvlab-yonsei/FYI",
        )

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """The host, with its view mirrored."""
        if not run.spec.flips:
            run.warn(f"{self.title}: mirrored images of {run.spec.name} are of no class, and fyi shows them")
        strategy = dsa.with_flip_first(run.strategy) if self.flip_first else run.strategy
        return self.host.distill(train, run.with_view(Mirrored(), strategy=strategy))


def edited(augment: str) -> str:
    """A protocol's augmentation with the flip taken out of DSA's lottery and always drawn."""
    if augment == "dsa":
        return "dsa-flip-first"
    family, colon, operations = augment.partition(":")
    return f"dsa:{dsa.with_flip_first(operations)}" if family == "dsa" and colon else augment
