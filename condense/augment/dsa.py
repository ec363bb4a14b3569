"""Differentiable Siamese augmentation: one of up to six operations, drawn once for a group of images.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation" (ICML 2021,
https://arxiv.org/abs/2102.08259); operations and ranges as in the authors' code,
https://github.com/VICO-UoE/DatasetCondensation (``utils.py``, ``DiffAugment`` in its single mode).

A strategy is a string of operation names joined by ``_``: a lottery. A *draw* picks one operation a group,
uniformly, and its parameters: one set for all images of the group (Siamese: the same draw is then applied to
real and to synthetic images, whatever their numbers), or one set an image (training and evaluation). Later
methods' strategies chain lotteries by ``+``: ``color+crop+cutout`` is all three, one after the other, and
``flip+color_crop`` a flip (or none) and then one of two. Three differences to the authors' code:

- A draw is a value, `Drawn`, from a generator handed in; the authors reseed the global generator before each
  parameter.
- Affine grids have ``align_corners=True``, the behaviour of the PyTorch version that the authors pinned.
- Images need not be square: shifts and windows follow each side, and rotations keep angles.

Every operation is differentiable in the pixels. Vacated pixels are 0 in the space of the images, usually the
normalised one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from condense.errors import unknown

BRIGHTNESS = 1.0
"""Width of the uniform shift around 0."""
SATURATION = 2.0
"""Upper end of the uniform factor from 0."""
CONTRAST = 0.5
"""Lower end of the uniform factor of width 1."""
SHIFT = 0.125
"""Largest shift of a crop as a share of the side."""
CUTOUT = 0.5
"""Side of the cut-out square as a share of the side."""
FLIP = 0.5
"""Probability of a flip."""
SCALE = 1.2
"""Largest sampling scale; its inverse is the smallest."""
ROTATE_DEGREES = 15.0
"""Largest angle, to both sides."""

UNIFORMS = 3
"""Uniform numbers that an operation may read: colour reads all."""

Op = Callable[[Tensor, Tensor], Tensor]
"""From images (g, b, c, h, w) and uniform numbers (g, 1 or b, 3) to images (g, b, c, h, w)."""


def _color(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Brightness x + b, then saturation (x - grey) s + grey, then contrast (x - level) t + level.

    Grey is a pixel's mean over the channels, level the image's mean. Saturation keeps both and brightness
    adds b to both, so the three together are t s x + t (1 - s) grey + (1 - t) level + b with the means of the
    image as it came.
    """
    brightness, saturation, contrast = u.to(x.dtype)[..., None, None, None].unbind(2)
    b, s, t = (brightness - 0.5) * BRIGHTNESS, saturation * SATURATION, contrast + CONTRAST
    grey = x.mean(dim=2, keepdim=True)
    level = grey.mean(dim=(3, 4), keepdim=True)
    return torch.addcmul(t * (1 - s) * grey + ((1 - t) * level + b), x, t * s)


def _crop(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """A whole-pixel shift by up to an eighth of each side; what enters is 0."""
    h, w = x.shape[-2:]
    # rows: (g, p, h, 1), columns: (g, p, 1, w), where each pixel comes from
    rows = _pixels(h, x) + _integer(u[..., 0], -_share(h, SHIFT), _share(h, SHIFT))
    columns = _pixels(w, x) + _integer(u[..., 1], -_share(w, SHIFT), _share(w, SHIFT))
    rows, columns = rows[..., :, None], columns[..., None, :]
    outside = (rows < 0) | (rows >= h) | (columns < 0) | (columns >= w)
    source = rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)
    pixels = x.flatten(3)
    moved = pixels.gather(3, source.flatten(2)[:, :, None].expand_as(pixels))
    return moved.reshape(x.shape).masked_fill(outside[:, :, None], 0)


def _cutout(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """A window of half of each side, centred anywhere in the image and clipped by it, becomes 0."""
    rows, columns = _window(x.shape[-2], u[..., 0], x), _window(x.shape[-1], u[..., 1], x)
    return x.masked_fill((rows[..., :, None] & columns[..., None, :])[:, :, None], 0)


def _window(side: int, u: Float[Tensor, "g p"], like: Tensor) -> Tensor:
    """Which pixels of a side the window covers, (g, p, side): ``size`` from centre - size // 2 on."""
    size = _share(side, CUTOUT)
    start = _integer(u, 0, side - size % 2) - size // 2
    pixels = _pixels(side, like)
    return (pixels >= start) & (pixels < start + size)


def _flip(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Left and right change places, or not."""
    return torch.where(u[..., :1, None, None] < FLIP, x.flip(-1), x)


def _scale(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Width and height are sampled at scales of their own; a scale above 1 shrinks the content."""
    matrix = u.new_zeros(*u.shape[:2], 2, 3)
    factors = 1 / SCALE + u[..., :2] * (SCALE - 1 / SCALE)
    matrix[..., 0, 0], matrix[..., 1, 1] = factors.unbind(-1)
    return _sample(x, matrix)


def _rotate(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """A rotation about the centre."""
    angle = (2 * u[..., 0] - 1) * math.radians(ROTATE_DEGREES)
    # The grid's unit is half an image: on images that are not square, an angle needs the ratio of the sides.
    ratio = max(x.shape[-2] - 1, 1) / max(x.shape[-1] - 1, 1)
    matrix = u.new_zeros(*u.shape[:2], 2, 3)
    matrix[..., 0, 0] = matrix[..., 1, 1] = angle.cos()
    matrix[..., 0, 1], matrix[..., 1, 0] = -angle.sin() * ratio, angle.sin() / ratio
    return _sample(x, matrix)


def _sample(x: Float[Tensor, "g b c h w"], matrix: Float[Tensor, "g p 2 3"]) -> Float[Tensor, "g b c h w"]:
    """Bilinear sampling at affinely moved places, 0 outside; images that share a matrix share the grid."""
    g, p = matrix.shape[:2]
    grid = F.affine_grid(matrix.flatten(0, 1), [g * p, 1, *x.shape[-2:]], align_corners=True)
    images = x.reshape(g * p, -1, *x.shape[-2:])
    sampled = F.grid_sample(images, grid.to(x.dtype), padding_mode="zeros", align_corners=True)
    return sampled.reshape(x.shape)


def _share(side: int, share: float) -> int:
    """A share of a side in whole pixels, halves up."""
    return int(share * side + 0.5)


def _integer(u: Float[Tensor, "g p"], low: int, high: int) -> Float[Tensor, "g p 1"]:
    """Uniform whole numbers low .. high, both ends included, as int64."""
    return low + (u * (high - low + 1)).long()[..., None]


def _pixels(side: int, like: Tensor) -> Tensor:
    """The pixel numbers of a side."""
    return torch.arange(side, device=like.device)


OPS: Mapping[str, Op] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
"""The operations by name."""

IDENTITY = "none"


@dataclass(frozen=True, eq=False)
class Drawn:
    """A drawn augmentation, ready to be applied to any images of its size.

    Attributes:
        ops: The operation of each of the g groups (all ``none`` for the identity).
        values: Uniform numbers (g, 1 or b, 3) that the operations turn into their parameters: one row for all
            images of a group, or one an image.
        size: (h, w) of the images in pixels.
        then: What is applied after it, of a strategy with several lotteries.
    """

    ops: tuple[str, ...]
    values: Float[Tensor, "g p 3"]
    size: tuple[int, int]
    then: "Drawn | None" = None

    def __call__(self, x: Float[Tensor, "g b c h w"]) -> Float[Tensor, "g b c h w"]:
        """Applies each group's operation to its b images; differentiable in them.

        Args:
            x: The images; b is free where ``values`` has one row a group.

        Raises:
            ValueError: if the images do not have the groups, numbers or size that were drawn for.
        """
        if x.ndim != 5 or len(x) != len(self.ops) or tuple(x.shape[-2:]) != self.size:
            raise ValueError(
                f"drawn for {len(self.ops)} groups of {self.size} images, not for {tuple(x.shape)}"
            )
        if self.values.shape[1] not in (1, x.shape[1]):
            raise ValueError(f"drawn for {self.values.shape[1]} images a group, not for {x.shape[1]}")
        x = self._applied(x)
        return x if self.then is None else self.then(x)

    def _applied(self, x: Float[Tensor, "g b c h w"]) -> Float[Tensor, "g b c h w"]:
        ops = tuple(dict.fromkeys(self.ops))
        if ops == (IDENTITY,):
            return x
        # Half precision could not hold the pixel numbers.
        u = self.values.to(x.device, torch.promote_types(x.dtype, torch.float32), non_blocking=True)
        if len(ops) == 1:
            return OPS[ops[0]](x, u)
        done = list(x.unbind())
        for op in ops:
            groups = [group for group, its in enumerate(self.ops) if its == op]
            images = torch.stack([done[group] for group in groups])
            moved = OPS[op](images, torch.stack([u[group] for group in groups]))
            for group, image in zip(groups, moved.unbind(), strict=True):
                done[group] = image
        return torch.stack(done)

    def to(self, device: torch.device | str) -> "Drawn":
        """The same draw with its numbers on another device."""
        then = None if self.then is None else self.then.to(device)
        return replace(self, values=self.values.to(device), then=then)


@lru_cache
def parse(strategy: str) -> tuple[tuple[str, ...], ...]:
    """The lotteries of a strategy, each with its operations: none for ``""`` and ``"none"``.

    Raises:
        Refused: if an operation is unknown.
    """
    if strategy in ("", IDENTITY):
        return ()
    lotteries = tuple(tuple(lottery.split("_")) for lottery in strategy.split("+"))
    for name in (name for names in lotteries for name in names):
        if name not in OPS:
            raise unknown("augmentation", name, OPS)
    return lotteries


def has_flip(strategy: str) -> bool:
    """Whether a strategy has a flip in one of its lotteries.

    Raises:
        Refused: if an operation is unknown.
    """
    return any("flip" in lottery for lottery in parse(strategy))


def strategy_of(augment: str, usual: str) -> str:
    """The strategy that a method's augmentation names.

    Args:
        augment: ``dsa``, a strategy of its own (``dsa:color_crop``), or ``none``.
        usual: What ``dsa`` stands for, the dataset's.

    Raises:
        Refused: if an operation is unknown.
    """
    strategy = usual if augment == "dsa" else augment.removeprefix("dsa:")
    parse(strategy)
    return strategy


def flip_first(strategy: str) -> str:
    """The strategy with the flip out of its lottery, ahead of it: ``flip+color_crop`` of ``color_crop_flip``.

    One that has no flip among others stays as it is.
    """
    lotteries = parse(strategy)
    rest = ["_".join(name for name in names if name != "flip") for names in lotteries]
    if ("flip",) in lotteries or rest == ["_".join(names) for names in lotteries]:
        return strategy
    return "+".join(["flip", *rest])


def draw(
    strategy: str, size: tuple[int, int], generator: torch.Generator, *, groups: int = 1, per_group: int = 1
) -> Drawn:
    """Draws an operation of each lottery for each group, uniformly, and parameters.

    Args:
        strategy: Operation names joined by ``_``, lotteries by ``+``; ``""`` or ``"none"`` is the identity
            and draws nothing.
        size: (h, w) of the images in pixels.
        generator: A CPU generator.
        groups: g, the groups with an operation each.
        per_group: Rows of parameters a group: 1 for all of its images together (Siamese), b for one an image.

    Raises:
        Refused: if an operation is unknown.
    """
    drawn = None
    stages = []
    for names in parse(strategy):
        ops = torch.randint(len(names), (groups,), generator=generator).tolist()
        values = torch.rand(groups, per_group, UNIFORMS, generator=generator)
        stages.append(Drawn(tuple(names[op] for op in ops), values, size))
    for stage in reversed(stages):
        drawn = replace(stage, then=drawn)
    return drawn or Drawn((IDENTITY,) * groups, torch.zeros(groups, 1, UNIFORMS), size)


def siamese(strategy: str, size: tuple[int, int], classes: int, generator: torch.Generator) -> Drawn:
    """Draws one operation (of each lottery) and its parameters a class, for real and synthetic images alike.

    Args:
        strategy: As in `draw`.
        size: (h, w) of the images in pixels.
        classes: Groups, a class each.
        generator: A CPU generator.
    """
    return draw(strategy, size, generator, groups=classes)


def augment(
    x: Float[Tensor, "n c h w"], strategy: str, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Augments a training batch: one operation (of each lottery) for all, parameters for each image.

    Args:
        x: The images.
        strategy: As in `draw`.
        generator: A CPU generator.
    """
    size = (x.shape[-2], x.shape[-1])
    return draw(strategy, size, generator, per_group=len(x))(x[None])[0]
