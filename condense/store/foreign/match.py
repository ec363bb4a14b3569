"""Measures which pixel space the images of a foreign file are in, and whether their labels fit them.

Nothing says so in the files of this field: the same tensor may hold pixels in [0, 1], pixels normalised by
one of two sets of constants, or whitened ones. Each known space decodes the images, and the one that gives
pixels most like the real training images is the likeliest.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from scipy import optimize
from torch import Tensor

from condense.data import ImageDataset, Images, PixelSpace
from condense.data.images.pixels import affine, unit

AUTHORS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion-mnist": ((0.2861,), (0.3530,)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny-imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""The constants of the code that most programs of this field are made from (VICO-UoE/DatasetCondensation,
``utils.py``): the mean and the standard deviation of each channel, as its authors give them."""

AFFINE = ("raw", "normalized", "normalized-dc")
"""The spaces that shift and scale channels; ``normalized-dc`` does so by `AUTHORS`."""
SOME = 5000
"""Number of training images that are looked at."""
GRID = 0.01
"""Distance of a pixel from one of 8 bits, in steps of 1/255, up to which it counts as one."""


def spaces_of(dataset: ImageDataset, names: Sequence[str]) -> dict[str, PixelSpace]:
    """Returns the named spaces that a dataset has, by name; whitened ones are fitted if none is cached."""
    found: dict[str, PixelSpace] = {}
    for name in names:
        if name == "normalized-dc":
            if (constants := AUTHORS.get(dataset.spec.name)) is not None:
                found[name] = affine("normalized", *constants)
        elif name == "raw":
            channels = dataset.spec.channels
            found[name] = affine("normalized", [0.0] * channels, [1.0] * channels)
        else:
            found[name] = dataset.space(name)
    return found


@dataclass(frozen=True)
class Look:
    """How images look: the statistics in which the spaces differ.

    Attributes:
        mean: Mean of each channel, of pixels in [0, 1].
        std: Standard deviation of each channel.
        smoothness: Correlation of horizontal neighbours; near 0 for whitened pixels.
    """

    mean: Float[Tensor, " c"]
    std: Float[Tensor, " c"]
    smoothness: float

    @classmethod
    def of(cls, images: Float[Tensor, "n c h w"]) -> "Look":
        """Looks at pixels in [0, 1], which may lie outside of it."""
        flat = images.double().transpose(0, 1).flatten(1)
        mean, std = flat.mean(1), flat.std(1)
        apart = (images.double() - mean[:, None, None]) / std.clamp_min(1e-12)[:, None, None]
        smoothness = float((apart[..., 1:] * apart[..., :-1]).mean())
        return cls(mean, std, smoothness)

    def distance(self, other: "Look") -> float:
        """Returns how unlike two looks are: shift, logarithm of the scale, and smoothness, added up."""
        shift = float(((self.mean - other.mean) / other.std).abs().mean())
        ratio = self.std.clamp_min(1e-12) / other.std
        scale = float(ratio.log().abs().mean())
        return shift + scale + abs(self.smoothness - other.smoothness)


def real_look(train: Images) -> Look:
    """Returns how the first training images look."""
    return Look.of(unit(train.images[:SOME]))


def distances(
    images: Float[Tensor, "n c h w"], spaces: Mapping[str, PixelSpace], train: Images
) -> dict[str, float]:
    """Returns for each space how unlike the real images the decoded ones are, the most alike first.

    A space that decodes all images to pixels of 8 bits is at distance 0: no other could do so by chance.
    """
    real = real_look(train)
    found = {}
    for name, space in spaces.items():
        pixels = space.decode(images)
        steps = pixels.double() * 255
        bytes_ = bool(((steps - steps.round().clamp(0, 255)).abs() < GRID).all())
        found[name] = 0.0 if bytes_ else Look.of(pixels).distance(real)
    return dict(sorted(found.items(), key=lambda item: item[1]))


@dataclass(frozen=True)
class ClassFit:
    """Whether images of each label look like the real ones of that class.

    Attributes:
        own: Mean correlation of the class means of both, label by label.
        z: By how many standard deviations this is above that of labels in a random order.
        best: The order of the classes in which the correlation is the largest: label i looks like best[i].
        best_z: The same number for that order.
    """

    own: float
    z: float
    best: tuple[int, ...]
    best_z: float


def class_fit(pixels: Float[Tensor, "n c h w"], labels: Int64[Tensor, " n"], train: Images) -> ClassFit:
    """Compares the mean images of each label with the real class means.

    The mean and variance over all orders of the labels are those of a random permutation's trace.
    """
    k = train.num_classes
    mine = _centred(_class_means(pixels, labels, k))
    real = _centred(_class_means(train.images, train.labels, k))
    alike = mine @ real.T  # (k, k) correlations
    mean = float(alike.sum()) / k
    doubly = alike - alike.mean(0) - alike.mean(1, keepdim=True) + alike.mean()
    spread = math.sqrt(float(doubly.square().sum()) / max(k - 1, 1))
    rows, columns = optimize.linear_sum_assignment(-alike.numpy())  # type: ignore[attr-defined]
    traces = float(alike.trace()), float(alike[rows, columns].sum())
    own, best = ((trace - mean) / max(spread, 1e-12) for trace in traces)
    return ClassFit(traces[0] / k, own, tuple(int(one) for one in columns), best)


def _class_means(
    images: Shaped[Tensor, "n c h w"], labels: Int64[Tensor, " n"], k: int
) -> Float[Tensor, "k d"]:
    """Returns the mean pixels of each class, which are 0 without any; one class after the other in memory."""
    means = torch.zeros(k, images[0].numel(), dtype=torch.float64)
    for label in range(k):
        if len(of_class := images[labels == label]):
            means[label] = unit(of_class).flatten(1).double().mean(0)
    return means


def _centred(means: Float[Tensor, "k d"]) -> Float[Tensor, "k d"]:
    """Returns what distinguishes each class's mean from the others, as unit vectors."""
    apart = means - means.mean(0)
    units: Tensor = apart / apart.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return units
