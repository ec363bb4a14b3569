"""MTT: a network trained on the synthetic images gets to where networks trained on the real ones got.

Cazenavette, Wang, Torralba, Efros and Zhu: Dataset Distillation by Matching Training Trajectories, CVPR 2022,
https://arxiv.org/abs/2203.11932; authors' code GeorgeCazenavette/mtt-distillation, ``buffer.py`` and
``distill.py``. Experts are trained on the real images, and their parameters kept after every epoch. A student
starts from one of an expert's snapshots and makes some steps on the synthetic images; how far it then is from
the expert's snapshot some epochs later, as a share of the expert's own way, is the loss. Its gradient goes
through all of the student's steps, into the pixels and into the student's learning rate.

Where this differs from the authors' code, and why:

- The gradient is theirs and needs the memory of a single step (`condense.distillation.matching.unrolled`), where theirs
  keeps the graph of all; ``gradient=unrolled`` does so here.
- The learned learning rate is stored with the set. Theirs is not, although their evaluation trains with it.
- A step that makes the learning rate negative, or the loss infinite, is taken back and the following ones are
  halved, at most ``max_rollbacks`` times; with 0 it is as theirs.
- An update draws any of the experts; theirs goes through shuffled files of ten.
- Experts are trained for the epochs that a student can be asked to reach; theirs for 50, at the same constant
  learning rate.
- ``align_corners=True`` in the augmentation's samplers, as torch did when DSA was written.
- The set after the last update, where theirs keeps the best of 51 looks at the test set.

When not to use it: for a single set, where DM or DSA cost less than the experts alone; and with networks that
are not trained in small steps of one kind, as the learned learning rate is theirs alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call

from condense.augment import dsa
from condense.data import Images
from condense.distillation import (
    Experts,
    ExpertTraining,
    ImageMethod,
    ImageRun,
    LearnableSet,
    Recipe,
    Rollback,
    register,
)
from condense.distillation.matching.unrolled import GRADIENTS, Batch, Vector, unroll
from condense.errors import unknown
from condense.networks import Network, network_in_chunks
from condense.protocol import dc_evaluation
from condense.store import ImageSet
from condense.training.parameters import as_parameters


@dataclass(frozen=True, eq=False, kw_only=True)
class Match:
    """What an update asks of a student.

    Attributes:
        expert: Which expert it follows.
        epoch: From which of its snapshots on.
        start: The student's first parameters.
        losses: By number of steps, what is wrong with the parameters that are reached by them.
        scale: Factor of the student's own loss.
        momentum: Of the student's steps.
    """

    expert: int
    epoch: int
    start: Vector
    losses: Mapping[int, Callable[[Vector], Float[Tensor, ""]]]
    scale: float = 1.0
    momentum: float = 0.0


class Learned:
    """What is learned: images, the student's learning rate, and where labels are soft, their logits.

    Args:
        syn: The images.
        lr: The learning rate to begin with.
        logits: Of the stored images' labels, learned too; None where these are class ids.
    """

    def __init__(self, syn: LearnableSet, lr: float, logits: Float[Tensor, "n k"] | None = None) -> None:
        self.syn = syn
        self.lr = torch.tensor(lr, device=syn.images.device, requires_grad=True)
        self.logits = None if logits is None else logits.detach().clone().requires_grad_()

    @property
    def leaves(self) -> dict[str, Tensor]:
        """All that updates change, by name."""
        leaves = {"images": self.syn.images, "lr": self.lr}
        return leaves if self.logits is None else {**leaves, "logits": self.logits}

    def batch(self, indices: Int64[Tensor, " b"]) -> tuple[Float[Tensor, "m c h w"], Tensor]:
        """Some stored images through the view, and their class ids or probabilities."""
        images, places = self.syn.view(self.syn.images[indices], indices)
        labels = self.syn.labels if (soft := self.soft) is None else soft
        return images, labels[places]

    def moved(self) -> None:
        """Takes notice of an update that was made."""

    @property
    def stored(self) -> Float[Tensor, "n c h w"]:
        """The images that make up the set."""
        return self.syn.images

    @property
    def soft(self) -> Float[Tensor, "n k"] | None:
        """The probabilities that label them, if class ids do not."""
        return None if self.logits is None else self.logits.softmax(1)


@register
@dataclass(frozen=True, kw_only=True)
class MTT(ImageMethod):
    """Trajectory matching.

    Attributes:
        iterations: Updates of the images, each with a student of its own: 5000 in the recipes; the default is
            for trying things out.
        syn_steps: Steps that a student makes.
        batch_syn: Images a step, as many as the student sees; None is all.
        expert_epochs: Epochs of the expert that these steps shall make up for.
        max_start_epoch: A student starts from the snapshot of an epoch below it.
        lr_images: Learning rate of the pixels.
        lr_lr: Learning rate of the student's learning rate.
        lr_student: The student's learning rate to begin with.
        momentum: Of the SGD of both.
        init: ``real`` or ``noise``.
        augment: Of the student's and the experts' batches: ``dsa`` (the dataset's strategy), a strategy of
            its own (``dsa:color_crop``) or ``none``; an operation for each batch, with parameters for each
            image.
        experts: How many there are.
        lr_experts: Their learning rate (plain SGD).
        batch_experts: Their batch size.
        gradient: ``exact``, ``unrolled`` (the same, with the graph of all steps in memory) or ``tesla``.
        max_rollbacks: Steps that may be taken back before the run stops.
    """

    name = "mtt"
    optimizes = True
    through_view = True
    quick = {
        "iterations": 40,
        "syn_steps": 5,
        "max_start_epoch": 4,
        "experts": 2,
        "batch_experts": 32,
        "network": "convnet-w32",
    }
    may_be_zero = frozenset({"max_rollbacks"})
    remedy = "lower lr_images or lr_lr, as in --param lr_images=10"
    inits: ClassVar[tuple[str, ...]] = ("real", "noise")

    iterations: int = 300
    syn_steps: int = 20
    batch_syn: int | None = 100
    expert_epochs: int = 2
    max_start_epoch: int = 10
    lr_images: float = 100.0
    lr_lr: float = 1e-5
    lr_student: float = 0.01
    momentum: float = 0.5
    init: str = "real"
    augment: str = "dsa"
    experts: int = 5
    lr_experts: float = 0.01
    batch_experts: int = 256
    gradient: str = "exact"
    max_rollbacks: int = 3

    def __post_init__(self) -> None:
        """Refuses names that stand for nothing."""
        super().__post_init__()
        for field, name, names in (("init", self.init, self.inits), ("gradient", self.gradient, GRADIENTS)):
            if name not in names:
                raise unknown(field, name, names)
        dsa.strategy_of(self.augment, "none")

    @property
    def needs_real(self) -> bool:
        """Unless it starts from noise."""
        return self.init != "noise"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Algorithm 1 of the paper."""
        experts = run.experts(self.training(), self.experts, self.epochs, train)
        learned = self.initial(train, experts, run)
        network = run.network()
        optimizer = torch.optim.SGD(self.rates(learned), momentum=self.momentum)
        rollback = Rollback(
            learned.leaves, learned.lr, optimizer, most=self.max_rollbacks, remedy=self.remedy
        )
        rejected = torch.zeros((), dtype=torch.long)
        state: dict[str, object] = {
            **learned.leaves, "optimizer": optimizer, "rollback": rollback, "rejected": rejected,
        }  # fmt: skip
        for step in run.steps(self.iterations, state):
            match = self.match(experts, step, run)
            self.prepare(learned, match, experts, network)
            batches = self.batches(learned, run)
            optimizer.zero_grad()
            end = unroll(
                network, match.start, batches, learned.lr, match.losses, momentum=match.momentum,
                scale=match.scale, gradient=self.gradient, unless=self.rejects,
            )  # fmt: skip
            if end.rejected:
                rejected += 1
            elif rollback.step(step, end.loss):
                learned.moved()
                run.log(loss=end.loss, lr=learned.lr)
        if 2 * int(rejected) > self.iterations:
            run.warn(f"{self.title}: {int(rejected)} of {self.iterations} updates were rejected")
        return run.distilled(
            learned.stored,
            learned.syn.labels,
            soft=learned.soft,
            lr=float(learned.lr.detach()),
            augment=self.augment,
            rollbacks=rollback.count,
        )

    @property
    def epochs(self) -> int:
        """How long an expert is trained: until the last snapshot that a student can be asked to reach."""
        return self.max_start_epoch - 1 + self.expert_epochs

    def training(self) -> ExpertTraining:
        """How an expert is trained."""
        return ExpertTraining(
            network=self.network, lr=self.lr_experts, batch=self.batch_experts, augment=self.augment
        )

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """What is learned, at its beginning."""
        return Learned(INITS[self.init](train, run), self.lr_student)

    def rates(self, learned: Learned) -> list[dict[str, object]]:
        """What is learned, with the learning rate of each."""
        return [
            {"params": [learned.syn.images], "lr": self.lr_images},
            {"params": [learned.lr], "lr": self.lr_lr},
        ]

    def match(self, experts: Experts, step: int, run: ImageRun) -> Match:
        """Draws an expert and an epoch, and asks for the snapshot some epochs later."""
        expert = integer(0, len(experts), run.rng)
        epoch = integer(*self.window(step), run.rng)
        start, goal = experts.at(expert, epoch), experts.at(expert, epoch + self.expert_epochs)
        return Match(
            expert=expert, epoch=epoch, start=start, losses={self.syn_steps: trajectory_loss(start, goal)}
        )

    def prepare(self, learned: Learned, match: Match, experts: Experts, network: Network) -> None:
        """Readies what is learned for an update, where its labels depend on what is to be matched."""

    def window(self, step: int) -> tuple[int, int]:
        """From where to below where an update's first epoch is drawn."""
        return 0, self.max_start_epoch

    def rejects(self, loss: Float[Tensor, ""]) -> bool:
        """Whether an update is left out for its loss: never."""
        return False

    def batches(self, learned: Learned, run: ImageRun) -> list[Batch]:
        """The student's batches: every image once before one comes again, each time augmented anew."""
        strategy = dsa.strategy_of(self.augment, run.strategy)
        view, n = learned.syn.view, len(learned.syn.labels)
        stored = max(1, min(n, (self.batch_syn or n) // view.copies))
        size = (run.spec.height, run.spec.width)
        batches: list[Batch] = []
        pieces: Sequence[Tensor] = []
        for _ in range(self.syn_steps):
            # The pieces are taken from the end, so that one that is smaller than the others comes first.
            pieces = pieces or torch.split(torch.randperm(n, generator=run.rng), stored)
            indices, pieces = pieces[-1], pieces[:-1]
            drawn = dsa.draw(strategy, size, run.rng, per_group=len(indices) * view.copies)
            batches.append(augmented(learned, indices.to(run.device), drawn.to(run.device)))
        return batches


def augmented(learned: Learned, indices: Int64[Tensor, " b"], drawn: dsa.Drawn) -> Batch:
    """A student's batch: some of the images as they are when it is called, always augmented alike."""

    def batch() -> tuple[Tensor, Tensor]:
        images, labels = learned.batch(indices)
        return drawn(images[None])[0], labels

    return batch


def trajectory_loss(start: Vector, goal: Vector) -> Callable[[Vector], Float[Tensor, ""]]:
    """The squared distance from the goal, as a share of the way that leads there from the start."""
    way = (start - goal).square().sum()
    return lambda end: (end - goal).square().sum() / way


def answers(network: Network, parameters: Vector, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """The logits of a network with other parameters, without gradients.

    A batch norm goes by the images, whole: trajectories hold no running statistics.
    """
    weights = as_parameters(network.train(), parameters)

    def some(part: Tensor) -> Tensor:
        statistics = {name: buffer.clone() for name, buffer in network.named_buffers()}
        logits: Tensor = functional_call(network, weights | statistics, (part,))
        return logits

    return network_in_chunks(network, some, images)


def integer(low: int, high: int, rng: torch.Generator) -> int:
    """A uniform whole number, low <= it < high."""
    return int(torch.randint(low, high, (), generator=rng))


INITS: Mapping[str, Callable[[Images, ImageRun], LearnableSet]] = {
    "real": LearnableSet.real,
    "noise": lambda train, run: LearnableSet.noise(run),
}
"""What the images start from."""


def _recipes() -> dict[tuple[str, int], Recipe]:
    # syn_steps, expert_epochs, max_start_epoch, lr_images, lr_lr, lr_student, batch_syn, whitened
    table = {
        ("cifar10", 1): (50, 2, 2, 100.0, 1e-7, 0.01, None, True),
        ("cifar10", 10): (30, 2, 20, 100.0, 1e-5, 0.001, None, True),
        ("cifar10", 50): (30, 2, 40, 1000.0, 1e-5, 0.001, None, False),
        ("cifar100", 1): (20, 3, 20, 1000.0, 1e-5, 0.01, None, True),
        ("cifar100", 10): (20, 2, 20, 1000.0, 1e-5, 0.01, None, False),
        ("cifar100", 50): (80, 2, 40, 1000.0, 1e-5, 0.01, 125, True),
        ("tiny-imagenet", 1): (10, 2, 10, 10000.0, 1e-4, 0.01, None, False),
        ("tiny-imagenet", 10): (20, 2, 40, 10000.0, 1e-4, 0.01, 200, False),
        ("tiny-imagenet", 50): (20, 2, 40, 10000.0, 1e-4, 0.01, 300, False),
    }
    protocol = replace(dc_evaluation(1000, augment="dsa"), lr=None)
    source = "justincui03/dc_benchmark, the commands for MTT that its author gave"
    return {
        cell: Recipe(
            method=MTT(
                iterations=5000,
                syn_steps=steps,
                expert_epochs=epochs,
                max_start_epoch=start,
                lr_images=lr_images,
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


MTT.recipes = _recipes()
