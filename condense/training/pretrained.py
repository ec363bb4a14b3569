"""Networks that the suite trains on real data: made once, stored by content, resumable, shared."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.data.images.pixels import affine
from condense.files import digest
from condense.networks import Network, build_network
from condense.protocol import whole_epochs
from condense.resources import Budget
from condense.store.targets import Hard
from condense.training import parameters as weights
from condense.training.loop import Loop, State
from condense.training.step import accuracy, cutmix, train_step


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a network is trained on the training set: a value, hashed into the network's place in the cache.

    SGD with momentum; by default the rate falls to a tenth for the second half of the steps. A field that a
    later version adds stays out of the hash at its default, so that no network's place ever moves.

    Attributes:
        network: Its name.
        steps: SGD steps; an epoch's last batch is left out where it is smaller than the others.
        epochs: Passes over all images, in place of ``steps`` (which then mean nothing); an epoch's last
            batch may be smaller.
        batch: Images a step, drawn without replacement within an epoch.
        lr: Learning rate before the first milestone.
        milestones: Shares of the steps, or of the epochs (in whole epochs, rounded down), after which the
            rate falls.
        gamma: What the rate is multiplied by at each milestone.
        momentum: Momentum.
        weight_decay: L2 coefficient.
        augment: As in `condense.protocol.Protocol`.
        cutmix: Probability that an augmented batch is mixed by `condense.augment.cutmix`.
        seed: Of initialisation, order, augmentation and mixtures.
        version: Raised when the training itself changes.
        cosine: Whether the rate goes down to 0 along half a cosine, step by step, in place of the milestones
            (``milestones`` and ``gamma`` then mean nothing).
        held_out: Share of each class's images that are not trained on, drawn by the seed; the network's
            accuracy is measured on them.
    """

    network: str
    steps: int = 1000
    batch: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "none"
    seed: int = 0
    version: int = 1
    epochs: int | None = None
    milestones: tuple[float, ...] = (0.5,)
    gamma: float = 0.1
    cutmix: float = 0.0
    cosine: bool = False
    held_out: float = 0.0

    def describe(self) -> dict[str, object]:
        """The fields that are hashed."""
        values = asdict(self)
        for name in ADDED_LATER:
            if values[name] == self.__dataclass_fields__[name].default:
                del values[name]
        if self.epochs is not None:
            del values["steps"]
        if self.cosine:
            values.pop("milestones", None)
            values.pop("gamma", None)
        return values

    def rate(self, step: int, schedule: "Schedule") -> float:
        """The learning rate of a step.

        Args:
            step: From 0.
            schedule: What `schedule` gave.
        """
        if self.cosine:
            return self.lr * 0.5 * (1 + math.cos(math.pi * step / schedule.steps))
        return self.lr * self.gamma ** sum(step >= fall for fall in schedule.falls)

    def schedule(self, images: int) -> "Schedule":
        """The training in steps.

        Args:
            images: How many there are.
        """
        if self.epochs is None:
            falls = tuple(whole_epochs(share, self.steps) for share in self.milestones)
            return Schedule(self.steps, max(1, images // self.batch), falls)
        per_epoch = -(-images // self.batch)
        falls = tuple(per_epoch * whole_epochs(share, self.epochs) for share in self.milestones)
        return Schedule(per_epoch * self.epochs, per_epoch, falls)


BY_DATASET = ("dsa", "dsa-flip-first", "crop-flip", "resized-flip")
"""Augmentations that go by the dataset's strategy."""

ADDED_LATER = ("epochs", "milestones", "gamma", "cutmix", "cosine", "held_out")
"""Fields of `Training` that its first version did not have."""


@dataclass(frozen=True)
class Schedule:
    """A training in steps.

    Attributes:
        steps: Steps in all.
        per_epoch: Steps an epoch.
        falls: The steps from which on the rate is lower.
    """

    steps: int
    per_epoch: int
    falls: tuple[int, ...]


def feature_extractor(network: str) -> Training:
    """The one pinned recipe for the networks that selection methods look through: `Training`'s defaults.

    The papers say that a network trained on the whole set was used, not how; a thousand steps of 256 are
    about four passes over MNIST and five over CIFAR-10.
    """
    return Training(network=network)


@dataclass(frozen=True)
class Pretrained:
    """A trained network and what it once cost.

    Attributes:
        network: In evaluation mode, its weights frozen.
        hash: SHA-256 of its weights.
        seconds: The time that its training took, whoever did it.
        accuracy: Percent of the held-out images; None where none were held out.
    """

    network: Network
    hash: str
    seconds: float
    accuracy: float | None = None


def pretrained(
    training: Training,
    train: Images,
    spec: ImageSpec,
    space: str,
    *,
    cache: Path,
    budget: Budget,
    remedy: str = "the pinned recipe does not suit this dataset: use a method without trained networks",
) -> Pretrained:
    """The network that a recipe gives on a training set: from the cache, or trained now.

    A network sees what a student sees: images in the space ``raw`` are normalised on their way to it, so that
    methods that work on raw pixels and methods that work on normalised ones share it.

    Args:
        training: The recipe.
        train: Training images in the pixel space ``space``, on the device to train on.
        spec: The dataset.
        space: Name of the pixel space.
        cache: Folder for trained networks and their checkpoints.
        budget: When to stop; the next call goes on from there.
        remedy: What to do when its loss is not finite.

    Raises:
        Stopped: when the budget has run out.
    """
    device = train.images.device
    seen, see = _sight(space, spec, device)
    pixels = {"space": seen, "mean": spec.mean, "std": spec.std}
    values: dict[str, object] = {"training": training.describe(), "train": train.hash, "pixels": pixels}
    if training.augment in BY_DATASET:
        values["dsa"] = spec.dsa
    key = digest(values)
    folder = cache / "trained" / key[:32]
    network, rng = _start(training, spec, device)
    if (found := _read(folder, network)) is not None:
        return found
    loop = Loop(
        folder, rng, device=device, budget=budget, title=f"{training.network} on {spec.name}",
        remedy=remedy,
    )  # fmt: skip
    augment = named_augmentation(training.augment, spec.dsa)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=training.lr, momentum=training.momentum, weight_decay=training.weight_decay
    )
    kept, out = divided(train, training.held_out, training.seed)
    order = kept[torch.randperm(len(kept), generator=rng)]
    schedule = training.schedule(len(order))
    state: State = {"network": network, "optimizer": optimizer, "order": order}
    for step in loop.steps(schedule.steps, state, phase="train"):
        optimizer.param_groups[0]["lr"] = training.rate(step, schedule)
        at = step % schedule.per_epoch * training.batch
        if at == 0 and step > 0:
            order.copy_(kept[torch.randperm(len(kept), generator=rng)])
        chosen = order[at : at + training.batch].to(device)
        images = augment(see(train.images[chosen]), rng)
        images, target = cutmix(images, Hard(train.labels[chosen]), rng, training.cutmix)
        loop.log(loss=train_step(network, optimizer, images, target))
    there = out.to(device)
    found_right = accuracy(network, see(train.images[there]), train.labels[there]) if len(out) else None
    weights.write(folder, network, loop.seconds, found_right)
    loop.done()
    read = _read(folder, network)
    assert read is not None
    return read


def divided(train: Images, share: float, seed: int) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " o"]]:
    """Positions of the images to train on, and of those held out: a share of each class, drawn by a seed.

    Of a class with at least two images at least one is held out, and one is left.

    Args:
        train: The images.
        share: In [0, 1); 0 holds none out.
        seed: Of the draw.

    Returns:
        Both ascending, on the CPU.
    """
    rng = torch.Generator().manual_seed(seed)
    out = torch.zeros(len(train), dtype=torch.bool)
    for label, count in enumerate(train.counts() if share > 0 else ()):
        if count > 1:
            members = train.of_class(label).cpu()
            least = min(max(1, round(share * count)), count - 1)
            out[members[torch.randperm(count, generator=rng)[:least]]] = True
    return (~out).nonzero()[:, 0], out.nonzero()[:, 0]


def untrained(training: Training, spec: ImageSpec, device: torch.device) -> Network:
    """The network that a training starts from: what `pretrained` gives has made its steps from these weights.

    Args:
        training: The recipe.
        spec: The dataset.
        device: Where the network shall be.

    Returns:
        In evaluation mode, its weights frozen.
    """
    network, _ = _start(training, spec, device)
    return network.eval().requires_grad_(False)


def _start(training: Training, spec: ImageSpec, device: torch.device) -> tuple[Network, torch.Generator]:
    """The fresh network, and the generator that has drawn it."""
    rng = torch.Generator().manual_seed(training.seed)
    return build_network(training.network, spec.shape, spec.num_classes, rng, device), rng


def _sight(space: str, spec: ImageSpec, device: torch.device) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The space that networks see images of a space in, and the way there."""
    if space != "raw":
        return space, lambda images: images
    return "normalized", affine("normalized", spec.mean, spec.std).to(device).encode


def _read(folder: Path, network: Network) -> Pretrained | None:
    found = weights.read(folder, network)
    return None if found is None else Pretrained(network, found.hash, found.seconds, found.accuracy)
