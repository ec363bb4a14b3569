"""Expert labels: one soft label for each image, from an early checkpoint of a network trained on real images.

Qin, Deng and Alvarez-Melis: A Label is Worth a Thousand Images in Dataset Distillation, NeurIPS 2024,
https://arxiv.org/abs/2406.10485; authors' code sunnytqin/no-distillation at 389be9e,
``train_expert/buffer.py`` and ``softlabel/nodistill.py``. Nothing is distilled there: the images are random
ones (``random_subset+expert``), and each has the softmax of one expert's logits as its label, from one
checkpoint. This row says what labels alone are worth, so that it stands beside every cell that is judged with
soft labels.

The paper's finding, for which the epoch is chosen: the labels that teach most are those of an expert that is
far from finished, and the fewer images there are, the earlier it has to be stopped. An expert that is stopped
early still says which classes are alike; the labels of a finished one are nearly class ids. By the accuracy
of the expert itself (``measure = expert``) one would take the last checkpoint.

An expert is trained for ``longest`` epochs on the training split without a part of it (``held_out`` of each
class). The candidates are its checkpoints after 1, 2, 4, 8 ... epochs and the last one. For each of them a
student is trained for ``steps`` steps, in the way of label-v1, on as many random images of each class as are
asked for (where the set fills a number of bytes: as it has), labelled by that checkpoint, and tested on the
part that was held out. The best one labels the set. Expert and trials do not depend on the seed of the set,
so that all draws of a row share them.

Where this differs from the authors' code, and why:

- They choose the epoch (and the student's learning rate) by the accuracy on test images, and report the best
  test of a training. Here the test split is read by the evaluation alone. In return, the expert does not see
  the images that are held out, not even where ``epoch`` is given.
- They try every second epoch of a range of their own for each dataset; here epochs double. Candidates, trials
  and ``longest`` are this library's. By default the expert has a momentum and needs fewer epochs; the recipes
  have none, as theirs.
- On CIFAR their images are whitened. Here the expert sees normalised images, as teachers do; the host may
  store whitened ones.
- The recipes have the epochs and the learning rate of the expert of the paper's tables. The authors' sample
  commands say 0.001 where the paper says 0.0005 for CIFAR-10. Their student has a learning rate of 0.1 on
  Tiny-ImageNet from 10 images per class on, and 3000 epochs (1000 on Tiny-ImageNet); the numbers of epochs
  are stated for single cells only.
- Of an image that decodes to several ones, the label is the mean over those.

When not to use it: where a teacher labels every view of an image (soft-v2, replay-v2), which teaches more
than one label of an image; with networks that have batch norms as experts, since checkpoints hold no running
statistics.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import Images
from condense.distillation import (
    ExpertTraining,
    ImageMethod,
    ImageRun,
    LabelTrial,
    Recipe,
    Wrapper,
    register,
    without_held_out,
)
from condense.distillation.matching.protocols import milestones
from condense.store import ImageSet
from condense.teachers import Teacher

DIVISION = 0
"""Seed of the part of the training split that is held out: the same for all sets of a dataset.

The draw of random images with seed 0 begins with this part, so that an expert has not seen the images of that
draw, and of other draws only few are among those held out.
"""


@register
@dataclass(frozen=True, kw_only=True)
class ExpertLabels(Wrapper):
    """One soft label for each image of a set, from a checkpoint of an expert.

    Attributes:
        epoch: Number of epochs after which the expert labels; None chooses it by `measure`.
        longest: Number of epochs of the longest candidate.
        measure: What the candidates are chosen by: ``student``, the accuracy of a student that is trained on
            images labelled by the candidate, or ``expert``, the candidate's own accuracy; both on the images
            that are held out.
        steps: Number of steps of each trial's student.
        held_out: Share of each class that neither experts nor trials are trained on.
        lr: Learning rate of the expert, whose optimiser is SGD.
        momentum: Momentum of that optimiser.
        batch: Images per step of the expert.
        augment: Augmentation of the expert's training, as in `condense.protocol.Protocol`.
    """

    name = "expert"
    wraps = "a method that makes images"
    quick = {"longest": 3, "steps": 20}
    labels_by_checkpoint = True

    epoch: int | None = None
    longest: int = 16
    measure: Literal["student", "expert"] = "student"
    steps: int = 500
    held_out: float = 0.1
    lr: float = 0.01
    momentum: float = 0.9
    batch: int = 256
    augment: str = "dsa"

    def __post_init__(self) -> None:
        """Refuses a share that holds out nothing or everything."""
        super().__post_init__()
        if not 0 < self.held_out < 1:
            raise self.refused("held_out", "a share that is held out is above 0 and below 1")

    @classmethod
    def published_at(cls, host: ImageMethod, dataset: str, ipc: int) -> Recipe | None:
        """Returns the paper's settings for random images; None where there are none."""
        row = PUBLISHED.get((dataset, ipc))
        if row is None or host.name != "random_subset":
            return None
        epoch, lr, student_lr, epochs = row
        protocol = milestones(epochs, at=(0.25, 0.5, 0.75), factor=0.3, lr=student_lr, augment="dsa")
        return Recipe(
            method=cls(host=host, epoch=epoch, lr=lr, momentum=0.0), protocol=protocol, source=SOURCE
        )

    @property
    def candidates(self) -> tuple[int, ...]:
        """The epochs to choose from, ascending: powers of two, and the last one."""
        if self.epoch is not None:
            return (self.epoch,)
        return (*(2**power for power in range((self.longest - 1).bit_length())), self.longest)

    def training(self) -> ExpertTraining:
        """Returns how the network is trained whose checkpoint labels."""
        return ExpertTraining(
            network=self.network, lr=self.lr, momentum=self.momentum, batch=self.batch, augment=self.augment
        )

    def shared_trainings(self) -> list[ExpertTraining]:
        """Returns how that network is trained, once for all hosts."""
        return [self.training()]

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Makes the host's set, chooses the checkpoint, and labels the images with it."""
        made = self.host.distill(train, run)
        asked = all(link.fills for link in self.links())
        counts = run.counts if asked else tuple(made.content["counts"]["per_class"])
        chosen, scores = self.chosen(run.normalized(train), run, counts)
        # (copies, n, k): what the images decode to, copies first
        each = probabilities(chosen, run.shown(made)).view(made.copies, -1, made.num_classes)
        labelled = run.labelled(made, each.mean(0).half(), chosen)
        return replace(labelled, provenance={**labelled.provenance, "checkpoint": scores})

    def chosen(
        self, train: Images, run: ImageRun, counts: tuple[int, ...]
    ) -> tuple[Teacher, dict[str, float]]:
        """Returns the checkpoint that labels, and the percent by which each was judged, by its epoch.

        Args:
            train: The normalised training images.
            run: The run.
            counts: Number of images of each class that a trial's student is trained on.
        """
        training = self.training()
        kept, held_out = without_held_out(train, self.held_out, DIVISION)
        found = run.experts(training, 1, self.candidates[-1], kept, space="normalized")
        scored = []
        for epoch in self.candidates:
            teacher = run.checkpoint(found, training, epoch, held_out)
            if self.measure == "student" and len(self.candidates) > 1:
                scored.append((run.tried(self.trial(teacher, counts), train), teacher))
            else:
                assert teacher.accuracy is not None
                scored.append((teacher.accuracy, teacher))
        # `max` takes the earliest of equals.
        best = max(range(len(scored)), key=lambda number: scored[number][0])
        scores = {
            str(epoch): round(score, 3) for epoch, (score, _) in zip(self.candidates, scored, strict=True)
        }
        told = ", ".join(f"{score:.1f} % after {epoch}" for epoch, score in scores.items())
        run.tell(
            f"{self.title}: the checkpoint after epoch {self.candidates[best]} labels (held out: {told})"
        )
        return scored[best][1], scores

    def trial(self, teacher: Teacher, counts: tuple[int, ...]) -> LabelTrial:
        """Returns the trial of a checkpoint's labels, on that many images of each class."""
        return LabelTrial(
            network=self.network, labels=teacher.hash, counts=counts, steps=self.steps,
            held_out=self.held_out, seed=DIVISION, label=lambda images: teacher.logits(images).softmax(1),
        )  # fmt: skip


def probabilities(teacher: Teacher, shown: ImageSet) -> Float[Tensor, "m k"]:
    """Returns the softmax of a teacher's logits for all images that a normalised set decodes to."""
    places = torch.split(torch.arange(len(shown), device=shown.device), 1024)
    return torch.cat([teacher.logits(shown.images_at(some)).softmax(1) for some in places])


SOURCE = (
    "A Label is Worth a Thousand Images, tables 1 and 7, and sunnytqin/no-distillation, sample_scripts.md"
)
PUBLISHED = {
    ("cifar10", 1): (20, 5e-4, 0.01, 3000),
    ("cifar10", 10): (44, 5e-4, 0.01, 3000),
    ("cifar10", 50): (128, 5e-4, 0.01, 3000),
    ("cifar100", 1): (13, 0.01, 0.01, 3000),
    ("cifar100", 10): (36, 0.01, 0.01, 3000),
    ("cifar100", 50): (125, 0.01, 0.01, 3000),
    ("tiny-imagenet", 1): (11, 0.01, 0.01, 1000),
    ("tiny-imagenet", 10): (50, 0.01, 0.1, 1000),
    ("tiny-imagenet", 50): (90, 0.01, 0.1, 1000),
    ("tiny-imagenet", 100): (102, 0.01, 0.1, 1000),
}
"""By dataset and IPC: the expert's epoch and learning rate, the student's learning rate and epochs."""
