"""The training step, and the mixing of batches, that students, experts and feature extractors share."""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from condense.augment import mixup as mixing
from condense.augment.cutmix import draw_cutmix
from condense.networks import CHUNK, Network
from condense.store.targets import Mixed, Target


def chunks(images: Tensor, network: Network) -> Iterator[slice]:
    """How a batch is cut for one pass: whole on a GPU, in pieces that stay in cache on a CPU.

    A network with batch normalisation takes it whole everywhere: there the samples see each other.
    """
    size = CHUNK if images.device.type == "cpu" and not network.mixes_samples else len(images)
    for start in range(0, len(images), size):
        yield slice(start, min(start + size, len(images)))


def train_step(
    network: Network, optimizer: torch.optim.Optimizer, images: Float[Tensor, "n c h w"], target: Target
) -> Float[Tensor, ""]:
    """One optimiser step on the mean loss of a batch.

    Args:
        network: Updated in place.
        optimizer: Over its parameters.
        images: The batch, augmented.
        target: What it should say; carries its loss.

    Returns:
        The loss before the step, detached.
    """
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=images.device)
    for part in chunks(images, network):
        loss = target[part].loss(network(images[part])) * ((part.stop - part.start) / len(images))
        torch.autograd.backward(loss)
        total += loss.detach()
    optimizer.step()
    return total


def cutmix(
    images: Float[Tensor, "n c h w"], target: Target, generator: torch.Generator, probability: float
) -> tuple[Float[Tensor, "n c h w"], Target]:
    """Mixes a batch by `condense.augment.cutmix`, or leaves it as it is.

    Args:
        images: The batch, augmented; left alone.
        target: Its labels.
        generator: A CPU generator; probability 0 draws nothing.
        probability: Of a mixture.

    Returns:
        The images, and labels whose loss weighs each image's two labels by their pixels.
    """
    if probability == 0 or float(torch.rand((), generator=generator)) >= probability:
        return images, target
    mix = draw_cutmix(len(images), (images.shape[-2], images.shape[-1]), generator).to(images.device)
    return mix(images), Mixed(target, target[mix.order], mix.share)


def mixup(
    images: Float[Tensor, "n c h w"], target: Target, generator: torch.Generator, beta: float | None
) -> tuple[Float[Tensor, "n c h w"], Target]:
    """Mixes a batch by `condense.augment.mixup`, or leaves it as it is.

    Args:
        images: The batch, augmented; left alone.
        target: Its labels.
        generator: A CPU generator; None for ``beta`` draws nothing.
        beta: The a of the share's Beta(a, a).

    Returns:
        The images, and labels whose loss weighs each image's two labels by their shares.
    """
    if not beta:
        return images, target
    order, share = mixing.draw_mixup(len(images), beta, generator)
    order = order.to(images.device)
    return mixing.mix(images, order, share), Mixed(target, target[order], share)


@torch.no_grad()
def accuracy(network: Network, images: Float[Tensor, "n c h w"], labels: Tensor) -> float:
    """Percent of images whose largest logit is their label's.

    Args:
        network: Put into evaluation mode.
        images: In the space that the network was trained in.
        labels: Class ids.
    """
    network.eval()
    size = CHUNK if images.device.type == "cpu" else 1024
    correct = torch.zeros((), dtype=torch.long, device=images.device)
    for x, y in zip(torch.split(images, size), torch.split(labels, size), strict=True):
        correct += (network(x).argmax(1) == y).sum()
    return 100.0 * int(correct) / len(labels)
