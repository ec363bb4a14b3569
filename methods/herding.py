"""Herding: real images picked greedily so that the mean of their features follows the class's.

Welling: Herding dynamical weights to learn, ICML 2009, https://dl.acm.org/doi/10.1145/1553374.1553517; as a
baseline of dataset distillation since Zhao, Mopuri, Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929. Those
authors never released the code; the rule is the one that they state in their repository's discussion
(VICO-UoE/DatasetCondensation, issue 15): the j-th pick is the image whose features are nearest to j times the
class mean less the sum of those picked. (DeepCore's implementation takes the farthest: a slip, far worse.)

Features come from one pinned network, trained on the whole training set without augmentation
(`condense.distillation.feature_extractor`); the papers do not say how theirs was trained.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, register, select_by_features
from condense.store import ImageSet


@register
@dataclass(frozen=True, kw_only=True)
class Herding(ImageMethod):
    """Greedy picks whose running feature mean tracks the class mean. The seed changes nothing."""

    name = "herding"
    keeps_real = True
    quick = {"network": "mlp"}

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Picks class by class in the features of the pinned network."""
        return select_by_features(train, run, self.network, herd)


def herd(features: Float[Tensor, "n d"], budget: int) -> Int[Tensor, " budget"]:
    """Indices of the picks, in order.

    Args:
        features: Of every image of one class.
        budget: How many to pick, at most n.
    """
    features = features.double()
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    picks = []
    for count in range(1, budget + 1):
        gap = (count * mean - total - features).square().sum(1)
        pick = torch.where(free, gap, torch.inf).argmin()
        free[pick] = False
        total = total + features[pick]
        picks.append(pick)
    return torch.stack(picks)
