"""Methods whose images are crops of real images that a teacher classifies best, tiled: RDED and its kin."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import interpolate, pad

from condense.augment import resample, resized
from condense.data import Images
from condense.distillation.images.run import ImageRun
from condense.distillation.images.taught import TeacherMethod
from condense.errors import Refused

PIXELS = 2**22
"""Number of pixels that a teacher sees at a time: 4096 images of 32 x 32."""

Scorer = Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n k"]]
"""Returns the logits of normalised images."""


class Crops(NamedTuple):
    """Crops of real images: the images (m, c, h, w), and the box of each (m, 4) in pixels, on one device."""

    images: Float[Tensor, "m c h w"]
    boxes: Int64[Tensor, "m 4"]

    def resampled(self, size: tuple[int, int]) -> Float[Tensor, "m c height width"]:
        """Returns the crops at a size (height, width) in pixels."""
        return resample.resampled(self.images, self.boxes, size)


@dataclass(frozen=True, kw_only=True)
class CropMethod(TeacherMethod):
    """Selection of crops by a teacher's cross-entropy.

    Attributes:
        factor: Number of tiles along each side of a stored image: 1 for 32 and 64 pixels, 2 for 224 pixels.
        crops: Number of random crops of each image, of which the best one counts.
        pool: Number of random images of each class that crops are taken from.
        crop_min: Smallest share of an image's area that a crop shows.
        encode: Compression of the stored images: ``none``, ``png``, ``jpeg`` (quality 75), or another quality
            as in ``jpeg:90``.
    """

    factor: int = 1
    crops: int = 5
    pool: int = 300
    crop_min: float = 0.08
    encode: str = "none"

    @property
    def needs_real(self) -> bool:
        """True: each crop shows another real image."""
        return True

    def best_crops(self, train: Images, run: ImageRun, label: int, scorer: Scorer) -> Crops:
        """Chooses the crops of lowest cross-entropy of a class, best first: ``factor^2`` for each image.

        Args:
            train: The training images, normalised.
            run: The run, whose generator draws the pool and its crops.
            label: The class.
            scorer: The teacher.
        """
        size = (run.spec.height, run.spec.width)
        wanted = run.counts[label] * self.factor**2
        # pool: (n, c, h, w), boxes: (m, n, 4), m crops of each of the n images
        pool = train.draw(min(max(self.pool, wanted), train.counts()[label]), run.rng, [label])[0]
        # deviation: crops have the image's aspect ratio; the authors' are square
        drawn = resized.boxes(self.crops * len(pool), size, run.rng, smallest=self.crop_min, aspects=None)
        boxes = drawn.view(self.crops, -1, 4).to(run.device)
        # best: (n,) the crop of the lowest loss of each image
        loss, best = cross_entropies(scorer, pool, boxes, label, self.tile(run)).min(0)
        chosen = loss.argsort(stable=True)[:wanted]
        return Crops(pool[chosen], boxes[best[chosen], chosen])

    def tile(self, run: ImageRun) -> tuple[int, int]:
        """Returns (height, width) of a tile in pixels."""
        return run.spec.height // self.factor, run.spec.width // self.factor

    def require_tiles(self, run: ImageRun, counts: tuple[int, ...]) -> None:
        """Refuses more tiles than a class has images or a side has pixels."""
        spec = run.spec
        spare = [there - count * self.factor**2 for there, count in zip(counts, run.counts, strict=True)]
        if (least := min(spare)) < 0:
            label = spare.index(least)
            reason = (
                f"{self.name} takes {counts[label] - least} images of a class for {run.counts[label]} images "
                f"of {self.factor} x {self.factor} tiles; {spec.classes[label]!r} of {spec.name} has "
                f"{counts[label]}"
            )
            raise Refused(reason, setting="ipc", value=run.ipc)
        if self.factor > (side := min(spec.height, spec.width)):
            raise self.refused("factor", f"the images have {side} pixels to a side")


def cross_entropies(
    scorer: Scorer,
    images: Float[Tensor, "n c h w"],
    boxes: Int64[Tensor, "m n 4"],
    label: int,
    tile: tuple[int, int],
) -> Float[Tensor, "m n"]:
    """Returns the teacher's cross-entropy of each crop, scaled to a tile and padded with the mean colour.

    Args:
        scorer: The teacher.
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
            logits = scorer(pad(resample.resampled(images[piece], drawn[piece], tile), around))
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
