"""Distribution matching: the mean features of real and synthetic images of a class are brought together.

`mean_gap` is the loss of one step. `condense.methods.dm` takes it in a new random network at every step, and
a client of a federation (`condense.federated.virtual`) in the network that the server has sent.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from condense.augment import dsa
from condense.data import Images
from condense.distillation.images.learnable import LearnableSet
from condense.networks import Network, network_in_chunks
from condense.training.step import chunks

Describe = Callable[[Network, Float[Tensor, "n c h w"]], Float[Tensor, "n d"]]
"""Returns the vectors whose class means are matched."""


def mean_gap(
    network: Network,
    describe: Describe,
    syn: LearnableSet,
    train: Images,
    batch_real: int,
    strategy: str,
    rng: torch.Generator,
) -> Float[Tensor, ""]:
    """Returns the sum over the classes of the squared distance between the means of both sides' vectors.

    Both sides go through the same (Siamese) augmentation. Gradients flow into the synthetic images.

    Args:
        network: The network, whose parameters need no gradient.
        describe: What is matched, such as the network's features.
        syn: The synthetic images, which have the classes of the real ones.
        train: The real images, in the pixel space of the synthetic ones.
        batch_real: Real images of each class.
        strategy: Operations of `condense.augment.dsa`.
        rng: A CPU generator, which draws the operations first and then the real images.
    """
    k, (height, width) = train.num_classes, train.images.shape[-2:]
    vectors = partial(describe, network)
    augment = dsa.siamese(strategy, (height, width), k, rng).to(train.images.device)
    real = augment(train.draw(batch_real, rng)).flatten(0, 1)  # (k * b, c, h, w)
    target = class_means(network_in_chunks(network, vectors, real), (batch_real,) * k)  # (k, d)
    shown = augment(syn.by_class())  # (k, i, c, h, w)
    images = shown.flatten(0, 1) if syn.present is None else shown[syn.present]  # (n, c, h, w)
    learned = torch.cat([vectors(images[part]) for part in chunks(images, network)])
    return (class_means(learned, syn.seen_counts) - target).square().sum()


def class_means(rows: Float[Tensor, "n d"], sizes: Sequence[int]) -> Float[Tensor, "k d"]:
    """Returns the mean of each class's rows, which lie class after class, as many of each as its size."""
    if len(set(sizes)) == 1:
        return rows.view(len(sizes), -1, rows.shape[1]).mean(1)
    return torch.stack([of_class.mean(0) for of_class in torch.split(rows, list(sizes))])


def class_statistics(
    images: Float[Tensor, "n c h w"], labels: Tensor, num_classes: int
) -> tuple[Float[Tensor, "k c"], Float[Tensor, "k c"]]:
    """Returns the mean and the standard deviation of each channel's pixels over the images of each class.

    The rows of a class without images are NaN.
    """
    rows = images.new_full((num_classes, images.shape[1]), torch.nan)
    mean, std = rows, rows.clone()
    for label in sorted({*labels.tolist()}):
        pixels = images[labels == label].transpose(0, 1).flatten(1)
        mean[label], std[label] = pixels.mean(1), pixels.std(1, correction=0)
    return mean, std


def drawn_pixels(
    mean: Float[Tensor, "k c"],
    std: Float[Tensor, "k c"],
    counts: Sequence[int],
    size: tuple[int, int],
    rng: torch.Generator,
) -> Float[Tensor, "n c h w"]:
    """Draws images, class after class, whose pixels are normal with the statistics of their class.

    Args:
        mean: Mean of each class and channel.
        std: Standard deviation of each class and channel.
        counts: Number of images of each class.
        size: Height and width.
        rng: A CPU generator.
    """
    repeats = torch.tensor(list(counts), device=mean.device)
    noise = torch.randn((sum(counts), mean.shape[1], *size), generator=rng).to(mean.device)
    shift, scale = (rows.repeat_interleave(repeats, 0)[..., None, None] for rows in (mean, std))
    return shift + scale * noise
