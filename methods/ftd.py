"""FTD: matching the trajectories of experts that were led through flat places, and averaging the images.

Du, Jiang, Tan, Zhou and Li: Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation,
CVPR 2023, https://arxiv.org/abs/2211.11004; authors' code AngusDujw/FTD-distillation (commit 711532a),
``buffer/buffer_FTD.py`` and ``distill/distill_FTD.py``. A student that is evaluated starts anew and drifts
off the way that its set was made for; where the loss is flat around the experts, that costs less. So the
experts are trained by GSAM (`condense.training.expert_steps`). The matching is MTT's, and the set is an
exponential moving average of the images over the updates: E <- decay E + (1 - decay) X after each, from the
initial images on.

Where this differs from the authors' code, and why:

- The set is the average. Theirs stores both, and evaluates the average with students that were trained on the
  other before, as its loop builds no new ones in between.
- A step that is taken back leaves the average too.
- rho is the paper's 0.01. Their script says so; the defaults of ``buffer_FTD.py`` are 2 and, for alpha, 0.4.
- All that `condense.methods.mtt` lists.

The recipes are the paper's Table 7. It does not say what is whitened: both of their commands are (CIFAR-10
and CIFAR-100 at IPC 10), so the recipes for the CIFARs are and those for Tiny-ImageNet are not. The initial
images keep a share of decay^iterations in the average: 61 % in the recipe for CIFAR-10 at IPC 1, at most 8 %
in the others.

When not to use it: to try something out, as its experts cost twice those of MTT; and with fewer updates than
1 / (1 - ema_decay), where the set is little else than its beginning.
"""

from dataclasses import dataclass, replace

from jaxtyping import Float
from torch import Tensor

from condense.data import Images
from condense.distillation import Experts, ExpertTraining, ImageRun, LearnableSet, Recipe, register
from condense.errors import Refused
from condense.protocol import dc_evaluation

from .mtt import INITS, MTT, Learned


class Averaged(Learned):
    """Images that are stored as their moving average.

    Args:
        syn: The images.
        lr: The student's learning rate to begin with.
        decay: Share of the average that stays in an update.
    """

    def __init__(self, syn: LearnableSet, lr: float, decay: float) -> None:
        super().__init__(syn, lr)
        self.average = syn.images.detach().clone()
        self._decay = decay

    @property
    def leaves(self) -> dict[str, Tensor]:
        """All that updates change, by name."""
        return {**super().leaves, "average": self.average}

    def moved(self) -> None:
        """Averages the images in."""
        self.average.mul_(self._decay).add_(self.syn.images.detach(), alpha=1 - self._decay)

    @property
    def stored(self) -> Float[Tensor, "n c h w"]:
        """The average."""
        return self.average


@register
@dataclass(frozen=True, kw_only=True)
class FTD(MTT):
    """Trajectory matching with flat experts and averaged images. The other fields are `MTT`'s.

    Attributes:
        rho: How far GSAM climbs before it takes its second gradient.
        alpha: GSAM's share of the first gradient's part at right angles to the second that it descends by.
        adaptive: Whether it climbs in proportion to each parameter's size.
        ema_decay: Share of the images' average that stays in an update; 0 stores the images themselves. The
            default is for as few updates as that of ``iterations``.
    """

    name = "ftd"
    quick = {**MTT.quick, "ema_decay": 0.9}

    rho: float = 0.01
    alpha: float = 1.0
    adaptive: bool = True
    ema_decay: float = 0.99

    def __post_init__(self) -> None:
        """Refuses an average that never moves."""
        super().__post_init__()
        if self.ema_decay >= 1:
            raise Refused(f"{self.name}: ema_decay = {self.ema_decay} must be below 1")

    def training(self) -> ExpertTraining:
        """MTT's, by GSAM."""
        return replace(
            super().training(), optimizer="gsam", rho=self.rho, alpha=self.alpha, adaptive=self.adaptive
        )

    def initial(self, train: Images, experts: Experts, run: ImageRun) -> Learned:
        """MTT's, with the average."""
        return Averaged(INITS[self.init](train, run), self.lr_student, self.ema_decay)


def _recipes() -> dict[tuple[str, int], Recipe]:
    # syn_steps, expert_epochs, max_start_epoch, batch_syn, lr_images, lr_lr, lr_student, alpha, ema_decay
    table = {
        ("cifar10", 1): (50, 2, 2, None, 100.0, 1e-7, 0.01, 0.3, 0.9999),
        ("cifar10", 10): (30, 2, 20, None, 100.0, 1e-5, 0.001, 0.3, 0.9995),
        ("cifar10", 50): (30, 2, 40, None, 1000.0, 1e-5, 0.01, 1.0, 0.999),
        ("cifar100", 1): (40, 3, 20, None, 1000.0, 1e-5, 0.01, 1.0, 0.9995),
        ("cifar100", 10): (20, 2, 40, None, 1000.0, 1e-5, 0.01, 1.0, 0.9995),
        ("cifar100", 50): (80, 2, 40, 1000, 1000.0, 1e-5, 0.01, 1.0, 0.999),
        ("tiny-imagenet", 1): (30, 2, 10, None, 10000.0, 1e-4, 0.01, 1.0, 0.999),
        ("tiny-imagenet", 10): (20, 2, 40, 500, 10000.0, 1e-4, 0.01, 1.0, 0.999),
    }
    protocol = replace(dc_evaluation(1000, augment="dsa"), lr=None)
    source = "AngusDujw/FTD-distillation, docs/parameters.png (the paper's Table 7) and its two scripts"
    return {
        (dataset, ipc): Recipe(
            method=FTD(
                iterations=5000,
                syn_steps=steps,
                expert_epochs=epochs,
                max_start_epoch=start,
                batch_syn=batch,
                lr_images=lr_images,
                lr_lr=lr_lr,
                lr_student=lr_student,
                alpha=alpha,
                ema_decay=decay,
                pixel_space="zca" if dataset.startswith("cifar") else "normalized",
                experts=100,
            ),
            protocol=protocol,
            source=source,
        )
        for (dataset, ipc), row in table.items()
        for steps, epochs, start, batch, lr_images, lr_lr, lr_student, alpha, decay in [row]
    }


FTD.recipes = _recipes()
