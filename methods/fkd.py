"""FKD: a teacher's soft labels of a set's augmented and mixed images, stored with the augmentation.

Shen and Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022,
https://arxiv.org/abs/2112.01528; authors' code szq0214/FKD. As labels of a distilled set: Yin, Xing and Shen,
Squeeze, Recover and Relabel, NeurIPS 2023, https://arxiv.org/abs/2306.13092; authors' code VILA-Lab/SRe2L
(``SRe2L/relabel``), which this file follows. `FKD.kept` and `FKD.top_k` are the label pruning of Xiao and He:
Are Large-scale Soft Labels Necessary for Large-scale Dataset Distillation?, NeurIPS 2024,
https://arxiv.org/abs/2410.15919; authors' code he-y/soft-label-pruning-for-dataset-distillation.

The teacher sees every batch that a student will be trained on once, cropped, mirrored and mixed. Its logits
are stored in half precision, together with the numbers that define each image's view (its crop, flip and
mixture). Every student is then trained on the same views and labels, without a teacher. At the defaults the
views are drawn as under soft-v2, in as many batches and epochs, and replay-v2 judges the set. A set whose
``batch`` and ``epochs`` are given is judged by replay-v1, which lasts as long as the labels do; its rows on
the board have 128 and 300.

The labels take much space: with N images, E epochs and k classes, E N (17 + 2 k) bytes and 12 a batch. For
ImageNet at ten images per class this is 6 GB, beside 150 MB of images. The set's size counts them. There are
300 epochs, and more for sets of fewer than a hundred images.

Where this differs from the authors' code, and why:

- There is one file an epoch; the authors store a pickle a batch. Crops are stored in pixels, as 16-bit
  integers; the authors store fractions of the sides in single precision. The order of the images is stored;
  the authors replay the sampler of the library, whose draws changed between versions.
- The teacher is in evaluation mode. On CIFAR the authors' teacher is in training mode, so that its labels
  depend on the rest of the batch.
- Pruned labels are those of the first `FKD.kept` epochs, and each step of a student draws one of their
  batches. The authors keep the first batches, whatever epoch they end in, and replace a batch of fewer images
  by the batch before it; here shards are whole epochs.
- With `FKD.top_k`, the omitted logits are read as their mean by default, which leaves their classes a
  probability. The successor of the pruning paper, LPQLD
  (he-y/soft-label-pruning-quantization-for-dataset-distillation at 107c7a5, ``train_FKD_LPQLD.py``), has two
  other rules, here ``fill``: ``zero`` (MR in its scripts) takes the softmax of the stored logits alone, so
  that every other class has the probability 0, and ``minimum`` (MRS) stores the smallest logit of a view,
  too, and reads every other one as it. It also lowers the temperature of the labels during the training (20,
  times 0.7 every 30 epochs, at least 2) and fits the student's; here there is one temperature.

The settings of the first paper, whose labels are those of regions of real images, are ``random_subset+fkd``
with ``crop=resized``, ``crop_max=0.936``, ``crops=4``, ``temperature=1``, ``cutmix=0`` and a ``form``, of
which ``marginal-smoothing`` with ``top_k=5`` is its own choice (`condense.store.images.shards` has the
formulas). With ``crops`` = c, c epochs show each image c times in a row: a batch of b views holds c crops of
b / c images. Where c does not divide b, the crops of an image may fall into two batches. The authors draw the
crops of an image anew from 500 stored ones, and end with single crops; here each view is seen where it was
labelled.

When not to use it: where the space of the labels counts and a teacher is at hand, which labels without any
space under soft-v2; where students are trained for another number of epochs than was labelled.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from condense.augment import resized
from condense.augment.views import Views, draw_views
from condense.data import Images
from condense.distillation import ImageRun, Wrapper, register
from condense.distillation.images.taught import TeacherMethod, require_teacher
from condense.errors import Refused, Remedy
from condense.protocol import Protocol
from condense.protocols import REPLAY_V1, REPLAY_V2, SOFT_V1
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
        epochs: Number of epochs that students are trained for; None for that of replay-v2, which depends on
            the number of images.
        batch: Number of images in a step; None for that of replay-v2.
        crop: Random crop of a view: ``crop-flip``, a shift by up to an eighth of each side, or ``resized``, a
            random box scaled to full size. In either case images are mirrored if the dataset allows it.
        cutmix: Probability that a batch is mixed by CutMix.
        mixup: Parameter a of Mixup's Beta(a, a), by which every batch is averaged; None for no Mixup.
        temperature: Temperature of the softmax in the student's loss, and of probabilities that are stored.
        top_k: Number of logits or probabilities that are stored of each view, the largest; None for all.
        kept: Number of epochs whose labels are stored; None for all. Students draw from those there are.
        form: What is stored of a label: ``logits``, or probabilities as ``hard``, ``smoothing``,
            ``marginal-smoothing``, ``marginal-renorm`` or ``full``.
        fill: What stands for logits that are not stored: their ``mean`` or ``minimum``, or ``zero`` for no
            probability.
        crop_min: Smallest share of an image's area that a ``resized`` crop shows.
        crop_max: Largest share of it.
        crops: Number of crops of an image that follow each other in the order of the views.
        partners: Whether a view is mixed with a view of any image of its batch (``any``) or with another crop
            of its own image (``same``: SelfMix).
    """

    name = "fkd"
    wraps = "a method that makes images"
    quick = {"epochs": 3, "batch": 8}
    labels_views = True
    may_be_zero: ClassVar[frozenset[str]] = frozenset({"cutmix"})
    added = frozenset({"form", "fill", "crop_min", "crop_max", "crops", "partners"})

    teacher: str = FIXED
    epochs: int | None = None
    batch: int | None = None
    crop: Literal["crop-flip", "resized"] = "crop-flip"
    cutmix: float = 1.0
    mixup: float | None = None
    temperature: float = 20.0
    top_k: int | None = None
    kept: int | None = None
    form: Literal["logits", "hard", "smoothing", "marginal-smoothing", "marginal-renorm", "full"] = "logits"
    fill: Literal["mean", "minimum", "zero"] = "mean"
    crop_min: float = resized.SMALLEST
    crop_max: float = 1.0
    crops: int = 1
    partners: Literal["any", "same"] = "any"

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
        # Sets of fewer than a hundred images have more epochs; to keep more of them, give their number.
        if self.kept is not None and self.kept > (epochs := self.epochs or REPLAY_V2.epochs):
            raise self.refused("kept", f"there are only {epochs} epochs")
        self._check_labels()
        self._check_views()

    def _check_labels(self) -> None:
        """Refuses a number of stored values, or a rule for the others, that the form does not have."""
        several = self.form in ("logits", "marginal-smoothing", "marginal-renorm")
        if self.top_k is not None and not several:
            raise self.refused(
                "top_k", f"labels of the form {self.form} keep a number of values of their own"
            )
        if self.top_k is None and several and self.form != "logits":
            raise self.refused("form", "it keeps the largest probabilities: top_k says how many")
        if self.fill != "mean" and (self.form != "logits" or self.top_k is None):
            raise self.refused("fill", "it stands for logits that are left out: top_k says how many are not")

    def _check_views(self) -> None:
        """Refuses shares that are none, and views that cannot be mixed with another crop of their image."""
        for field in ("crop_min", "crop_max"):
            resized.require_share(self.setting(field), getattr(self, field))
        if self.crop_min > self.crop_max:
            raise self.refused("crop_max", f"the smallest share is {self.crop_min}")
        if self.crop != "resized" and (self.crop_min, self.crop_max) != (resized.SMALLEST, 1.0):
            raise self.refused("crop", "shares of the area belong to resized crops")
        if self.partners == "same" and self.crops == 1:
            raise self.refused("partners", "an image has one crop in a batch: crops has to be at least 2")

    @property
    def inverted(self) -> TeacherMethod | None:
        """The method within the host that has a teacher of its own; None if there is none."""
        found = [link for link in self.host.links() if isinstance(link, TeacherMethod)]
        return found[0] if found else None

    @property
    def follows(self) -> bool:
        """Whether the views are in the batches and epochs of replay-v2."""
        return self.batch is None and self.epochs is None

    def require_views(self, protocol: Protocol) -> None:
        """Refuses a protocol that says itself how long students are trained, if that is not replay-v2's way.

        A protocol without stages lasts as long as the labels do, which is for the user to say.
        """
        fields = ("batch", "epochs")
        if protocol.stages and not (self.follows and protocol.name == REPLAY_V2.name):
            given = [field for field in fields if getattr(self, field) is not None]
            raise Refused(
                f"{protocol.name} says itself in which batches and for how many epochs students are trained: "
                f"leave out {' and '.join(self.setting(field).removeprefix('params.') for field in given)}"
            )
        if not protocol.stages and self.follows:
            usual = {self.setting("batch"): REPLAY_V1.batch, self.setting("epochs"): SOFT_V1.epochs}
            raise Refused(
                f"{protocol.name} trains in the batches and for the epochs that a set was labelled for, and "
                f"{self.title} labels for those of {REPLAY_V2.name}",
                remedies=[
                    Remedy(settings=usual, effect="are those of the rows that there are"),
                    Remedy(settings={"protocol": REPLAY_V2.name}, effect="judges it"),
                ],
            )

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
        epochs = REPLAY_V2.epochs_for(len(made)) if self.epochs is None else self.epochs
        batch = REPLAY_V2.batch_for(len(made)) if self.batch is None else self.batch
        shards = epochs if self.kept is None else self.kept
        writer = run.writer(
            made, batch=batch, top_k=self.top_k, shards=shards, form=self.form, fill=self.fill
        )
        # order: (crops * n,) the images of as many epochs as an image has crops in a row
        order = torch.zeros(self.crops * len(made), dtype=torch.long)
        state: dict[str, object] = {"replay": writer} | ({"order": order} if self.crops > 1 else {})
        for epoch in run.steps(shards, state, phase="label"):
            if (turn := epoch % self.crops) == 0:
                order.copy_(self.drawn_order(len(made), run.rng, batch))
            for index in torch.split(order.view(self.crops, -1)[turn], batch):
                views = self.views(index, shown, run)
                images = views(shown.images_at(index.to(run.device)))
                classes = made.labels[index % len(made.images)].to(run.device)
                writer.add(index, views, self.labels(labels.logits(images), classes))
            writer.close()
        return run.replayed(
            made, writer, labels,
            temperature=self.temperature, epochs=epochs,
            crop=self.crop, cutmix=self.cutmix, mixup=self.mixup,
            protocol=REPLAY_V2.name if self.follows else None,
        )  # fmt: skip

    def labels(self, logits: Float[Tensor, "b k"], classes: Int64[Tensor, " b"]) -> Float[Tensor, "b k"]:
        """Returns what is stored of a teacher's logits for views of images of some classes."""
        return logits if self.form == "logits" else (logits / self.temperature).softmax(1)

    def drawn_order(self, n: int, generator: torch.Generator, batch: int) -> Int64[Tensor, " m"]:
        """Draws the images of as many epochs as an image has crops in a row.

        The draw is that of `ImageSet.batches`; a set that fits one batch is not shuffled.
        """
        order = torch.randperm(n, generator=generator)
        if n <= batch and self.crops == 1:
            order = torch.arange(n)
        return order.repeat_interleave(self.crops)

    def views(self, index: Int64[Tensor, " b"], shown: ImageSet, run: ImageRun) -> Views:
        """Draws the views of a batch as augmentation and mixing draw them: crops, flips, then the mixture."""
        return draw_views(
            len(index), (shown.images.shape[-2], shown.images.shape[-1]), run.rng,
            crops=self.crop, flip=run.spec.flips, cutmix_probability=self.cutmix, mixup_beta=self.mixup,
            scale=(self.crop_min, self.crop_max), shown=index if self.partners == "same" else None,
        )  # fmt: skip
