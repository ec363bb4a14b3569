"""DATM: trajectory matching with learned soft labels, on the expert epochs that suit the size of the set.

Networks learn easy patterns in early epochs and hard ones in late epochs. A small set has no room for hard
patterns, and a large one gains nothing from easy ones. So students start from a window of expert epochs that
is chosen for the IPC; its upper end may grow while the set is learned. The labels are logits that are learned
with the images. Images and labels start from what the experts predict. An update with a large loss is left
out. The experts are those of FTD.

Paper: Guo, Wang, Cazenavette, Li, Zhang and You, Towards Lossless Dataset Distillation via Difficulty-Aligned
Trajectory Matching, ICLR 2024, https://arxiv.org/abs/2310.05773. Authors' code: NUS-HPC-AI-Lab/DATM (commit
97ae510), ``distill/DATM.py`` and ``configs/``. Their ``DATM_tesla.py`` is ``gradient="tesla"`` here, with the
same factor.

This implementation differs from the authors' code in the points that `condense.methods.mtt` lists, and in
these:

- The initial labels are the mean logits of the experts that classify an image correctly, whatever ``init``
  is. With ``init="real"`` the authors' code takes the logits of one expert, right or wrong.
- Where no expert is right, the authors' code divides by zero. Here the mean logits of all experts are taken,
  with the true class's value and the largest value exchanged.
- Where the experts recognise too few images of a class, the authors' search does not end. Here random images
  fill the class up. The search of each class begins with the first expert; theirs goes on with the expert at
  which the class before ended.
- A run that rejected most of its updates gives a warning.
- The configuration files set ``ema_decay``, which their code does not use; it is no field here.
- The experts of the recipes are trained for 100 epochs, as the authors' are, because their last epoch makes
  the labels.

A loss that is not a number is rejected as well, as in the authors' code. So MTT's rollbacks only undo steps
that make the learning rate negative.

The recipes are the configuration files, with the experts of the README; the defaults of ``buffer_FTD.py`` are
rho 2, alpha 0.4 and 50 epochs. Every configuration whitens, that of Tiny-ImageNet too.

When not to use it: where students need class ids; or where time is short, because the experts for small sets
are trained far beyond the window.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation import Experts, ExpertTraining, ImageRun, LearnableSet, Rollback, register
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.matching.trajectory import (
    Learned,
    draw_segment,
    predict,
    student_batches,
    trajectory_loss,
)
from condense.distillation.matching.unrolled import unroll
from condense.distillation.method import recipes
from condense.errors import Refused
from condense.networks import Network
from condense.store import ImageSet

from .mtt import MTT

BLOCK = 256
"""Images that an expert sees at a time, until it has recognised enough of them."""


@register
@dataclass(frozen=True, kw_only=True)
class DATM(MTT):
    """Difficulty-aligned trajectory matching. The other fields are those of `MTT`.

    Attributes:
        min_start_epoch: First epoch of the window: students start from its snapshot or a later one.
        max_start_epoch: End of the window: students start below this epoch.
        current_max_start_epoch: End of the window at the first update; None opens the whole window at once.
        expansion_end_epoch: Number of updates until the window has its full size; it grows evenly.
        threshold: Largest loss of an update that is made; None makes all updates.
        lr_labels: Learning rate of the labels' logits.
        momentum_labels: Momentum of the labels' SGD.
        init: What the images start from: ``correct`` (real images that an expert recognises), ``real`` or
            ``noise``.
        rho: Length of the ascent step of the experts' GSAM.
        alpha: Factor of GSAM's orthogonal part (see `FTD`).
        epochs_experts: Smallest number of epochs that experts are trained for. Their last epoch makes the
            labels.
    """

    name = "datm"
    quick = {
        **MTT.quick,
        "iterations": 20,
        "syn_steps": 4,
        "max_start_epoch": 4,
        "experts": 1,
        "batch_experts": 32,
    }
    may_be_zero = MTT.may_be_zero | {"min_start_epoch"}

    min_start_epoch: int = 0
    current_max_start_epoch: int | None = None
    expansion_end_epoch: int = 1000
    threshold: float | None = 1.0
    lr_labels: float = 2.0
    momentum_labels: float = 0.9
    init: Literal["correct", "real", "noise"] = "correct"  # type: ignore[assignment]  # one more than MTT's
    rho: float = 0.01
    alpha: float = 0.3
    epochs_experts: int | None = None

    def __post_init__(self) -> None:
        """Checks the fields, and that the window holds an epoch and does not shrink.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        last = self.max_start_epoch
        first = last if self.current_max_start_epoch is None else self.current_max_start_epoch
        if not self.min_start_epoch < first <= last:
            raise Refused(
                f"{self.name}: no student starts from {self.min_start_epoch} to below {first}, later {last}: "
                "min_start_epoch < current_max_start_epoch <= max_start_epoch must hold"
            )

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs MTT's loop with the window, the learned labels and the rejection of updates."""
        experts = run.experts(self.training(), self.experts, self.epochs, train)
        learned = self.initial(train, experts, run)
        network = run.network()
        optimizer = self.optimizer(learned)
        rollback = Rollback(
            learned.tensors, learned.lr, optimizer, most=self.max_rollbacks, remedy=self.remedy
        )
        rejected = torch.zeros((), dtype=torch.long)
        strategy = dsa.strategy_of(self.augment, run.strategy)
        for step in run.steps(self.iterations, {**rollback.state, "rejected": rejected}):
            segment = draw_segment(experts, self.window(step), self.expert_epochs, run.rng)
            batches = student_batches(learned, strategy, run.rng, steps=self.syn_steps, size=self.batch_syn)
            losses = {self.syn_steps: trajectory_loss(segment.start, segment.goal)}
            optimizer.zero_grad()
            end = unroll(
                network, segment.start, batches, learned.lr, losses, gradient=self.gradient,
                unless=self.rejects,
            )  # fmt: skip
            if end.rejected:
                rejected += 1
            elif rollback.step(step, end.loss):
                run.log(loss=end.loss, lr=learned.lr)
        if 2 * int(rejected) > self.iterations:
            run.warn(f"{self.title}: {int(rejected)} of {self.iterations} updates were rejected")
        return run.distilled(
            learned.images, learned.syn.labels, soft=learned.soft, lr=float(learned.lr.detach()),
            augment=self.augment, rollbacks=rollback.ended(),
        )  # fmt: skip

    @property
    def epochs(self) -> int:
        """Number of epochs that an expert is trained for."""
        return max(super().epochs, self.epochs_experts or 0)

    def training(self) -> ExpertTraining:
        """Returns how an expert is trained: as for FTD."""
        return replace(super().training(), optimizer="gsam", rho=self.rho, alpha=self.alpha)

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """Returns the initial images, and as initial labels the experts' mean logits for them."""
        network = run.network()
        k, last = run.spec.num_classes, experts.epochs
        if self.init == "correct":
            chosen = [
                recognised(train, label, count, experts, network, run.rng)
                for label, count in enumerate(run.counts)
            ]
            syn = LearnableSet(train.images[torch.cat(chosen)], run.counts, run.view)
        else:
            syn = super().initial(train, experts, run).syn
        seen = syn.all()[0].detach()  # (copies * n, c, h, w)
        opinions = (
            predict(network, experts.at(expert, last), seen).view(syn.view.copies, -1, k).mean(0)  # (n, k)
            for expert in range(len(experts))
        )
        return Learned(syn, self.lr_student, agreed(opinions, syn.labels, k))

    def optimizer(self, learned: Learned) -> torch.optim.Optimizer:
        """Returns MTT's SGD, with the labels' logits as a third group."""
        optimizer = super().optimizer(learned)
        optimizer.add_param_group(
            {"params": [learned.logits], "lr": self.lr_labels, "momentum": self.momentum_labels}
        )
        return optimizer

    def window(self, step: int) -> tuple[int, int]:
        """Returns the first start epoch of an update, and the one after the last.

        The upper end grows from ``current_max_start_epoch`` to ``max_start_epoch`` by whole epochs.
        """
        first, last = self.current_max_start_epoch, self.max_start_epoch
        if first is not None:
            last = min(last, first + (last - first) * step // self.expansion_end_epoch)
        return self.min_start_epoch, last

    def rejects(self, loss: Float[Tensor, ""]) -> bool:
        """Returns whether an update is left out: its loss is above the threshold, or not a number."""
        return self.threshold is not None and not bool(loss <= self.threshold)


def recognised(
    train: Images, label: int, count: int, experts: Experts, network: Network, rng: torch.Generator
) -> Int64[Tensor, " count"]:
    """Finds random images of a class that an expert classifies correctly at its last epoch.

    The first expert sees the images in a random order; those that it misses go to the next expert. If all
    experts together recognise too few, images that none of them recognises fill up the rest.

    Args:
        train: The images, at least ``count`` of the class.
        label: The class.
        count: Number of images to find.
        experts: The experts.
        network: A network of the experts' architecture.
        rng: A CPU generator.

    Returns:
        Positions in ``train``, each once.
    """
    members = train.of_class(label)
    left = members[torch.randperm(len(members), generator=rng).to(members.device)]
    found = left[:0]
    for expert in range(len(experts)):
        parameters = experts.at(expert, experts.epochs)
        wrong = []
        for block in torch.split(left, BLOCK):
            right = predict(network, parameters, train.images[block]).argmax(1) == label
            found = torch.cat([found, block[right]])
            if len(found) >= count:
                return found[:count]
            wrong.append(block[~right])
        left = torch.cat(wrong)
    return torch.cat([found, left])[:count]  # deviation: the authors' search would go on for ever


def agreed(
    opinions: Iterable[Float[Tensor, "n k"]], labels: Int64[Tensor, " n"], num_classes: int
) -> Float[Tensor, "n k"]:
    """Returns the mean logits of the experts that classify an image correctly.

    Where no expert does, it returns the mean of all experts, with the values of the true class and of the
    likeliest class exchanged.

    Args:
        opinions: The logits of one expert after the other.
        labels: The true classes.
        num_classes: Number of classes k.
    """
    rows = torch.arange(len(labels), device=labels.device)
    agreeing, everyone = torch.zeros(2, len(labels), num_classes, device=labels.device)
    votes, number = torch.zeros(len(labels), 1, device=labels.device), 0
    for logits in opinions:
        number += 1
        right = (logits.argmax(1) == labels)[:, None]  # (n, 1)
        agreeing, everyone, votes = agreeing + right * logits, everyone + logits, votes + right
    mean = everyone / number
    likeliest = mean.argmax(1)
    exchanged = mean.clone()  # deviation: the authors' mean over no expert is 0 / 0
    exchanged[rows, likeliest], exchanged[rows, labels] = mean[rows, labels], mean[rows, likeliest]
    return torch.where(votes > 0, agreeing / votes.clamp(min=1), exchanged)


DATM.recipes = recipes(
    DATM,
    "syn_steps expert_epochs lr_images lr_lr lr_labels batch_syn min_start_epoch current_max_start_epoch "
    "max_start_epoch expansion_end_epoch threshold init",
    {
        ("cifar10", 1): (80, 2, 100.0, 1e-7, 5.0, None, 0, None, 4, 1000, 1.1, "correct"),
        ("cifar10", 10): (80, 2, 100.0, 1e-5, 2.0, None, 0, 10, 20, 1000, 1.0, "correct"),
        ("cifar10", 50): (80, 2, 1000.0, 1e-5, 2.0, None, 0, 20, 40, 2000, 1.0, "correct"),
        ("cifar10", 500): (40, 2, 50.0, 1e-5, 10.0, 1000, 40, None, 60, 1000, 1.0, "correct"),
        ("cifar10", 1000): (100, 2, 50.0, 1e-5, 10.0, 1000, 40, None, 60, 1000, 1.0, "correct"),
        ("cifar100", 1): (40, 3, 1000.0, 1e-5, 10.0, None, 0, 10, 20, 1000, 1.0, "correct"),
        ("cifar100", 10): (80, 2, 1000.0, 1e-5, 10.0, None, 0, 30, 50, 2000, 1.0, "correct"),
        ("cifar100", 50): (80, 2, 1000.0, 1e-5, 10.0, 1000, 20, None, 70, 1000, 1.0, "real"),
        ("cifar100", 100): (80, 2, 50.0, 1e-5, 10.0, 1000, 30, None, 70, 1000, 1.0, "correct"),
        ("tiny-imagenet", 1): (40, 2, 10000.0, 1e-4, 10.0, None, 0, 15, 20, 2000, 1.0, "correct"),
        ("tiny-imagenet", 10): (40, 2, 100.0, 1e-4, 10.0, 500, 10, None, 50, 1000, 1.0, "correct"),
        ("tiny-imagenet", 50): (20, 2, 100.0, 1e-4, 10.0, 1000, 40, None, 70, 1000, 1.0, "correct"),
    },
    source="NUS-HPC-AI-Lab/DATM, configs and README",
    protocol=replace(
        dc_evaluation(1000, augment="dsa", batch=128), lr=None
    ),  # students train at the learned rate
    iterations=10000,
    pixel_space="zca",
    experts=100,
    epochs_experts=100,
)
