"""The base of all image networks: a body, whose output is flattened to features, and a linear classifier."""

import math
from collections.abc import Callable
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn

CHUNK = 32
"""Images per chunk on a CPU; a ConvNet's activations then fit into the cache (see `in_chunks`)."""
GPU_CHUNK = 4096
"""Images per chunk on other devices; the activations of a ConvNet's layer then take about 2 GiB."""


class Rectified(nn.Module):
    """A layer that ends in a ReLU."""


class Network(nn.Module):
    """A classifier in two parts: a body, whose flattened output are the features, and one linear layer.

    Attributes:
        body: Layers from images (n, c, h, w) to an output that is flattened to (n, d).
        classifier: Linear layer from d features to k logits.
    """

    def __init__(self, body: nn.Sequential, feature_dim: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.classifier = nn.Linear(feature_dim, num_classes)

    @property
    def feature_dim(self) -> int:
        return self.classifier.in_features

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Returns the body's output, flattened channel by channel."""
        flat: Tensor = self.body(x).flatten(1)
        return flat

    def features_and_maps(
        self, x: Float[Tensor, "n c h w"], of_map: Callable[[Float[Tensor, "n c2 h2 w2"]], Tensor]
    ) -> tuple[Float[Tensor, "n d"], list[Tensor]]:
        """Returns the features, and the results of a function for each feature map after a ReLU.

        A feature map is the output of a ReLU in the body, before any pooling; a residual block has one, its
        output. Only the function's results are kept (and what autograd needs). Flat values count as channels
        of a single pixel.

        Args:
            x: The images.
            of_map: Function that is called with each feature map, in the order of the layers.
        """
        made = []
        for layer in self.body:
            x = layer(x)
            if isinstance(layer, nn.ReLU | Rectified):
                made.append(of_map(x if x.ndim == 4 else x[:, :, None, None]))
        return x.flatten(1), made

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        logits: Tensor = self.classifier(self.features(x))
        return logits

    def draw_others_(self, generator: torch.Generator) -> None:
        """Draws, in place, parameters and buffers that are not of a convolution, linear layer or norm: none.

        A network that has some overrides this; `initialise_` calls it last.

        Args:
            generator: A CPU generator, to which all draws have to go.
        """

    @cached_property
    def bounds(self) -> tuple[float | None, ...]:
        """Bounds b of the uniform distributions U(-b, b) that `parameters()` are drawn from.

        PyTorch's default, Kaiming-uniform with a = sqrt(5), is b = 1 / sqrt(fan-in) for a layer's weight and
        bias. The bound is None for the scale and shift of a norm.
        """
        bound: dict[int, float] = {}
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                b = 1 / math.sqrt(module.weight[0].numel())
                bound |= {id(parameter): b for parameter in module.parameters(recurse=False)}
        return tuple(bound.get(id(parameter)) for parameter in self.parameters())

    @cached_property
    def mixes_samples(self) -> bool:
        """Whether images of a batch influence each other in training mode, through batch norm."""
        return any(isinstance(module, nn.BatchNorm2d) for module in self.modules())


class LecunNetwork(Network):
    """A network whose weights start with LeCun's variance, 1 / fan-in, and whose biases start from 0.

    These are the usual initial values of JAX's networks (flax), three times PyTorch's variance. Sets that are
    distilled through networks with such values suit students with the same: see ``methods/rcig.py``. The
    distributions are uniform.
    """

    @cached_property
    def bounds(self) -> tuple[float | None, ...]:
        shapes = [parameter.ndim for parameter in self.parameters()]
        usual = super().bounds
        return tuple(
            b if b is None else math.sqrt(3) * b if ndim > 1 else 0.0
            for b, ndim in zip(usual, shapes, strict=True)
        )


@torch.no_grad()
def initialise_(net: Network, generator: torch.Generator) -> None:
    """Draws all parameters anew, in place, from PyTorch's default distributions.

    Weights and biases of convolutions and linear layers are drawn in one call from U(-b, b) with
    b = 1 / sqrt(fan-in), in the order of `parameters()`. Norms get scale 1, shift 0 and fresh running
    statistics.

    Args:
        net: The network.
        generator: A CPU generator; the parameters do not depend on the device.
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
        if isinstance(module, nn.GroupNorm | nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
    net.draw_others_(generator)


def drawn(
    make: Callable[[], Network], generator: torch.Generator, device: torch.device | str = "cpu"
) -> Network:
    """Makes a network with parameters from a generator alone; those that its layers would draw are not drawn.

    Args:
        make: Makes the network.
        generator: A CPU generator.
        device: Device of the network.
    """
    with torch.device("meta"):
        net = make()
    net.to_empty(device=device)
    initialise_(net, generator)
    return net


def in_chunks(
    function: Callable[[Tensor], Tensor], x: Float[Tensor, "n c h w"], size: int | None = None
) -> Float[Tensor, "n d"]:
    """Applies a function to images chunk by chunk without gradients.

    The activations of a small chunk stay in a CPU's cache: chunks of 32 reach about 0.7 of the speed of a
    matrix product, and one batch of 256 a third of that.

    Args:
        function: Maps images to one row each. No image may influence another image's row.
        x: The images.
        size: Images per chunk; None takes 32 on a CPU and 4096 on other devices.
    """
    size = size or (CHUNK if x.device.type == "cpu" else GPU_CHUNK)
    with torch.no_grad():
        if len(x) <= size:
            return function(x)
        return torch.cat([function(chunk) for chunk in torch.split(x, size)])


def network_in_chunks(
    net: Network, function: Callable[[Tensor], Tensor], x: Float[Tensor, "n c h w"]
) -> Float[Tensor, "n d"]:
    """Applies a function that uses a network to images without gradients, chunk by chunk as in `in_chunks`.

    A batch norm in training mode needs the whole batch, so there is only one chunk in that case.
    """
    whole = net.training and net.mixes_samples
    return in_chunks(function, x, size=max(len(x), 1) if whole else None)


def features_in_chunks(net: Network, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """Returns the features without gradients, see `network_in_chunks`."""
    return network_in_chunks(net, net.features, x)
