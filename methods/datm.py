"""DATM: trajectory matching with soft labels that are learned, on the epochs that suit the size of the set.

Guo, Wang, Cazenavette, Li, Zhang and You: Towards Lossless Dataset Distillation via Difficulty-Aligned
Trajectory Matching, ICLR 2024, https://arxiv.org/abs/2310.05773; authors' code NUS-HPC-AI-Lab/DATM (commit
97ae510), ``distill/DATM.py`` and ``configs/``. What networks learn in early epochs is easy, in late ones
hard. A small set has no room for what is hard, and a large one gains nothing by what is easy: students start
within a window of epochs that is matched to the IPC, and may widen while the set is learned. Labels are
logits, learned with the images; both start from what experts say, and an update with a large loss is not
made. The experts are FTD's.

Where this differs from the authors' code, and why:

- Initial labels are the mean logits of the experts that are right, for every kind of initial image. With
  ``init=real`` theirs are the logits of one expert, right or wrong.
- Where no expert is right, theirs divide by zero. Here the mean logits of all of them count, with the true
  class's exchanged for the largest.
- Where the experts do not recognise enough images of a class, their search does not end. Here it is filled up
  with random ones, and each class is searched with the first expert first; theirs goes on with the one that
  the class before ended with.
- A run that rejected most of its updates says so.
- ``ema_decay`` of the configuration files has no effect in their code, and is no field here.
- All that `condense.methods.mtt` lists, but for the epochs of the experts: the recipes' are trained for 100
  as theirs are, since their last epoch makes the labels.

A loss that is no number is rejected too, there and here: the rollbacks of MTT are left with steps that make
the learning rate negative. ``DATM_tesla.py`` is ``gradient=tesla``; the factor 2 is where it belongs there.

The recipes are the configuration files, with the experts of the README; the defaults of ``buffer_FTD.py`` are
rho 2, alpha 0.4 and 50 epochs. Every configuration whitens, Tiny-ImageNet's too.

When not to use it: where class ids are wanted; and without time for the experts, which for small sets are
trained far beyond the window.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.data import Images
from condense.distillation import Experts, ExpertTraining, ImageRun, LearnableSet, Recipe, register
from condense.errors import Refused
from condense.networks import Network
from condense.protocol import dc_evaluation

from .mtt import INITS, MTT, Learned, answers

BLOCK = 256
"""Images that an expert is shown at a time until it has recognised enough of them."""


@register
@dataclass(frozen=True, kw_only=True)
class DATM(MTT):
    """Difficulty-aligned trajectory matching. The other fields are `MTT`'s.

    Attributes:
        min_start_epoch: A student starts from the snapshot of this epoch or a later one.
        max_start_epoch: And of an epoch below this one, in the end.
        current_max_start_epoch: Below this one at first (sequential generation); None has the whole window
            from the first update on.
        expansion_end_epoch: Updates after which the window has its full size; it grows evenly.
        threshold: An update with a larger loss is not made; None makes all.
        lr_labels: Learning rate of the labels' logits.
        momentum_labels: Momentum of theirs.
        init: ``correct`` (real images that an expert recognises), ``real`` or ``noise``.
        rho: How far the experts' GSAM climbs.
        alpha: GSAM's share of the first gradient's part at right angles to the second (see `FTD`).
        epochs_experts: Epochs that experts are trained for at least, whose last one makes the labels.
    """

    name = "datm"
    inits = (*MTT.inits, "correct")
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
    init: str = "correct"
    rho: float = 0.01
    alpha: float = 0.3
    epochs_experts: int | None = None

    def __post_init__(self) -> None:
        """Refuses a window without an epoch in it, or one that shrinks."""
        super().__post_init__()
        last = self.max_start_epoch
        first = last if self.current_max_start_epoch is None else self.current_max_start_epoch
        if not self.min_start_epoch < first <= last:
            raise Refused(
                f"{self.name}: no start from {self.min_start_epoch} to below {first}, later {last}: "
                "min_start_epoch < current_max_start_epoch <= max_start_epoch must hold"
            )

    @property
    def epochs(self) -> int:
        """How long an expert is trained."""
        return max(super().epochs, self.epochs_experts or 0)

    def training(self) -> ExpertTraining:
        """FTD's."""
        return replace(super().training(), optimizer="gsam", rho=self.rho, alpha=self.alpha)

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """Images, and what the experts say of them."""
        network = run.network()
        if self.init == "correct":
            chosen = [
                recognised(train, label, run.ipc, experts, network, run.rng)
                for label in range(run.spec.num_classes)
            ]
            syn = LearnableSet(train.images[torch.cat(chosen)], run.spec.num_classes, run.view)
        else:
            syn = INITS[self.init](train, run)
        seen = syn.all()[0].detach()
        said = (
            answers(network, experts.at(expert, experts.epochs), seen)
            .view(syn.view.copies, len(syn.labels), run.spec.num_classes)
            .mean(0)
            for expert in range(len(experts))
        )
        return Learned(syn, self.lr_student, agreed(said, syn.labels, run.spec.num_classes))

    def rates(self, learned: Learned) -> list[dict[str, object]]:
        """MTT's, and the labels'."""
        labels = {"params": [learned.logits], "lr": self.lr_labels, "momentum": self.momentum_labels}
        return [*super().rates(learned), labels]

    def window(self, step: int) -> tuple[int, int]:
        """Where an update's first epoch is drawn: the upper end grows by whole epochs."""
        first, last = self.current_max_start_epoch, self.max_start_epoch
        if first is not None:
            last = min(last, first + (last - first) * step // self.expansion_end_epoch)
        return self.min_start_epoch, last

    def rejects(self, loss: Float[Tensor, ""]) -> bool:
        """Whether the loss is not at or below the threshold."""
        return self.threshold is not None and not bool(loss <= self.threshold)


def recognised(
    train: Images, label: int, count: int, experts: Experts, network: Network, rng: torch.Generator
) -> Int64[Tensor, " count"]:
    """Random images of a class that an expert recognises at its last epoch.

    The first expert's are taken first; those that it does not recognise are shown to the next. If there are
    too few, images that no expert recognises follow.

    Args:
        train: The images, at least ``count`` of the class.
        label: The class.
        count: Images to find.
        experts: Who is asked.
        network: Of the experts' kind.
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
            right = answers(network, parameters, train.images[block]).argmax(1) == label
            found = torch.cat([found, block[right]])
            if len(found) >= count:
                return found[:count]
            wrong.append(block[~right])
        left = torch.cat(wrong)
    return torch.cat([found, left])[:count]


def agreed(
    opinions: Iterable[Float[Tensor, "n k"]], labels: Int64[Tensor, " n"], num_classes: int
) -> Float[Tensor, "n k"]:
    """The mean logits of those that classify an image correctly.

    Where nobody does, the mean of all, in which the true class and the likeliest one change places.

    Args:
        opinions: The logits of one after the other.
        labels: The true classes.
        num_classes: k.
    """
    rows = torch.arange(len(labels), device=labels.device)
    agreeing, everyone = torch.zeros(2, len(labels), num_classes, device=labels.device)
    votes, number = torch.zeros(len(labels), 1, device=labels.device), 0
    for logits in opinions:
        number += 1
        right = (logits.argmax(1) == labels)[:, None]
        agreeing, everyone, votes = agreeing + right * logits, everyone + logits, votes + right
    mean = everyone / number
    likeliest = mean.argmax(1)
    exchanged = mean.clone()
    exchanged[rows, likeliest], exchanged[rows, labels] = mean[rows, labels], mean[rows, likeliest]
    return torch.where(votes > 0, agreeing / votes.clamp(min=1), exchanged)


def _recipes() -> dict[tuple[str, int], Recipe]:
    # syn_steps, expert_epochs, lr_images, lr_lr, lr_labels, batch, min_start_epoch, current_max_start_epoch,
    # max_start_epoch, expansion_end_epoch
    table = {
        ("cifar10", 1): (80, 2, 100.0, 1e-7, 5.0, None, 0, None, 4, 1000),
        ("cifar10", 10): (80, 2, 100.0, 1e-5, 2.0, None, 0, 10, 20, 1000),
        ("cifar10", 50): (80, 2, 1000.0, 1e-5, 2.0, None, 0, 20, 40, 2000),
        ("cifar10", 500): (40, 2, 50.0, 1e-5, 10.0, 1000, 40, None, 60, 1000),
        ("cifar10", 1000): (100, 2, 50.0, 1e-5, 10.0, 1000, 40, None, 60, 1000),
        ("cifar100", 1): (40, 3, 1000.0, 1e-5, 10.0, None, 0, 10, 20, 1000),
        ("cifar100", 10): (80, 2, 1000.0, 1e-5, 10.0, None, 0, 30, 50, 2000),
        ("cifar100", 50): (80, 2, 1000.0, 1e-5, 10.0, 1000, 20, None, 70, 1000),
        ("cifar100", 100): (80, 2, 50.0, 1e-5, 10.0, 1000, 30, None, 70, 1000),
        ("tiny-imagenet", 1): (40, 2, 10000.0, 1e-4, 10.0, None, 0, 15, 20, 2000),
        ("tiny-imagenet", 10): (40, 2, 100.0, 1e-4, 10.0, 500, 10, None, 50, 1000),
        ("tiny-imagenet", 50): (20, 2, 100.0, 1e-4, 10.0, 1000, 40, None, 70, 1000),
    }
    protocol = replace(dc_evaluation(1000, augment="dsa", batch=128), lr=None)
    source = "NUS-HPC-AI-Lab/DATM, configs and README"
    return {
        cell: Recipe(
            method=DATM(
                iterations=10000,
                syn_steps=steps,
                expert_epochs=epochs,
                lr_images=lr_images,
                lr_lr=lr_lr,
                lr_labels=lr_labels,
                batch_syn=batch,
                min_start_epoch=least,
                current_max_start_epoch=current,
                max_start_epoch=start,
                expansion_end_epoch=end,
                threshold=1.1 if cell == ("cifar10", 1) else 1.0,
                init="real" if cell == ("cifar100", 50) else "correct",
                pixel_space="zca",
                experts=100,
                epochs_experts=100,
            ),
            protocol=protocol,
            source=source,
        )
        for cell, row in table.items()
        for steps, epochs, lr_images, lr_lr, lr_labels, batch, least, current, start, end in [row]
    }


DATM.recipes = _recipes()
