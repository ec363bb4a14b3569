"""Students: networks that are trained from scratch on a set and tested once, after their last step.

A training that was killed goes on from its last checkpoint and ends with the same bits.
"""

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar, runtime_checkable
from typing import Protocol as Interface

import torch
from jaxtyping import Float
from torch import Tensor, nn

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.errors import Refused
from condense.evaluation.curve import Curve, measured_at
from condense.evaluation.epochs import Epochs
from condense.evaluation.optimizers import make_optimizer, set_momentum, set_rate
from condense.events import Teller
from condense.networks import Network, build_network
from condense.protocol import BY_STEPS, Protocol
from condense.records.record import ClientScore, CurvePoint
from condense.resources import Budget, keep_freed_memory
from condense.store.targets import Hard, Target
from condense.training.average import MovingAverage
from condense.training.loop import Loop, State
from condense.training.progress import Cost
from condense.training.step import accuracy, cutmix, mixup, train_step
from condense.training.validation import VALIDATION

ImageBatch = tuple[Float[Tensor, "b c h w"], Target]

Labeller = Callable[[Float[Tensor, "b c h w"], Target], Target]
"""Returns new labels of images that are augmented and mixed as the student sees them, given their own."""


@runtime_checkable
class ImageSource(Interface):
    """What a student can be trained on: a `condense.store.ImageSet` or `RealImages`."""

    def __len__(self) -> int:
        """Returns the number of images that a student sees in an epoch."""
        ...

    @property
    def learned_lr(self) -> float | None:
        """The learning rate that was learned with the images; None if there is none."""
        ...

    @property
    def epochs(self) -> int | None:
        """The number of epochs that have labels of their own; None if the labels never change."""
        ...

    def batches_in_epoch(self, protocol: Protocol) -> int:
        """Returns the number of batches of an epoch."""
        ...

    def batches(self, epoch: int, protocol: Protocol, generator: torch.Generator) -> Iterator[ImageBatch]:
        """Yields the batches of an epoch. All that it draws is drawn ahead of the first one."""
        ...


@dataclass(frozen=True, eq=False)
class RealImages:
    """Training images themselves, in place of a set.

    Attributes:
        train: The training images, in the evaluation space and on the device.
    """

    train: Images

    def __len__(self) -> int:
        return len(self.train)

    @property
    def learned_lr(self) -> None:
        """None: real images come with no learning rate."""

    @property
    def epochs(self) -> None:
        """None: there are labels for any number of epochs."""

    def batches_in_epoch(self, protocol: Protocol) -> int:
        return protocol.batches_in_epoch(len(self))


@dataclass(frozen=True, eq=False)
class WholeImages(RealImages):
    """The whole training set, for reference rows."""

    def batches(self, epoch: int, protocol: Protocol, generator: torch.Generator) -> Iterator[ImageBatch]:
        """Yields every image once, in an order that the generator draws."""
        del epoch
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        for chosen in torch.split(order, protocol.batch_for(len(self))):
            yield self.train.images[chosen], Hard(self.train.labels[chosen])


class Score(NamedTuple):
    """What a test says about a network.

    Attributes:
        accuracy: Accuracy in percent.
        auc: Area under the ROC curve in percent, for graphs of two classes.
        size_correlation: Rank correlation of the network's scores of graphs with their numbers of nodes.
    """

    accuracy: float
    auc: float | None = None
    size_correlation: float | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of one student: the parts of a `Score`, and the seconds of training and testing.

    The seconds are those over all restarts, without those of measuring the curve. The other parts are those
    of a `condense.records.record.Entry`; the last four are those of a federation.
    """

    accuracy: float
    seconds: float
    auc: float | None = None
    size_correlation: float | None = None
    curve: tuple[CurvePoint, ...] = ()
    curve_part: int | None = None
    clients: tuple[ClientScore, ...] = ()
    up_bytes: int | None = None
    down_bytes: int | None = None
    lost: int | None = None

    @classmethod
    def of(cls, score: Score, seconds: float, curve: Curve | None = None) -> "Outcome":
        """Returns the outcome of a training and test that took some seconds."""
        points = tuple(curve.points) if curve else ()
        part = curve.part if curve and points and curve.part != VALIDATION else None
        return cls(score.accuracy, seconds, score.auc, score.size_correlation, points, part)

    def tell(self, task: str) -> None:
        """Tells the scores as an event: the only step of a phase ``test``."""
        scores = {"accuracy": self.accuracy, "auc": self.auc, "size_correlation": self.size_correlation}
        scores |= {f"accuracy of {one.name}": one.accuracy for one in self.clients}
        teller = Teller(task)
        teller.begin("test", 0, 1)
        told = {name: value for name, value in scores.items() if value is not None}
        teller.step("test", 1, 1, told, seconds=round(self.seconds, 3))


N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True, kw_only=True, eq=False)
class Student(ABC, Generic[N]):
    """Trains networks from scratch by a protocol and tests each of them once.

    Attributes:
        network: Name of the network.
        protocol: How it is trained.
        budget: When to stop.
    """

    network: str
    protocol: Protocol
    budget: Budget = field(default_factory=Budget)

    def outcome(self, seed: int, folder: Path | None = None) -> Outcome:
        """Trains a fresh network and tests it once, after its last step.

        One generator draws the initial weights, then the batches and their augmentation. Neither another seed
        nor another student changes what it draws.

        Args:
            seed: The evaluation seed, with which the generator starts.
            folder: The student's own folder, for checkpoints of a long training. Whoever stores the outcome
                removes it. Without one a student that is not finished is lost.

        Raises:
            Stopped: if the budget runs out.
            Refused: if the network does not fit the data, something that the protocol needs is missing, or
                the loss or the logits are not finite.
        """
        rng, who = torch.Generator().manual_seed(seed), f"{self.network} {seed}"
        loop = Loop(
            folder, rng, device=self.device, budget=self.budget, title=who,
            remedy=f"a student that diverges has no result: {who} under {self.protocol.name}",
            cost=Cost(
                f"each {self.network} under {self.protocol.name}",
                "a smaller student or fewer eval_seeds make it shorter",
            ),
        )  # fmt: skip
        keep_freed_memory()
        self.check()
        try:
            curve = self.curve(loop)
            score = self.score(self.train(self.build(rng), loop, curve))
        except Refused:
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
            raise
        return Outcome.of(score, loop.seconds, curve)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device that students are trained and tested on."""

    @abstractmethod
    def check(self) -> None:
        """Refuses a protocol whose needs are not met."""

    @abstractmethod
    def build(self, rng: torch.Generator) -> N:
        """Builds the network with weights that the generator draws."""

    def curve(self, loop: Loop) -> Curve | None:
        """Returns what measures the student on the way; None if nothing does."""
        return None

    @abstractmethod
    def train(self, network: N, loop: Loop, curve: Curve | None = None) -> N:
        """Trains the network.

        Args:
            network: The fresh network.
            loop: The loop of the training. Its generator draws everything that is random.
            curve: Measures the network on the way.

        Returns:
            The network to be tested.
        """

    @abstractmethod
    def score(self, network: N) -> Score:
        """Returns the network's score on the test samples."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageStudent(Student[Network]):
    """Students of images, trained for epochs.

    Attributes:
        source: What they are trained on, in the evaluation space and on the device of the test images.
        test: The test images in the evaluation space. They are read after the last step.
        spec: The description of the dataset.
        labeller: Gives each batch its labels if the protocol leaves that to a teacher.
        validation: Training images in the evaluation space, on which they are measured on the way.
        part: The number of these images (`condense.training.validation`).
    """

    source: ImageSource
    test: Images
    spec: ImageSpec
    labeller: Labeller | None = None
    validation: Images | None = None
    part: int = VALIDATION

    def curve(self, loop: Loop) -> Curve | None:
        return None if self.validation is None else Curve(self.validation, self.part, loop)

    def check(self) -> None:
        if self.protocol.online and self.labeller is None:
            raise Refused(
                f"under {self.protocol.name} a teacher labels what students see, and there is no teacher"
            )
        require_batches(self, self.spec.shape, len(self.source), self.protocol)

    def build(self, rng: torch.Generator) -> Network:
        return build_network(
            self.network, self.spec.shape, self.spec.num_classes, rng, self.test.images.device
        )

    @property
    def device(self) -> torch.device:
        return self.test.images.device

    def train(self, network: Network, loop: Loop, curve: Curve | None = None) -> Network:
        how, labeller = self.protocol, self.labeller
        fit(network, self.source, how, self.spec, loop, labeller=labeller, curve=curve, last=True)
        return network

    def score(self, network: Network) -> Score:
        return Score(accuracy(network, self.test.images, self.test.labels))


def require_batches(
    student: Student[Network], shape: tuple[int, int, int], n: int, protocol: Protocol
) -> None:
    """Refuses a network that cannot be trained on a batch of one image, if an epoch of n images has one.

    Args:
        student: The student, whose network is built as it is for the training.
        shape: Channels, height and width of the images.
        n: Number of images of an epoch.
        protocol: How it is trained on them.
    """
    batch = protocol.batch_for(n)
    if 1 not in (batch, n % batch):
        return
    network = student.build(torch.Generator()).train()
    try:
        with torch.no_grad():
            network(torch.zeros(1, *shape, device=student.device))
    except ValueError as error:  # torch's, about the values of a channel that have no variance
        raise Refused(
            f"an epoch of {n} images in batches of {batch} ends with a batch of one, whose mean and "
            f"variance the batch norms of {student.network} cannot take",
            setting="student",
            value=student.network,
        ) from error


def fit(
    network: Network,
    source: ImageSource,
    protocol: Protocol,
    spec: ImageSpec,
    loop: Loop,
    phase: str = "train",
    *,
    labeller: Labeller | None = None,
    curve: Curve | None = None,
    last: bool = False,
) -> None:
    """Trains a network on images, as a phase of a loop whose generator draws everything that is random.

    Args:
        network: The network, which is updated in place.
        source: What it is trained on, in the evaluation space and on its device.
        protocol: How it is trained.
        spec: The description of the images, by which they are augmented.
        loop: The loop.
        phase: Name of the phase.
        labeller: Gives each batch its labels, if the protocol leaves that to a teacher.
        curve: Measures the network on the way.
        last: Whether the network is tested at once: see `condense.training.loop.Loop.steps`.
    """
    rng, augment = loop.rng, named_augmentation(protocol.augment, spec.dsa)
    lr = learning_rate(source, protocol)
    stages = protocol.lasting(len(source), source.epochs)
    numbers = [number for number, stage in enumerate(stages) for _ in range(stage.epochs)]
    epochs = len(numbers)
    optimizer = make_optimizer(network, lr, protocol)
    draw = partial(source.batches, protocol=protocol, generator=rng)
    batches = Epochs(draw, source.batches_in_epoch(protocol), rng)
    state: State = {"network": network, "optimizer": optimizer, "batches": batches}
    average = None
    if protocol.ema is not None:
        average = state["average"] = MovingAverage(list(network.parameters()), protocol.ema)
    steps = protocol.steps or epochs * batches.per_epoch
    points: tuple[int, ...] = ()
    if curve is not None:
        points = measured_at(steps, epochs * len(source), len(curve.validation))
        state["curve"] = curve
    for step in loop.steps(steps, state, phase, last=last):
        epoch, batch = divmod(step, batches.per_epoch)
        if batch == 0:
            stage = stages[numbers[epoch]]
            if protocol.reset and epoch > 0 and numbers[epoch] > numbers[epoch - 1]:
                optimizer.state.clear()
            set_momentum(optimizer, protocol.momentum if stage.momentum is None else stage.momentum)
            set_rate(optimizer, lr * stage.scale * protocol.factor(epoch, epochs))
        if protocol.schedule == BY_STEPS:
            set_rate(optimizer, protocol.rate(lr, step, steps))
        images, target = batches.at(step)
        images, target = cutmix(augment(images, rng), target, rng, protocol.cutmix or 0.0)
        images, target = mixup(images, target, rng, protocol.mixup)
        if labeller is not None:
            target = labeller(images, target)
        loss = train_step(network, optimizer, images, target)
        loop.log(loss=loss, lr=optimizer.param_groups[0]["lr"])
        if average is not None:
            average.update()
        if curve is not None and step + 1 in points:
            curve.measure(network, step + 1)
    if average is not None:
        average.install()


def learning_rate(source: ImageSource, protocol: Protocol) -> float:
    """Returns the protocol's learning rate, or the one that the set learned; refuses a set without either."""
    if protocol.lr is not None:
        return protocol.lr
    if source.learned_lr is None:
        raise Refused("the protocol takes the learning rate that the set learned, and this set has none")
    return source.learned_lr
