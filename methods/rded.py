"""RDED: the crops of real images that a teacher is surest of, several to an image, without any optimisation.

Sun, Shi, Yu and Lin: On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation
Paradigm, CVPR 2024, https://arxiv.org/abs/2312.03526; authors' code LINs-lab/RDED at 3f6453d,
``synthesize/main.py`` and ``synthesize/utils.py``. Of each class's ``pool`` random images, ``crops`` random
square crops each are shown to the teacher, in the size of a tile and with the mean colour around it. Each
image keeps the crop of the lowest cross-entropy, the class the best of those, and ``factor`` x ``factor`` of
them are laid out in each stored image: the best ones in the first tiles, the next in the second, and so on.

Where this differs from the authors' code, and why:

- Pixels are bytes, rounded; theirs are truncated. The recipes store JPEG of quality 75, as theirs does.
- An image has the mean and standard deviation of its dataset; theirs has ImageNet's on every dataset.
- A class is asked for as many images as its tiles need where that is more than ``pool``; theirs fails. A
  class with fewer than ``pool`` gives all of them; theirs fails there too.
- A crop of an image that is not square has the image's aspect; theirs is square. For square images they are
  the same.
- The teacher is one of the suite's: theirs are not described beyond torchvision's reference training.

The authors' evaluation: the teacher labels each batch online, after CutMix. At factor 1 its crop shows the
whole image, so that a flip is all that the augmentation does. Not reproduced: a second forward of the student
in training mode at every step, of the same mixed images, which moves batch norm's running statistics twice;
Tiny-ImageNet's test images enlarged to 72 pixels and cropped to 64; and the best of the tests on the way in
place of the last. For factor 2 their augmentation permutes the tiles, which is not built: so there are no
recipes for ImageNet, whose settings are ``factor=2`` and all else as here.

When not to use it: where labels are class ids alone (hard-v1): its images are the easiest ones, and what they
gain is a teacher's opinion of each of their crops. Nor at many images per class, where the easiest images
lack the variety of random ones.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, pad

from condense.augment import resample, resized
from condense.data import Images
from condense.distillation import ImageRun, Recipe, TeacherMethod, register
from condense.errors import Refused
from condense.protocol import Protocol, Stage
from condense.store import ImageSet
from condense.store.images.encode import encoding_named
from condense.teachers import Teacher

PIXELS = 2**22
"""Pixels that the teacher is shown at a time: 4096 images of 32 x 32."""


@register
@dataclass(frozen=True, kw_only=True)
class RDED(TeacherMethod):
    """Selection of crops by a teacher's cross-entropy.

    Attributes:
        factor: Tiles along each side of a stored image: 1 for images of 32 and 64 pixels, 2 for 224.
        crops: Random crops of each image, of which the best counts.
        pool: Random images of each class that crops are taken from.
        crop_min: The least share of an image's area that a crop shows.
        encode: How the set's bytes are compressed: ``none``, ``png``, ``jpeg`` (quality 75), ``jpeg:90``.
    """

    name = "rded"
    quick = {"pool": 60, "crops": 3}

    factor: int = 1
    crops: int = 5
    pool: int = 300
    crop_min: float = 0.08
    encode: str = "none"

    def __post_init__(self) -> None:
        """Refuses a share and an encoding that are none.

        Raises:
            Refused: naming it.
        """
        super().__post_init__()
        resized.require_share("rded: crop_min", self.crop_min)
        encoding_named(self.encode)

    @property
    def needs_real(self) -> bool:
        """Each crop is of another real image."""
        return True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Class by class; the labels come at evaluation."""
        spec, wanted = run.spec, run.ipc * self.factor**2
        counts = train.counts()
        smallest = min(range(len(counts)), key=counts.__getitem__)
        if wanted > counts[smallest]:
            raise Refused(
                f"rded: --ipc {run.ipc} in {self.factor} x {self.factor} tiles takes {wanted} images of each "
                f"class; {spec.classes[smallest]!r} of {spec.name} has {counts[smallest]}"
            )
        size = (spec.height, spec.width)
        if self.factor > min(size):
            raise Refused(f"rded: factor = {self.factor}, but the images have {min(size)} pixels to a side")
        teacher = run.teacher(self.teacher, self.training(), train)
        images = torch.empty(spec.num_classes * run.ipc, *spec.shape, device=run.device)
        tile = (size[0] // self.factor, size[1] // self.factor)
        for label in run.steps(spec.num_classes, {"images": images}):
            pool = train.draw(min(max(self.pool, wanted), counts[label]), run.rng, [label])[0]
            # boxes: (m, n, 4), m crops of each of the n images, all of the image's aspect
            drawn = resized.boxes(self.crops * len(pool), size, run.rng, smallest=self.crop_min, aspects=None)
            boxes = drawn.view(self.crops, -1, 4).to(run.device)
            found, best = losses(teacher, pool, boxes, label, tile).min(0)
            chosen = found.argsort(stable=True)[:wanted]
            crops = resample.resampled(pool[chosen], boxes[best[chosen], chosen], tile)
            images[label * run.ipc : (label + 1) * run.ipc] = mosaics(crops, self.factor, size)
        labels = torch.arange(spec.num_classes).repeat_interleave(run.ipc)
        return run.distilled(images, labels, augment="none", as_bytes=True, encode=self.encode)


def losses(
    teacher: Teacher,
    images: Float[Tensor, "n c h w"],
    boxes: Int64[Tensor, "m n 4"],
    label: int,
    tile: tuple[int, int],
) -> Float[Tensor, "m n"]:
    """The teacher's cross-entropy of each crop, in the size of a tile amid the mean colour.

    Args:
        teacher: On the images' device.
        images: Of one class, normalised.
        boxes: m crops of each.
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
    """Images of factor x factor crops each: crop ``j n + i`` of m = factor^2 n is tile j of image i.

    Args:
        crops: Of th = h // factor and tw = w // factor pixels. Where the factor leaves some of a side over,
            the first tiles have one more, filled with the nearest pixels.
        factor: Tiles along each side.
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


def _recipes() -> dict[tuple[str, int], Recipe]:
    """``argument.py`` and ``scripts/``, with the modified ResNet18 as teacher and student."""
    method = RDED(network="resnet18-bn", teacher="trained", encode="jpeg")
    batches = {
        "cifar10": {1: 10, 10: 50, 50: 100},
        "cifar100": {1: 20, 10: 100, 50: 200},
        "tiny-imagenet": {1: 100, 10: 100, 50: 100},
    }
    return {
        (dataset, ipc): Recipe(
            method=method,
            protocol=Protocol(
                name="published", optimizer="adamw", lr=1e-3, weight_decay=0.01, decay="weights", batch=batch,
                stages=(Stage(epochs=300),), schedule="half-cosine", augment="dsa:flip", cutmix=1.0, seeds=3,
                labels="own", temperature=20.0,
            ),
            source="LINs-lab/RDED, scripts/ and argument.py; the teacher's training is the suite's own",
        )
        for dataset, by_ipc in batches.items()
        for ipc, batch in by_ipc.items()
    }  # fmt: skip


RDED.recipes = _recipes()
