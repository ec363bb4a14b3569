"""Herding: real samples picked greedily so that the mean of their features follows that of their class.

Welling: Herding dynamical weights to learn, ICML 2009, https://dl.acm.org/doi/10.1145/1553374.1553517. As a
baseline of dataset distillation: for images since Zhao, Mopuri, Bilen, ICLR 2021,
https://arxiv.org/abs/2006.05929; for graphs since Jin et al., KDD 2022, https://arxiv.org/abs/2206.07746.

Zhao et al. never released the code. The rule is the one that they state in their repository's discussion
(VICO-UoE/DatasetCondensation, issue 15): the j-th pick is the sample whose features are nearest to j times
the class mean minus the sum of the features picked so far.

Where this differs from other code, and why:

- Features come from one pinned network, trained on the whole training set: for images without augmentation
  (`condense.distillation.feature_extractor`), for graphs by `condense.distillation.GraphTraining`. The papers
  do not say how their networks were trained.
- DeepCore's implementation picks the farthest sample, by a slip, which is far worse. GC-Bench's herding of
  graphs compares flattened matrices, which depend on the order of the nodes.

When not to use it: as a measure of what distillation can do at many samples per class, where random samples
are often better.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.distillation import register
from condense.distillation.coreset import GraphFeatureCoreset, ImageCoreset


def herd(features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
    """Returns the indices of the picks in order, from the features of every sample of one class."""
    features = features.double()
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    picks = []
    for count in range(1, budget + 1):
        # distance: (m,) squared distance of each sample to the wanted features
        distance = (count * mean - total - features).square().sum(1)
        pick = torch.where(free, distance, torch.inf).argmin()
        free[pick] = False
        total = total + features[pick]
        picks.append(pick)
    return torch.stack(picks)


@register
@dataclass(frozen=True, kw_only=True)
class Herding(ImageCoreset):
    """Herding of images in the features of the pinned network. The seed changes nothing."""

    name = "herding"
    quick = {"network": "mlp"}
    rule = staticmethod(herd)


@register
@dataclass(frozen=True, kw_only=True)
class GraphHerding(GraphFeatureCoreset):
    """Herding of graphs in the features of the pinned network. The seed changes nothing."""

    name = "herding"
    rule = staticmethod(herd)
