"""Views of a batch as numbers: all random draws of its augmentation and mixing, so that it can be repeated.

A view of an image is a box, which may be mirrored. A box of the size of the image shifts it, and pixels from
outside are 0, as in `condense.augment.crop`. Any other box lies inside the image and is enlarged bilinearly,
as in `condense.augment.resized`. The batch may then be mixed: a box of each image is replaced by that of
another image (`condense.augment.cutmix`), or the two images are averaged (`condense.augment.mixup`). Weight,
box and permutation are the same for the whole batch.

The teacher that labels views and the student that learns from the labels both use `Views`, so they see
exactly the same images.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int16, Int32, Int64, UInt8
from torch import Tensor

from condense.augment import crop, cutmix, mixup, resized
from condense.errors import unknown

CROPS = ("crop-flip", "resized")
"""Ways to draw boxes: as in `condense.augment.crop` or as in `condense.augment.resized`."""


@dataclass(frozen=True, eq=False)
class Views:
    """The views of a batch, on the CPU.

    Attributes:
        boxes: (top, left, height, width) of each image's box in pixels.
        flips: 1 if the box is then mirrored left to right, else 0.
        partners: Position of the image that each image is mixed with.
        share: Share that an image keeps, from 0 to 1: of its pixels if a box is pasted, and otherwise the
            weight of the image in the average.
        paste: (top, left, height, width) of the pasted box; its height and width are 0 if there is none.
    """

    boxes: Int16[Tensor, "n 4"]
    flips: UInt8[Tensor, " n"]
    partners: Int32[Tensor, " n"]
    share: float
    paste: tuple[int, int, int, int]

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Returns the views of images on any device; differentiable."""
        return self._mixed(crop.flipped(self._boxed(images), self.flips.bool().to(images.device)))

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Returns what makes these numbers invalid for images of a size (h, w), or None if they are valid."""
        n, (h, w) = len(self.boxes), size
        top, left, height, width = self.boxes.long().T
        inside = (top >= 0) & (left >= 0) & (height > 0) & (width > 0)
        inside &= (top + height <= h) & (left + width <= w)
        near = (height == h) & (width == w) & (top.abs() < h) & (left.abs() < w)
        if not bool((inside | near).all()):
            return "a box that is not of the image"
        if int(self.flips.max()) > 1:
            return "a flip that is neither 0 nor 1"
        if not 0 <= int(self.partners.min()) <= int(self.partners.max()) < n:
            return "a partner that is not of the batch"
        row, column, rows, columns = self.paste
        pasted = 0 <= row <= row + rows <= h and 0 <= column <= column + columns <= w
        if not pasted or not 0 <= self.share <= 1:
            return "a mixture whose box or share is out of range"
        return None

    def _boxed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        h, w = images.shape[-2:]
        boxes = self.boxes.long()
        top, left, height, width = boxes.T
        whole = (height == h) & (width == w)
        if not bool(whole.any()):
            return resized.enlarged(images, boxes.to(images.device))
        # More padding than the largest shift would change nothing.
        rows, columns = (int((at * whole).abs().max()) for at in (top, left))
        down, right = ((at * whole + most).to(images.device) for at, most in ((top, rows), (left, columns)))
        moved = crop.shifted(images, down, right, rows, columns)
        if bool(whole.all()):
            return moved
        inner = torch.where(whole[:, None], torch.tensor([0, 0, h, w]), boxes)
        shown = resized.enlarged(images, inner.to(images.device))
        return torch.where(whole.to(images.device)[:, None, None, None], moved, shown)

    def _mixed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        top, left, height, width = self.paste
        partners = self.partners.long().to(images.device)
        if height * width:
            return cutmix.Mix(partners, (top, top + height, left, left + width), self.share)(images)
        return images if self.share == 1 else mixup.mix(images, partners, self.share)


def draw_views(
    n: int,
    size: tuple[int, int],
    generator: torch.Generator,
    *,
    crops: str,
    flip: bool,
    cutmix_probability: float = 0.0,
    mixup_beta: float | None = None,
    scale: tuple[float, float] = (resized.SMALLEST, 1.0),
    shown: Int64[Tensor, " n"] | None = None,
) -> Views:
    """Draws the views of a batch, in the order in which augmentation and mixing draw them one by one.

    Args:
        n: Number of images of the batch.
        size: (h, w) of the images in pixels.
        generator: A CPU generator.
        crops: Way to draw boxes, one of `CROPS`.
        flip: Whether images are mirrored with probability 1/2.
        cutmix_probability: Probability of pasting boxes.
        mixup_beta: Parameter a of Beta(a, a) for averaging a batch without pasted boxes; None for none.
        scale: Smallest and largest share of an image's area that a ``resized`` box shows.
        shown: The image behind each view. If it is given, a view is mixed with another view of the same image
            (SelfMix: Shen, FerKD, ICCV 2023, https://arxiv.org/abs/2312.17473), and the only view of an image
            with itself; otherwise with any view of the batch.

    Raises:
        Refused: If ``crops`` is unknown.
    """
    h, w = size
    flips: Tensor | None
    if crops == "crop-flip":
        down, right, flips = crop.draw_crops(n, size, generator, flip=flip)
        extent = torch.tensor([h, w]).expand(n, 2)
        corner = torch.stack([down - h // crop.PADDING, right - w // crop.PADDING], 1)
        boxes = torch.cat([corner, extent], 1)
    elif crops == "resized":
        boxes = resized.boxes(n, size, generator, smallest=scale[0], largest=scale[1])
        flips = torch.rand(n, generator=generator) < crop.FLIP if flip else None
    else:
        raise unknown("crop", crops, CROPS)
    partners, share, paste = torch.arange(n), 1.0, (0, 0, 0, 0)
    if cutmix_probability and float(torch.rand((), generator=generator)) < cutmix_probability:
        drawn = cutmix.draw_cutmix(n, size, generator)
        top, bottom, left, right_end = drawn.box
        partners, share, paste = drawn.order, drawn.share, (top, left, bottom - top, right_end - left)
    elif mixup_beta:
        partners, share = mixup.draw_mixup(n, mixup_beta, generator)
    if shown is not None:
        partners = next_of_same(shown)
    return Views(
        boxes=boxes.to(torch.int16),
        flips=torch.zeros(n, dtype=torch.uint8) if flips is None else flips.to(torch.uint8),
        partners=partners.to(torch.int32),
        # Rounded to float32, as it is stored.
        share=float(torch.tensor(share, dtype=torch.float32)),
        paste=paste,
    )


def next_of_same(shown: Int64[Tensor, " n"]) -> Int64[Tensor, " n"]:
    """Returns the position of the next view of the image of each view; the first one follows the last."""
    found = torch.arange(len(shown))
    for image in set(shown.tolist()):
        places = (shown == image).nonzero()[:, 0]
        found[places] = places.roll(-1)
    return found
