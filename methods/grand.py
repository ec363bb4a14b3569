"""GraNd: the images with the largest gradients of the last layer, early in training.

Paul, Ganguli and Dziugaite: Deep Learning on a Data Diet, NeurIPS 2021, https://arxiv.org/abs/2107.07075; as
in Guo et al.: DeepCore, https://arxiv.org/abs/2204.08499, of the last layer alone. The norm of the gradient
of an image's cross-entropy by the weights and biases of the last layer is |softmax(z) - onehot(y)|_2 times
sqrt(1 + |phi|^2), with the features phi. It is averaged over networks: ten in both works.

Where this differs, and why: networks have no batch norm, and there are fewer of them, which a CPU can afford;
all are fields. By default each class gives its share, as in DeepCore.

When not to use it: at small fractions and few images per class, where the hardest images are the worst ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import Images
from condense.distillation import ImageRun, register
from condense.distillation.scored import ScoredCoreset


@register
@dataclass(frozen=True, kw_only=True)
class GraNd(ScoredCoreset):
    """The images with the largest gradients of the last layer."""

    name = "grand"
    quick = {"network": "mlp", "networks": 1, "epochs": 2}

    networks: int = 3

    def score(self, train: Images, run: ImageRun) -> Float[Tensor, " n"]:
        """Averages the norms of the gradients over the networks."""
        return torch.stack([errors * norms for errors, norms in self.errors_and_norms(train, run)]).mean(0)
