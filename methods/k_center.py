"""K-center: real images picked farthest first, so that every image of a class has a picked one near.

Farthest-first traversal, Gonzalez: Clustering to minimize the maximum intercluster distance, 1985; for
coresets Sener and Savarese, ICLR 2018, https://arxiv.org/abs/1708.00489. As a baseline of distillation since
Zhao, Mopuri, Bilen, ICLR 2021, https://arxiv.org/abs/2006.05929, by the rule that the authors state in their
repository's discussion (VICO-UoE/DatasetCondensation, issue 21): the first pick is the image nearest to the
class mean, each next one the image farthest from those picked.

At one image per class it equals herding. With a few images per class it picks outliers, which is why its
published numbers fall below random ones there (and why two families of them circulate: see the notes in
``benchmarks/published.csv``). Features as for herding.
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
class KCenter(ImageMethod):
    """Farthest-first picks from the image nearest to the class mean. The seed changes nothing."""

    name = "k_center"
    keeps_real = True
    quick = {"network": "mlp"}

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Picks class by class in the features of the pinned network."""
        return select_by_features(train, run, self.network, farthest_first)


def farthest_first(features: Float[Tensor, "n d"], budget: int) -> Int[Tensor, " budget"]:
    """Indices of the picks, in order.

    Args:
        features: Of every image of one class.
        budget: How many to pick, at most n.
    """
    features = features.double()
    pick = (features - features.mean(0)).square().sum(1).argmin()
    # nearest: (n,) squared distance to the nearest pick; -inf marks the picks themselves
    nearest = torch.full((len(features),), torch.inf, dtype=features.dtype, device=features.device)
    picks = [pick]
    for _ in range(budget - 1):
        nearest = torch.minimum(nearest, (features - features[pick]).square().sum(1))
        nearest[pick] = -torch.inf
        pick = nearest.argmax()
        picks.append(pick)
    return torch.stack(picks)
