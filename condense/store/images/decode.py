"""Decode steps: how the images that a student trains on are made of those that are stored.

A manifest lists its steps, each by name and version; a student sees the images after the last of them. A
changed step is a new version beside the old one, so that a stored set decodes to the same images for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NotRequired, Protocol, TypedDict

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor
from torch.nn.functional import interpolate

from condense.errors import Refused

Fill = float | Float[Tensor, "c 1 1"]
"""What an image is padded with: one value, or one for each channel."""
GREY = 0.5
"""The padding in pixels of [0, 1]; a student's is this grey in the evaluation space."""


class Step(TypedDict):
    """A decode step as a manifest holds it: its name and version, and the settings that this version has."""

    name: str
    version: int
    factor: NotRequired[int]
    networks: NotRequired[int]


class Decoder(Protocol):
    """A step that has all it needs to decode images, copies-major."""

    @property
    def copies(self) -> int:
        """Images that come out for each one that goes in."""
        ...

    def __call__(self, images: Float[Tensor, "n c h w"], fill: Fill = GREY) -> Float[Tensor, "m c h w"]:
        """Every copy of every image."""
        ...

    def some(
        self, images: Float[Tensor, "b c h w"], tile: Int[Tensor, " b"], fill: Fill = GREY
    ) -> Float[Tensor, "b c h w"]:
        """One copy of each image."""
        ...


@dataclass(frozen=True)
class MultiFormation:
    """Uniform multi-formation: an image is ``factor`` x ``factor`` tiles, each enlarged to the whole size.

    Kim, Kim, Oh, Yun, Song, Jeong, Ha and Song: Dataset Condensation via Efficient Synthetic-Data
    Parameterization, ICML 2022, https://arxiv.org/abs/2205.14959; `decode_zoom` in condense.py of the
    authors' snu-mllab/Efficient-Dataset-Condensation. A side that the factor does not divide is padded at its
    end (theirs pads both sides by what the width lacks: the same for square images). Bilinear weights add up
    to one, so decoding in pixels of [0, 1] or in the normalised space comes to the same.

    Attributes:
        factor: Tiles along a side; 1 leaves an image as it is.
    """

    factor: int

    name: ClassVar[str] = "multi_formation"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Refuses a factor that is no whole number, or below one.

        Raises:
            Refused: naming it.
        """
        if type(self.factor) is not int or self.factor < 1:
            raise Refused(f"the factor of {self.name} is a whole number from 1 on, not {self.factor!r}")

    @property
    def copies(self) -> int:
        """Images that come out for each one that goes in."""
        return self.factor**2

    @property
    def words(self) -> str:
        """What is done to a stored image, for people."""
        f = self.factor
        return (
            f"{self.name} {self.version}: each stored image is cut into {f} x {f} tiles (a side that {f} "
            "does not divide is padded with grey at its end); each tile is enlarged bilinearly to full size"
        )

    def __call__(self, images: Float[Tensor, "n c h w"], fill: Fill = GREY) -> Float[Tensor, "m c h w"]:
        """Every tile of every image, enlarged; differentiable.

        Args:
            images: The stored images.
            fill: What they are padded with, in the space that their pixels are in.

        Returns:
            The m = ``copies * n`` images, copies-major: first tile 0 of each image in order, then tile 1 of
            each; tile ``row * factor + column``.

        Raises:
            Refused: if a tile would hold no pixel of an image.
        """
        return self._enlarged(self._tiles(images, fill).flatten(0, 2), images)

    def some(
        self, images: Float[Tensor, "b c h w"], tile: Int[Tensor, " b"], fill: Fill = GREY
    ) -> Float[Tensor, "b c h w"]:
        """One tile of each image, enlarged; differentiable.

        Args:
            images: The stored images.
            tile: Which tile of each, on the images' device.
            fill: What they are padded with, in the space that their pixels are in.

        Raises:
            Refused: if a tile would hold no pixel of an image.
        """
        row, column = tile // self.factor, tile % self.factor
        each = torch.arange(len(images), device=images.device)
        return self._enlarged(self._tiles(images, fill)[row, column, each], images)

    def describe(self) -> Step:
        """The step as a manifest holds it."""
        return {"name": self.name, "version": self.version, "factor": self.factor}

    @classmethod
    def from_description(cls, description: Mapping[str, object]) -> "MultiFormation":
        """The step that `describe` told of.

        Raises:
            Refused: if it holds anything but name, version and a whole factor: what this version does not
                know of could change what it decodes to.
        """
        if description.keys() != {"name", "version", "factor"}:
            held = ", ".join(sorted(description.keys() - {"name", "version"})) or "nothing"
            raise Refused(
                f"{cls.name} of version {cls.version} has one setting, factor; this step has {held}"
            )
        return cls(description["factor"])  # type: ignore[arg-type]

    def misfit(self, sides: Sequence[int]) -> str | None:
        """Says why images with these sides (in pixels) cannot be cut into tiles, or None.

        With ``ceil(side / factor)`` pixels to a tile, the last one can lie in the padding as a whole: that of
        a factor above the side always does, and so does that of 4 with a side of 5.
        """
        for side in sides:
            if (self.factor - 1) * -(-side // self.factor) >= side:
                return f"{self.name} with factor {self.factor} cuts a side of {side} so that a tile is empty"
        return None

    def _tiles(self, images: Float[Tensor, "n c h w"], fill: Fill) -> Float[Tensor, "f f n c th tw"]:
        """The tiles by row and column, a view of the padded images."""
        if wrong := self.misfit(images.shape[-2:]):
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
    """The steps of a set whose images hold factor x factor others: none for a factor of 1.

    Args:
        factor: Tiles along a side.
        sides: Of the images, in pixels.
        method: Who asks, for the refusal.

    Raises:
        Refused: if a tile would hold no pixel of an image.
    """
    step = MultiFormation(factor)
    if wrong := step.misfit(sides):
        raise Refused(f"{method}: {wrong}")
    return (step,) if factor > 1 else ()


COMPENSATOR_UNIT = 1 / 127
"""What a stored 1 of a compensator adds to a pixel, of the way from black to white."""


@dataclass(frozen=True)
class Compensated:
    """Each image as it is, and once more under each of its base set's compensators.

    Zhang, Du, Liu and Zhou: Breaking Class Barriers: Efficient Dataset Distillation via Inter-Class Feature
    Compensator, ICLR 2025, https://arxiv.org/abs/2408.06927. Image i belongs to base set ``i % g`` of g (with
    class-major images, the i-th of each class), and a set's compensators are added to all of its images. The
    sum is clamped to black and white, as the authors clamp it; so a compensator that says more than +-1 of
    the way between them says no more than +-1, and a signed byte a value holds it: 1 in steps of 1 / 127.

    Attributes:
        networks: M, compensators of a base set: one for each network that they were learned with.
    """

    networks: int

    name: ClassVar[str] = "compensated"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        """Refuses a number of networks that is no whole number, or below one.

        Raises:
            Refused: naming it.
        """
        if type(self.networks) is not int or self.networks < 1:
            raise Refused(f"the networks of {self.name} are a whole number from 1 on, not {self.networks!r}")

    @property
    def copies(self) -> int:
        """Images that come out for each one that goes in: itself, and one a compensator."""
        return self.networks + 1

    @property
    def words(self) -> str:
        """What is done to a stored image, for people."""
        return (
            f"{self.name} {self.version}: each stored image is seen as it is and, clamped to black and "
            f"white, with each of the {self.networks} compensators of its base set added (image i is "
            "of base set i modulo their number; 127 is the way from black to white)"
        )

    def describe(self) -> Step:
        """The step as a manifest holds it."""
        return {"name": self.name, "version": self.version, "networks": self.networks}

    @classmethod
    def from_description(cls, description: Mapping[str, object]) -> "Compensated":
        """The step that `describe` told of.

        Raises:
            Refused: if it holds anything but name, version and a whole number of networks.
        """
        if description.keys() != {"name", "version", "networks"}:
            held = ", ".join(sorted(description.keys() - {"name", "version"})) or "nothing"
            raise Refused(
                f"{cls.name} of version {cls.version} has one setting, networks; this step has {held}"
            )
        return cls(description["networks"])  # type: ignore[arg-type]

    def misfit(self, sides: Sequence[int]) -> str | None:
        """None: images of any sides can be compensated."""
        return None


@dataclass(frozen=True, eq=False)
class Compensator:
    """`Compensated` with what it needs to decode certain stored images.

    Attributes:
        compensators: Of all base sets, as stored.
        stored: Which images will come: their places among the stored ones.
        black: A black pixel in the images' space.
        white: A white pixel in the images' space.
    """

    compensators: Int8[Tensor, "g m c h w"]
    stored: Int[Tensor, " n"]
    black: Float[Tensor, "c 1 1"]
    white: Float[Tensor, "c 1 1"]

    @property
    def copies(self) -> int:
        """Images that come out for each one that goes in."""
        return self.compensators.shape[1] + 1

    def __call__(self, images: Float[Tensor, "n c h w"], fill: Fill = GREY) -> Float[Tensor, "m c h w"]:
        """Every image, and every image under each of its compensators.

        Args:
            images: The stored images that `stored` tells of, in their order.
            fill: Unused: nothing is padded.

        Returns:
            The m = ``copies * n`` images, copies-major; copy 0 is the image itself.
        """
        each = [torch.full_like(self.stored, copy) for copy in range(self.copies)]
        return torch.cat([self.some(images, copy) for copy in each])

    def some(
        self, images: Float[Tensor, "b c h w"], tile: Int[Tensor, " b"], fill: Fill = GREY
    ) -> Float[Tensor, "b c h w"]:
        """One copy of each image: see `__call__`.

        Args:
            images: The stored images that `stored` tells of, in their order.
            tile: Which copy of each, on the images' device.
            fill: Unused.
        """
        base_set = self.stored % len(self.compensators)
        # Copy 0 looks up some compensator and does without.
        added = self.compensators[base_set, (tile - 1).clamp(min=0)] * COMPENSATOR_UNIT
        seen = (images + added * (self.white - self.black)).clamp(self.black, self.white)
        return torch.where((tile == 0)[:, None, None, None], images, seen)


def as_compensators(values: Float[Tensor, "g m c h w"]) -> Int8[Tensor, "g m c h w"]:
    """Compensators as they are stored.

    Args:
        values: What they add to pixels in [0, 1].
    """
    return (values.clamp(-1, 1) / COMPENSATOR_UNIT).round().to(torch.int8)


AnyStep = MultiFormation | Compensated
"""A decode step as a set tells of it."""
STEPS: Mapping[tuple[str, int], type[AnyStep]] = {
    (step.name, step.version): step for step in (MultiFormation, Compensated)
}
"""Every decode step that this version can take, by name and version."""


def from_description(description: Mapping[str, object]) -> AnyStep:
    """The step that a manifest tells of.

    Raises:
        Refused: if its name, version or settings are unknown.
    """
    name, version = description.get("name"), description.get("version")
    for (known, of_version), step in STEPS.items():
        if (name, version) == (known, of_version):
            return step.from_description(description)
    takes = ", ".join(f"{known} of version {of_version}" for known, of_version in STEPS)
    raise Refused(
        f"unknown decode step {name!r} of version {version}; this condense takes {takes}: update condense"
    )


def decoded(
    steps: Sequence[Decoder], images: Float[Tensor, "n c h w"], fill: Fill = GREY
) -> Float[Tensor, "m c h w"]:
    """Images through every step in turn, copies-major: the first n of the result are copy 0 of each image."""
    for step in steps:
        images = step(images, fill)
    return images


def some_decoded(
    steps: Sequence[Decoder],
    images: Float[Tensor, "b c h w"],
    copy: Int[Tensor, " b"],
    fill: Fill = GREY,
) -> Float[Tensor, "b c h w"]:
    """One copy of each image through every step: what `decoded` has at ``copy * n + i`` for image i of n.

    The first step's tile is the fastest digit of a copy's number, whose radix at each step are its copies.
    """
    for step in steps:
        images, copy = step.some(images, copy % step.copies, fill), copy // step.copies
    return images
