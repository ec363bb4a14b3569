"""Gradient matching: the gradients of a loss on real and on synthetic images are brought together.

`match` computes the loss of a match and its gradient with respect to the synthetic images, class by class,
for any distance between two gradients. `layerwise_cosine`, which several methods share, is here; the other
distances are in the methods: `condense.methods.dc`, `condense.methods.idc`.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn.functional import cross_entropy

from condense.data import Images
from condense.networks import Network
from condense.training.step import chunks

BATCH_NORM_REAL = 16
"""Real images per class that refresh the statistics of a network with batch norm (``main.py`` of DC)."""

EPS = 1e-6
"""Added to the denominator of a cosine, so that it is finite where a gradient is zero (``distance_wb``)."""

GPU_CLASSES = 10
"""Classes that a GPU matches side by side: the activations of 256 real images per class take some 10 GiB."""

Gradient = Sequence[Tensor]
"""The gradient of a loss: one tensor for each parameter of the network."""

Distance = Callable[[Gradient, Gradient], Float[Tensor, ""]]
"""The distance between the gradient on real images (first) and the gradient on synthetic images."""


def match(
    network: Network,
    real: Float[Tensor, "k b c h w"],
    synthetic: Float[Tensor, "k i c h w"],
    distance: Distance,
    *,
    present: Bool[Tensor, "k i"] | None = None,
    together: bool | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "k i c h w"]]:
    """Computes the matching loss and its gradient with respect to the synthetic images.

    The loss is the sum over the classes of the distance between the two gradients of the cross-entropy. The
    network and its gradients stay as they are.

    Args:
        network: A network that does not mix samples in its present mode.
        real: The real images of each class.
        synthetic: The synthetic images of each class.
        distance: The distance between the two gradients of a class.
        present: Which synthetic images count; None for all of them.
        together: Whether all classes are computed side by side (True) or one after the other (False); None
            chooses by the device.

    Returns:
        The loss, detached, and its gradient.
    """
    weights = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def cross(weights: dict[str, Tensor], images: Tensor, label: Tensor, share: Tensor | None) -> Tensor:
        """Returns the mean cross-entropy, or if the images have shares of it, their sum."""
        logits, labels = functional_call(network, weights, (images,)), label.expand(len(images))
        if share is None:
            return cross_entropy(logits, labels)
        return (share * cross_entropy(logits, labels, reduction="none")).sum()

    def alone(
        real: Tensor, synthetic: Tensor, label: Tensor, share: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Matches one class; real images go through the network in chunks."""
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        wanted = list(leaves.values())
        target = [torch.zeros_like(weight) for weight in wanted]
        for part in chunks(real, network):
            weight = (part.stop - part.start) / len(real)
            piece = torch.autograd.grad(weight * cross(leaves, real[part], label, None), wanted)
            target = [total + value for total, value in zip(target, piece, strict=True)]
        images = synthetic.detach().requires_grad_()
        learned = torch.autograd.grad(cross(leaves, images, label, share), wanted, create_graph=True)
        loss = distance(target, learned)
        return loss.detach(), torch.autograd.grad(loss, images)[0]

    def beside_others(
        real: Tensor, synthetic: Tensor, label: Tensor, share: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Matches one class by transforms that `vmap` can run for all classes at once."""
        target = list(grad(cross)(weights, real, label, None).values())

        def gap(images: Tensor) -> Tensor:
            return distance(target, list(grad(cross)(weights, images, label, share).values()))

        gradient, loss = grad_and_value(gap)(synthetic)
        return loss, gradient

    labels = torch.arange(len(real), device=real.device)
    given = [real, synthetic, labels]
    if present is not None:
        given.append(present / present.sum(1, keepdim=True))
    if together if together is not None else real.device.type != "cpu":
        losses, gradients = vmap(beside_others, chunk_size=GPU_CLASSES)(*given)
    else:
        done = [alone(*one) for one in zip(*given, strict=True)]
        losses, gradients = (torch.stack(values) for values in zip(*done, strict=True))
    return losses.sum(), gradients


def layerwise_cosine(real: Gradient, synthetic: Gradient) -> Float[Tensor, ""]:
    """Returns the sum of one minus the cosine over all output channels of all layers: the distance of DC.

    Only the weights of convolutions and linear layers count. Biases, and the scales and shifts of norms,
    count nothing (VICO-UoE/DatasetCondensation, ``match_loss``, metric "ours").
    """
    total = torch.zeros_like(synthetic[0].sum())
    for a, b in zip(real, synthetic, strict=True):
        if a.ndim > 1:
            a, b = a.flatten(1), b.flatten(1)  # (outputs, inputs)
            cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + EPS)  # (outputs,)
            total = total + (1 - cosine).sum()
    return total


@torch.no_grad()
def refresh_batch_norm(network: Network, train: Images, rng: torch.Generator) -> None:
    """Updates the running statistics of batch norms once, and freezes them for a match.

    The network sees one batch of real images in training mode; then the batch norms, and nothing else, are
    put into evaluation mode. A network without batch norm stays as it is, and nothing is drawn.

    Args:
        network: The network, changed in place.
        train: The real images.
        rng: A CPU generator.
    """
    if network.mixes_samples:
        network.train()
        network(train.draw(BATCH_NORM_REAL, rng).flatten(0, 1))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
