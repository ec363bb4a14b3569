"""FKD: soft labels of a set's augmented and mixed images, stored with the views that they are of.

Shen and Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528; authors' code szq0214/FKD. As the labels of a distilled set: Yin, Xing and
Shen, Squeeze, Recover and Relabel, NeurIPS 2023, https://arxiv.org/abs/2306.13092; authors' code
VILA-Lab/SRe2L (``SRe2L/relabel``), which is what this file follows. `FKD.kept` and `FKD.top_k` are the label
pruning of Xiao and He: Are Large-scale Soft Labels Necessary for Large-scale Dataset Distillation?, NeurIPS
2024, https://arxiv.org/abs/2410.15919; authors' code he-y/soft-label-pruning-for-dataset-distillation.

A teacher sees every batch that a student will be trained on, cropped, mirrored and mixed, once; its logits
are kept in half precision beside the numbers that make the views. Every student under replay-v1 is then
trained without a teacher, on the same images and labels. At the defaults the views are drawn as soft-v1
draws them.

What it costs is room: with N images, E epochs and k classes E N (17 + 2 k) bytes and 12 a batch, which for
ImageNet at ten images a class are 6 GB of labels beside 150 MB of images. The suite counts them.

Where this differs from the authors' code, and why:

- A file an epoch with all of its batches in place of a pickle a batch; boxes in pixels as 16-bit numbers in
  place of fractions of the sides in single precision; the order of the images is
  stored, not replayed from the library's sampler, whose draws changed between versions.
- The teacher is in evaluation mode. Theirs for CIFAR is left in training mode, so that its labels depend on
  the rest of the batch.
- Pruned labels are the first `FKD.kept` epochs, and each step draws one of all their batches; theirs are the
  first batches, whatever epoch they end in, and the batch before stands in for one of fewer images.
- With `FKD.top_k` the logits that are left out are read as their mean. How the successor of the pruning
  paper (LPQLD) fills them in could not be checked.

When not to use it: where the room of the labels counts and a teacher is at hand, which labels for nothing
under soft-v1; or where students are trained for another number of epochs than was labelled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.augment.views import CROPS, Views, draw_views
from condense.data import Images
from condense.distillation import ImageRun, Wrapper, register
from condense.distillation.images.taught import TeacherMethod, require_teacher
from condense.errors import Refused, unknown
from condense.store import ImageSet
from condense.teachers import FIXED
from condense.teachers.training import teacher_training

HOST = "host"


@register
@dataclass(frozen=True, kw_only=True)
class FKD(Wrapper):
    """A teacher's logits for augmented and mixed views of a set, stored with the views.

    A host's soft labels give way to them; class ids stay.

    Attributes:
        teacher: Who labels: ``fixed``, the dataset's pinned one; ``host``, the one that the host inverts or
            chooses with (the first of INFER's several networks, so one of its M labels); ``trained``, one
            trained here; or the hash of one whose file is given (``--teacher FILE``).
        epochs: How long students are trained.
        batch: Images of a step.
        crop: ``crop-flip``, a shift by up to an eighth of each side; or ``resized``, a random box in full
            size. Either way images are mirrored where the dataset flips.
        cutmix: Probability that a batch is mixed by boxes.
        mixup: The a of the Beta(a, a) that a batch is averaged by, in place of boxes; none for no such thing.
        temperature: Of the softmax that the student's loss compares.
        top_k: Logits that are stored of each view, the largest; none for all.
        kept: Epochs whose labels are stored; none for all. With fewer, students draw from those there are.
    """

    name = "fkd"
    wraps = "a method that makes images"
    labels_views = True
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"cutmix"})

    teacher: str = FIXED
    epochs: int = 300
    batch: int = 128
    crop: str = "crop-flip"
    cutmix: float = 1.0
    mixup: float | None = None
    temperature: float = 20.0
    top_k: int | None = None
    kept: int | None = None

    def __post_init__(self) -> None:
        """Refuses settings that contradict each other or the host.

        Raises:
            Refused: naming the field.
        """
        super().__post_init__()
        require_teacher(self, (HOST,))
        if self.teacher == HOST and self.inverted is None:
            raise Refused(f"{self.title}: teacher = {HOST}, but {self.host.title} has no teacher")
        if self.crop not in CROPS:
            raise unknown(f"crop of {self.name}", self.crop, CROPS)
        if self.cutmix > 1:
            raise Refused(f"{self.name}: cutmix = {self.cutmix} is no probability")
        if self.cutmix and self.mixup:
            raise Refused(f"{self.name}: a batch is mixed once: mixup = {self.mixup} wants cutmix = 0")
        if not self.temperature > 0:
            raise Refused(f"{self.name}: temperature = {self.temperature} must be above 0")
        if self.kept is not None and self.kept > self.epochs:
            raise Refused(f"{self.name}: kept = {self.kept} is more than epochs = {self.epochs}")

    @property
    def inverted(self) -> TeacherMethod | None:
        """The link within that has a teacher of its own, if one has."""
        found = [link for link in self.host.links() if isinstance(link, TeacherMethod)]
        return found[0] if found else None

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """The host's set, and then its labels: an epoch a step."""
        if self.top_k is not None and self.top_k >= run.spec.num_classes:
            raise Refused(f"{self.name}: top_k = {self.top_k}, but there are {run.spec.num_classes} classes")
        made = self.host.distill(train, run)
        which, training = self.teacher, teacher_training(self.network)
        if which == HOST:
            assert self.inverted is not None
            which, training = self.inverted.teacher, self.inverted.training()
        labels = run.teacher(which, training, train)
        shown = run.shown(made)
        shards = self.epochs if self.kept is None else self.kept
        writer = run.writer(made, batch=self.batch, top_k=self.top_k, shards=shards)
        for _ in run.steps(shards, {"replay": writer}, phase="label"):
            for order, views in self.views(shown, run.rng, flip=run.spec.flips):
                images = views(shown.seen(order.to(run.device)))
                writer.add(order, views, labels.logits(images))
            writer.close()
        return run.replayed(
            made, writer, labels,
            temperature=self.temperature, epochs=self.epochs,
            crop=self.crop, cutmix=self.cutmix, mixup=self.mixup,
        )  # fmt: skip

    def views(
        self, shown: ImageSet, generator: torch.Generator, *, flip: bool
    ) -> Iterator[tuple[Int64[Tensor, " b"], Views]]:
        """What students see in an epoch: every image once, in batches, each with its views.

        Drawn as `ImageSet.batches`, augmentation and mixing draw them: the order of the epoch, then for
        each batch its crops, its flips and its mixture. A set that is one batch comes in its own order.

        Args:
            shown: The set.
            generator: A CPU generator.
            flip: Whether a mirrored image is of its class.
        """
        order = torch.randperm(len(shown), generator=generator)
        if len(shown) <= self.batch:
            order = torch.arange(len(shown))
        size = (shown.images.shape[-2], shown.images.shape[-1])
        for index in torch.split(order, self.batch):
            views = draw_views(
                len(index), size, generator,
                crops=self.crop, flip=flip, cutmix_probability=self.cutmix, mixup_beta=self.mixup,
            )  # fmt: skip
            yield index, views
