"""AST: trajectory matching with strong experts that change smoothly, and a student that drifts less.

The experts are trained with momentum and weight decay, which makes them accurate. Two additions keep their
trajectories smooth: a loss that starts at half its weight, and a penalty on their gradient
(`condense.training.expert_steps`). MTT's loss is extended by five parts, each of which is a field:

- ``init="representative"`` starts from real images near the centres of clusters in an expert's logits;
- ``balance=True`` makes the student's own loss smaller for early start epochs and larger for late ones
  (`balanced`);
- ``student_momentum`` gives the student's steps momentum;
- ``intermediate`` compares the student with the snapshots between start and goal as well;
- ``perturb`` starts the student a little beside the expert's snapshot (`perturbed`), and measures distances
  from there.

With all of them off (and ``init="real"``) and experts of plain SGD, it is MTT.

Paper: Shen, Yang and Lam, AST: Effective Dataset Distillation through Alignment with Smooth and High-Quality
Expert Trajectories, 2023, https://arxiv.org/abs/2310.10541. Authors' code:
shenjiyuan123/AST-Alignment-with-Smooth-Expert (commit 8030869), ``buffer.py`` and ``distill.py``.

This implementation differs from the authors' code in the points that `condense.methods.mtt` lists, and in
these:

- There are as many clusters in a class as images, and each gives the image nearest to its centre, no image
  twice. The authors' code has ten clusters for any IPC and takes the IPC // 10 images nearest to each, which
  is none for an IPC below 10.
- The authors' evaluation reports the best of a test every 20 epochs; a protocol tests once, after the last
  step.
- Images from a generator (whose module is not published), a graph of the last eight steps alone and a step
  that aligns logits are not built: none of the authors' commands uses them.
- The recipes for CIFAR-100 at IPC 10 and 50, which do not whiten, have the authors' ``lr_images`` of 1000
  times `CIFAR100_STEP`, because the authors normalise by CIFAR-10's constants (see `condense.methods.mtt`).
- The experts of the recipes are trained for 50 epochs, as the authors' are, because their last epoch makes
  the clusters.

The recipes are the commands of the README and of ``distill.sh``, with the experts of the README; those of
``buffer.sh`` have neither the penalty nor the starting loss. For CIFAR-10 there is a second command, with
``lr_images=100 lr_lr=1e-6``. Students are trained for 1000 epochs, the default of the code; ``distill.sh``
has 300 for CIFAR-100 at IPC 10.

When not to use it: for a first trial, because the penalty makes an expert two to three times as expensive as
MTT's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
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
    Segment,
    by_own_constants,
    draw_integer,
    draw_segment,
    predict,
    student_batches,
    trajectory_loss,
)
from condense.distillation.matching.unrolled import Vector, unroll
from condense.distillation.method import recipes
from condense.errors import Refused
from condense.networks import Network
from condense.protocol import Stage
from condense.store import ImageSet

from .mtt import MTT

WEIGHTS: Mapping[str, Callable[[int, int], float]] = {
    "none": lambda m, epochs: 0.0,
    "agg": lambda m, epochs: 1.0,
    "adaptive": lambda m, epochs: m / epochs,
}
"""Weight of the comparison after the m-th of some epochs, by the names of the authors' code."""


@register
@dataclass(frozen=True, kw_only=True)
class AST(MTT):
    """Trajectory matching with smooth experts. The other fields are those of `MTT`.

    Attributes:
        lr_lr: As in `MTT`, with another default: with momentum, the student's steps depend ten times as much
            on its learning rate.
        init: What the images start from: ``representative`` or ``real`` images, or ``noise``.
        balance: Whether the student's own loss is weighted by its start epoch (see `balanced`).
        student_momentum: Momentum of the student's steps; 0.9 makes them ten times as long in the end.
        intermediate: Weights of the comparisons between start and goal: ``agg`` (1), ``adaptive``
            (m / expert_epochs after m epochs) or ``none``.
        perturb: Size of the perturbation of the student's start; 0 leaves it out.
        lr_experts: Initial learning rate of the experts.
        momentum_experts: Momentum of the experts' SGD.
        weight_decay_experts: L2 coefficient of the experts.
        drop_epoch: Number of epochs after which the experts' learning rate falls and their momentum is reset;
            None never lets it fall.
        drop_factor: Factor on the experts' learning rate when it falls.
        clipping: Whether the experts' cross-entropy starts at half its weight and grows for ten epochs.
        gradient_penalty: Coefficient of the experts' gradient penalty; 0 leaves it out.
        epochs_experts: Smallest number of epochs that experts are trained for. Their last epoch makes the
            clusters.
    """

    name = "ast"
    quick = {
        **MTT.quick,
        "iterations": 20,
        "syn_steps": 4,
        "max_start_epoch": 4,
        "experts": 1,
        "batch_experts": 64,
    }

    lr_lr: float = 1e-6
    init: Literal["representative", "real", "noise"] = "representative"  # type: ignore[assignment]  # one more than MTT's
    balance: bool = True
    student_momentum: float = 0.9
    intermediate: Literal["none", "agg", "adaptive"] = "agg"
    perturb: float = 1.0
    lr_experts: float = 0.003
    momentum_experts: float = 0.9
    weight_decay_experts: float = 1e-3
    drop_epoch: int | None = 27
    drop_factor: float = 0.6
    clipping: bool = True
    gradient_penalty: float = 2.0
    epochs_experts: int | None = None

    def __post_init__(self) -> None:
        """Checks the fields, and that the student takes enough steps for its comparisons.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        if self.intermediate != "none" and self.syn_steps < self.expert_epochs:
            raise Refused(
                f"{self.name}: syn_steps = {self.syn_steps} are too few to compare the student after each of "
                f"expert_epochs = {self.expert_epochs}; intermediate=none compares it at the end alone"
            )

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs MTT's loop, extended by the parts of AST."""
        experts = run.experts(self.training(), self.experts, self.epochs, train)
        learned = self.initial(train, experts, run)
        network = run.network()
        places = convolutions(network)
        optimizer = self.optimizer(learned)
        rollback = Rollback(
            learned.tensors, learned.lr, optimizer, most=self.max_rollbacks, remedy=self.remedy
        )
        strategy = dsa.strategy_of(self.augment, run.strategy)
        for step in run.steps(self.iterations, rollback.state):
            segment = self.segment(experts, places, run.rng)
            batches = student_batches(learned, strategy, run.rng, steps=self.syn_steps, size=self.batch_syn)
            scale = balanced(segment.epoch, self.max_start_epoch) if self.balance else 1.0
            optimizer.zero_grad()
            end = unroll(
                network, segment.start, batches, learned.lr, self.losses(experts, segment),
                momentum=self.student_momentum, scale=scale, gradient=self.gradient,
            )  # fmt: skip
            if rollback.step(step, end.loss):
                run.log(loss=end.loss, lr=learned.lr)
        lr, count = float(learned.lr.detach()), rollback.ended()
        return run.distilled(learned.images, learned.syn.labels, lr=lr, augment=self.augment, rollbacks=count)

    @property
    def epochs(self) -> int:
        """Number of epochs that an expert is trained for."""
        return max(super().epochs, self.epochs_experts or 0)

    def training(self) -> ExpertTraining:
        """Returns how an expert is trained: as for MTT, with momentum and kept smooth."""
        return replace(
            super().training(),
            momentum=self.momentum_experts,
            weight_decay=self.weight_decay_experts,
            lr_drop=None if self.drop_epoch is None else (self.drop_epoch, self.drop_factor),
            clipping=self.clipping,
            gradient_penalty=self.gradient_penalty,
        )

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """Returns MTT's start, or images that represent their class in a random expert's last logits."""
        if self.init != "representative":
            return super().initial(train, experts, run)
        network = run.network()
        last = experts.at(draw_integer(0, len(experts), run.rng), experts.epochs)
        chosen = []
        for label in range(run.spec.num_classes):
            members = train.of_class(label)
            logits = predict(network, last, train.images[members])
            nearest = representative(logits, run.counts[label], draw_integer(0, 2**31, run.rng))
            chosen.append(members[nearest.to(members.device)])
        syn = LearnableSet(train.images[torch.cat(chosen)], run.counts, run.view)
        return Learned(syn, self.lr_student)

    def segment(self, experts: Experts, places: Sequence[slice], rng: torch.Generator) -> Segment:
        """Draws a segment as MTT does, and perturbs its start."""
        segment = draw_segment(experts, (0, self.max_start_epoch), self.expert_epochs, rng)
        if not self.perturb:
            return segment
        return replace(segment, start=perturbed(segment.start, places, self.perturb, rng))

    def losses(self, experts: Experts, segment: Segment) -> dict[int, Callable[[Vector], Float[Tensor, ""]]]:
        """Returns the losses of a student by the number of steps after which they count.

        The student's steps are divided evenly among the epochs of the segment. After the m-th part the loss
        is the distance to the expert's snapshot m epochs after the start; the last one is MTT's.
        """
        weight_of, steps = WEIGHTS[self.intermediate], self.syn_steps // self.expert_epochs
        losses = {
            m * steps: weighted(
                weight, trajectory_loss(segment.start, experts.at(segment.expert, segment.epoch + m))
            )
            for m in range(1, self.expert_epochs)
            if (weight := weight_of(m, self.expert_epochs))
        }
        losses[self.syn_steps] = trajectory_loss(segment.start, segment.goal)
        return losses


def balanced(epoch: int, max_start_epoch: int) -> float:
    """Returns the weight of the student's own loss for a start epoch.

    With d the distance from the middle epoch, max_start_epoch // 2, it is log_5(8 + d) from the middle on and
    1 / log_5(8 + d) before it. There it jumps from below 1 to above 1.

    Args:
        epoch: Epoch that the student starts from.
        max_start_epoch: Epoch below which students start.
    """
    distance = epoch - max_start_epoch // 2
    weight = math.log(8 + abs(distance), 5)
    return weight if distance >= 0 else 1 / weight


def weighted(
    weight: float, loss: Callable[[Vector], Float[Tensor, ""]]
) -> Callable[[Vector], Float[Tensor, ""]]:
    """Returns a loss times a constant."""
    return lambda theta: weight * loss(theta)


def perturbed(start: Vector, places: Sequence[slice], size: float, rng: torch.Generator) -> Vector:
    """Returns parameters in which each of some tensors w has become w + size (d / |d|) w.

    The product is taken by element, and d is standard normal.

    Args:
        start: The parameters, left as they are.
        places: Positions of the tensors in it.
        size: Size of the perturbation.
        rng: A CPU generator.
    """
    start = start.clone()
    for place in places:
        d = torch.randn(place.stop - place.start, generator=rng).to(start)
        start[place] *= 1 + size * d / torch.linalg.vector_norm(d)
    return start


def convolutions(network: Network) -> list[slice]:
    """Returns the positions of convolutions' weights in a network's vector of parameters."""
    places, at = [], 0
    for parameter in network.parameters():
        if parameter.ndim == 4:
            places.append(slice(at, at + parameter.numel()))
        at += parameter.numel()
    return places


def representative(logits: Float[Tensor, "n k"], count: int, seed: int) -> Int64[Tensor, " count"]:
    """Returns the rows nearest to the centres of k-means clusters, no row twice, computed on the CPU.

    Where the nearest row of a centre is taken already, it gets the nearest one that is left.

    Args:
        logits: At least as many rows as clusters.
        count: Number of clusters.
        seed: Seed of k-means.
    """
    from sklearn.cluster import KMeans

    points = logits.double().cpu()
    kmeans = KMeans(count, n_init=1, random_state=seed)  # type: ignore[no-untyped-call]
    means = kmeans.fit(points.numpy()).cluster_centers_
    distances = torch.cdist(torch.from_numpy(means), points, compute_mode="donot_use_mm_for_euclid_dist")
    rows = torch.empty(count, dtype=torch.long)
    for centre, distance in enumerate(distances):
        rows[centre] = distance.argmin()
        distances[:, rows[centre]] = math.inf
    return rows


# After half of the epochs the learning rate falls by half, and the momentum to 0.8.
EVALUATION = dc_evaluation(1000, augment="dsa")
STAGES = (EVALUATION.stages[0], Stage(epochs=EVALUATION.stages[1].epochs, scale=0.5, momentum=0.8))

AUTHORS = recipes(
    AST,
    "init syn_steps expert_epochs max_start_epoch lr_images lr_lr batch_syn pixel_space balance intermediate "
    "perturb",
    {
        ("cifar10", 10): ("real", 30, 2, 20, 1000.0, 1e-5, None, "zca", True, "agg", 1.0),
        ("cifar100", 1): ("representative", 20, 3, 20, 1000.0, 1e-5, None, "zca", True, "agg", 1.0),
        ("cifar100", 10): ("representative", 20, 2, 30, 1000.0, 1e-5, 128, "normalized", False, "agg", 1.0),
        ("cifar100", 50): ("representative", 80, 2, 40, 1000.0, 1e-5, 700, "normalized", False, "none", 0.0),
        ("tiny-imagenet", 1): ("real", 10, 2, 10, 10000.0, 1e-4, None, "normalized", False, "agg", 1.0),
    },
    source="shenjiyuan123/AST-Alignment-with-Smooth-Expert, README and distill.sh",
    protocol=replace(EVALUATION, lr=None, weight_decay=1e-3, stages=STAGES),
    iterations=5000,
    experts=100,
    epochs_experts=50,
)

AST.recipes = by_own_constants(AUTHORS)
