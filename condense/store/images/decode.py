"""Decode steps: how the images that a student trains on are made from the stored ones.

A manifest lists its steps, each by name and version; a student sees the images after the last step. A changed
step is a new version beside the old one, so that a stored set decodes to the same images for ever.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import ClassVar, NotRequired, Protocol, Self, TypedDict, cast, runtime_checkable

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor
from torch.nn.functional import interpolate

from condense.errors import Refused

Fill = float | Float[Tensor, "c 1 1"]
"""The value of padded pixels: one number, or one for each channel."""
GREY = 0.5
"""The padding in pixels of [0, 1]. A student sees this grey in its evaluation space."""


class StepPart(TypedDict):
    """A decode step in a manifest: its name and version, and the setting that this version has."""

    name: str
    version: int
    factor: NotRequired[int]
    networks: NotRequired[int]


@runtime_checkable
class Decoder(Protocol):
    """A step with everything that it needs to decode stored images; differentiable."""

    @property
    def copies(self) -> int:
        """Number of images that come out for each one that goes in."""

    def __call__(self, images: Float[Tensor, "n c h w"], fill: Fill = GREY) -> Float[Tensor, "m c h w"]:
        """Decodes images into all their copies.

        Args:
            images: The stored images.
            fill: The value of padded pixels, in the space of the images.

        Returns:
            The m = ``copies * n`` images: copy 0 of each image in order, then copy 1 of each, and so on.
        """

    def some(
        self, images: Float[Tensor, "b c h w"], copy: Int[Tensor, " b"], fill: Fill = GREY
    ) -> Float[Tensor, "b c h w"]:
        """Decodes each image into one of its copies, whose number is on the images' device."""


@dataclass(frozen=True)
class DecodeStep(ABC):
    """A decode step as a manifest names it; its fields are whole numbers of at least 1."""

    name: ClassVar[str]
    version: ClassVar[int]

    def __post_init__(self) -> None:
        for setting, value in asdict(self).items():
            if type(value) is not int or value < 1:
                raise Refused(f"{self.name}: {setting} must be a whole number of at least 1, not {value!r}")

    @property
    @abstractmethod
    def copies(self) -> int:
        """Number of images that come out for each one that goes in."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The step in plain words, for a card."""

    def find_size_error(self, sides: Sequence[int]) -> str | None:
        """Says why images with these sides (in pixels) cannot be decoded, or returns None."""
        return None

    def describe(self) -> StepPart:
        """Returns the step as a manifest holds it."""
        return cast(StepPart, {"name": self.name, "version": self.version, **asdict(self)})

    @classmethod
    def from_part(cls, part: Mapping[str, object]) -> Self:
        """Makes the step from what `describe` returned.

        Raises:
            Refused: if there are other settings than this version has, since an unknown setting could change
                the decoded images; or if a setting is no whole number of at least 1.
        """
        known = {item.name for item in fields(cls)}
        if (given := part.keys() - {"name", "version"}) != known:
            held, wanted = (", ".join(sorted(names)) or "nothing" for names in (given, known))
            raise Refused(
                f"{cls.name} of version {cls.version} has one setting, {wanted}; this step has {held}"
            )
        return cls(**{name: part[name] for name in known})


@dataclass(frozen=True)
class MultiFormation(DecodeStep):
    """Uniform multi-formation: an image is ``factor`` x ``factor`` tiles, each enlarged to the full size.

    Kim, Kim, Oh, Yun, Song, Jeong, Ha and Song: Dataset Condensation via Efficient Synthetic-Data
    Parameterization, ICML 2022, https://arxiv.org/abs/2205.14959; `decode_zoom` in condense.py of the
    authors' snu-mllab/Efficient-Dataset-Condensation. A side that the factor does not divide is padded at its
    end. The authors pad both sides by as much as the width needs, which is the same for square images.
    Bilinear weights add up to one, so decoding gives the same images in pixels of [0, 1] and in normalised
    pixels.

    Attributes:
        factor: Tiles along a side; 1 leaves an image as it is.
    """

    factor: int

    name = "multi_formation"
    version = 1

    @property
    def copies(self) -> int:
        return self.factor**2

    @property
    def words(self) -> str:
        f = self.factor
        return (
            f"{self.name} {self.version}: each stored image is cut into {f} x {f} tiles (a side that {f} "
            "does not divide is padded with grey at its end); each tile is enlarged bilinearly to full size"
        )

    def __call__(self, images: Float[Tensor, "n c h w"], fill: Fill = GREY) -> Float[Tensor, "m c h w"]:
        """Enlarges every tile of every image: see `Decoder`. Copy ``row * factor + column`` is one tile."""
        return self._enlarged(self._tiles(images, fill).flatten(0, 2), images)

    def some(
        self, images: Float[Tensor, "b c h w"], copy: Int[Tensor, " b"], fill: Fill = GREY
    ) -> Float[Tensor, "b c h w"]:
        row, column = copy // self.factor, copy % self.factor
        each = torch.arange(len(images), device=images.device)
        return self._enlarged(self._tiles(images, fill)[row, column, each], images)

    def find_size_error(self, sides: Sequence[int]) -> str | None:
        """Says why images with these sides (in pixels) cannot be cut into tiles, or returns None.

        A tile has ``ceil(side / factor)`` pixels along a side, so the last tile can lie wholly in the
        padding: with a factor above the side it always does, and with a factor of 4 and a side of 5, too.
        """
        for side in sides:
            if (self.factor - 1) * -(-side // self.factor) >= side:
                return f"{self.name} with factor {self.factor} cuts a side of {side} so that a tile is empty"
        return None

    def _tiles(self, images: Float[Tensor, "n c h w"], fill: Fill) -> Float[Tensor, "f f n c th tw"]:
        """Returns the tiles by row and column, as a view of the padded images."""
        if wrong := self.find_size_error(images.shape[-2:]):
            raise Refused(wrong)
        for side in (-2, -1):
            if lacking := -images.shape[side] % self.factor:
                shape = list(images.shape)
                shape[side] = lacking
                grey = fill.to(images) if isinstance(fill, Tensor) else images.new_full((), fill)
                images = torch.cat([images, grey.expand(shape)], side)
        n, c, h, w = images.shape
        f = self.factor
        return images.reshape(n, c, f, h // f, f, w // f).permute(2, 4, 0, 1, 3, 5)

    def _enlarged(
        self, tiles: Float[Tensor, "b c th tw"], images: Float[Tensor, "n c h w"]
    ) -> Float[Tensor, "b c h w"]:
        size = list(images.shape[-2:])
        return interpolate(tiles.contiguous(), size=size, mode="bilinear", align_corners=False)


def formation(factor: int, sides: Sequence[int], method: str) -> tuple[MultiFormation, ...]:
    """Returns the decode steps of a set whose images hold ``factor`` x ``factor`` tiles: none for 1.

    Args:
        factor: Tiles along a side.
        sides: Sides of the images in pixels.
        method: Name of the method, for the refusal.

    Raises:
        Refused: if a tile would hold no pixel of an image.
    """
    step = MultiFormation(factor)
    if wrong := step.find_size_error(sides):
        raise Refused(f"{method}: {wrong}", setting="params.factor", value=factor)
    return (step,) if factor > 1 else ()


COMPENSATOR_UNIT = 1 / 127
"""Value of a stored 1 of a compensator, as a part of the way from black to white."""


@dataclass(frozen=True)
class Compensated(DecodeStep):
    """Each image as it is, and once more with each compensator of its base set added.

    Zhang, Du, Liu and Zhou: Breaking Class Barriers: Efficient Dataset Distillation via Inter-Class Feature
    Compensator, ICLR 2025, https://arxiv.org/abs/2408.06927. Image i belongs to base set ``i % g`` of g (with
    class-major images, the i-th of each class), and the compensators of a base set are added to all of its
    images. The sum is clamped to black and white, as in the authors' code. Values beyond +-1 of the way from
    black to white therefore act like +-1, and one signed byte holds a value, in steps of 1 / 127.

    Attributes:
        networks: Number M of compensators of a base set: one for each network that they were learned with.
    """

    networks: int

    name = "compensated"
    version = 1

    @property
    def copies(self) -> int:
        return self.networks + 1

    @property
    def words(self) -> str:
        return (
            f"{self.name} {self.version}: each stored image is seen as it is and, clamped to black and "
            f"white, with each of the {self.networks} compensators of its base set added (image i is "
            "of base set i modulo their number; 127 is the way from black to white)"
        )


@dataclass(frozen=True, eq=False)
class Compensator:
    """The step `Compensated` with everything that it needs to decode certain stored images.

    Attributes:
        compensators: The compensators of all base sets, as stored.
        stored: The places of the images to decode among the stored ones.
        black: A black pixel in the images' space.
        white: A white pixel in the images' space.
    """

    compensators: Int8[Tensor, "g m c h w"]
    stored: Int[Tensor, " n"]
    black: Float[Tensor, "c 1 1"]
    white: Float[Tensor, "c 1 1"]

    @property
    def copies(self) -> int:
        return self.compensators.shape[1] + 1

    def __call__(self, images: Float[Tensor, "n c h w"], fill: Fill = GREY) -> Float[Tensor, "m c h w"]:
        """Adds each compensator to the images that `stored` names. Copy 0 is the image itself."""
        each = [torch.full_like(self.stored, copy) for copy in range(self.copies)]
        return torch.cat([self.some(images, copy) for copy in each])

    def some(
        self, images: Float[Tensor, "b c h w"], copy: Int[Tensor, " b"], fill: Fill = GREY
    ) -> Float[Tensor, "b c h w"]:
        base_set = self.stored % len(self.compensators)
        # Copy 0 looks up the first compensator, too, and does not use it.
        added = self.compensators[base_set, (copy - 1).clamp(min=0)] * COMPENSATOR_UNIT
        sums = (images + added * (self.white - self.black)).clamp(self.black, self.white)
        return torch.where((copy == 0)[:, None, None, None], images, sums)


def as_compensators(values: Float[Tensor, "g m c h w"]) -> Int8[Tensor, "g m c h w"]:
    """Returns compensators as they are stored, given the numbers that they add to pixels in [0, 1]."""
    return (values.clamp(-1, 1) / COMPENSATOR_UNIT).round().to(torch.int8)


STEPS: Mapping[tuple[str, int], type[MultiFormation | Compensated]] = {
    (step.name, step.version): step for step in (MultiFormation, Compensated)
}
"""Every decode step that this version can apply, by name and version."""


def step_from(part: Mapping[str, object]) -> MultiFormation | Compensated:
    """Makes the step that a manifest names.

    Raises:
        Refused: if its name, version or settings are unknown.
    """
    name, version = str(part.get("name")), part.get("version")
    if step := STEPS.get((name, cast(int, version))):
        return step.from_part(part)
    takes = ", ".join(f"{known} of version {of_version}" for known, of_version in STEPS)
    raise Refused(
        f"unknown decode step {name!r} of version {version}; this condense takes {takes}: update condense"
    )


def decode_all(
    steps: Sequence[Decoder], images: Float[Tensor, "n c h w"], fill: Fill = GREY
) -> Float[Tensor, "m c h w"]:
    """Applies every step in turn: see `Decoder.__call__`."""
    for step in steps:
        images = step(images, fill)
    return images


def decode_some(
    steps: Sequence[Decoder],
    images: Float[Tensor, "b c h w"],
    copy: Int[Tensor, " b"],
    fill: Fill = GREY,
) -> Float[Tensor, "b c h w"]:
    """Applies every step to one copy of each image: `decode_all` has it at ``copy * n + i`` for image i of n.

    The number of a copy has a digit for each step, lowest digit first; the radix of a digit is the number of
    copies that its step makes.
    """
    for step in steps:
        images, copy = step.some(images, copy % step.copies, fill), copy // step.copies
    return images
