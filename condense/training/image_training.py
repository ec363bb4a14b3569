"""How networks are trained on images: the recipe as a value, and its steps."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.data.images.pixels import affine
from condense.files import digest
from condense.networks import Network, build_network
from condense.protocol import whole_epochs
from condense.store.targets import Hard
from condense.training.pretrained import Schedule, TrainingJob, TrainingRecipe
from condense.training.step import accuracy, cutmix, train_step

BY_DATASET = ("dsa", "dsa-flip-first", "crop-flip", "resized-flip")
"""Augmentations that depend on the dataset's strategy."""

ADDED_LATER = ("epochs", "milestones", "gamma", "cutmix", "cosine", "held_out")
"""Fields of `Training` that its first version did not have."""


@dataclass(frozen=True, kw_only=True)
class Training(TrainingRecipe[Images, ImageSpec, Network]):
    """How a network is trained on images.

    The optimiser is SGD with momentum; by default the learning rate falls to a tenth for the second half of
    the steps. A network sees what a student sees: images in the pixel space ``raw`` are normalised for it, so
    that methods that work on raw pixels and methods that work on normalised ones share it. A field that a
    later version adds is not hashed at its default, so that the networks' places in the cache never change.

    Attributes:
        network: Name of the network.
        steps: Number of steps; an epoch's last batch is left out if it is smaller than the others.
        epochs: Passes over all images. If given, ``steps`` has no effect, and an epoch's last batch may be
            smaller.
        batch: Images per step, drawn without replacement within an epoch.
        lr: Learning rate before the first milestone.
        milestones: Shares of the steps, or of the epochs (in whole epochs, rounded down), after which the
            learning rate falls.
        gamma: Factor by which the learning rate falls at each milestone.
        momentum: Momentum.
        weight_decay: L2 coefficient.
        augment: Name of the augmentation, as in `condense.protocol.Protocol`.
        cutmix: Probability that an augmented batch is mixed by `condense.augment.cutmix`.
        seed: Seed of the initialisation, the order, the augmentation and the mixtures.
        version: A number that is raised when the training itself changes.
        cosine: Whether the learning rate falls to 0 along half a cosine, step by step; ``milestones`` and
            ``gamma`` then have no effect.
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
        """Returns the fields that are hashed."""
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

    def rate(self, step: int, schedule: Schedule) -> float:
        """Returns the learning rate of a step, counted from 0."""
        if self.cosine:
            return self.lr * schedule.half_cosine(step)
        return self.lr * self.gamma ** sum(step >= fall for fall in schedule.falls)

    def schedule(self, images: int) -> Schedule:
        """Returns the training in steps, for a number of images."""
        if self.epochs is None:
            falls = tuple(whole_epochs(share, self.steps) for share in self.milestones)
            return Schedule(self.steps, max(1, images // self.batch), falls)
        per_epoch = -(-images // self.batch)
        falls = tuple(per_epoch * whole_epochs(share, self.epochs) for share in self.milestones)
        return Schedule(per_epoch * self.epochs, per_epoch, falls)

    def start(self, spec: ImageSpec, device: torch.device) -> tuple[Network, torch.Generator]:
        """Returns the network before its first step, and the generator that drew it."""
        rng = torch.Generator().manual_seed(self.seed)
        return build_network(self.network, spec.shape, spec.num_classes, rng, device), rng

    def job(self, train: Images, spec: ImageSpec, space: str) -> "ImageTrainingJob":
        """Returns the training of a network by this recipe."""
        network, rng = self.start(spec, train.images.device)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay
        )
        positions, held_out = divided(train, self.held_out, self.seed)
        return ImageTrainingJob(
            f"{self.network} on {spec.name}", network, rng, optimizer, positions, self.batch,
            self.schedule(len(positions)), self, train, spec, space, held_out,
        )  # fmt: skip


@dataclass
class ImageTrainingJob(TrainingJob[Network]):
    """The training of a network on images: see `TrainingJob`.

    Attributes:
        training: The recipe.
        train: The training images.
        spec: The dataset's specification.
        space: Name of the pixel space that the training images are in.
        held_out: Positions of the images that are not trained on, on the CPU.
    """

    training: Training
    train: Images
    spec: ImageSpec
    space: str
    held_out: Int64[Tensor, " o"]

    def __post_init__(self) -> None:
        """Chooses the augmentation, and the way from the training images to what the network sees."""
        spec, device = self.spec, self.train.images.device
        self._augment = named_augmentation(self.training.augment, spec.dsa)
        self._see: Callable[[Tensor], Tensor] = lambda images: images
        if self.space == "raw":
            self._see = affine("normalized", spec.mean, spec.std).to(device).encode

    def key(self) -> Mapping[str, object]:
        """Returns everything that the trained network depends on."""
        spec, space = self.spec, "normalized" if self.space == "raw" else self.space
        pixels = {"space": space, "mean": spec.mean, "std": spec.std}
        values: dict[str, object] = {
            "training": self.training.describe(), "train": self.train.hash, "pixels": pixels
        }  # fmt: skip
        return values | ({"dsa": spec.dsa} if self.training.augment in BY_DATASET else {})

    def step(self, number: int, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Makes one step of SGD on the augmented and mixed batch."""
        self.optimizer.param_groups[0]["lr"] = self.training.rate(number, self.schedule)
        chosen = chosen.to(self.train.images.device)
        images = self._augment(self._see(self.train.images[chosen]), self.rng)
        images, target = cutmix(images, Hard(self.train.labels[chosen]), self.rng, self.training.cutmix)
        return train_step(self.network, self.optimizer, images, target)

    def accuracy(self) -> float | None:
        """Returns the percent of held-out images that are classified correctly; None if none are held out."""
        if not len(self.held_out):
            return None
        held_out = self.held_out.to(self.train.images.device)
        return accuracy(self.network, self._see(self.train.images[held_out]), self.train.labels[held_out])


def feature_extractor(network: str) -> Training:
    """Returns the recipe of the networks in whose features coreset methods select: `Training`'s defaults.

    The papers say that a network trained on the whole training set was used, and not how it was trained. A
    thousand steps of 256 images are about four passes over MNIST and five over CIFAR-10.
    """
    return Training(network=network)


def divided(
    train: Images, share: float, seed: int, *, last: bool = False
) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " o"]]:
    """Returns the positions of the images to train on and of those held out, ascending, on the CPU.

    Of two or more images of a class at least one is held out, and never all.

    Args:
        train: The training images.
        share: Share of each class to hold out, in [0, 1).
        seed: Seed of the draw.
        last: Whether the last images of each class are held out, and not the first ones, in the drawn order.
    """
    rng = torch.Generator().manual_seed(seed)
    out = torch.zeros(len(train), dtype=torch.bool)
    for label, count in enumerate(train.counts() if share > 0 else ()):
        if count > 1:
            members = train.of_class(label).cpu()
            least = min(max(1, round(share * count)), count - 1)
            order = torch.randperm(count, generator=rng)
            out[members[order[-least:] if last else order[:least]]] = True
    return (~out).nonzero()[:, 0], out.nonzero()[:, 0]


def without_held_out(train: Images, share: float, seed: int) -> tuple[Images, Images]:
    """Returns the images to train on and those held out, as `divided` says, in the pixel space of ``train``.

    The hashes of the two parts follow from that of the whole.
    """
    parts = []
    for name, positions in zip(("kept", "held out"), divided(train, share, seed), strict=True):
        at = positions.to(train.images.device)
        hash_ = digest({"train": train.hash, "part": name, "share": share, "seed": seed})
        parts.append(Images(train.images[at], train.labels[at], hash_, train.num_classes))
    kept, held_out = parts
    return kept, held_out
