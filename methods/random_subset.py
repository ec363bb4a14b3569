"""Random subset: real images drawn uniformly within each class; the baseline that every method has to beat.

In the field's tables it is the row "Random" (Zhao, Mopuri, Bilen: Dataset Condensation with Gradient
Matching, ICLR 2021, https://arxiv.org/abs/2006.05929, table 1). One draw says little at one image per class:
the boards show ten, distillation seeds 0 to 9.
"""

from dataclasses import dataclass

import torch

from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, register
from condense.store import ImageSet


@register
@dataclass(frozen=True, kw_only=True)
class RandomSubset(ImageMethod):
    """``ipc`` images of each class, without replacement."""

    name = "random_subset"
    keeps_real = True
    draws = 10

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Draws each class's images; there is nothing to learn."""
        chosen = []
        for label in range(run.spec.num_classes):
            indices = train.of_class(label)
            order = torch.randperm(len(indices), generator=run.rng)[: run.ipc]
            chosen.append(indices[order.to(indices.device)])
        return run.selected(train, torch.cat(chosen))
