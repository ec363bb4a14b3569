"""DSA: gradient matching with the same random augmentation on real and synthetic images.

For each class and match, one operation and its parameters are drawn and applied to the real and to the
synthetic batch, and the loss is differentiated through it. Between two matches the network trains on
augmented synthetic images: one operation for each batch, with parameters of their own for the images. All
else is DC.

Paper: Zhao and Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021,
https://arxiv.org/abs/2102.08259. Authors' code: VICO-UoE/DatasetCondensation, ``main.py --method DSA``.

This implementation differs from the authors' code in the points that `condense.methods.dc` lists, and in
that every class has a draw of its own. The authors' code seeds by the clock, so that two classes may share a
draw.

The paper reports the mean of 20 students on each of 5 sets; the protocol of the recipes trains 5 students on
one set.

When not to use it: as for DC. On digits at one image per class DC is better (the authors' README).
"""

from dataclasses import dataclass
from typing import Literal

from condense.distillation import register
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.method import recipes

from .dc import DC


@register
@dataclass(frozen=True, kw_only=True)
class DSA(DC):
    """Gradient matching under Siamese augmentation: `DC` with other defaults of ``init`` and ``augment``."""

    name = "dsa"

    init: Literal["noise", "real"] = "real"
    augment: str = "dsa"


DSA.recipes = recipes(
    DSA,
    "outer_steps inner_epochs",
    {(dataset, ipc): DSA().loops(ipc) for dataset, ipc in DC.recipes},
    source="VICO-UoE/DatasetCondensation, README and defaults of main.py",
    protocol=dc_evaluation(1000, augment="dsa"),
)
