"""Forgetting: the images that a network most often classifies correctly first and wrongly later.

Toneva et al.: An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019,
https://arxiv.org/abs/1812.05159. As a baseline of dataset distillation since Zhao, Mopuri, Bilen, ICLR 2021,
https://arxiv.org/abs/2006.05929; by fractions in Guo et al.: DeepCore, https://arxiv.org/abs/2204.08499.

An event of forgetting is a correct prediction that is followed by a wrong one. The images with the most
events are kept. An image that is never classified correctly has no event; Toneva et al. count it as forgotten
infinitely often, DeepCore as never.

Where this differs, and why:

- Correctness is tested after each epoch, for all images with the same weights. The papers test each image
  when it is in a batch. The networks are the suite's cached experts, which EL2N and GraNd share at equal
  settings.
- Networks have no batch norm, and are trained for fewer epochs than in the papers: both are fields.

When not to use it: at a few images per class, where the hardest images teach a student next to nothing.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from condense.data import Images
from condense.distillation import ImageRun, register
from condense.distillation.scored import ScoredCoreset
from condense.networks import network_in_chunks


def events(correct: Bool[Tensor, "e n"]) -> Int64[Tensor, " n"]:
    """Returns how often each image is correct after one epoch and wrong after the next one."""
    return (correct[:-1] & ~correct[1:]).sum(0)


@register
@dataclass(frozen=True, kw_only=True)
class Forgetting(ScoredCoreset):
    """The images that are forgotten most often.

    Attributes:
        unlearned: Whether an image that was never correct counts as forgotten infinitely often (``most``), or
            as never forgotten (``least``).
    """

    name = "forgetting"
    quick = {"network": "mlp", "epochs": 3}

    unlearned: Literal["most", "least"] = "most"

    def score(self, train: Images, run: ImageRun) -> Float[Tensor, " n"]:
        """Counts the events, and averages them over the networks."""
        counts = []
        for states in self.snapshots(train, run, since=1):
            correct = torch.stack(
                [network_in_chunks(one, one, train.images).argmax(1) == train.labels for one in states]
            )
            count = events(correct).double()
            if self.unlearned == "most":
                count[~correct.any(0)] = torch.inf
            counts.append(count)
        return torch.stack(counts).mean(0)
