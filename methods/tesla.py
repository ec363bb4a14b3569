"""TESLA: trajectory matching with the memory of a single step, and labels that an expert gives.

The loss is MTT's. Its gradient with respect to the images of a step is taken as if the student's parameters
before that step did not depend on other images, so that each step is differentiated on its own (the formula
is in `condense.distillation.matching.unrolled`, "tesla"). For datasets with many classes the labels can be
soft: in each update they are the probabilities that the expert gives the images at the very snapshot that is
the goal. The labels of the last update are stored.

The truncated gradient equals the true one for a single step only. Here the true one needs no more memory
either: with ``gradient="exact"`` this method is MTT, with the soft labels of ``soft_labels=True`` added.

Paper: Cui, Wang, Si and Hsieh, Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML
2023, https://arxiv.org/abs/2211.10586. Authors' code: justincui03/tesla, ``distill.py`` (commit 488842e).

This implementation differs from the authors' code in the points that `condense.methods.mtt` lists, and in
these:

- In the authors' code the factor 2 of the squared distance multiplies the tuple that `torch.autograd.grad`
  returns, which repeats the tuple and leaves the gradient as it is. So their pixels move by half of the
  gradient of their formula, and their learning rate by the whole. Here the gradient is that of the formula,
  and the recipes' ``lr_images`` is half of the rate in the authors' commands, so that the steps are the same.
- The authors' soft labels work only for more than 50 images of ImageNet; with other sets that branch fails.
- Of the differences that `condense.methods.mtt` lists, CIFAR-100's constants do not concern the recipe, which
  whitens. With ``pixel_space=normalized``, multiply the authors' ``lr_images`` by `CIFAR100_STEP` as well.
- With batch norm an expert labels images by the statistics of the batch. The authors' code uses running
  statistics that were never updated.
- The protocol of the recipes trains five students on a set; theirs three.

There are recipes for the two commands of the authors' README on datasets that are known here by name. Their
third command, for ImageNet-1K (64 pixels, IPC 1), is ``syn_steps=10 expert_epochs=3 max_start_epoch=10
lr_lr=1e-4 batch_syn=100 experts=50 soft_labels=True`` and, halved, ``lr_images=5000``.

When not to use it: where the true gradient is wanted, since MTT computes it with the same memory here. And do
not use ``soft_labels`` with few classes, where the labels are close to class ids or, at early snapshots,
wrong.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ImageRun, Rollback, register
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.matching.trajectory import (
    draw_segment,
    predict,
    student_batches,
    trajectory_loss,
)
from condense.distillation.matching.unrolled import unroll
from condense.distillation.method import recipes
from condense.store import ImageSet

from .mtt import MTT


@register
@dataclass(frozen=True, kw_only=True)
class TESLA(MTT):
    """Trajectory matching with the truncated gradient. The other fields are those of `MTT`.

    Attributes:
        gradient: As in `MTT`, with another default.
        soft_labels: Whether the images are labelled by the probabilities of the expert at the goal, without
            augmentation; otherwise the labels are class ids.
    """

    name = "tesla"

    gradient: Literal["exact", "unrolled", "tesla"] = "tesla"
    soft_labels: bool = False

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs MTT's loop, with labels from the goal of each update."""
        experts = run.experts(self.training(), self.experts, self.epochs, train)
        learned = self.initial(train, experts, run)
        if self.soft_labels:
            learned.logits = torch.zeros(len(learned.images), run.spec.num_classes, device=run.device)
        network, optimizer = run.network(), self.optimizer(learned)
        rollback = Rollback(
            learned.tensors, learned.lr, optimizer, most=self.max_rollbacks, remedy=self.remedy
        )
        strategy = dsa.strategy_of(self.augment, run.strategy)
        for step in run.steps(self.iterations, rollback.state):
            segment = draw_segment(experts, (0, self.max_start_epoch), self.expert_epochs, run.rng)
            if learned.logits is not None:
                learned.logits.copy_(predict(network, segment.goal, learned.images))  # (n, k)
            batches = student_batches(learned, strategy, run.rng, steps=self.syn_steps, size=self.batch_syn)
            losses = {self.syn_steps: trajectory_loss(segment.start, segment.goal)}
            optimizer.zero_grad()
            end = unroll(network, segment.start, batches, learned.lr, losses, gradient=self.gradient)
            if rollback.step(step, end.loss):
                run.log(loss=end.loss, lr=learned.lr)
        return run.distilled(
            learned.images,
            learned.syn.labels,
            soft=learned.soft,
            lr=float(learned.lr.detach()),
            augment=self.augment,
            rollbacks=rollback.ended(),
        )


TESLA.recipes = recipes(
    TESLA,
    "syn_steps expert_epochs max_start_epoch lr_images lr_lr lr_student batch_syn pixel_space",
    {
        ("cifar10", 1): (50, 2, 5, 1000.0 / 2, 1e-7, 0.01, None, "normalized"),
        ("cifar100", 50): (80, 2, 40, 1000.0 / 2, 1e-5, 0.01, 125, "zca"),
    },
    source="justincui03/tesla, README; lr_images is half of lr_img there, as its pixels' gradient is",
    protocol=replace(dc_evaluation(1000, augment="dsa"), lr=None),  # students train at the learned rate
    iterations=10000,
    experts=100,
)
