"""Trials of labels: short trainings of students on training images with soft labels, judged on others.

A trial says what the labels of one network are worth before anything is stored. Its student is trained like
those of label-v1, but for fewer steps and with weight decay on all parameters, and tested on a part of the
training split that neither the student nor the network that labels has seen. Trials are cached and resumed
like all trained networks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment import named_augmentation
from condense.data import Images, ImageSpec
from condense.networks import Network, build_network
from condense.protocols import LABEL_V1
from condense.store.targets import Soft
from condense.training.image_training import divided
from condense.training.pretrained import Schedule, TrainingJob, TrainingRecipe
from condense.training.step import accuracy, cutmix, train_step

Label = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n k"]]
"""Returns the class probabilities of images."""


@dataclass(frozen=True, kw_only=True)
class LabelTrial(TrainingRecipe[Images, ImageSpec, Network]):
    """The training of a student on random images of the part that is not held out, with one label an image.

    Attributes:
        network: Name of the student network.
        labels: Hash of the network that labels.
        counts: Number of images of each class; a class with fewer gives all of them.
        steps: Number of optimiser steps.
        held_out: Share of each class that is held out, as in `condense.training.image_training.divided`.
        seed: Seed of the division.
        label: The function that labels.
    """

    network: str
    labels: str
    counts: tuple[int, ...]
    steps: int
    held_out: float
    seed: int = 0
    label: Label = field(compare=False, repr=False)

    def job(self, train: Images, spec: ImageSpec, space: str) -> "LabelTrialJob":
        """Returns the training; the images, the initialisation and the order are the same for all labels."""
        rng = torch.Generator().manual_seed(self.seed)
        network = build_network(self.network, spec.shape, spec.num_classes, rng, train.images.device)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=LABEL_V1.lr or 0.0, betas=(LABEL_V1.momentum, 0.999),
            weight_decay=LABEL_V1.weight_decay,
        )  # fmt: skip
        kept, held_out = divided(train, self.held_out, self.seed)
        classes = train.labels.cpu()[kept]
        chosen = []
        for label, count in enumerate(self.counts):
            members = kept[classes == label]
            chosen.append(members[torch.randperm(len(members), generator=rng)[:count]])
        positions = torch.cat(chosen)
        batch = LABEL_V1.batch_for(len(positions))
        schedule = Schedule(self.steps, -(-len(positions) // batch))
        return LabelTrialJob(
            f"a trial of labels on {spec.name}", network, rng, optimizer, positions, batch, schedule, self,
            train, spec, space, held_out,
        )  # fmt: skip


@dataclass
class LabelTrialJob(TrainingJob[Network]):
    """The training of a trial: see `TrainingJob`.

    Attributes:
        trial: The recipe.
        train: The training images, normalised.
        spec: The dataset's specification.
        space: Name of the pixel space of the training images.
        held_out: Positions of the images that are tested on, on the CPU.
    """

    trial: LabelTrial
    train: Images
    spec: ImageSpec
    space: str
    held_out: Int64[Tensor, " o"]

    def __post_init__(self) -> None:
        """Labels the images once."""
        device = self.train.images.device
        self._augment = named_augmentation(LABEL_V1.augment, self.spec.dsa)
        self._place = torch.full((len(self.train),), -1)
        self._place[self.positions] = torch.arange(len(self.positions))
        images = self.train.images[self.positions.to(device)]
        self._soft = Soft(self.trial.label(images), self.train.labels[self.positions.to(device)])

    def key(self) -> Mapping[str, object]:
        """Returns everything that the student depends on."""
        trial, spec = self.trial, self.spec
        pixels = {"space": self.space, "mean": spec.mean, "std": spec.std}
        return {
            "trial": 1, "network": trial.network, "labels": trial.labels, "counts": trial.counts,
            "steps": trial.steps, "held_out": trial.held_out, "seed": trial.seed, "protocol": LABEL_V1.hash,
            "train": self.train.hash, "pixels": pixels, "dsa": spec.dsa,
        }  # fmt: skip

    def step(self, number: int, chosen: Int64[Tensor, " b"]) -> Float[Tensor, ""]:
        """Makes one step of AdamW, whose learning rate falls to 0 along half a cosine."""
        self.optimizer.param_groups[0]["lr"] = self.schedule.half_cosine(number) * (LABEL_V1.lr or 0.0)
        device = self.train.images.device
        images = self._augment(self.train.images[chosen.to(device)], self.rng)
        labels = self._soft[self._place[chosen].to(device)]
        images, target = cutmix(images, labels, self.rng, LABEL_V1.cutmix or 0.0)
        return train_step(self.network, self.optimizer, images, target)

    def accuracy(self) -> float:
        """Returns the percent of held-out images that are classified correctly."""
        held_out = self.held_out.to(self.train.images.device)
        return accuracy(self.network, self.train.images[held_out], self.train.labels[held_out])
