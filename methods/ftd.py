"""FTD: trajectory matching with experts from flat regions of the loss, and an average of the learned images.

A student that is evaluated starts from a random network and drifts away from the trajectory that its set was
made for. Where the loss around the expert is flat, this drift costs less accuracy. So the experts are trained
by GSAM (`condense.training.expert_steps`), which seeks flat regions. The matching is MTT's. The stored set is
an exponential moving average E of the images X: it starts at the initial images, and after each update E <-
decay E + (1 - decay) X.

Paper: Du, Jiang, Tan, Zhou and Li, Minimizing the Accumulated Trajectory Error to Improve Dataset
Distillation, CVPR 2023, https://arxiv.org/abs/2211.11004. Authors' code: AngusDujw/FTD-distillation (commit
711532a), ``buffer/buffer_FTD.py`` and ``distill/distill_FTD.py``.

This implementation differs from the authors' code in the points that `condense.methods.mtt` lists, and in
these:

- The stored set is the average. The authors' code stores both sets, and evaluates the average with students
  that were trained on the other set before, because its loop makes no new students in between.
- A step that is undone is removed from the average too.
- ``rho`` is the paper's 0.01, as in the authors' script. The defaults of ``buffer_FTD.py`` are 2 and, for
  ``alpha``, 0.4.

The recipes are the paper's Table 7. The table does not say which sets are whitened. Both of the authors'
commands whiten (CIFAR-10 and CIFAR-100 at IPC 10), so the recipes for the CIFARs do, and those for
Tiny-ImageNet do not. The initial images keep a share of decay^iterations in the average: 61 % in the recipe
for CIFAR-10 at IPC 1, at most 8 % in the others.

When not to use it: for a first trial, because its experts cost twice those of MTT; or with fewer updates than
1 / (1 - ema_decay), because then the average is mostly the initial images.
"""

from dataclasses import dataclass, replace

from condense.augment import dsa
from condense.data import Images
from condense.distillation import ExpertTraining, ImageRun, Rollback, register
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.matching.trajectory import draw_segment, student_batches, trajectory_loss
from condense.distillation.matching.unrolled import unroll
from condense.distillation.method import recipes
from condense.errors import Refused
from condense.store import ImageSet

from .mtt import MTT


@register
@dataclass(frozen=True, kw_only=True)
class FTD(MTT):
    """Trajectory matching with flat experts and averaged images. The other fields are those of `MTT`.

    Attributes:
        rho: Length of GSAM's ascent step, after which it takes its second gradient.
        alpha: Factor of the part of GSAM's first gradient that is orthogonal to the second one.
        adaptive: Whether GSAM's ascent step is proportional to the size of each parameter.
        ema_decay: Factor of the average in an update; 0 stores the images themselves. The default suits as
            few updates as the default of ``iterations``.
    """

    name = "ftd"
    quick = {**MTT.quick, "ema_decay": 0.9}

    rho: float = 0.01
    alpha: float = 1.0
    adaptive: bool = True
    ema_decay: float = 0.99

    def __post_init__(self) -> None:
        """Checks the fields, and that the average moves.

        Raises:
            Refused: if a value is unknown or out of range.
        """
        super().__post_init__()
        if self.ema_decay >= 1:
            raise Refused(f"{self.name}: ema_decay = {self.ema_decay} must be below 1")

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Runs MTT's loop, and averages the images."""
        experts = run.experts(self.training(), self.experts, self.epochs, train)
        learned = self.initial(train, experts, run)
        average = learned.images.detach().clone()  # (n, c, h, w)
        tensors = {**learned.tensors, "average": average}
        network = run.network()
        optimizer = self.optimizer(learned)
        rollback = Rollback(tensors, learned.lr, optimizer, most=self.max_rollbacks, remedy=self.remedy)
        strategy = dsa.strategy_of(self.augment, run.strategy)
        for step in run.steps(self.iterations, rollback.state):
            segment = draw_segment(experts, (0, self.max_start_epoch), self.expert_epochs, run.rng)
            batches = student_batches(learned, strategy, run.rng, steps=self.syn_steps, size=self.batch_syn)
            loss = trajectory_loss(segment.start, segment.goal)
            optimizer.zero_grad()
            end = unroll(
                network, segment.start, batches, learned.lr, {self.syn_steps: loss}, gradient=self.gradient
            )
            if rollback.step(step, end.loss):
                average.mul_(self.ema_decay).add_(learned.images.detach(), alpha=1 - self.ema_decay)
                run.log(loss=end.loss, lr=learned.lr)
        return run.distilled(
            average,
            learned.syn.labels,
            lr=float(learned.lr.detach()),
            augment=self.augment,
            rollbacks=rollback.ended(),
        )

    def training(self) -> ExpertTraining:
        """Returns how an expert is trained: as for MTT, by GSAM."""
        return replace(
            super().training(), optimizer="gsam", rho=self.rho, alpha=self.alpha, adaptive=self.adaptive
        )


FTD.recipes = recipes(
    FTD,
    "syn_steps expert_epochs max_start_epoch batch_syn lr_images lr_lr lr_student alpha ema_decay "
    "pixel_space",
    {
        ("cifar10", 1): (50, 2, 2, None, 100.0, 1e-7, 0.01, 0.3, 0.9999, "zca"),
        ("cifar10", 10): (30, 2, 20, None, 100.0, 1e-5, 0.001, 0.3, 0.9995, "zca"),
        ("cifar10", 50): (30, 2, 40, None, 1000.0, 1e-5, 0.01, 1.0, 0.999, "zca"),
        ("cifar100", 1): (40, 3, 20, None, 1000.0, 1e-5, 0.01, 1.0, 0.9995, "zca"),
        ("cifar100", 10): (20, 2, 40, None, 1000.0, 1e-5, 0.01, 1.0, 0.9995, "zca"),
        ("cifar100", 50): (80, 2, 40, 1000, 1000.0, 1e-5, 0.01, 1.0, 0.999, "zca"),
        ("tiny-imagenet", 1): (30, 2, 10, None, 10000.0, 1e-4, 0.01, 1.0, 0.999, "normalized"),
        ("tiny-imagenet", 10): (20, 2, 40, 500, 10000.0, 1e-4, 0.01, 1.0, 0.999, "normalized"),
    },
    source="AngusDujw/FTD-distillation, docs/parameters.png (the paper's Table 7) and its two scripts",
    protocol=replace(dc_evaluation(1000, augment="dsa"), lr=None),  # students train at the learned rate
    iterations=5000,
    experts=100,
)
