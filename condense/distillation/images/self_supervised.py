"""Methods that read no labels: their images have no classes, and targets come from a trained encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import ImageDataset, Images
from condense.distillation.images.run import ImageRun
from condense.distillation.method import ImageMethod
from condense.errors import Refused
from condense.networks import build_network, full_name
from condense.protocols import TRANSFER_SHORT_V1
from condense.store import ImageSet
from condense.teachers.encoder import Encoder
from condense.training.barlow_twins import BarlowTwins


@dataclass(frozen=True, kw_only=True)
class SelfSupervised(ImageMethod):
    """A method whose teacher is an encoder that Barlow Twins trains on the same images, without labels.

    A set has as many images as ``ipc`` of each class of the data, but they belong to no class. With each goes
    a vector, the target, which students regress with the mean squared error over all numbers.

    Attributes:
        teacher_network: Name of the encoder's network.
        teacher_images: Number of training images that it is trained on, drawn at random.
        teacher_epochs: Passes over these images.
        teacher_projector: Width of the projector that it is trained with.
    """

    labelled = False
    judged_by = TRANSFER_SHORT_V1.name

    teacher_network: str = "convnet-w64-bn"
    teacher_images: int = 10_000
    teacher_epochs: int = 50
    teacher_projector: int = 256

    def __post_init__(self) -> None:
        """Refuses what `ImageMethod` refuses, whitened pixels, and a teacher of a single image."""
        super().__post_init__()
        object.__setattr__(self, "teacher_network", full_name(self.teacher_network))
        if self.pixel_space != "normalized":
            raise self.refused(
                "pixel_space", "the teacher sees normalized pixels, and the set holds the same"
            )
        if self.teacher_images < 2:
            raise self.refused("teacher_images", "two images or more can be told apart")

    @property
    def why_equal(self) -> str | None:
        """Why it cannot make a number of images of each class: it has no classes."""
        return "its images have no classes, and only their number counts"

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what `ImageMethod.check` refuses, too few images, and images too small for the teacher."""
        super().check(dataset, ipc, teachers=teachers, cache=cache)
        spec, there = dataset.spec, len(dataset.train)
        if (asked := ipc * spec.num_classes) > there:
            reason = f"{spec.name} has {there} training images, and {self.title} starts from {asked} of them"
            raise Refused(reason, setting="ipc", value=ipc)
        build_network(self.teacher_network, spec.shape, 1, torch.Generator())

    def training(self) -> BarlowTwins:
        """Returns how the teacher is trained."""
        return BarlowTwins(
            network=self.teacher_network, images=self.teacher_images, epochs=self.teacher_epochs,
            projector=self.teacher_projector,
        )  # fmt: skip

    def shared_trainings(self) -> list[BarlowTwins]:
        """Returns how the teacher is trained, once for all runs on the same images."""
        return [self.training()]

    def encoder(self, train: Images, run: ImageRun) -> Encoder:
        """Returns the teacher."""
        return Encoder.of(run.pretrained(self.training(), train), self.teacher_network)

    def first(
        self, train: Images, run: ImageRun, encoder: Encoder
    ) -> tuple[Float[Tensor, "m c h w"], Float[Tensor, "m d"]]:
        """Draws random training images, whatever their classes, with the teacher's outputs for them."""
        chosen = torch.randperm(len(train), generator=run.rng)[: sum(run.counts)]
        images = train.images[chosen.to(train.images.device)]
        return images, encoder.features(images)

    def made(
        self,
        images: Float[Tensor, "m c h w"],
        targets: Float[Tensor, "m d"],
        encoder: Encoder,
        run: ImageRun,
    ) -> ImageSet:
        """Makes the set."""
        return run.distilled(
            images, None, features=targets, scale=1 / targets.shape[1], augment="none", labelled_by=encoder
        )
