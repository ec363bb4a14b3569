"""Differentiable Siamese augmentation (DSA): draws one of up to six operations for a group of images.

Zhao and Bilen, "Dataset Condensation with Differentiable Siamese Augmentation" (ICML 2021,
https://arxiv.org/abs/2102.08259); operations and ranges as in the authors' code,
https://github.com/VICO-UoE/DatasetCondensation (``utils.py``, ``DiffAugment`` in its single mode).

A strategy is a string of operation names joined by ``_``, for example ``color_crop_cutout``. `draw_ops` picks
one of these operations for each group of images, uniformly, and draws its parameters: once for all images of
the group (Siamese: the same draw can be applied to real and to synthetic images, whatever their numbers), or
for each image (training and evaluation). A strategy may also consist of several stages joined by ``+``, which
are drawn and applied one after the other: ``color+crop+cutout`` applies all three operations, and
``flip+color_crop`` flips at random and then applies one of the other two.

Deviations from the authors' code:

- A draw is a value, `Drawn`, and comes from a given generator; the authors reseed the global generator before
  each parameter.
- Images need not be square: shifts and windows are relative to each side, and rotations preserve angles.
  (On square images ``align_corners`` changes nothing, since the maps are about the centre.)

Every operation is differentiable with respect to the pixels. Pixels without a source become 0 in the pixel
space of the images, usually the normalised one.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from condense.errors import unknown

BRIGHTNESS = 1.0
"""Width of the uniform distribution of the shift, which is centred at 0."""
SATURATION = 2.0
"""Upper bound of the factor, which is uniform from 0."""
CONTRAST = 0.5
"""Lower bound of the factor, whose uniform distribution has the width 1."""
SHIFT = 0.125
"""Largest shift of a crop as a share of the side."""
CUTOUT = 0.5
"""Side of the removed window as a share of the image's side."""
FLIP = 0.5
"""Probability of a flip."""
SCALE = 1.2
"""Largest scale; its inverse is the smallest."""
ROTATE_DEGREES = 15.0
"""Largest angle in either direction."""

UNIFORMS = 3
"""Number of uniform numbers that an operation gets; the colour operation uses all of them."""

Op = Callable[[Tensor, Tensor], Tensor]
"""Maps images (g, b, c, h, w) and uniform numbers (g, 1 or b, 3) to images (g, b, c, h, w)."""


def _color(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Changes the brightness, x + b, saturation, (x - grey) s + grey, and contrast, (x - level) t + level.

    Here, grey is a pixel's mean over the channels and level the image's mean. Saturation changes neither of
    them and brightness adds b to both, so that all three changes together are
    t s x + t (1 - s) grey + (1 - t) level + b with the means of the original image.
    """
    brightness, saturation, contrast = u.to(x.dtype)[..., None, None, None].unbind(2)
    b, s, t = (brightness - 0.5) * BRIGHTNESS, saturation * SATURATION, contrast + CONTRAST
    grey = x.mean(dim=2, keepdim=True)
    level = grey.mean(dim=(3, 4), keepdim=True)
    return torch.addcmul(t * (1 - s) * grey + ((1 - t) * level + b), x, t * s)


def _crop(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Shifts images by whole pixels, up to an eighth of each side; pixels from outside are 0."""
    h, w = x.shape[-2:]
    # rows: (g, p, h, 1), columns: (g, p, 1, w), the source of each pixel
    rows = _pixels(h, x) + _integer(u[..., 0], -_share(h, SHIFT), _share(h, SHIFT))
    columns = _pixels(w, x) + _integer(u[..., 1], -_share(w, SHIFT), _share(w, SHIFT))
    rows, columns = rows[..., :, None], columns[..., None, :]
    outside = (rows < 0) | (rows >= h) | (columns < 0) | (columns >= w)
    source = rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)
    pixels = x.flatten(3)
    moved = pixels.gather(3, source.flatten(2)[:, :, None].expand_as(pixels))
    return moved.reshape(x.shape).masked_fill(outside[:, :, None], 0)


def _cutout(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Sets a window to 0, with half of each side, a uniform centre in the image, and clipped to the image."""
    rows, columns = _window(x.shape[-2], u[..., 0], x), _window(x.shape[-1], u[..., 1], x)
    return x.masked_fill((rows[..., :, None] & columns[..., None, :])[:, :, None], 0)


def _window(side: int, u: Float[Tensor, "g p"], like: Tensor) -> Tensor:
    """Returns a mask (g, p, side) of the window's pixels along a side, from centre - size // 2 on."""
    size = _share(side, CUTOUT)
    start = _integer(u, 0, side - size % 2) - size // 2
    pixels = _pixels(side, like)
    return (pixels >= start) & (pixels < start + size)


def _flip(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Mirrors images left to right with probability 1/2."""
    return torch.where(u[..., :1, None, None] < FLIP, x.flip(-1), x)


def _scale(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Scales width and height independently; a scale above 1 reduces the content."""
    matrix = u.new_zeros(*u.shape[:2], 2, 3)
    factors = 1 / SCALE + u[..., :2] * (SCALE - 1 / SCALE)
    matrix[..., 0, 0], matrix[..., 1, 1] = factors.unbind(-1)
    return _sample(x, matrix)


def _rotate(x: Float[Tensor, "g b c h w"], u: Float[Tensor, "g p 3"]) -> Float[Tensor, "g b c h w"]:
    """Rotates images about their centre."""
    angle = (2 * u[..., 0] - 1) * math.radians(ROTATE_DEGREES)
    # The grid's unit is half a side, so rotating images that are not square needs the ratio of the sides.
    ratio = max(x.shape[-2] - 1, 1) / max(x.shape[-1] - 1, 1)
    matrix = u.new_zeros(*u.shape[:2], 2, 3)
    matrix[..., 0, 0] = matrix[..., 1, 1] = angle.cos()
    matrix[..., 0, 1], matrix[..., 1, 0] = -angle.sin() * ratio, angle.sin() / ratio
    return _sample(x, matrix)


def _sample(x: Float[Tensor, "g b c h w"], matrix: Float[Tensor, "g p 2 3"]) -> Float[Tensor, "g b c h w"]:
    """Applies affine maps with bilinear sampling and 0 outside; images with one matrix share the grid."""
    g, p = matrix.shape[:2]
    grid = F.affine_grid(matrix.flatten(0, 1), [g * p, 1, *x.shape[-2:]], align_corners=True)
    images = x.reshape(g * p, -1, *x.shape[-2:])
    sampled = F.grid_sample(images, grid.to(x.dtype), padding_mode="zeros", align_corners=True)
    return sampled.reshape(x.shape)


def _share(side: int, share: float) -> int:
    """Returns a share of a side in whole pixels, rounding halves up."""
    return int(share * side + 0.5)


def _integer(u: Float[Tensor, "g p"], low: int, high: int) -> Int64[Tensor, "g p 1"]:
    """Maps uniform numbers to uniform int64 numbers from ``low`` to ``high``, both included."""
    return low + (u * (high - low + 1)).long()[..., None]


def _pixels(side: int, like: Tensor) -> Tensor:
    return torch.arange(side, device=like.device)


OPS: Mapping[str, Op] = {
    "color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate,
}  # fmt: skip

IDENTITY = "none"


@dataclass(frozen=True, eq=False)
class Drawn:
    """A drawn augmentation, which can be applied to any images of its size.

    Attributes:
        ops: Operation of each of the g groups; ``none`` for all groups is the identity.
        values: Uniform numbers that the operations compute their parameters from, with one row for all images
            of a group (p = 1) or one for each image (p = b).
        size: (h, w) of the images in pixels.
        then: Draw of the strategy's next stage.
    """

    ops: tuple[str, ...]
    values: Float[Tensor, "g p 3"]
    size: tuple[int, int]
    then: "Drawn | None" = None

    def __call__(self, x: Float[Tensor, "g b c h w"]) -> Float[Tensor, "g b c h w"]:
        """Applies each group's operation to its b images; differentiable.

        If ``values`` has one row per group, b is arbitrary.

        Raises:
            ValueError: If the draw was made for another number of groups or images, or another size.
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
        """Returns the same draw for images on another device."""
        then = None if self.then is None else self.then.to(device)
        return replace(self, values=self.values.to(device), then=then)


@lru_cache
def parse(strategy: str) -> tuple[tuple[str, ...], ...]:
    """Splits a strategy into its stages and their operations; ``""`` and ``"none"`` have no stages.

    Raises:
        Refused: If an operation is unknown.
    """
    if strategy in ("", IDENTITY):
        return ()
    stages = tuple(tuple(stage.split("_")) for stage in strategy.split("+"))
    for name in (name for names in stages for name in names):
        if name not in OPS:
            raise unknown("augmentation", name, OPS)
    return stages


def has_flip(strategy: str) -> bool:
    """Returns whether a strategy contains a flip; refuses an unknown operation like `parse`."""
    return any("flip" in stage for stage in parse(strategy))


def strategy_of(augment: str, usual: str) -> str:
    """Returns the strategy that a method's augmentation stands for.

    Args:
        augment: ``dsa``, ``dsa:`` with a strategy (``dsa:color_crop``), or ``none``.
        usual: Strategy of the dataset, which ``dsa`` stands for.

    Raises:
        Refused: If an operation is unknown.
    """
    strategy = usual if augment == "dsa" else augment.removeprefix("dsa:")
    parse(strategy)
    return strategy


def with_flip_first(strategy: str) -> str:
    """Moves the flip to a stage of its own at the start: ``color_crop_flip`` becomes ``flip+color_crop``.

    A strategy without a flip among other operations stays as it is.
    """
    stages = parse(strategy)
    rest = ["_".join(name for name in names if name != "flip") for names in stages]
    if ("flip",) in stages or rest == ["_".join(names) for names in stages]:
        return strategy
    return "+".join(["flip", *rest])


def draw_ops(
    strategy: str, size: tuple[int, int], generator: torch.Generator, *, groups: int = 1, per_group: int = 1
) -> Drawn:
    """Draws one operation of each stage for each group, uniformly, and its parameters.

    Args:
        strategy: Operation names joined by ``_``, in stages joined by ``+``; ``""`` and ``"none"`` are the
            identity and draw nothing.
        size: (h, w) of the images in pixels.
        generator: A CPU generator.
        groups: Number g of groups.
        per_group: Rows of parameters per group: 1 for all images together (Siamese), or one for each image.

    Raises:
        Refused: If an operation is unknown.
    """
    stages = []
    for names in parse(strategy):
        ops = torch.randint(len(names), (groups,), generator=generator).tolist()
        values = torch.rand(groups, per_group, UNIFORMS, generator=generator)
        stages.append(Drawn(tuple(names[op] for op in ops), values, size))
    drawn = None
    for stage in reversed(stages):
        drawn = replace(stage, then=drawn)
    return drawn or Drawn((IDENTITY,) * groups, torch.zeros(groups, 1, UNIFORMS), size)


def siamese(strategy: str, size: tuple[int, int], classes: int, generator: torch.Generator) -> Drawn:
    """Draws an augmentation of each class, for its real and its synthetic images; see `draw_ops`."""
    return draw_ops(strategy, size, generator, groups=classes)


def augment(
    x: Float[Tensor, "n c h w"], strategy: str, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Augments a training batch by one operation, with parameters of each image's own: see `draw_ops`."""
    size = (x.shape[-2], x.shape[-1])
    return draw_ops(strategy, size, generator, per_group=len(x))(x[None])[0]
