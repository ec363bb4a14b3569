"""Views as numbers: all that is drawn to augment and mix a batch, kept so that it can be shown again.

A view of an image is a box of it, mirrored or not. A box of the image's own size is a shift, and what enters
from outside is 0, as in `condense.augment.crop`; any other one lies inside the image and is enlarged
bilinearly, as in `condense.augment.resized`. Then a batch may be mixed, with one share, one box and one
permutation for all: a box is pasted from each image's partner (`condense.augment.cutmix`), or without a box
the two are averaged (`condense.augment.mixup`).

Whoever labels views and whoever learns from the labels both go through `Views`, so they see the same images
bit for bit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int16, Int32, UInt8
from torch import Tensor

from condense.augment import crop, cutmix, mixup, resized
from condense.errors import unknown

CROPS = ("crop-flip", "resized")
"""How boxes are drawn: `condense.augment.crop`, `condense.augment.resized`."""


@dataclass(frozen=True, eq=False)
class Views:
    """How each image of a batch is seen, and how the batch is mixed; everything on the CPU.

    Attributes:
        boxes: (top, left, height, width) in pixels of the image, (n, 4).
        flips: 1 for what is mirrored, left to right, after its box was taken, (n,).
        partners: The image that each one is mixed with, (n,).
        share: The share of itself that an image keeps, from 0 to 1: of its pixels where a box is pasted, of
            each pixel's value else.
        paste: (top, left, height, width) of the box that comes from the partner; without extent, for none.
    """

    boxes: Int16[Tensor, "n 4"]
    flips: UInt8[Tensor, " n"]
    partners: Int32[Tensor, " n"]
    share: float
    paste: tuple[int, int, int, int]

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """The batch as it is seen; differentiable.

        Args:
            images: On any device, with 0 for what enters from outside.
        """
        return self._mixed(crop.flipped(self._boxed(images), self.flips.bool().to(images.device)))

    def misfit(self, size: tuple[int, int]) -> str | None:
        """Says what in these numbers is no view of images of some size (h, w), or None."""
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
            return "a mixture that is none"
        return None

    def _boxed(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        h, w = images.shape[-2:]
        boxes = self.boxes.long()
        top, left, height, width = boxes.T
        whole = (height == h) & (width == w)
        if not bool(whole.any()):
            return resized.enlarged(images, boxes.to(images.device))
        # Only as much padding as these shifts need: more would change nothing.
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
) -> Views:
    """Draws the views of a batch, in the order in which augmentation and mixing draw them one by one.

    Args:
        n: Images in the batch.
        size: Their (h, w) in pixels.
        generator: A CPU generator.
        crops: One of `CROPS`.
        flip: Whether images are mirrored with probability 1/2.
        cutmix_probability: Of pasting boxes.
        mixup_beta: The a of Beta(a, a), for averaging; None for none. A pasted batch is not averaged too.

    Raises:
        Refused: if there are no crops of that name.
    """
    h, w = size
    flips: Tensor | None
    if crops == "crop-flip":
        down, right, flips = crop.draw_crops(n, size, generator, flip=flip)
        extent = torch.tensor([h, w]).expand(n, 2)
        corner = torch.stack([down - h // crop.PADDING, right - w // crop.PADDING], 1)
        boxes = torch.cat([corner, extent], 1)
    elif crops == "resized":
        boxes = resized.boxes(n, size, generator)
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
    return Views(
        boxes=boxes.to(torch.int16),
        flips=torch.zeros(n, dtype=torch.uint8) if flips is None else flips.to(torch.uint8),
        partners=partners.to(torch.int32),
        # As a float32 holds it, since that is what is stored.
        share=float(torch.tensor(share, dtype=torch.float32)),
        paste=paste,
    )
