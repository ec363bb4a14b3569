"""RDED: the crops of real images that a teacher classifies best, tiled into images without any optimisation.

Sun, Shi, Yu and Lin: On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm, CVPR 2024, https://arxiv.org/abs/2312.03526; authors' code LINs-lab/RDED at 3f6453d,
``synthesize/main.py`` and ``synthesize/utils.py``. Of each class, ``pool`` random images are taken. The
teacher sees ``crops`` random square crops of each image, scaled to the size of a tile and padded with the
mean colour. Each image keeps the crop of the lowest cross-entropy, and the class keeps the best of these.
``factor`` x ``factor`` of them are tiled into each stored image: the best crops are the first tiles of the
images, the next best the second tiles, and so on.

Where this differs from the authors' code, and why:

- Pixels are rounded to bytes; the authors truncate them. The recipes store JPEG of quality 75, as theirs do.
- Images are normalised by the mean and standard deviation of their dataset; the authors use ImageNet's on
  every dataset.
- If the tiles of a class need more images than ``pool``, that many are taken, and a class with fewer images
  than ``pool`` gives all of them. The authors' code fails in both cases.
- A crop of an image that is not square has the image's aspect ratio; the authors' is square.
- The teacher is trained by this library. The authors describe theirs only as trained by torchvision's
  reference script.

In the authors' evaluation the teacher labels each batch after CutMix. At factor 1 its random crop shows the
whole image, so that the augmentation only mirrors. Three things are not reproduced: a second forward pass of
the student in training mode at every step, on the same mixed images, which updates the running statistics
twice; Tiny-ImageNet's test images enlarged to 72 pixels and cropped to 64; and the report of the best test
accuracy in place of the last. For factor 2 their augmentation permutes the tiles, which this library does not
do: there are therefore no recipes for ImageNet, whose settings are ``factor=2`` and otherwise those here.

When not to use it: with class ids as labels (hard-v1), because its images are the easiest ones, and what
students gain is the teacher's label of each of their crops; at many images per class, where the easiest
images lack the variety of random ones.
"""

from dataclasses import dataclass

import torch

from condense.data import Images
from condense.distillation import ImageRun, register
from condense.distillation.images.crops import CropMethod, mosaics
from condense.distillation.method import recipes
from condense.protocol import Protocol, Stage
from condense.store import ImageSet


@register
@dataclass(frozen=True, kw_only=True)
class RDED(CropMethod):
    """Selection of crops by a teacher's cross-entropy.

    Its fields are those of `CropMethod`.
    """

    name = "rded"
    quick = {"pool": 60, "crops": 3}

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Chooses and tiles the crops class by class; the labels are made at evaluation."""
        spec = run.spec
        self.require_tiles(run, train.counts())
        teacher = run.teacher(self.teacher, self.training(), train)
        labels = run.labels()
        images = torch.empty(len(labels), *spec.shape, device=run.device)
        for label in run.steps(spec.num_classes, {"images": images}):
            crops = self.best_crops(train, run, label, teacher.logits).resampled(self.tile(run))
            images[labels == label] = mosaics(crops, self.factor, (spec.height, spec.width))
        return run.distilled(images, labels, augment="none", as_bytes=True, encode=self.encode)


def _protocol(batch: int) -> Protocol:
    """Returns the authors' evaluation (``argument.py``) for the modified ResNet18, by its batch size."""
    return Protocol(
        name="published", optimizer="adamw", lr=1e-3, weight_decay=0.01, decay="weights", batch=batch,
        stages=(Stage(epochs=300),), schedule="half-cosine", augment="dsa:flip", cutmix=1.0, seeds=3,
        labels="own", temperature=20.0,
    )  # fmt: skip


BATCHES = {"cifar10": (10, 50, 100), "cifar100": (20, 100, 200), "tiny-imagenet": (100, 100, 100)}
RDED.recipes = recipes(
    RDED,
    "protocol",
    {
        (name, ipc): (_protocol(batch),)
        for name, batches in BATCHES.items()
        for ipc, batch in zip((1, 10, 50), batches, strict=True)
    },
    source="LINs-lab/RDED, scripts/ and argument.py; the teacher's training is the suite's own",
    network="resnet18-bn", teacher="trained", encode="jpeg",
)  # fmt: skip
