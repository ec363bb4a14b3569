"""AST: trajectory matching with experts that are stronger and still change smoothly, and a steadier student.

Shen, Yang and Lam: AST: Effective Dataset Distillation through Alignment with Smooth and High-Quality Expert
Trajectories, 2023, https://arxiv.org/abs/2310.10541; authors' code
shenjiyuan123/AST-Alignment-with-Smooth-Expert (commit 8030869), ``buffer.py`` and ``distill.py``. Experts
have momentum and weight decay, and are kept from sudden changes by a loss that starts at half its size and by
a penalty on their slope (`condense.training.expert_steps`). Around MTT's loss it has five parts, each a field:

- ``init=representative``: real images that stand for clusters of their class in an expert's logits;
- ``balance``: the student's own loss is smaller for early starts and larger for late ones (`balanced`);
- ``student_momentum``: the student's steps are heavy-ball ones;
- ``intermediate``: on its way the student is compared with the snapshots between start and goal;
- ``perturb``: it starts a little beside the expert's snapshot (`perturbed`); ways are measured from there.

With all of them off (``init=real``) and experts of plain SGD, it is MTT.

Where this differs from the authors' code, and why:

- As many clusters a class as images, and for each the image nearest to its centre, no image twice. Theirs has
  ten clusters whatever the IPC, and takes the IPC // 10 nearest to each: none at all below an IPC of 10.
- Their evaluation reports the best of a test every 20 epochs; a protocol has one test, after the last step.
- Not built, as none of their commands asks for it: images of a generator (whose module is not published), the
  graph of the last eight steps alone, and a step that aligns logits.
- All that `condense.methods.mtt` lists. Experts of the recipes are trained for 50 epochs as theirs are, since
  the clusters are those of the last one.

The recipes are the commands of their README and ``distill.sh`` with the experts of the README: those of
``buffer.sh`` have neither penalty nor starting loss. For CIFAR-10 there are two commands; the other one has
``lr_images=100 lr_lr=1e-6``. Students have the 1000 epochs that are the code's default, where ``distill.sh``
has 300 for CIFAR-100 at IPC 10.

When not to use it: to try something out, as the penalty makes an expert two to three times as dear as MTT's.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.data import Images
from condense.distillation import Experts, ExpertTraining, ImageRun, LearnableSet, Recipe, register
from condense.distillation.matching.unrolled import Vector
from condense.errors import Refused, unknown
from condense.networks import build_network
from condense.protocol import Stage, dc_evaluation

from .mtt import MTT, Learned, Match, answers, integer, trajectory_loss

WEIGHTS: Mapping[str, Callable[[int, int], float]] = {
    "none": lambda m, epochs: 0.0,
    "agg": lambda m, epochs: 1.0,
    "adaptive": lambda m, epochs: m / epochs,
}
"""Weight of the comparison with the m-th of some epochs' snapshots on the way, by the names of the code."""


@register
@dataclass(frozen=True, kw_only=True)
class AST(MTT):
    """Trajectory matching with smooth experts. The other fields are `MTT`'s.

    Attributes:
        lr_lr: As in `MTT`, with another default: steps with momentum depend ten times as much on their rate.
        init: ``representative``, ``real`` or ``noise``.
        balance: Whether the student's own loss is weighted by where it starts: see `balanced`.
        student_momentum: Of the student's steps; with 0.9 they are in the end ten times as long.
        intermediate: How comparisons on the way are weighted: ``agg`` (1), ``adaptive`` (m / expert_epochs
            after the m-th part of the way) or ``none``.
        perturb: Size of the perturbation of the student's start; 0 leaves it out.
        lr_experts: The experts' learning rate at first.
        momentum_experts: Their momentum.
        weight_decay_experts: Their L2 coefficient.
        drop_epoch: Epochs after which their learning rate falls and their momentum starts anew; None: never.
        drop_factor: What it is multiplied by then.
        clipping: Whether their cross-entropy starts at half its weight and grows for ten epochs.
        gradient_penalty: Coefficient of their penalty; 0 leaves it out.
        epochs_experts: Epochs that they are trained for at least, whose last one makes the clusters.
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
    inits = (*MTT.inits, "representative")

    lr_lr: float = 1e-6
    init: str = "representative"
    balance: bool = True
    student_momentum: float = 0.9
    intermediate: str = "agg"
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
        """Refuses an unknown weighting, and comparisons for which the student makes too few steps."""
        super().__post_init__()
        if self.intermediate not in WEIGHTS:
            raise unknown("intermediate", self.intermediate, WEIGHTS)
        if self.intermediate != "none" and self.syn_steps < self.expert_epochs:
            raise Refused(
                f"{self.name}: syn_steps = {self.syn_steps} are too few to compare the student after each of "
                f"expert_epochs = {self.expert_epochs}; intermediate=none compares it at the end alone"
            )

    @property
    def epochs(self) -> int:
        """How long an expert is trained."""
        return max(super().epochs, self.epochs_experts or 0)

    def training(self) -> ExpertTraining:
        """MTT's, kept smooth."""
        return replace(
            super().training(),
            momentum=self.momentum_experts,
            weight_decay=self.weight_decay_experts,
            lr_drop=None if self.drop_epoch is None else (self.drop_epoch, self.drop_factor),
            clipping=self.clipping,
            gradient_penalty=self.gradient_penalty,
        )

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """MTT's, or images that represent their class in the eyes of a random expert at its last epoch."""
        if self.init != "representative":
            return super().initial(train, experts, run)
        network = run.network()
        last = experts.at(integer(0, len(experts), run.rng), experts.epochs)
        chosen = []
        for label in range(run.spec.num_classes):
            members = train.of_class(label)
            logits = answers(network, last, train.images[members])
            nearest = representative(logits, run.ipc, integer(0, 2**31, run.rng))
            chosen.append(members[nearest.to(members.device)])
        syn = LearnableSet(train.images[torch.cat(chosen)], run.spec.num_classes, run.view)
        return Learned(syn, self.lr_student)

    def match(self, experts: Experts, step: int, run: ImageRun) -> Match:
        """MTT's, from a perturbed start, with comparisons on the way and another weight of the loss."""
        plain = super().match(experts, step, run)
        start = plain.start
        if self.perturb:
            places = convolutions(self.network, run.spec.shape, run.spec.num_classes)
            start = perturbed(start, places, self.perturb, run.rng)
        goals = {
            m * (self.syn_steps // self.expert_epochs): (weight, plain.epoch + m)
            for m in range(1, self.expert_epochs)
            if (weight := WEIGHTS[self.intermediate](m, self.expert_epochs))
        }
        goals[self.syn_steps] = (1.0, plain.epoch + self.expert_epochs)
        return replace(
            plain,
            start=start,
            losses={
                steps: weighted(weight, trajectory_loss(start, experts.at(plain.expert, epoch)))
                for steps, (weight, epoch) in goals.items()
            },
            scale=balanced(plain.epoch, self.max_start_epoch) if self.balance else 1.0,
            momentum=self.student_momentum,
        )


def balanced(epoch: int, max_start_epoch: int) -> float:
    """The weight of the student's own loss: log_5(8 + d) from the middle epoch on, 1 / log_5(8 + d) before.

    d is the distance from the middle, max_start_epoch // 2. The weight jumps there, from below 1 to above it.

    Args:
        epoch: Where the student starts.
        max_start_epoch: Below which it starts.
    """
    distance = epoch - max_start_epoch // 2
    weight = math.log(8 + abs(distance), 5)
    return weight if distance >= 0 else 1 / weight


def weighted(weight: float, loss: Callable[[Vector], Float[Tensor, ""]]) -> Callable[[Vector], Tensor]:
    """A loss times a constant."""
    return lambda theta: weight * loss(theta)


def perturbed(start: Vector, places: Sequence[slice], size: float, rng: torch.Generator) -> Vector:
    """Each of some tensors w becomes w + size (d / |d|) w, by element, for a standard normal d.

    Args:
        start: The parameters, left as they are.
        places: Where the tensors lie in it.
        size: How far they move.
        rng: A CPU generator.
    """
    start = start.clone()
    for place in places:
        d = torch.randn(place.stop - place.start, generator=rng).to(start)
        start[place] *= 1 + size * d / torch.linalg.vector_norm(d)
    return start


@lru_cache
def convolutions(network: str, shape: tuple[int, int, int], num_classes: int) -> tuple[slice, ...]:
    """Where the weights of convolutions lie in a network's vector of parameters.

    Args:
        network: Its name.
        shape: Channels, height and width of an image.
        num_classes: How many logits it has.
    """
    places, at = [], 0
    for parameter in build_network(network, shape, num_classes, torch.Generator()).parameters():
        if parameter.ndim == 4:
            places.append(slice(at, at + parameter.numel()))
        at += parameter.numel()
    return tuple(places)


def representative(logits: Float[Tensor, "n k"], count: int, seed: int) -> Int64[Tensor, " count"]:
    """The rows nearest to the centres of k-means clusters, no row twice, on the CPU.

    Centre by centre: one whose nearest row is taken gets the nearest that is left.

    Args:
        logits: At least as many rows as clusters.
        count: Of the clusters.
        seed: Of k-means.
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


def _recipes() -> dict[tuple[str, int], Recipe]:
    # init, syn_steps, expert_epochs, max_start_epoch, lr_images, lr_lr, batch, whitened, balance, enhanced
    table = {
        ("cifar10", 10): ("real", 30, 2, 20, 1000.0, 1e-5, None, True, True, True),
        ("cifar100", 1): ("representative", 20, 3, 20, 1000.0, 1e-5, None, True, True, True),
        ("cifar100", 10): ("representative", 20, 2, 30, 1000.0, 1e-5, 128, False, False, True),
        ("cifar100", 50): ("representative", 80, 2, 40, 1000.0, 1e-5, 700, False, False, False),
        ("tiny-imagenet", 1): ("real", 10, 2, 10, 10000.0, 1e-4, None, False, False, True),
    }
    evaluation = dc_evaluation(1000, augment="dsa")
    before, after = evaluation.stages
    # When the rate has fallen, by half, their evaluation goes on with a smaller momentum.
    stages = (before, Stage(epochs=after.epochs, scale=0.5, momentum=0.8))
    protocol = replace(evaluation, lr=None, weight_decay=1e-3, stages=stages)
    source = "shenjiyuan123/AST-Alignment-with-Smooth-Expert, README and distill.sh"
    return {
        (dataset, ipc): Recipe(
            method=AST(
                iterations=5000,
                init=init,
                syn_steps=steps,
                expert_epochs=epochs,
                max_start_epoch=start,
                lr_images=lr_images,
                lr_lr=lr_lr,
                batch_syn=batch,
                pixel_space="zca" if whitened else "normalized",
                balance=balance,
                intermediate="agg" if enhanced else "none",
                perturb=1.0 if enhanced else 0.0,
                experts=100,
                epochs_experts=50,
            ),
            protocol=protocol,
            source=source,
        )
        for (dataset, ipc), row in table.items()
        for init, steps, epochs, start, lr_images, lr_lr, batch, whitened, balance, enhanced in [row]
    }


AST.recipes = _recipes()
