"""The one training loop that judges: a fresh student on a set, tested once, after its last step."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol as Interface

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import Optimizer

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.errors import Refused
from condense.networks import build_network
from condense.protocol import Protocol
from condense.resources import Budget, keep_freed_memory
from condense.store.targets import Hard, Target
from condense.training.step import accuracy, cutmix, mixup, train_step

SECOND_BETA = 0.999
"""Of AdamW and Adam."""

Batch = tuple[Float[Tensor, "b c h w"], Target]

Labeller = Callable[[Float[Tensor, "b c h w"], Target], Target]
"""Gives images, augmented and mixed as the student sees them, new labels in place of the set's."""


class Trainable(Interface):
    """What a student can be trained on: a `condense.store.ImageSet`, or `Whole`."""

    @property
    def learned_lr(self) -> float | None: ...

    @property
    def epochs(self) -> int | None:
        """How many epochs it holds labels of their own for; None if it has none."""
        ...

    def batches(self, epoch: int, protocol: Protocol, generator: torch.Generator) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Whole:
    """The whole training set, for reference rows.

    Attributes:
        train: In the evaluation space, on the device.
    """

    train: Images

    @property
    def learned_lr(self) -> None:
        """Real images have none."""

    @property
    def epochs(self) -> None:
        """Their labels are the same in every epoch."""

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
        auc: Area under the ROC curve in percent, of graphs of two classes.
    """

    accuracy: float
    seconds: float
    auc: float | None = None


Groups = list[dict[str, object]]
"""Parameters and what is set for them alone, as `torch.optim` takes them."""


def _groups(network: nn.Module, protocol: Protocol) -> Groups:
    """All of a network's parameters, or apart from each other those with weight decay and those without."""
    parameters = list(network.parameters())
    if protocol.decay is None:
        return [{"params": parameters}]
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


def _sgd(groups: Groups, lr: float, protocol: Protocol) -> Optimizer:
    return torch.optim.SGD(groups, lr=lr, momentum=protocol.momentum, weight_decay=protocol.weight_decay)


def _adamw(groups: Groups, lr: float, protocol: Protocol) -> Optimizer:
    betas = (protocol.momentum, SECOND_BETA)
    return torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=protocol.weight_decay)


def _adam(groups: Groups, lr: float, protocol: Protocol) -> Optimizer:
    betas = (protocol.momentum, SECOND_BETA)
    # Fused: one call for all parameters, of which a network for graphs has a few small ones.
    return torch.optim.Adam(groups, lr=lr, betas=betas, weight_decay=protocol.weight_decay, fused=True)


OPTIMIZERS: Mapping[str, Callable[[Groups, float, Protocol], Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
    "adam": _adam,
}
"""The optimisers of networks by the names that protocols use."""


def make_optimizer(network: nn.Module, lr: float, protocol: Protocol) -> Optimizer:
    """The protocol's optimiser over a network's parameters.

    Raises:
        Refused: if it is none that trains networks.
    """
    if protocol.optimizer not in OPTIMIZERS:
        raise Refused(f"{protocol.name}: {protocol.optimizer} trains no networks")
    return OPTIMIZERS[protocol.optimizer](_groups(network, protocol), lr, protocol)


def train_student(
    source: Trainable,
    test: Images,
    spec: ImageSpec,
    protocol: Protocol,
    *,
    student: str,
    seed: int,
    labeller: Labeller | None = None,
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
        labeller: What labels each batch, where the protocol has that done by a teacher.
        budget: When to stop; an unfinished student is lost.

    Raises:
        Stopped: when the budget has run out.
        Refused: if the network does not fit the images, the set has no learning rate or no labels of an
            epoch's own where the protocol asks for them, or nobody labels where a teacher should.
    """
    started = time.perf_counter()
    keep_freed_memory()
    rng = torch.Generator().manual_seed(seed)
    network = build_network(student, spec.shape, spec.num_classes, rng, test.images.device)
    augment = named_augmentation(protocol.augment, spec.dsa)
    lr = learning_rate(source, protocol)
    stages = protocol.lasting(None if protocol.stages else source.epochs)
    epochs = sum(stage.epochs for stage in stages)
    if protocol.online and labeller is None:
        raise Refused(f"under {protocol.name} a teacher labels what students see, and there is none")
    epoch = 0
    for number, stage in enumerate(stages):
        if number == 0 or protocol.reset:
            optimizer = make_optimizer(network, lr, protocol)
        _set_momentum(optimizer, protocol.momentum if stage.momentum is None else stage.momentum)
        for _ in range(stage.epochs):
            if budget is not None and budget.spent():
                raise budget.stop(f"{student} {seed}, epoch {epoch} of {epochs}")
            for group in optimizer.param_groups:
                group["lr"] = lr * stage.scale * protocol.factor(epoch, epochs)
            for images, target in source.batches(epoch, protocol, rng):
                images, target = cutmix(augment(images, rng), target, rng, protocol.cutmix or 0.0)
                images, target = mixup(images, target, rng, protocol.mixup)
                if labeller is not None:
                    target = labeller(images, target)
                train_step(network, optimizer, images, target)
            epoch += 1
    score = accuracy(network, test.images, test.labels)
    return Outcome(score, time.perf_counter() - started)


def _set_momentum(optimizer: Optimizer, momentum: float) -> None:
    """Sets the momentum of SGD, or the first beta of AdamW and Adam, from the next step on."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (momentum, SECOND_BETA)
        else:
            group["momentum"] = momentum


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
