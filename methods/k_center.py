"""K-center: real samples picked farthest first, so that every sample of a class has a picked one nearby.

Farthest-first traversal, Gonzalez: Clustering to minimize the maximum intercluster distance, 1985; for
coresets Sener and Savarese, ICLR 2018, https://arxiv.org/abs/1708.00489. As a baseline of dataset
distillation: for images since Zhao, Mopuri, Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929; for graphs
since Jin et al., KDD 2022, https://arxiv.org/abs/2206.07746.

The rule is the one that Zhao et al. state in their repository's discussion (VICO-UoE/DatasetCondensation,
issue 21): the first pick is the sample nearest to the class mean, and each further pick is the sample that is
farthest from those picked so far. At one sample per class it equals herding. Features are those of herding.

When not to use it: at a few samples per class, where it picks outliers. Its published numbers there are
therefore below those of random samples, and two families of them circulate: see the notes in
``benchmarks/published.csv``.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from condense.distillation import register
from condense.distillation.coreset import GraphFeatureCoreset, ImageCoreset


def farthest_first(features: Float[Tensor, "m d"], budget: int) -> Int[Tensor, " budget"]:
    """Returns the indices of the picks in order, from the features of every sample of one class."""
    features = features.double()
    pick = (features - features.mean(0)).square().sum(1).argmin()
    # nearest: (m,) squared distance to the nearest pick; -inf marks the picks themselves
    nearest = torch.full((len(features),), torch.inf, dtype=features.dtype, device=features.device)
    picks = [pick]
    for _ in range(budget - 1):
        nearest = torch.minimum(nearest, (features - features[pick]).square().sum(1))
        nearest[pick] = -torch.inf
        pick = nearest.argmax()
        picks.append(pick)
    return torch.stack(picks)


@register
@dataclass(frozen=True, kw_only=True)
class KCenter(ImageCoreset):
    """K-center of images in the features of the pinned network. The seed changes nothing."""

    name = "k_center"
    quick = {"network": "mlp"}
    rule = staticmethod(farthest_first)


@register
@dataclass(frozen=True, kw_only=True)
class GraphKCenter(GraphFeatureCoreset):
    """K-center of graphs in the features of the pinned network. The seed changes nothing."""

    name = "k_center"
    rule = staticmethod(farthest_first)
