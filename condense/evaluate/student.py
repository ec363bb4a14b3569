"""The one training loop that judges: a fresh student on a set, tested once, after its last step."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol as Interface

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from condense.augment import by_name
from condense.data import DatasetSpec, Split
from condense.errors import Refused
from condense.measure import Budget
from condense.memory import keep_freed_memory
from condense.networks import build
from condense.protocol import Protocol
from condense.store.targets import Hard, Target
from condense.training import accuracy, cutmix, train_step

ADAMW_SECOND_BETA = 0.999

Batch = tuple[Float[Tensor, "b c h w"], Target]


class Trainable(Interface):
    """What a student can be trained on: a `condense.store.DistilledSet`, or `Whole`."""

    @property
    def learned_lr(self) -> float | None: ...

    def batches(self, epoch: int, protocol: Protocol, generator: torch.Generator) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Whole:
    """The whole training set, for reference rows.

    Attributes:
        train: In the evaluation space, on the device.
    """

    train: Split

    @property
    def learned_lr(self) -> None:
        """Real images have none."""

    def batches(self, epoch: int, protocol: Protocol, generator: torch.Generator) -> Iterator[Batch]:
        """Every image once, in an order of the generator's."""
        del epoch
        order = torch.randperm(len(self.train), generator=generator).to(self.train.labels.device)
        for chosen in torch.split(order, protocol.batch):
            yield self.train.images[chosen], Hard(self.train.labels[chosen])


@dataclass(frozen=True)
class Outcome:
    """One student's result.

    Attributes:
        accuracy: Test accuracy in percent, at the last step.
        seconds: Time of training and testing.
    """

    accuracy: float
    seconds: float


def _sgd(parameters: Iterable[Parameter], lr: float, protocol: Protocol) -> Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay)


def _adamw(parameters: Iterable[Parameter], lr: float, protocol: Protocol) -> Optimizer:
    betas = (protocol.momentum, ADAMW_SECOND_BETA)
    return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=protocol.weight_decay)


OPTIMIZERS: Mapping[str, Callable[[Iterable[Parameter], float, Protocol], Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}
"""The optimisers by the names that protocols use."""


def train_student(
    source: Trainable,
    test: Split,
    spec: DatasetSpec,
    protocol: Protocol,
    *,
    student: str,
    seed: int,
    budget: Budget | None = None,
) -> Outcome:
    """Trains a fresh student by a protocol and tests it once.

    The seed draws the student's weights, then the order, augmentation and mixture of each batch as they come,
    from one generator of its own: no other seed and no other student changes what it draws.

    Args:
        source: What to train on, in the evaluation space and on the device of the test split.
        test: In the evaluation space; read once, after the last step.
        spec: The dataset.
        protocol: How to train.
        student: Name of the network.
        seed: Of the evaluation.
        budget: When to stop; an unfinished student is lost.

    Raises:
        Stopped: when the budget has run out.
        Refused: if the network does not fit the images, or the set has no learning rate where the protocol
            asks for the set's own.
    """
    started = time.perf_counter()
    keep_freed_memory()
    rng = torch.Generator().manual_seed(seed)
    network = build(student, spec.shape, spec.num_classes, rng, test.images.device)
    augment = by_name(protocol.augment, spec.dsa)
    lr = learning_rate(source, protocol)
    epoch = 0
    for number, stage in enumerate(protocol.stages):
        if number == 0 or protocol.reset:
            optimizer = OPTIMIZERS[protocol.optimizer](network.parameters(), lr, protocol)
        optimizer.param_groups[0]["lr"] = lr * stage.scale
        for _ in range(stage.epochs):
            if budget is not None and budget.spent():
                raise budget.stop(f"{student} {seed}, epoch {epoch} of {protocol.epochs}")
            for images, target in source.batches(epoch, protocol, rng):
                images, target = cutmix(augment(images, rng), target, rng, protocol.cutmix or 0.0)
                train_step(network, optimizer, images, target)
            epoch += 1
    score = accuracy(network, test.images, test.labels)
    return Outcome(score, time.perf_counter() - started)


def learning_rate(source: Trainable, protocol: Protocol) -> float:
    """The protocol's learning rate, or the one that the set learned.

    Raises:
        Refused: if the protocol leaves it to the set and the set has none.
    """
    if protocol.lr is not None:
        return protocol.lr
    if source.learned_lr is None:
        raise Refused("the protocol takes the learning rate that the set learned, and this set has none")
    return source.learned_lr
