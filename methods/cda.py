"""CDA: SRe2L under a curriculum that shows whole images first and ever smaller crops later.

Yin and Shen: Dataset Distillation via Curriculum Data Synthesis in Large Data Era, TMLR 2024,
https://arxiv.org/abs/2311.18838; authors' code VILA-Lab/SRe2L at 8d00cba, ``CDA/recover_cda_tiny.py`` and the
scripts for other datasets. The first steps fix the layout of an image. The smallest share of the image that a
step's random crop shows therefore starts at 1 and falls to ``crop_min``. CDA is SRe2L (`methods.sre2l`) with
one step overridden, `CDA.crop_mins`; with ``milestone=0`` it is SRe2L exactly.

Where this differs from the authors' code, and why: in the same points as SRe2L. Their code for CIFAR-100, on
which the paper's appendix reports, is not released: that recipe is SRe2L's setting with the curriculum, and
the 800 epochs of evaluation that the authors state in an issue of their repository. There is no recipe for
CIFAR-10.

When not to use it: on images of a few pixels, where the default ``crop_min`` leaves crops of two pixels a
side; and wherever SRe2L should not be used.
"""

import math
from dataclasses import dataclass
from typing import Literal

from condense.distillation import register
from condense.distillation.inversion.protocols import CIFAR, TINY, cifar_protocol, tiny_protocol
from condense.distillation.method import recipes

from .sre2l import SRe2L


@register
@dataclass(frozen=True, kw_only=True)
class CDA(SRe2L):
    """Inversion of a trained network under a curriculum of crops; other fields are those of `SRe2L`.

    Attributes:
        crop_min: Smallest share of an image that a crop shows once the curriculum has ended.
        milestone: Share of the steps after which the curriculum has ended; 0 makes the method SRe2L.
        curriculum: How the smallest share falls from 1 to ``crop_min``: in one ``step`` at the milestone, or
            along a ``linear`` or a ``cosine`` curve that ends there.
    """

    name = "cda"

    crop_min: float = 0.08
    milestone: float = 1.0
    curriculum: Literal["step", "linear", "cosine"] = "cosine"

    def __post_init__(self) -> None:
        """Refuses a milestone above 1."""
        super().__post_init__()
        if self.milestone > 1:
            raise self.refused("milestone", "the milestone is a share of the steps, from 0 to 1")

    def crop_mins(self) -> tuple[float, ...]:
        """Returns the curriculum: the smallest share of an image that each step's crop shows."""
        steps = range(self.iterations)
        return tuple(self.crop_min + (1 - self.crop_min) * self._remaining(step) for step in steps)

    def _remaining(self, step: int) -> float:
        """Returns how much of the way from 1 to `crop_min` is left at a step."""
        end = self.milestone * self.iterations
        if step >= end:
            return 0.0
        match self.curriculum:
            case "step":
                return 1.0
            case "linear":
                return 1 - step / end
            case "cosine":
                return (1 + math.cos(math.pi * step / end)) / 2


CDA.recipes = recipes(
    CDA,
    "",
    {("cifar100", ipc): () for ipc in (1, 10, 50)},
    source="SRe2L's setting with the curriculum; 800 epochs: issues of VILA-Lab/SRe2L",
    protocol=cifar_protocol(800), **CIFAR,
) | recipes(
    CDA,
    "",
    {("tiny-imagenet", ipc): () for ipc in (1, 10, 50, 100)},
    source="VILA-Lab/SRe2L, CDA/README.md and recover_cda_tiny.py; zeyuanyin/tiny-imagenet",
    protocol=tiny_protocol(epochs=100, batch=64), teacher_epochs=50, iterations=4000, lr_images=0.4,
    bn_weight=0.05, **TINY,
)  # fmt: skip
