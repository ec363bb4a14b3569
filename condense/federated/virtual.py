"""The virtual images of a federation: those of a client, refreshed, and those that all clients share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu

from condense.data import Images
from condense.distillation import LearnableSet
from condense.distillation.images.view import IdentityView
from condense.distillation.matching.distribution import drawn_pixels, mean_gap
from condense.distillation.matching.gradient import layerwise_cosine
from condense.federated.local import Labelled
from condense.networks import Network


@dataclass(frozen=True, kw_only=True)
class Refresh:
    """How pixels are learned in a round.

    Attributes:
        steps: Number of steps.
        lr: Learning rate of the pixels.
        momentum: Momentum of the pixels' SGD, which starts anew in each refresh.
        batch_real: Real images of each class in a step, on a client.
        strategy: Operations of `condense.augment.dsa`, on a client.
    """

    steps: int
    lr: float
    momentum: float
    batch_real: int = 0
    strategy: str = "none"


def refreshed(
    network: Network, images: Float[Tensor, "n c h w"], counts: tuple[int, ...], train: Images,
    how: Refresh, rng: torch.Generator,
) -> Float[Tensor, "n c h w"]:  # fmt: skip
    """Matches a client's virtual images to its real ones in the features of the server's network.

    Args:
        network: The server's network, which stays as it is.
        images: The virtual images, class after class.
        counts: Their number in each class that the client has.
        train: The client's real images of these classes, in the federation's pixel space.
        how: The steps.
        rng: A CPU generator.
    """
    network.eval().requires_grad_(False)
    syn = LearnableSet(images, counts, IdentityView())
    optimizer = torch.optim.SGD([syn.images], how.lr, how.momentum)
    size = min(how.batch_real, max(train.counts()))
    for _ in range(how.steps):
        loss = mean_gap(network, _features, syn, train, size, how.strategy, rng)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    network.requires_grad_()
    return syn.images.detach()


def _features(network: Network, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    return network.features(images)


def matched(
    network: Network, shared: Labelled, target: Mapping[str, Tensor], how: Refresh,
    log: Callable[[Tensor], None] = lambda _: None,
) -> Labelled:  # fmt: skip
    """Matches the gradient of the shared images to that of the clients, output by output of each layer.

    The loss is `condense.distillation.matching.gradient.layerwise_cosine` between ``target`` and the gradient
    of the cross-entropy of all shared images in one batch.

    Args:
        network: The network with the server's weights before the round.
        shared: The images that all clients share.
        target: The clients' (pseudo-)gradient by the names of the parameters.
        how: The steps.
        log: Called with the loss of each step.
    """
    network.train()
    names, weights = zip(*network.named_parameters(), strict=True)
    wanted = [target[name] for name in names]
    images = shared.images.clone().requires_grad_()
    optimizer = torch.optim.SGD([images], how.lr, how.momentum)
    for _ in range(how.steps):
        loss = cross_entropy(network(images), shared.labels)
        gradient = torch.autograd.grad(loss, weights, create_graph=True)
        gap = layerwise_cosine(wanted, gradient)
        (images.grad,) = torch.autograd.grad(gap, [images])
        optimizer.step()
        log(gap.detach())
    return Labelled(images.detach(), shared.labels)


def averaged(statistics: list[Float[Tensor, "k c"]]) -> Float[Tensor, "k c"]:
    """Returns the mean of the clients' statistics, of each class over the clients that have it."""
    return torch.stack(statistics).nanmean(0).nan_to_num()


def drawn(
    mean: Float[Tensor, "k c"], std: Float[Tensor, "k c"], ipc: int, size: tuple[int, int],
    rng: torch.Generator,
) -> Labelled:  # fmt: skip
    """Draws the first shared images: normal pixels with the statistics of their class."""
    k = len(mean)
    return Labelled(drawn_pixels(mean, std, (ipc,) * k, size, rng), class_ids(ipc, k))


def class_ids(ipc: int, num_classes: int) -> Int64[Tensor, " n"]:
    """Returns the class ids of ``ipc`` images of each class, class after class."""
    return torch.arange(num_classes).repeat_interleave(ipc)


LATENT = 32
"""Channels of the noise that `noise` starts from."""


def noise(ipc: int, num_classes: int, shape: tuple[int, int, int], rng: torch.Generator) -> Labelled:
    """Draws images of an untrained generator, by class, with pixels of mean 0 and variance 1.

    Each class has a latent map of its own, and each image adds noise of half its size; two random
    convolutions with a doubling of the side before each turn the maps into images.

    Args:
        ipc: Images of each class.
        num_classes: Number of classes.
        shape: Channels, height and width of an image.
        rng: A CPU generator, which also draws the generating network.
    """
    channels, height, width = shape
    side = (-(-height // 4), -(-width // 4))
    centres = torch.randn((num_classes, LATENT, *side), generator=rng).repeat_interleave(ipc, 0)
    maps = centres + 0.5 * torch.randn(centres.shape, generator=rng)
    for outputs in (LATENT, channels):
        kernel = torch.randn((outputs, maps.shape[1], 3, 3), generator=rng) / (3 * maps.shape[1] ** 0.5)
        maps = nn.functional.interpolate(leaky_relu(maps, 0.2), scale_factor=2.0)
        maps = nn.functional.conv2d(maps, kernel, padding=1)
    images = maps[..., :height, :width]
    return Labelled((images - images.mean()) / images.std(), class_ids(ipc, num_classes))
