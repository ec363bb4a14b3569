"""The training step and the mixing of batches that students, experts and pretrained networks share."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from condense.augment import mixup as mixing
from condense.augment.cutmix import draw_cutmix
from condense.errors import Refused
from condense.networks import CHUNK, Network
from condense.store.targets import Mixed, Target


def chunks(images: Tensor, network: Network) -> Iterator[slice]:
    """Yields the parts in which a batch goes through a network: pieces that fit the cache on a CPU.

    On a GPU the batch goes through whole, and so it does everywhere through a network with batch
    normalisation, in which the samples of a batch affect each other.
    """
    size = CHUNK if images.device.type == "cpu" and not network.mixes_samples else len(images)
    for start in range(0, len(images), size):
        yield slice(start, min(start + size, len(images)))


def train_step(
    network: Network, optimizer: torch.optim.Optimizer, images: Float[Tensor, "n c h w"], target: Target
) -> Float[Tensor, ""]:
    """Makes one optimiser step on the mean loss of a batch.

    Args:
        network: The network, which is updated in place.
        optimizer: The optimiser of its parameters.
        images: The augmented batch.
        target: The labels of the batch, which define the loss.

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
        images: The augmented batch, which is not changed.
        target: The labels of the batch.
        generator: A CPU generator; if the probability is 0, nothing is drawn.
        probability: Probability that the batch is mixed.

    Returns:
        The images, and labels whose loss weighs the two labels of each image by their shares of the pixels.
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
        images: The augmented batch, which is not changed.
        target: The labels of the batch.
        generator: A CPU generator; if ``beta`` is None, nothing is drawn.
        beta: Parameter a of the Beta(a, a) that the share is drawn from; None for no mixture.

    Returns:
        The images, and labels whose loss weighs the two labels of each image by their shares.
    """
    if not beta:
        return images, target
    order, share = mixing.draw_mixup(len(images), beta, generator)
    order = order.to(images.device)
    return mixing.mix(images, order, share), Mixed(target, target[order], share)


@torch.no_grad()
def accuracy(network: Network, images: Float[Tensor, "n c h w"], labels: Tensor) -> float:
    """Returns the percent of images that a network classifies correctly.

    Args:
        network: The network, which is put into evaluation mode.
        images: Images in the pixel space that the network was trained in.
        labels: Class ids.

    Raises:
        Refused: if a logit is not finite.
    """
    network.eval()
    size = CHUNK if images.device.type == "cpu" else 1024
    correct = torch.zeros((), dtype=torch.long, device=images.device)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for x, y in zip(torch.split(images, size), torch.split(labels, size), strict=True):
        logits = network(x)
        correct += (logits.argmax(1) == y).sum()
        finite &= logits.isfinite().all()
    require_finite(finite)
    return 100.0 * int(correct) / len(labels)


def require_finite(finite: Bool[Tensor, ""]) -> None:
    """Refuses to judge a network whose logits are not all finite: its classes would be made up."""
    if not bool(finite):
        raise Refused("a trained network has diverged: its logits are not finite, and it has no result")
