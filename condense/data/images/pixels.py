"""Pixel spaces: what numbers an image is made of while a method or a student works on it.

`raw` is pixels in [0, 1]; `normalized` subtracts the dataset's mean and divides by its standard deviation,
channel by channel; `zca` whitens whole images with a matrix that is fitted on the training images.

The whitening is regularised: with the covariance U diag(S) U^T of the training pixels it is
(x - mean) U diag(1 / sqrt(S + eps)) U^T, eps = 0.1, as in trajectory matching's code
(GeorgeCazenavette/mtt-distillation, which calls kornia), so the whitened covariance is S / (S + eps), not 1.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from condense.errors import Refused, unknown
from condense.files import digest, home, write_atomic

SPACES = ("raw", "normalized", "zca")
"""The pixel spaces by name."""

ZCA_EPS = 0.1
MAX_FEATURES = 16384
"""The largest image (c h w) whose covariance is decomposed: 64 x 64 in colour is 12288."""

Pixels = UInt8[Tensor, "n c h w"] | Float[Tensor, "n c h w"]


class PixelSpace(ABC):
    """A reversible map from pixels to the numbers that networks see."""

    name: str

    @abstractmethod
    def encode(self, images: Pixels) -> Float[Tensor, "n c h w"]:
        """Brings pixels into the space: uint8, or floating point in [0, 1]; differentiable for the latter.

        The result is float32 (float64 for float64 pixels).
        """

    @abstractmethod
    def decode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Takes images back to pixels in units of [0, 1], unclamped."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "PixelSpace":
        """The same space for images on another device."""

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """The space as JSON, as a stored set's manifest holds it."""


def unit(images: Pixels) -> Float[Tensor, "n c h w"]:
    """Pixels as floating point in [0, 1]: uint8 is divided by 255, half precision is widened to float32."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255)
    return images if images.dtype == torch.float64 else images.to(torch.float32)


class Affine(PixelSpace):
    """Shift and scale of each channel: `raw` and `normalized`."""

    def __init__(self, name: str, mean: Float[Tensor, "c 1 1"], std: Float[Tensor, "c 1 1"]) -> None:
        """Takes the constants as float64, so that they lose nothing for float64 pixels."""
        self.name = name
        self.mean = mean
        self.std = std

    def encode(self, images: Pixels) -> Float[Tensor, "n c h w"]:
        """Brings pixels into the space."""
        x = unit(images)
        if self.name == "raw":
            return x
        mean, std = self.mean.to(x.dtype), self.std.to(x.dtype)
        if images.dtype == torch.uint8:
            return x.sub_(mean).div_(std)
        return (x - mean) / std

    def decode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Takes images back to pixels in units of [0, 1], unclamped."""
        x = unit(images)
        return x if self.name == "raw" else x * self.std.to(x.dtype) + self.mean.to(x.dtype)

    def to(self, device: torch.device | str) -> "Affine":
        """The same space for images on another device."""
        return Affine(self.name, self.mean.to(device), self.std.to(device))

    def describe(self) -> dict[str, object]:
        """The space as JSON: all that is needed to build it again."""
        return {"space": self.name, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}


class Zca(PixelSpace):
    """Regularised whitening of whole images."""

    name: str = "zca"
    eps: ClassVar[float] = ZCA_EPS

    def __init__(
        self,
        mean: Float[Tensor, "1 d"],
        matrix: Float[Tensor, "d d"],
        inverse: Float[Tensor, "d d"],
        fitted_on: str,
    ) -> None:
        """Takes what `kornia.enhance.zca_mean` gives, and the hash of the split that it was fitted on."""
        self.mean = mean
        self.matrix = matrix
        self.inverse = inverse
        self.fitted_on = fitted_on

    @classmethod
    def fit(cls, images: UInt8[Tensor, "n c h w"], fitted_on: str) -> "Zca":
        """Fits the whitening in float64 and keeps it in float32.

        Args:
            images: The whole training set.
            fitted_on: Its hash.

        Raises:
            Refused: if the images are so large that their covariance cannot be decomposed.
        """
        import kornia

        features = images[0].numel()
        if features > MAX_FEATURES:
            side = " x ".join(str(extent) for extent in images.shape[1:])
            raise Refused(
                f"images of {side} are too large for zca, whose matrix would have {features} rows "
                f"(at most {MAX_FEATURES}); choose a smaller --size or another pixel space"
            )
        pixels = images.flatten(1).to(torch.float64).div_(255)
        matrix, mean, inverse = kornia.enhance.zca_mean(
            pixels, dim=0, unbiased=True, eps=ZCA_EPS, return_inverse=True
        )
        assert inverse is not None
        return cls(mean.float(), matrix.float(), inverse.float(), fitted_on)

    def encode(self, images: Pixels) -> Float[Tensor, "n c h w"]:
        """Brings pixels into the space."""
        x = unit(images)
        flat = x.flatten(1) - self.mean.to(x.dtype)
        return (flat @ self.matrix.to(x.dtype)).view_as(x)

    def decode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Takes images back to pixels in units of [0, 1], unclamped."""
        x = unit(images)
        flat = torch.addmm(self.mean.to(x.dtype), x.flatten(1), self.inverse.to(x.dtype))
        return flat.view_as(x)

    def to(self, device: torch.device | str) -> "Zca":
        """The same space for images on another device."""
        return Zca(self.mean.to(device), self.matrix.to(device), self.inverse.to(device), self.fitted_on)

    def describe(self) -> dict[str, object]:
        """The space as JSON: not its matrix, but how it is made from the dataset."""
        return {
            "space": "zca",
            "eps": ZCA_EPS,
            "fitted_on": self.fitted_on,
            "recompute": (
                "on the training images as float64 pixels in [0, 1], flattened channel by channel and row by "
                "row, take the mean and the unbiased covariance U diag(S) U^T; "
                "whitened = (x - mean) U diag(1 / sqrt(S + eps)) U^T"
            ),
        }


def affine(name: str, mean: Sequence[float], std: Sequence[float]) -> Affine:
    """The space `raw` or `normalized` with a constant for each channel."""
    columns = [torch.tensor(list(values), dtype=torch.float64).view(-1, 1, 1) for values in (mean, std)]
    return Affine(name, columns[0], columns[1])


def extremes(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
    """What black and white are in normalised pixels, for each channel; rounded once, to float32."""
    ends = [[(end - m) / s for m, s in zip(mean, std, strict=True)] for end in (0.0, 1.0)]
    black, white = (torch.tensor(values, device=device).view(-1, 1, 1) for values in ends)
    return black, white


def fitted_zca(images: UInt8[Tensor, "n c h w"], fitted_on: str) -> Zca:
    """The whitening of a training set, fitted at the first call and read from the home folder afterwards.

    Args:
        images: The whole training set.
        fitted_on: Its hash.
    """
    path = home() / "zca" / digest({"fitted_on": fitted_on, "eps": ZCA_EPS, "version": 1}) / "zca.safetensors"
    try:
        kept = safetensors.torch.load_file(path)
        return Zca(kept["mean"], kept["matrix"], kept["inverse"], fitted_on).to(images.device)
    except (OSError, KeyError, safetensors.SafetensorError):
        space = Zca.fit(images, fitted_on)  # never fitted before, or the file is damaged
    tensors = {"mean": space.mean, "matrix": space.matrix, "inverse": space.inverse}
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, safetensors.torch.save(on_cpu))
    return space


def from_description(description: Mapping[str, object]) -> PixelSpace:
    """The space that `PixelSpace.describe` told of.

    Raises:
        Refused: for ``zca``, which only its dataset can give, and for an unknown space.
    """
    name = str(description.get("space"))
    if name == "zca":
        raise Refused(
            "these images are in zca space, whose matrix is fitted on the training set "
            f"{str(description.get('fitted_on'))[:12]}: open them with that dataset at hand"
        )
    if name not in ("raw", "normalized"):
        raise unknown("pixel space", name, SPACES)
    mean, std = description["mean"], description["std"]
    assert isinstance(mean, Sequence) and isinstance(std, Sequence)
    return affine(name, mean, std)
