"""Students without a set: real images that are chosen for each epoch, and a teacher beside their labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from condense.distillation.images.sampling import Sampling, Taught
from condense.evaluation.student import ImageBatch, Labeller, RealImages
from condense.protocol import Protocol
from condense.records.record import TrainingUsed
from condense.store.targets import Hard, Mixed, Soft, Target, TeacherLogits


@dataclass(frozen=True, eq=False)
class SampledImages(RealImages):
    """The images that are chosen for each epoch, of those that are not in the validation part.

    Attributes:
        sampling: Which of them are chosen.
    """

    sampling: Sampling

    def __len__(self) -> int:
        return self.sampling.size

    def batches(self, epoch: int, protocol: Protocol, generator: torch.Generator) -> Iterator[ImageBatch]:
        """Yields the images that an epoch takes, in an order that the generator draws.

        Where the epoch ends one order of all images and begins the next one, an image can come twice.
        """
        chosen, soft = self.sampling.chosen(epoch), self.sampling.soft
        order = torch.randperm(len(chosen), generator=generator)
        device = self.train.labels.device
        for some in torch.split(order, protocol.batch_for(len(self))):
            positions = chosen[some].to(device)
            target: Target = Hard(self.train.labels[positions])
            if soft is not None:
                target = Soft(soft[some].to(device), target.ids)
            yield self.train.images[positions], target

    def used(self, protocol: Protocol, seconds: float) -> TrainingUsed:
        """Returns what a student's training reads.

        Args:
            protocol: How long it is trained.
            seconds: Wall time of the selection.
        """
        sampling, epochs = self.sampling, protocol.epochs_for(len(self))
        count = sampling.touched(epochs, len(self.train))
        label = 1 if self.train.num_classes <= 256 else 4  # as a set stores class ids
        if sampling.soft is not None:
            label = 4 * self.train.num_classes
        return TrainingUsed(
            bytes=count * (self.train.images[0].numel() + label),
            images=count,
            whole=count == len(self.train),
            steps=epochs * self.batches_in_epoch(protocol),
            seconds=round(seconds, 3),
            teacher=sampling.teacher.hash if sampling.teacher else None,
            teacher_bytes=sampling.teacher.nbytes if sampling.teacher else None,
        )


def listening(taught: Taught) -> Labeller:
    """Returns the function that adds a teacher's opinion of a batch to its labels: see `Taught`."""

    def label(images: Float[Tensor, "n c h w"], target: Target) -> Target:
        logits = taught.teacher.logits(images)
        opinion = TeacherLogits(logits, target.ids, taught.temperature, squared=True)
        return Mixed(target, opinion, 1 - taught.weight)

    return label
