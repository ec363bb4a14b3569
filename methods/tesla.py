"""TESLA: matching trajectories with the memory of a single step, and labels that an expert gives.

Cui, Wang, Si and Hsieh: Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023,
https://arxiv.org/abs/2211.10586; authors' code justincui03/tesla, ``distill.py`` (commit 488842e). The loss
is MTT's. Its gradient with respect to a step's images is taken as if the student's parameters before that
step did not depend on other images, so that each step is differentiated by itself (formula in
`condense.distillation.matching.unrolled`, "tesla"). For datasets with many classes the labels are soft: in each update they
are what the expert says of the images at the very snapshot that is to be reached. The set has those of its
last update.

The truncated gradient is the true one for a single step only. The true one needs no more memory either:
``gradient=exact``, which is MTT, and with ``soft_labels`` what this adds to it.

Where this differs from the authors' code, and why:

- Their factor 2 of the squared distance meets the tuple that `torch.autograd.grad` returns and doubles that,
  so that their pixels move by half of the formula's gradient; the learning rate's is whole. Here the gradient
  is the formula's, and the recipes' ``lr_images`` is half of what their commands say: the same steps.
- Their soft labels work for more than 50 images of ImageNet only; for all other sets that branch fails.
- With batch norm an expert labels by the statistics of the images; theirs by running ones that never ran.
- Five students a set in the recipes' protocol; theirs three.
- All that `condense.methods.mtt` lists.

There are recipes for the two commands of their README on datasets that are known here by name. ImageNet-1K
(64 pixels, IPC 1) has ``syn_steps=10 expert_epochs=3 max_start_epoch=10 lr_lr=1e-4 batch_syn=100 experts=50
soft_labels=true`` and, halved, ``lr_images=5000``.

When not to use it: where the true gradient is wanted, at the same memory: that is MTT here. And with
``soft_labels`` at few classes, where they are close to class ids or, at early snapshots, wrong.
"""

from dataclasses import dataclass, replace

import torch

from condense.data import Images
from condense.distillation import Experts, ImageRun, Recipe, register
from condense.networks import Network
from condense.protocol import dc_evaluation

from .mtt import MTT, Learned, Match, answers


@register
@dataclass(frozen=True, kw_only=True)
class TESLA(MTT):
    """Trajectory matching with the truncated gradient. The other fields are `MTT`'s.

    Attributes:
        gradient: As in `MTT`, with another default.
        soft_labels: Whether the expert that an update matches labels the images, by its probabilities at the
            snapshot to be reached, without augmentation; else the labels are class ids.
    """

    name = "tesla"

    gradient: str = "tesla"
    soft_labels: bool = False

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """MTT's, with room for the labels."""
        learned = super().initial(train, experts, run)
        if self.soft_labels:
            learned.logits = torch.zeros(len(learned.syn.labels), run.spec.num_classes, device=run.device)
        return learned

    def prepare(self, learned: Learned, match: Match, experts: Experts, network: Network) -> None:
        """Has the images labelled by the snapshot to be reached."""
        if learned.logits is not None:
            goal = experts.at(match.expert, match.epoch + self.expert_epochs)
            learned.logits.copy_(answers(network, goal, learned.syn.images))


def _recipes() -> dict[tuple[str, int], Recipe]:
    # syn_steps, expert_epochs, max_start_epoch, lr_img, lr_lr, lr_student, batch_syn, whitened
    table = {
        ("cifar10", 1): (50, 2, 5, 1000.0, 1e-7, 0.01, None, False),
        ("cifar100", 50): (80, 2, 40, 1000.0, 1e-5, 0.01, 125, True),
    }
    protocol = replace(dc_evaluation(1000, augment="dsa"), lr=None)
    source = "justincui03/tesla, README; lr_images is half of lr_img there, as its pixels' gradient is"
    return {
        cell: Recipe(
            method=TESLA(
                iterations=10000,
                syn_steps=steps,
                expert_epochs=epochs,
                max_start_epoch=start,
                lr_images=lr_images / 2,
                lr_lr=lr_lr,
                lr_student=lr_student,
                batch_syn=batch,
                pixel_space="zca" if whitened else "normalized",
                experts=100,
            ),
            protocol=protocol,
            source=source,
        )
        for cell, (steps, epochs, start, lr_images, lr_lr, lr_student, batch, whitened) in table.items()
    }


TESLA.recipes = _recipes()
