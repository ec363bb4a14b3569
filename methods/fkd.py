"""FKD: a teacher's soft labels of a set's augmented and mixed images, stored with the augmentation.

Shen and Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528; authors' code szq0214/FKD. As labels of a distilled set: Yin, Xing and Shen,
Squeeze, Recover and Relabel, NeurIPS 2023, https://arxiv.org/abs/2306.13092; authors' code VILA-Lab/SRe2L
(``SRe2L/relabel``), which this file follows. `FKD.kept` and `FKD.top_k` are the label pruning of Xiao and He:
Are Large-scale Soft Labels Necessary for Large-scale Dataset Distillation?, NeurIPS 2024,
https://arxiv.org/abs/2410.15919; authors' code he-y/soft-label-pruning-for-dataset-distillation.

The teacher sees every batch that a student will be trained on once, cropped, mirrored and mixed. Its logits
are stored in half precision, together with the numbers that define each image's view (its crop, flip and
mixture). Under replay-v1 every student is then trained on the same views and labels, without a teacher. At
the defaults the views are drawn as under soft-v1.

The labels take much space: with N images, E epochs and k classes, E N (17 + 2 k) bytes and 12 a batch. For
ImageNet at ten images per class this is 6 GB, beside 150 MB of images. The set's size counts them.

Where this differs from the authors' code, and why:

- There is one file an epoch; the authors store a pickle a batch. Crops are stored in pixels, as 16-bit
  integers; the authors store fractions of the sides in single precision. The order of the images is stored;
  the authors replay the sampler of the library, whose draws changed between versions.
- The teacher is in evaluation mode. On CIFAR the authors' teacher is in training mode, so that its labels
  depend on the rest of the batch.
- Pruned labels are those of the first `FKD.kept` epochs, and each step of a student draws one of their
  batches. The authors keep the first batches, whatever epoch they end in, and replace a batch of fewer images
  by the batch before it.
- With `FKD.top_k`, the omitted logits are read as their mean. How the successor of the pruning paper (LPQLD)
  restores them could not be checked.

When not to use it: where the space of the labels counts and a teacher is at hand, which labels without any
space under soft-v1; where students are trained for another number of epochs than was labelled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.augment.views import Views, draw_views
from condense.data import Images
from condense.distillation import ImageRun, Wrapper, register
from condense.distillation.images.taught import TeacherMethod, require_teacher
from condense.store import ImageSet
from condense.teachers import FIXED
from condense.teachers.training import teacher_training

HOST = "host"
"""Value of `FKD.teacher`: the teacher of the host method."""


@register
@dataclass(frozen=True, kw_only=True)
class FKD(Wrapper):
    """Stored logits of a teacher for augmented and mixed views of a set's images.

    They replace the host's soft labels; class ids stay.

    Attributes:
        teacher: The teacher that labels: ``fixed``, the dataset's pinned one; ``host``, the teacher of the
            host method (with several networks, as in INFER, the first one); ``trained``, a teacher that is
            trained here; or the hash of a teacher whose file is given.
        epochs: Number of epochs that students are trained for.
        batch: Number of images in a step.
        crop: Random crop of a view: ``crop-flip``, a shift by up to an eighth of each side, or ``resized``, a
            random box scaled to full size. In either case images are mirrored if the dataset allows it.
        cutmix: Probability that a batch is mixed by CutMix.
        mixup: Parameter a of Mixup's Beta(a, a), by which every batch is averaged; None for no Mixup.
        temperature: Temperature of the softmax in the student's loss.
        top_k: Number of logits that are stored of each view, the largest ones; None for all.
        kept: Number of epochs whose labels are stored; None for all. Students draw from those there are.
    """

    name = "fkd"
    wraps = "a method that makes images"
    labels_views = True
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"cutmix"})

    teacher: str = FIXED
    epochs: int = 300
    batch: int = 128
    crop: Literal["crop-flip", "resized"] = "crop-flip"
    cutmix: float = 1.0
    mixup: float | None = None
    temperature: float = 20.0
    top_k: int | None = None
    kept: int | None = None

    def __post_init__(self) -> None:
        """Refuses settings that contradict each other or the host."""
        super().__post_init__()
        require_teacher(self, (HOST,))
        if self.teacher == HOST and self.inverted is None:
            raise self.refused("teacher", f"{self.host.title} has no teacher")
        if self.cutmix > 1:
            raise self.refused("cutmix", "a probability is at most 1")
        if self.cutmix and self.mixup:
            reason = f"a batch is mixed once: mixup requires cutmix = 0, not {self.cutmix}"
            raise self.refused("mixup", reason)
        if not self.temperature > 0:
            raise self.refused("temperature", "a temperature is above 0")
        if self.kept is not None and self.kept > self.epochs:
            raise self.refused("kept", f"there are only {self.epochs} epochs")

    @property
    def inverted(self) -> TeacherMethod | None:
        """The method within the host that has a teacher of its own; None if there is none."""
        found = [link for link in self.host.links() if isinstance(link, TeacherMethod)]
        return found[0] if found else None

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Makes the host's set, and labels it epoch by epoch."""
        if self.top_k is not None and self.top_k >= run.spec.num_classes:
            raise self.refused("top_k", f"it has to be below the {run.spec.num_classes} classes")
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
                images = views(shown.images_at(order.to(run.device)))
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
        """Yields the batches of an epoch, in which every image occurs once, as indices with their views.

        The draws are those of `ImageSet.batches` and of the augmentation and mixing: the order of the epoch,
        then each batch's crops, flips and mixture. A set that fits one batch is not shuffled.
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
