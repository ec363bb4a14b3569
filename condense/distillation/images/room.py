"""As many real images as fit a number of bytes: how they are compressed, and how many each class has.

The more an image is compressed, the more of them fit. Which compression is best is measured, without test
data: a tenth of each class is held out, each candidate's images of the rest fill the room, and a network is
trained on them for a short time. The candidate whose network is most accurate on the held-out images is
taken. A candidate with no more images than one of better quality is left out. The images and the networks of
the search are drawn with seeds of their own, so that all draws of a baseline agree, and the networks are kept
in the cache.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.data import Images
from condense.distillation.images.run import ImageRun
from condense.networks import Network
from condense.store import ImageSet
from condense.store.images.encode import NO_ENCODING
from condense.training.image_training import Training, divided
from condense.training.step import accuracy

BEST = "best"
"""The value of a field ``encode`` that takes the best of `CANDIDATES`."""
CANDIDATES = (NO_ENCODING, "png", "jpeg:75", "jpeg:50", "jpeg:25", "jpeg:10")
"""The compressions that are compared, the best quality first; of tiny images raw pixels are the smallest."""
HELD_OUT = 0.1
"""Share of each class that is held out of the search."""
BATCH = 128
LEAST = 9
"""Bytes that an image takes at least: its class id and the place of its file."""

Found = dict[str, dict[str, float]]
"""The number of images and the accuracy on held-out images in percent by compression."""
Orders = Sequence[Int64[Tensor, " _"]]
"""The positions of the images of each class, in the order in which they are taken."""


def largest(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Returns the largest number from `low` on, below `high`, that fits, by bisection.

    Args:
        fits: Whether a number fits; one below a number that fits does, too.
        low: Counts as fitting without being asked for.
        high: Counts as too large.
    """
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def filled(train: Images, orders: Orders, room: int, encode: str, run: ImageRun) -> ImageSet | None:
    """Returns the largest set of equally many images of each class that takes at most some bytes.

    Args:
        train: The training images, in the run's pixel space.
        orders: Which images are taken first; the shortest order bounds how many there are of each class.
        room: Largest size of the set in bytes, all parts together.
        encode: The compression, as `ImageRun.distilled` takes it.
        run: The run that makes the set.

    Returns:
        The set; None if there is no room for an image of each class.
    """

    def first(count: int) -> ImageSet:
        chosen = torch.cat([order[:count] for order in orders]).to(train.labels.device)
        return run.distilled(train.images[chosen], train.labels[chosen], as_bytes=True, encode=encode)

    def fits(count: int) -> bool:
        return sum(first(count).nbytes().values()) <= room

    most = min(min(len(order) for order in orders), room // (len(orders) * LEAST))
    count = largest(fits, 0, most + 1)
    return first(count) if count else None


def best_encoding(
    train: Images, room: int, network: str, steps: int, run: ImageRun
) -> tuple[str | None, Found]:
    """Returns the compression with which a room holds the images that are worth most: see the module.

    Args:
        train: The training images, in the run's pixel space.
        room: As for `filled`.
        network: Name of the network that judges.
        steps: Number of steps that it is trained for on each candidate's images.
        run: The run, which is charged for the search.

    Returns:
        One of `CANDIDATES`, None if no room is large enough for an image of each class; and what was measured
        of each candidate that was trained on.
    """
    orders, held_out = _divided(train)
    there: dict[str, ImageSet] = {}
    for name in CANDIDATES:
        made = filled(train, orders, room, name, run)
        if made is not None and all(len(made) > len(better) for better in there.values()):
            there[name] = made
    if "png" in there:
        there.pop(NO_ENCODING, None)  # both lose nothing, and there are more of the PNG files
    if len(there) < 2:
        return next(iter(there), None), {}
    found: Found = {}
    for name, made in there.items():
        seen = Images.of(made.images, made.labels, train.num_classes).in_space(run.space)
        training = Training(network=network, steps=steps, batch=min(BATCH, len(seen)), augment="dsa")
        judge = run.pretrained(training, seen.to(run.device))
        found[name] = {"images": len(seen), "accuracy": _accuracy(judge, train, held_out, run)}
    return max(found, key=lambda name: found[name]["accuracy"]), found


def _divided(train: Images) -> tuple[Orders, Int64[Tensor, " o"]]:
    """Returns shuffled positions of each class without those held out, and the positions held out."""
    kept, held_out = divided(train, HELD_OUT, seed=0)
    labels, rng = train.labels.cpu(), torch.Generator().manual_seed(0)
    classes = [kept[labels[kept] == label] for label in range(train.num_classes)]
    return [members[torch.randperm(len(members), generator=rng)] for members in classes], held_out


def _accuracy(judge: Network, train: Images, held_out: Int64[Tensor, " o"], run: ImageRun) -> float:
    chosen = held_out.to(train.images.device)
    images = train.images[chosen]
    if run.space.name == "raw":  # a trained network sees what students see
        images = run.normalize(images)
    return accuracy(judge, images, train.labels[chosen])
