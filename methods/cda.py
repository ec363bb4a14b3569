"""CDA: SRe2L's images, recovered from whole views first and from ever smaller crops later.

Yin and Shen: Dataset Distillation via Curriculum Data Synthesis in Large Data Era, TMLR 2024,
https://arxiv.org/abs/2311.18838; authors' code VILA-Lab/SRe2L at 8d00cba, ``CDA/recover_cda_tiny.py`` and its
like. The first steps fix what an image looks like as a whole; so the least share of it that a step may see
starts at 1 and falls to ``crop_min`` along a curriculum. The rest is SRe2L, and so is the whole of it with
``milestone`` 0.

Where this differs from the authors' code, and why: as SRe2L does (see `sre2l`), down to the last epoch in
place of the best, the colour that crops are padded with, and the teacher's rate by steps. Their code for
CIFAR-100, on which the paper's appendix reports, is not released: that recipe is SRe2L's setting with the
curriculum, and the 800 epochs of evaluation that the authors name in an issue of their repository. There is
no recipe for CIFAR-10.

When not to use it: on images of a few pixels, where the default ``crop_min`` leaves two pixels a side; where
SRe2L should not be used.
"""

import math
from dataclasses import dataclass

from condense.distillation import Recipe, register
from condense.errors import Refused, unknown

from .sre2l import SRe2L, cifar_protocol, tiny_protocol

CURRICULA = ("step", "linear", "cosine")
"""How the least share goes from 1 to ``crop_min``."""


@register
@dataclass(frozen=True, kw_only=True)
class CDA(SRe2L):
    """Inversion of a trained network under a curriculum of crops.

    Attributes:
        crop_min: The least share of an image that a step sees at the end of the curriculum.
        flip: Whether a step may see the mirror images.
        milestone: The share of the steps after which the curriculum is over; 0 is SRe2L.
        curriculum: ``step`` (whole images until then), ``linear`` or ``cosine``.
    """

    name = "cda"

    crop_min: float = 0.08
    milestone: float = 1.0
    curriculum: str = "cosine"

    def __post_init__(self) -> None:
        """Refuses a curriculum that does not exist, and a milestone beyond the last step."""
        super().__post_init__()
        if self.curriculum not in CURRICULA:
            raise unknown("curriculum", self.curriculum, CURRICULA)
        if self.milestone > 1:
            raise Refused(f"cda: milestone = {self.milestone} is no share of the steps")

    def crops(self) -> tuple[float, ...]:
        """The curriculum: the least share of an image that each step sees."""
        return tuple(self._crop(step) for step in range(self.iterations))

    def _crop(self, step: int) -> float:
        end = self.milestone * self.iterations
        if step >= end:
            return self.crop_min
        left = {
            "step": 1.0,
            "linear": 1 - step / end,
            "cosine": (1 + math.cos(math.pi * step / end)) / 2,
        }
        return self.crop_min + (1 - self.crop_min) * left[self.curriculum]


def _recipes() -> dict[tuple[str, int], Recipe]:
    cifar = CDA(
        network="resnet18-bn", teacher="trained", iterations=1000, lr_images=0.25, bn_weight=0.01, roll=4,
        encode="jpeg",
    )  # fmt: skip
    tiny = CDA(
        network="resnet18-bn", teacher="trained", teacher_epochs=50, teacher_lr=0.2, teacher_batch=256,
        iterations=4000, lr_images=0.4, bn_weight=0.05, flip=True, roll=4, encode="jpeg",
    )  # fmt: skip
    unreleased = "SRe2L's setting with the curriculum; 800 epochs: issues of VILA-Lab/SRe2L"
    recipes = {
        ("cifar100", ipc): Recipe(method=cifar, protocol=cifar_protocol(800), source=unreleased)
        for ipc in (1, 10, 50)
    }
    source = "VILA-Lab/SRe2L, CDA/README.md and recover_cda_tiny.py; zeyuanyin/tiny-imagenet"
    protocol = tiny_protocol(epochs=100, batch=64)
    return recipes | {
        ("tiny-imagenet", ipc): Recipe(method=tiny, protocol=protocol, source=source)
        for ipc in (1, 10, 50, 100)
    }


CDA.recipes = _recipes()
