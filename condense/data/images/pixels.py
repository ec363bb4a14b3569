"""Pixel spaces: the representations of images that methods and students work in.

`raw` holds pixels in [0, 1]. `normalized` subtracts the dataset's mean and divides by its standard deviation,
channel by channel. `zca` and `zca-relative` whiten whole images with a matrix that is fitted on the training
images.

The whitening is regularised as in the code of trajectory matching (GeorgeCazenavette/mtt-distillation, which
calls kornia). For training pixels with the covariance U diag(S) U^T it is
(x - mean) U diag(1 / sqrt(S + eps)) U^T with eps = 0.1, so the whitened variances are S / (S + eps), not 1.

`zca-relative` is the whitening of FRePo and RCIG (yongchaoz/FRePo, ``lib/dataset/ops.py``). It takes
normalised pixels, and eps is 0.1 times their mean variance, which is close to 1. Pixels in [0, 1] vary by
less than 0.1, so an eps of 0.1 is many times larger beside them: `zca-relative` whitens far more.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import safetensors
import safetensors.torch
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from condense.errors import Refused, Remedy, unknown
from condense.files import digest, hash_tensors, home, locked, tidy, write_atomic

SPACES = ("raw", "normalized", "zca", "zca-relative")
"""Names of the pixel spaces."""
WHITENED = ("zca", "zca-relative")
"""Names of the spaces of whitened images."""

ZCA_EPS = 0.1
"""Regularisation of both whitenings; in ``zca-relative`` a factor of the mean variance."""
MAX_FEATURES = 16384
"""Largest number of values c h w of an image that is whitened; 64 x 64 in colour is 12288."""

Pixels = UInt8[Tensor, "*n c h w"] | Float[Tensor, "*n c h w"]


@dataclass(eq=False, repr=False)
class PixelSpace(ABC):
    """An invertible map from pixels to the inputs of networks.

    Attributes:
        name: Name of the space, one of `SPACES`.
    """

    name: str

    @abstractmethod
    def encode(self, images: Pixels) -> Float[Tensor, "*n c h w"]:
        """Maps pixels, as uint8 or as floating point in [0, 1], into the space.

        Floating-point pixels keep their gradients. The result is float64 for float64 pixels, else float32.
        """

    @abstractmethod
    def decode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Maps images back to pixels, where 0 is black and 1 is white, without clamping them."""

    def to(self, device: torch.device | str) -> Self:
        """Returns the same space for images on another device."""
        moved = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved

    @abstractmethod
    def describe(self) -> dict[str, object]:
        """Returns the JSON description of the space that the manifest of a stored set contains."""


def unit(images: Pixels) -> Float[Tensor, "*n c h w"]:
    """Converts pixels to floating point: divides uint8 by 255 and converts half precision to float32."""
    if images.dtype == torch.uint8:
        return images.to(torch.float32).div_(255)
    return images if images.dtype == torch.float64 else images.to(torch.float32)


@dataclass(eq=False, repr=False)
class Affine(PixelSpace):
    """The spaces `raw` and `normalized`: a shift and a scale of each channel.

    Both are stored as float64, so that float64 pixels lose no precision.
    """

    mean: Float[Tensor, "c 1 1"]
    std: Float[Tensor, "c 1 1"]

    def encode(self, images: Pixels) -> Float[Tensor, "*n c h w"]:
        x = unit(images)
        if self.name == "raw":
            return x
        mean, std = self.mean.to(x.dtype), self.std.to(x.dtype)
        if images.dtype == torch.uint8:
            return x.sub_(mean).div_(std)
        return (x - mean) / std

    def decode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        x = unit(images)
        return x if self.name == "raw" else x * self.std.to(x.dtype) + self.mean.to(x.dtype)

    def describe(self) -> dict[str, object]:
        return {"space": self.name, "mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist()}


@dataclass(eq=False, repr=False)
class Zca(PixelSpace):
    """The space `zca`: regularised whitening of whole images.

    Mean, matrix and inverse are those of `kornia.enhance.zca_mean`; ``fitted_on`` is the hash of the training
    images.
    """

    name: str = field(default="zca", init=False)
    mean: Float[Tensor, "1 d"]
    matrix: Float[Tensor, "d d"]
    inverse: Float[Tensor, "d d"]
    fitted_on: str

    @classmethod
    def fit(cls, images: UInt8[Tensor, "n c h w"], fitted_on: str) -> "Zca":
        """Fits the whitening on training images, whose hash is ``fitted_on``, in float64.

        The result is in float32.

        Raises:
            Refused: If an image has more values than `MAX_FEATURES`.
        """
        import kornia

        _require_small(images)
        pixels = images.flatten(1).to(torch.float64).div_(255)
        matrix, mean, inverse = kornia.enhance.zca_mean(
            pixels, dim=0, unbiased=True, eps=ZCA_EPS, return_inverse=True
        )
        assert inverse is not None
        return cls(mean.float(), matrix.float(), inverse.float(), fitted_on)

    def encode(self, images: Pixels) -> Float[Tensor, "*n c h w"]:
        x = unit(images)
        flat = x.flatten(1) - self.mean.to(x.dtype)
        return (flat @ self.matrix.to(x.dtype)).view_as(x)

    def decode(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        x = unit(images)
        flat = torch.addmm(self.mean.to(x.dtype), x.flatten(1), self.inverse.to(x.dtype))
        return flat.view_as(x)

    def describe(self) -> dict[str, object]:
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


@dataclass(eq=False, repr=False)
class RelativeZca(Zca):
    """The space `zca-relative`: whitening of normalised images, regularised in proportion to their variance.

    ``mean`` and ``matrix`` hold the normalisation, too; its constants are ``channel_mean`` and
    ``channel_std``.
    """

    name: str = field(default="zca-relative", init=False)
    channel_mean: tuple[float, ...]
    channel_std: tuple[float, ...]

    @classmethod
    def fit_normalized(
        cls,
        images: UInt8[Tensor, "n c h w"],
        fitted_on: str,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> "RelativeZca":
        """Fits the whitening in float64; the result is in float32.

        If there are fewer images than values of an image, directions in which the training images do not vary
        keep their scale, as in the authors' code.

        Args:
            images: Training images.
            fitted_on: Their hash.
            mean: Mean of each channel of pixels in [0, 1].
            std: Standard deviation of each channel.

        Raises:
            Refused: If an image has more values than `MAX_FEATURES`.
        """
        _require_small(images)
        values = images[0].numel() // images.shape[1]
        scale = torch.tensor(std, dtype=torch.float64).repeat_interleave(values)
        pixels = images.flatten(1).to(torch.float64).div_(255)
        center = pixels.mean(0)
        normalized = (pixels - center) / scale
        covariance = normalized.T @ normalized / len(images)
        eps = ZCA_EPS * covariance.trace() / len(covariance)
        variances, axes = torch.linalg.eigh(covariance)  # ascending
        roots = (variances.clamp(min=0) + eps).sqrt()
        roots[: max(0, len(roots) - len(images))] = 1
        matrix, inverse = (axes * roots.reciprocal()) @ axes.T, (axes * roots) @ axes.T
        fitted = (center[None], matrix / scale[:, None], inverse * scale)
        shift, forward, back = (part.float() for part in fitted)
        return cls(shift, forward, back, fitted_on, tuple(mean), tuple(std))

    def describe(self) -> dict[str, object]:
        return {
            "space": self.name,
            "mean": list(self.channel_mean),
            "std": list(self.channel_std),
            "eps": ZCA_EPS,
            "fitted_on": self.fitted_on,
            "recompute": (
                "on the training images as float64 pixels in [0, 1], divided by the std of their channel and "
                "flattened channel by channel and row by row, take the mean and the covariance U diag(S) U^T "
                "(divided by the number n of images); r = sqrt(S + eps * mean(S)), but 1 for all but the n "
                "largest S; whitened = (x - mean) U diag(1 / r) U^T"
            ),
        }


def _require_small(images: UInt8[Tensor, "n c h w"]) -> None:
    """Refuses images that are too large to be whitened."""
    features = images[0].numel()
    if features > MAX_FEATURES:
        side = " x ".join(str(extent) for extent in images.shape[1:])
        raise Refused(
            f"images of {side} are too large for zca, whose matrix would have {features} rows "
            f"(at most {MAX_FEATURES})",
            remedies=[Remedy(settings={"size": None}, effect="reduces the images")],
        )


def affine(name: str, mean: Sequence[float], std: Sequence[float]) -> Affine:
    """Returns the space `raw` or `normalized` for the mean and standard deviation of each channel."""
    columns = [torch.tensor(list(values), dtype=torch.float64).view(-1, 1, 1) for values in (mean, std)]
    return Affine(name, columns[0], columns[1])


def extremes(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> tuple[Float[Tensor, "c 1 1"], Float[Tensor, "c 1 1"]]:
    """Returns the values of black and white in normalised pixels, for each channel, as float32."""
    ends = [[(end - m) / s for m, s in zip(mean, std, strict=True)] for end in (0.0, 1.0)]
    black, white = (torch.tensor(values, device=device).view(-1, 1, 1) for values in ends)
    return black, white


def fitted_zca(images: UInt8[Tensor, "n c h w"], fitted_on: str) -> Zca:
    """Returns the whitening of training images; fits it once and then loads it from the home folder."""
    parts = {"fitted_on": fitted_on, "eps": ZCA_EPS, "version": 1}
    return _fitted(
        parts,
        images,
        lambda: Zca.fit(images, fitted_on),
        lambda shift, on, back: Zca(shift, on, back, fitted_on),
    )


def fitted_relative_zca(
    images: UInt8[Tensor, "n c h w"], fitted_on: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> Zca:
    """Returns the whitening `zca-relative` of training images, likewise: see `RelativeZca.fit_normalized`."""
    constants = {"mean": list(mean), "std": list(std)}
    parts = {"fitted_on": fitted_on, "eps": ZCA_EPS, "version": 1, "relative": constants}
    return _fitted(
        parts,
        images,
        lambda: RelativeZca.fit_normalized(images, fitted_on, mean, std),
        lambda shift, on, back: RelativeZca(shift, on, back, fitted_on, mean, std),
    )


def _fitted(
    parts: Mapping[str, object],
    images: UInt8[Tensor, "n c h w"],
    fit: Callable[[], Zca],
    restore: Callable[[Tensor, Tensor, Tensor], Zca],
) -> Zca:
    """Returns a whitening that is stored under some parts, or else fits and stores it."""
    path = home() / "zca" / digest(parts) / "zca.safetensors"
    if (found := _stored_zca(path)) is not None:
        tidy(path)
        return restore(*found).to(images.device)
    with locked(path, what="fits the whitening of the same images"):
        if (found := _stored_zca(path, told=True)) is not None:
            return restore(*found).to(images.device)
        space = fit()
        tensors = {"mean": space.mean, "matrix": space.matrix, "inverse": space.inverse}
        on_cpu = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        write_atomic(path, safetensors.torch.save(on_cpu, metadata={"hash": hash_tensors(on_cpu)}))
    return space


def _stored_zca(path: Path, *, told: bool = False) -> tuple[Tensor, Tensor, Tensor] | None:
    """Reads mean, matrix and inverse; returns None if there are none, or the file is damaged.

    The damage may be told. The files of older versions hold no hash.
    """
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            stored = {name: file.get_tensor(name) for name in ("mean", "matrix", "inverse")}
        if metadata and metadata != {"hash": hash_tensors(stored)}:
            raise ValueError("hash")
        return stored["mean"], stored["matrix"], stored["inverse"]
    except (OSError, ValueError, safetensors.SafetensorError):
        if told:
            print(f"{path} is damaged: the whitening is fitted again", file=sys.stderr, flush=True)
        return None


def from_description(description: Mapping[str, object]) -> PixelSpace:
    """Restores a space from the result of `PixelSpace.describe`.

    Raises:
        Refused: For `WHITENED` spaces, which have to be fitted on their dataset, and for an unknown space.
    """
    name = str(description.get("space"))
    if name in WHITENED:
        raise Refused(
            f"these images are in {name} space, whose matrix is fitted on the training set "
            f"{str(description.get('fitted_on'))[:12]}: open them with that dataset at hand"
        )
    if name not in ("raw", "normalized"):
        raise unknown("pixel space", name, SPACES)
    mean, std = description["mean"], description["std"]
    assert isinstance(mean, Sequence) and isinstance(std, Sequence)
    return affine(name, mean, std)


def statistics(images: UInt8[Tensor, "n c h w"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns each channel's mean and population standard deviation of pixels in [0, 1], to four decimals.

    The sums are sums of integers, so they are exact on every machine. A constant channel gets the standard
    deviation 1.
    """
    total: Int64[Tensor, " c"] = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for start in range(0, len(images), 2048):
        chunk = images[start : start + 2048].to(torch.int32)
        total += chunk.sum((0, 2, 3))
        squares += (chunk * chunk).sum((0, 2, 3))
    count = images.numel() // images.shape[1]
    mean = total.double() / count
    variance = (squares.double() / count - mean * mean).clamp_min(0)
    means = tuple(round(value / 255, 4) for value in mean.tolist())
    stds = tuple(round(value / 255, 4) or 1.0 for value in variance.sqrt().tolist())
    return means, stds
