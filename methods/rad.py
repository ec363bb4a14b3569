"""RAD: a teacher labels a few images, where the student is unsure and the teacher may be right.

Baykal, Trinh, Iliopoulos, Menghani and Vee: Robust Active Distillation, ICLR 2023,
https://arxiv.org/abs/2210.01213; no code of the authors is public. The student may ask the teacher for the
labels of b images. A network that is trained on those asked so far gives each of the others a gain, and the
next ones are drawn from the distribution that does best if the teacher is wrong on any k of them
(`condense.distillation.robust_sampling`). No set is stored: students are trained on the chosen images with
the teacher's probabilities for each.

What was not known of the paper is a field: the gain is 1 minus the margin between the two largest
probabilities; k is the teacher's error on held-out images times the number of images, rounded up
(`RAD.teacher_error`); rounds, steps and the way of training between them. The game itself was read in a
secondary source, and the closed form derived anew from it; a test compares it with a linear program.

Where this differs, and why:

- The network that gives the gains is one of its own, not the student that is tested, so that several students
  share a choice. With `RAD.warm` it goes on from round to round; else each round trains a new one.
- The first images are drawn at random; the paper starts from a set with known labels.
- A draw without replacement follows q only in its first image. Where q has fewer points than a round asks
  for, all of them are taken, and then those of the largest gains.

When not to use it: where labels are free, as here they are: then the number of images is what counts, and
class ids are better than a wrong teacher.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment import named_augmentation
from condense.data import Images
from condense.distillation import ImageMethod, ImageRun, Sampling, register
from condense.distillation.images.sampling import altogether
from condense.distillation.images.taught import require_teacher
from condense.distillation.robust_sampling import robust_distribution
from condense.errors import Remedy
from condense.networks import Network, network_in_chunks
from condense.store.targets import Soft
from condense.teachers import FIXED, Teacher
from condense.training.step import train_step


@register
@dataclass(frozen=True, kw_only=True)
class RAD(ImageMethod):
    """Images that are chosen in rounds and labelled by a teacher; no set is stored.

    Attributes:
        network: Name of the network that gives the gains.
        teacher: The teacher: ``fixed``, or the hash of one whose file is given.
        rounds: Number of rounds after the first, random one; each asks for equally many images.
        steps: Steps of SGD with momentum 0.9 in which the network is trained before a round.
        batch: Images in a step.
        lr: Learning rate.
        warm: Whether the network goes on from the round before.
        penalised: Whether the game counts a wrong label as a loss of its gain.
        clip: Least gain of an image.
        teacher_error: Share of the images on which the teacher is wrong; None for that on held-out images.
    """

    name = "rad"
    keeps_real = True
    stores = False
    trains = True
    trains_teacher = False
    quick = {"network": "mlp", "rounds": 2, "steps": 5}
    may_be_zero = frozenset({"rounds"})

    teacher: str = FIXED
    rounds: int = 4
    steps: int = 500
    batch: int = 128
    lr: float = 0.01
    warm: bool = False
    penalised: bool = False
    clip: float = 1e-8
    teacher_error: float | None = None

    def __post_init__(self) -> None:
        """Refuses a teacher that is trained here, an error above 1, and a least gain of 0."""
        super().__post_init__()
        require_teacher(self)
        if self.teacher_error is not None and self.teacher_error > 1:
            raise self.refused("teacher_error", "a share is at most 1")
        if not self.clip > 0:
            raise self.refused("clip", "the least gain is above 0")

    def require_training(self, images: int) -> None:
        """Refuses more rounds than there are images to ask for after the first one."""
        if images <= self.rounds:
            reason = (
                f"after the first images, each of {self.rounds} rounds asks for one, and there are {images}"
            )
            remedy = Remedy(settings={self.setting("rounds"): images - 1}, effect="is the most")
            raise self.refused("rounds", reason, remedy)

    def sampling(self, train: Images, run: ImageRun) -> Sampling:
        """Asks the teacher for labels, round by round."""
        teacher, budget, n = run.teacher(self.teacher, None, train), altogether(train, run), len(train)
        wrong = math.ceil(self._error(teacher) * n)
        asked = torch.randperm(n, generator=run.rng)[: -(-budget // (self.rounds + 1))]
        network = run.network(self.network)
        for number in range(self.rounds):
            network = network if self.warm or number == 0 else run.network(self.network)
            self._train(network, train, asked, teacher, run, number)
            left = torch.ones(n, dtype=torch.bool)
            left[asked] = False
            others = left.nonzero()[:, 0]
            gains = _gains(network, train.images[others.to(train.labels.device)]).cpu()
            q = robust_distribution(gains, wrong, penalised=self.penalised, clip=self.clip)
            count = (budget - len(asked)) // (self.rounds - number)
            asked = torch.cat([asked, others[drawn(q, gains, count, run.rng)]])
        asked = asked.sort().values
        soft = teacher.logits(train.images[asked.to(train.labels.device)]).softmax(1).cpu()
        return Sampling(len(asked), lambda epoch: asked, soft=soft, labelled_by=teacher)

    def _error(self, teacher: Teacher) -> float:
        if self.teacher_error is not None:
            return self.teacher_error
        if teacher.accuracy is None:
            raise self.refused("teacher_error", "nobody knows the teacher's accuracy: give the share")
        return 1 - teacher.accuracy / 100

    def _train(
        self, network: Network, train: Images, asked: Int64[Tensor, " b"], teacher: Teacher, run: ImageRun,
        number: int,
    ) -> None:  # fmt: skip
        """Trains a network, in place, on the images that were asked for, with the teacher's labels."""
        augment, device = named_augmentation("crop-flip", run.strategy), train.labels.device
        optimizer = torch.optim.SGD(network.parameters(), lr=self.lr, momentum=0.9)
        soft = teacher.logits(train.images[asked.to(device)]).softmax(1)
        network.train()
        for _ in run.steps(self.steps, {"network": network, "optimizer": optimizer}, phase=f"round {number}"):
            some = torch.randint(len(asked), (self.batch,), generator=run.rng)
            images = augment(train.images[asked[some].to(device)], run.rng)
            run.log(loss=train_step(network, optimizer, images, Soft(soft[some.to(device)])))


@torch.no_grad()
def _gains(network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
    """Returns 1 minus the margin between the two largest probabilities of each image."""
    network.eval()
    largest: Tensor = network_in_chunks(network, network, images).softmax(1).topk(2, dim=1).values
    return 1 - (largest[:, 0] - largest[:, 1])


def drawn(
    q: Float[Tensor, " n"], gains: Float[Tensor, " n"], count: int, generator: torch.Generator
) -> Int64[Tensor, " count"]:
    """Draws positions without replacement from q, and then those of the largest gains if q has too few."""
    able = int((q > 0).sum())
    if able <= count:
        first = q > 0
        return torch.where(first, torch.inf, gains.double()).argsort(descending=True, stable=True)[:count]
    return torch.multinomial(q, count, replacement=False, generator=generator)
