"""INFER: real images, and compensators that are added to the images of all classes at once.

Zhang, Du, Liu and Zhou: Breaking Class Barriers: Efficient Dataset Distillation via Inter-Class Feature
Compensator, ICLR 2025, https://arxiv.org/abs/2408.06927; authors' code zhangxin-xd/UFC at 83d19f8,
``ufc_generation/ufc_cifar.py``. A base set is one real image of each of C classes. For each base set and each
of M trained networks one image, the compensator u, is learned by the recovery of SRe2L
(`condense.distillation.inversion.invert`): with u added to all of them, the network is to know the base set's images for
what they are, and its batch norms are to see the statistics that they saw in training. Students see every
base image, and every base image with each of its M compensators: n0 (M + 1) images of a class, for which n0
images of each and M n0 compensators are stored. For the room of ``ipc`` images a class n0 is
floor(ipc / (M / C + 1)).

Where this differs from the authors' code, and why:

- Base images and compensators are stored, and added when a set is read (`condense.store.Compensated`); theirs
  stores every sum as a JPEG file, M + 1 times the images that the budget is counted in. The sum is clamped to
  black and white here as there, and what is learned is not: the network sees unclamped sums.
- A compensator has a byte a value, in steps of 1/127 of the way from black to white. Base images are kept
  bit for bit. So a set takes no more bytes than ``ipc`` real images a class, labels aside.
- The static label is the mean of the networks' logits for the *base* image, for all of its sums, as softmax
  of temperature 1 in float32: C values a base image. That is what the paper's account of sizes counts; the
  code has a label for each sum, (M + 1) times as much. Students are trained on it by hard-v1;
  ``static_labels=False`` stores class ids alone, for protocols whose teacher labels what the student sees.
  That is not quite the paper's INFER+Dyn, whose labels are the mean of all M networks' logits and whose
  students are trained for 1 / (M + 1) of the epochs: here one teacher labels, for the protocol's full length.
- The compensator of the last step is stored; theirs leaves the last step out, whose rate is next to nothing.
- Networks: any of the suite's with batch norm, trained here (``networks``), or the one teacher. The authors'
  four are ResNet18, MobileNetV2, EfficientNet-B0 and ShuffleNetG2, of which the suite has the first. For that
  reason, and because their evaluation (400 epochs of AdamW, batches of 64, mixup of 0.8) mixes static labels
  as logits and compares them at temperature 30, there are no recipes. The settings on CIFAR are the defaults
  here but for ``iterations=1000`` and ``roll=4``.
- A pass always has an image of every class; theirs has one of at most ``--batch-size`` classes, and would
  learn a compensator for each such block.
- With several networks, a protocol that asks for the set's own teacher gets the first of them, and so does
  ``+fkd`` with ``fkd.teacher=host``.
- A network's rate follows its cosine step by step, not epoch by epoch; a student's padded crop is filled with
  the mean colour, as black is padded there before normalising; the last epoch is reported, not the best.

When not to use it: at few images per class on a dataset of few classes, where compensators take a large share
of the room; below 1 + M / C images a class there is room for none. On black
backgrounds, as those of digits and clothes, clamping takes away all that a compensator would darken.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from condense.augment import resized
from condense.data import Images
from condense.distillation import ImageRun, TeacherMethod, Training, register
from condense.distillation.inversion.invert import Inversion, invert
from condense.errors import Refused
from condense.networks import build_network
from condense.store import Compensated, ImageSet, as_compensators
from condense.teachers import Teacher


@register
@dataclass(frozen=True, kw_only=True)
class INFER(TeacherMethod):
    """Real images under compensators, each shared by all classes.

    Attributes:
        networks: The M networks, joined by ``+``, each trained here as the fields say; None is the one
            teacher, M = 1. With it goes ``teacher=trained``.
        iterations: Steps of a compensator: 1000 on CIFAR, 2000 on ImageNet.
        lr_images: Adam's learning rate of its pixels at the first step.
        bn_weight: Of the batch norms' statistics beside the cross-entropy; 0.01 on ImageNet.
        variance_weight: Of the variances beside the means.
        first_bn: Factor on the first batch norm.
        crop_min: The least share of the image that a step sees, 1 for no crops; 0.08 on ImageNet.
        flip: Whether what it sees is mirrored with probability 1/2; so on ImageNet.
        roll: The largest cyclic shift, in pixels: 4 on CIFAR, 32 on ImageNet.
        static_labels: Whether the networks' mean logits are stored, as a label of each base image.
    """

    name = "infer"
    quick = {"iterations": 10}
    may_be_zero = frozenset({"roll"})
    remedy = "lower lr_images, as in --param lr_images=0.05"
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
        """Refuses networks that are none or there twice, that none is trained for, and a share that is none.

        Raises:
            Refused: naming the field.
        """
        super().__post_init__()
        names = self._names()
        if "" in names or len(set(names)) < len(names):
            raise Refused(f"infer: networks = {self.networks} has to name different networks, joined by +")
        if names and self.teacher != "trained":
            raise Refused("infer: networks are trained here; --param teacher=trained goes with them")
        resized.require_share("infer: crop_min", self.crop_min)

    def training(self) -> Training:
        """How its teacher is trained: of several networks, the first."""
        own = super().training()
        return replace(own, network=self.structures()[0])

    @property
    def needs_real(self) -> bool:
        """It keeps real images, and adds to them."""
        return True

    def structures(self) -> tuple[str, ...]:
        """The M networks."""
        return tuple(self._names()) or (self.network,)

    def per_class(self, ipc: int, num_classes: int) -> int:
        """n0 = floor(ipc / (M / C + 1)): a base set and its M compensators take the room of C + M images."""
        return ipc * num_classes // (num_classes + self._count())

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Algorithm 1 of the paper, with static labels."""
        classes = run.spec.num_classes
        base_sets = self.per_class(run.ipc, classes)
        # base: (C, n0, c, h, w)
        base = train.draw(base_sets, run.rng)
        teachers = self._teachers(train, run)

        def nothing(block: range, number: int, generator: torch.Generator) -> Tensor:
            return torch.zeros(1, *run.spec.shape)

        recovery = Inversion(
            lr=self.lr_images, bn_weight=self.bn_weight, variance_weight=self.variance_weight,
            first_bn=self.first_bn, crops=(self.crop_min,) * self.iterations, flip=self.flip, roll=self.roll,
        )  # fmt: skip
        found = [
            invert(
                run, teacher.network, recovery, nothing, block=classes, passes=base_sets, base=base,
                phase=f"recover {number}",
            )
            for number, teacher in enumerate(teachers)
        ]  # fmt: skip
        black, white = run.spec.extremes(torch.device("cpu"))
        compensators = as_compensators(torch.stack(found, 1) / (white - black))
        images = base.flatten(0, 1)
        soft = ensemble(teachers, images) if self.static_labels else None
        return run.distilled(
            images,
            torch.arange(classes).repeat_interleave(base_sets),
            soft=soft,
            augment="none",
            labelled_by=teachers[0] if self.static_labels and len(teachers) == 1 else None,
            decode=(Compensated(len(teachers)),),
            as_bytes=True,
            compensators=compensators,
        )

    def _names(self) -> list[str]:
        return [] if self.networks is None else self.networks.split("+")

    def _count(self) -> int:
        return len(self._names()) or 1

    def _teachers(self, train: Images, run: ImageRun) -> list[Teacher]:
        names = self._names()
        for name in names:
            # All of them, before the first is trained.
            build_network(name, run.spec.shape, run.spec.num_classes, torch.Generator())
        if not names:
            return [run.teacher(self.teacher, self.training(), train)]
        trainings = [replace(self.training(), network=name) for name in names]
        return [run.teacher("trained", training, train) for training in trainings]


def ensemble(teachers: Sequence[Teacher], images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
    """The softmax of several networks' mean logits.

    Args:
        teachers: On the images' device.
        images: Normalised.
    """
    return torch.stack([teacher.logits(images) for teacher in teachers]).mean(0).softmax(1)
