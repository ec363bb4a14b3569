"""DSA: gradient matching with the same random augmentation on real and synthetic images.

Zhao and Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021,
https://arxiv.org/abs/2102.08259; authors' code VICO-UoE/DatasetCondensation, ``main.py --method DSA``. For
each class and match one operation and its parameters are drawn, applied to both batches, and differentiated
through; between two matches the network trains under the same strategy, with an operation for each batch and
parameters for each image.

Where this differs from the authors' code: as `condense.methods.dc` does, and ``align_corners=True`` in the
augmentation's samplers, as torch did when the paper was written; every class has a draw of its own, where
theirs seeds by the clock and two classes may share one.

The paper averages 20 students on each of 5 sets; the recipes' protocol has 5 students a set.

When not to use it: as for DC; on digits at one image per class DC is better (README).
"""

from dataclasses import dataclass

from condense.distillation import Recipe, register
from condense.protocol import dc_evaluation

from .dc import DC, LOOPS


@register
@dataclass(frozen=True, kw_only=True)
class DSA(DC):
    """Gradient matching under Siamese augmentation. The fields are `DC`'s, with other defaults."""

    name = "dsa"

    init: str = "real"
    augment: str = "dsa"


def _recipes() -> dict[tuple[str, int], Recipe]:
    protocol = dc_evaluation(1000, augment="dsa")
    source = "VICO-UoE/DatasetCondensation, README and defaults of main.py"
    recipes = {}
    for dataset, ipc in DC.recipes:
        outer_steps, inner_epochs = LOOPS[ipc]
        method = DSA(outer_steps=outer_steps, inner_epochs=inner_epochs)
        recipes[dataset, ipc] = Recipe(method=method, protocol=protocol, source=source)
    return recipes


DSA.recipes = _recipes()
