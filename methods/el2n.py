"""EL2N: the images whose predicted probabilities are farthest from their labels, early in training.

Paul, Ganguli and Dziugaite: Deep Learning on a Data Diet, NeurIPS 2021, https://arxiv.org/abs/2107.07075. The
score of an image is the mean over networks of |softmax(z) - onehot(y)|_2. The paper averages ten networks
after 20 of 200 epochs. It is the first factor of GraNd.

Where this differs, and why: networks have no batch norm, and there are fewer of them, trained for fewer
epochs, which a CPU can afford; all are fields. By default each class gives its share, as in DeepCore
(https://arxiv.org/abs/2204.08499); ``balance = false`` is the paper's.

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
class EL2N(ScoredCoreset):
    """The images with the largest errors of the probabilities."""

    name = "el2n"
    quick = {"network": "mlp", "networks": 1, "epochs": 2}

    networks: int = 3

    def score(self, train: Images, run: ImageRun) -> Float[Tensor, " n"]:
        """Averages the lengths of the errors over the networks."""
        return torch.stack([errors for errors, _ in self.errors_and_norms(train, run)]).mean(0)
