"""INFER: real images, and learned compensators that are added to the images of all classes at once.

Zhang, Du, Liu and Zhou: Breaking Class Barriers: Efficient Dataset Distillation via Inter-Class Feature
Compensator, ICLR 2025, https://arxiv.org/abs/2408.06927; authors' code zhangxin-xd/UFC at 83d19f8,
``ufc_generation/ufc_cifar.py``. A base set consists of one real image of each of C classes. For each base set
and each of M trained networks, one image u is learned, the compensator: with u added to all images of the
base set, the network is to classify them, and their batch statistics are to be its running ones. This is
the inversion of SRe2L (`condense.distillation.inversion.invert`) with u as the only learned image.

Students see every base image, and every base image with each of its M compensators: n0 (M + 1) images of a
class, made of n0 stored images of each class and M n0 stored compensators. For the space of ``ipc`` images of
each class, n0 = floor(ipc / (M / C + 1)).

Where this differs from the authors' code, and why:

- Base images and compensators are stored, and added when a set is read (`condense.store.Compensated`). The
  authors store every sum as a JPEG file, that is M + 1 times the images that they count. Here as there, a
  stored sum is clamped to black and white, and a sum that the network sees during the inversion is not.
- A compensator is stored with a byte a value, in steps of 1/127 of the way from black to white, and base
  images as they are. A set therefore takes no more bytes than ``ipc`` real images of each class, plus labels.
- The static label of a base image and of all its sums is the softmax, at temperature 1, of the networks' mean
  logits for the base image: C values of float32 a base image. The paper counts labels this way; the authors'
  code has one label a sum, M + 1 times as many. Students are trained on the labels under hard-v1.
  ``static_labels=False`` stores class ids alone, for protocols in which a teacher labels what a student sees.
  This is not quite the paper's INFER+Dyn, in which all M networks label and students are trained for
  1 / (M + 1) of the epochs: here one teacher labels, for all epochs of the protocol.
- The compensator is stored after the last step. The authors omit the last step, whose learning rate is nearly
  zero.
- ``networks`` may name any networks of this library that have batch norms; they are trained here. The authors
  use ResNet18, MobileNetV2, EfficientNet-B0 and ShuffleNetG2, of which the library has the first. Moreover,
  their evaluation (400 epochs of AdamW, batches of 64, mixup of 0.8) mixes static labels as logits and
  compares them at temperature 30. For these two reasons there are no recipes. The defaults are the authors'
  settings on CIFAR, except for ``iterations=1000`` and ``roll=4``.
- A pass always has an image of every class. The authors' passes have at most as many classes as a batch
  has images, with a compensator of their own.
- With several networks, protocols that ask for the set's own teacher get the first network, and so does
  ``+fkd`` with ``fkd.teacher=host``.
- A teacher's learning rate changes at every step, not every epoch; a student's padded crops are padded with
  the mean colour, not with black; the accuracy of the last epoch is reported, not the best one.

When not to use it: at few images per class on a dataset of few classes, where compensators take a large share
of the space (below 1 + M / C images per class there is no space for any); on images with a black background,
such as digits, where clamping removes everything that a compensator would darken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import Images
from condense.distillation import ImageRun, TeacherMethod, Training, register
from condense.distillation.inversion.invert import Inversion, invert_shared
from condense.errors import Remedy
from condense.networks import build_network, full_name
from condense.store import Compensated, ImageSet, as_compensators
from condense.teachers import Teacher


@register
@dataclass(frozen=True, kw_only=True)
class INFER(TeacherMethod):
    """Real images with compensators, each of which all classes share.

    Attributes:
        networks: Names of the M networks, joined by ``+``. Each is trained here as the teacher's fields say,
            which requires ``teacher=trained``. None means the one teacher, M = 1.
        iterations: Number of steps of each compensator: 1000 on CIFAR, 2000 on ImageNet.
        lr_images: Adam's learning rate at the first step; it falls to 0 along half a cosine.
        bn_weight: Weight of the BN statistics beside the cross-entropy; the authors' is 0.01 on ImageNet.
        variance_weight: Weight of the variances within the BN statistics; the means have the weight 1.
        first_bn: Weight of the first batch norm's statistics; those of the others have the weight 1.
        crop_min: Smallest share of an image's area that a step's random crop shows; 1 means no crop. The
            authors' is 0.08 on ImageNet.
        flip: Whether a step mirrors the images with probability 1/2, as the authors do on ImageNet.
        roll: Largest random cyclic shift of a step, in pixels; the authors' is 4 on CIFAR, 32 on ImageNet.
        static_labels: Whether the networks' mean soft label of each base image is stored.
    """

    name = "infer"
    quick = {"iterations": 10}
    may_be_zero = frozenset({"roll"})
    remedy = "lower lr_images, for example to 0.05"
    inverts = True

    networks: str | None = None
    iterations: int = 500
    lr_images: float = 0.25
    bn_weight: float = 1.0
    variance_weight: float = 1.0
    first_bn: float = 10.0
    crop_min: float = 1.0
    flip: bool = False
    roll: int = 1
    static_labels: bool = True

    def __post_init__(self) -> None:
        """Refuses networks that contradict each other or the teacher; gives them their full names."""
        super().__post_init__()
        names = [full_name(name) for name in self._names()]
        if names:
            object.__setattr__(self, "networks", "+".join(names))
        if "" in names or len(set(names)) < len(names):
            raise self.refused("networks", "it has to name different networks, joined by +")
        if names and self.teacher != "trained":
            remedy = Remedy(settings={self.setting("teacher"): "trained"}, effect="trains them")
            raise self.refused(
                "networks", "these networks are trained here, and the teacher with them", remedy
            )

    def training(self) -> Training:
        """Returns how the teacher is trained: with several networks, the first of them."""
        return replace(super().training(), network=self.structures()[0])

    @property
    def needs_real(self) -> bool:
        """True: the set contains real images."""
        return True

    @property
    def why_equal(self) -> str:
        """Why it makes equally many images of each class: a base set has one of each."""
        return "a base set holds one image of each class, and its compensators are added to all of them"

    def structures(self) -> tuple[str, ...]:
        """Returns the names of the M networks."""
        return tuple(self._names()) or (self.network,)

    def per_class(self, ipc: int, num_classes: int) -> int:
        """Returns n0 = floor(ipc / (M / C + 1)): a base set and its compensators are C + M images."""
        return ipc * num_classes // (num_classes + len(self.structures()))

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Learns the compensators of every base set, network by network (Algorithm 1 of the paper)."""
        classes = run.spec.num_classes
        # base: (C, n0, c, h, w)
        base = train.draw(self.per_class(run.ipc, classes), run.rng)
        teachers = self._teachers(train, run)
        settings = Inversion(
            lr=self.lr_images, bn_weight=self.bn_weight, variance_weight=self.variance_weight,
            first_bn=self.first_bn, crop_mins=(self.crop_min,) * self.iterations, flip=self.flip,
            roll=self.roll,
        )  # fmt: skip
        found = [
            invert_shared(run, teacher.network, settings, base, phase=f"recover {number}")
            for number, teacher in enumerate(teachers)
        ]
        black, white = run.spec.extremes(torch.device("cpu"))
        # compensators: (n0, M, c, h, w)
        compensators = as_compensators(torch.stack(found, 1) / (white - black))
        images = base.flatten(0, 1)
        # deviation: one label a base image, as the paper counts; the authors' code has one a sum
        soft = mean_label(teachers, images) if self.static_labels else None
        labels = torch.arange(classes).repeat_interleave(base.shape[1])
        return run.distilled(
            images, labels, soft=soft, augment="none", as_bytes=True,
            labelled_by=teachers[0] if self.static_labels and len(teachers) == 1 else None,
            decode=(Compensated(len(teachers)),), compensators=compensators,
        )  # fmt: skip

    def _names(self) -> list[str]:
        return [] if self.networks is None else self.networks.split("+")

    def _teachers(self, train: Images, run: ImageRun) -> list[Teacher]:
        names = self._names()
        for name in names:
            # Builds each network once, so that an unknown name is refused before the first one is trained.
            build_network(name, run.spec.shape, run.spec.num_classes, torch.Generator())
        if not names:
            return [run.teacher(self.teacher, self.training(), train)]
        trainings = [replace(self.training(), network=name) for name in names]
        return [run.teacher("trained", training, train) for training in trainings]


def mean_label(teachers: Sequence[Teacher], images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """Returns the softmax of several teachers' mean logits for normalised images."""
    return torch.stack([teacher.logits(images) for teacher in teachers]).mean(0).softmax(1)
