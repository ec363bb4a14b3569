"""What every network is: a body, a flat feature vector and one linear classifier."""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

CHUNK = 32
"""Images a chunk on a CPU: a ConvNet's activations then stay in the cache (see `in_chunks`)."""
GPU_CHUNK = 4096
"""Images a chunk elsewhere: a ConvNet's layer then holds some 2 GiB, and the device is busy long before."""


class Rectified(nn.Module):
    """A layer whose output is a ReLU's, as that of `torch.nn.ReLU` is."""


class Network(nn.Module):
    """A classifier in two parts: ``body``, flattened to the features, and ``classifier``, one linear layer.

    Attributes:
        body: The layers from images (n, c, h, w) to anything that flattens to (n, d).
        classifier: The linear layer from d features to the logits.
    """

    def __init__(self, body: nn.Sequential, feature_dim: int, num_classes: int) -> None:
        """Joins a body to a new classifier.

        Args:
            body: The layers before the classifier.
            feature_dim: d, the values that the body gives an image.
            num_classes: k, the number of logits.
        """
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(feature_dim, num_classes)

    @property
    def feature_dim(self) -> int:
        """Length d of the feature vector."""
        return self.classifier.in_features

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Everything before the classifier, flattened (channel-major)."""
        flat: Tensor = self.body(x).flatten(1)
        return flat

    def features_and_maps(
        self, x: Float[Tensor, "n c h w"], of_map: Callable[[Float[Tensor, "n c2 h2 w2"]], Tensor]
    ) -> tuple[Float[Tensor, "n d"], list[Tensor]]:
        """The features, and what a function makes of each rectified map on the way to them.

        A map is what leaves a ReLU of the body, before any pooling; a residual block has one, what leaves it.
        It goes to the function as soon as it is there, and only what that returns is kept (with gradients,
        what autograd needs too). Flat values are channels of a single pixel.

        Args:
            x: The images.
            of_map: Called with each map, the first layer's first.
        """
        made = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.ReLU | Rectified):
                made.append(of_map(x if x.ndim == 4 else x[:, :, None, None]))
        return x.flatten(1), made

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The logits."""
        logits: Tensor = self.classifier(self.features(x))
        return logits

    @cached_property
    def bounds(self) -> tuple[float | None, ...]:
        """For each of `parameters()`, the b of its U(-b, b); None for a norm's scale and shift.

        The framework's default, Kaiming-uniform with a = sqrt(5), is b = 1 / sqrt(fan-in); a layer's bias
        takes its weight's b.
        """
        bound: dict[int, float] = {}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                b = 1 / math.sqrt(module.weight[0].numel())
                bound |= {id(parameter): b for parameter in module.parameters(recurse=False)}
        return tuple(bound.get(id(parameter)) for parameter in self.parameters())

    @cached_property
    def mixes_samples(self) -> bool:
        """Whether a training-mode forward lets images see each other (batch norm)."""
        return any(isinstance(module, nn.BatchNorm2d) for module in self.modules())


@torch.no_grad()
def initialise_(net: Network, generator: torch.Generator) -> None:
    """Redraws every parameter in place, from the framework's default distributions.

    Convolutions and linear layers, weights and biases: U(-b, b), b = 1 / sqrt(fan-in), cut in the order of
    `parameters()` from one draw. Norms: scale 1, shift 0, fresh running statistics.

    Args:
        net: The network, on any device.
        generator: A CPU generator; networks from equal generators are equal, whatever the device.
    """
    drawn = [(p, b) for p, b in zip(net.parameters(), net.bounds, strict=True) if b is not None]
    values = torch.rand(sum(p.numel() for p, _ in drawn), generator=generator)
    sizes = [p.numel() for p, _ in drawn]
    pieces = torch.split(values, sizes)
    for piece, (_, b) in zip(pieces, drawn, strict=True):
        piece.mul_(2 * b).sub_(b)
    device = net.classifier.weight.device
    if device.type != "cpu":
        pieces = torch.split(values.to(device), sizes)
    for piece, (p, _) in zip(pieces, drawn, strict=True):
        p.copy_(piece.view_as(p))
    for module in net.modules():
        if isinstance(module, nn.GroupNorm | nn.BatchNorm2d):
            module.reset_parameters()


def in_chunks(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "n c h w"], size: int | None = None
) -> Float[Tensor, "n d"]:
    """A function of independent images, applied chunk by chunk without gradients.

    On a CPU, chunks of 32 reach about 0.7 of the rate of a matrix product, one batch of 256 a third of that:
    the activations of a chunk stay in the cache.

    Args:
        function: From images to one row each; no image may influence another's row.
        x: The images.
        size: Images a chunk; None is 32 on a CPU and 4096 on any other device.
    """
    size = size or (CHUNK if x.device.type == "cpu" else GPU_CHUNK)
    with torch.no_grad():
        if len(x) <= size:
            return function(x)
        return torch.cat([function(chunk) for chunk in torch.split(x, size)])


def network_in_chunks(
    net: Network, function: Callable[[Tensor], Tensor], x: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n d"]:
    """A function of a network's forward, without gradients, as fast as the device allows: chunked on a CPU.

    A batch norm in training mode needs its whole batch and gets it.

    Args:
        net: The network that the function applies.
        function: From images to one row each.
        x: The images.
    """
    whole = net.training and net.mixes_samples
    return in_chunks(function, x, size=max(len(x), 1) if whole else None)


def features_in_chunks(net: Network, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """The features without gradients: see `network_in_chunks`."""
    return network_in_chunks(net, net.features, x)
