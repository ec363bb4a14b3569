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
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, pad

from condense.augment import resample, resized
from condense.data import Images
from condense.distillation import ImageRun, TeacherMethod, register
from condense.distillation.method import recipes
from condense.errors import Refused
from condense.protocol import Protocol, Stage
from condense.store import ImageSet
from condense.teachers import Teacher

PIXELS = 2**22
"""Number of pixels that the teacher sees at a time: 4096 images of 32 x 32."""


@register
@dataclass(frozen=True, kw_only=True)
class RDED(TeacherMethod):
    """Selection of crops by a teacher's cross-entropy.

    Attributes:
        factor: Number of tiles along each side of a stored image: 1 for 32 and 64 pixels, 2 for 224 pixels.
        crops: Number of random crops of each image, of which the best one counts.
        pool: Number of random images of each class that crops are taken from.
        crop_min: Smallest share of an image's area that a crop shows.
        encode: Compression of the stored images: ``none``, ``png``, ``jpeg`` (quality 75), or another quality
            as in ``jpeg:90``.
    """

    name = "rded"
    quick = {"pool": 60, "crops": 3}

    factor: int = 1
    crops: int = 5
    pool: int = 300
    crop_min: float = 0.08
    encode: str = "none"

    @property
    def needs_real(self) -> bool:
        """True: each crop shows another real image."""
        return True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Chooses and tiles the crops class by class; the labels are made at evaluation."""
        spec, counts = run.spec, train.counts()
        size = (spec.height, spec.width)
        self._check(run, counts)
        teacher = run.teacher(self.teacher, self.training(), train)
        labels = run.labels()
        images = torch.empty(len(labels), *spec.shape, device=run.device)
        tile = (size[0] // self.factor, size[1] // self.factor)
        for label in run.steps(spec.num_classes, {"images": images}):
            wanted = run.counts[label] * self.factor**2
            # pool: (n, c, h, w), boxes: (m, n, 4), m crops of each of the n images
            pool = train.draw(min(max(self.pool, wanted), counts[label]), run.rng, [label])[0]
            # deviation: crops have the image's aspect ratio; the authors' are square
            drawn = resized.boxes(self.crops * len(pool), size, run.rng, smallest=self.crop_min, aspects=None)
            boxes = drawn.view(self.crops, -1, 4).to(run.device)
            # best: (n,) the crop of the lowest loss of each image
            loss, best = cross_entropies(teacher, pool, boxes, label, tile).min(0)
            chosen = loss.argsort(stable=True)[:wanted]
            crops = resample.resampled(pool[chosen], boxes[best[chosen], chosen], tile)
            images[labels == label] = mosaics(crops, self.factor, size)
        return run.distilled(images, labels, augment="none", as_bytes=True, encode=self.encode)

    def _check(self, run: ImageRun, counts: tuple[int, ...]) -> None:
        """Refuses more tiles than a class has images or a side has pixels."""
        spec = run.spec
        spare = [there - count * self.factor**2 for there, count in zip(counts, run.counts, strict=True)]
        if (least := min(spare)) < 0:
            label = spare.index(least)
            reason = (
                f"rded takes {counts[label] - least} images of a class for {run.counts[label]} images of "
                f"{self.factor} x {self.factor} tiles; {spec.classes[label]!r} of {spec.name} has "
                f"{counts[label]}"
            )
            raise Refused(reason, setting="ipc", value=run.ipc)
        if self.factor > (side := min(spec.height, spec.width)):
            raise self.refused("factor", f"the images have {side} pixels to a side")


def cross_entropies(
    teacher: Teacher,
    images: Float[Tensor, "n c h w"],
    boxes: Int64[Tensor, "m n 4"],
    label: int,
    tile: tuple[int, int],
) -> Float[Tensor, "m n"]:
    """Returns the teacher's cross-entropy of each crop, scaled to a tile and padded with the mean colour.

    Args:
        teacher: The teacher, on the images' device.
        images: Normalised images of one class.
        boxes: m crops of each image: top, left, height and width in pixels.
        label: The class.
        tile: (h, w) of a tile in pixels.
    """
    (h, w), (th, tw) = images.shape[-2:], tile
    top, left = (h - th) // 2, (w - tw) // 2
    around = (left, w - tw - left, top, h - th - top)
    found = []
    pieces = torch.split(torch.arange(len(images), device=images.device), max(1, PIXELS // (h * w)))
    for drawn in boxes:
        for piece in pieces:
            logits = teacher.logits(pad(resample.resampled(images[piece], drawn[piece], tile), around))
            found.append(-logits.log_softmax(1)[:, label])
    return torch.cat(found).view(len(boxes), -1)


def mosaics(
    crops: Float[Tensor, "m c th tw"], factor: int, size: tuple[int, int]
) -> Float[Tensor, "n c h w"]:
    """Tiles m = factor^2 n crops into n images: crop ``j n + i`` is tile j of image i.

    Args:
        crops: Crops of th = h // factor and tw = w // factor pixels. If the factor does not divide a side,
            the first tiles are one pixel larger, filled with the nearest pixels.
        factor: Number of tiles along each side.
        size: (h, w) of the images in pixels.
    """
    n = len(crops) // factor**2
    images = crops.new_empty(n, crops.shape[1], *size)
    rows, columns = ([tile * (side // factor) + min(tile, side % factor) for tile in range(factor + 1)]
                     for side in size)  # fmt: skip
    for number, tiles in enumerate(torch.split(crops, n)):
        r, s = divmod(number, factor)
        place = images[:, :, rows[r] : rows[r + 1], columns[s] : columns[s + 1]]
        place.copy_(interpolate(tiles, size=list(place.shape[-2:]), mode="nearest"))
    return images


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
