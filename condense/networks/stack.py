"""Builds a network layer by layer and keeps track of the shape of its feature map."""

from __future__ import annotations

from torch import nn

from condense.networks.pool import AveragePool


class TooSmall(Exception):
    """A feature map has no pixels, or too few for an instance norm, whose output would be constant."""


class Stack:
    """Layers of a network under construction, and the shape of their output.

    Attributes:
        layers: The layers so far.
        channels: Number of channels of the output.
        height: Height of the output in pixels.
        width: Width of the output in pixels.
        batch_norm: Whether `norm` adds batch norm instead of instance norm.
    """

    def __init__(self, shape: tuple[int, int, int], *, batch_norm: bool = False) -> None:
        """Starts without layers, from the (c, h, w) of the input."""
        self.layers: list[nn.Module] = []
        self.channels, self.height, self.width = shape
        self.batch_norm = batch_norm

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (c, h, w) of the output."""
        return self.channels, self.height, self.width

    @property
    def values(self) -> int:
        """Number of values of the flattened output."""
        return self.channels * self.height * self.width

    def body(self) -> nn.Sequential:
        return nn.Sequential(*self.layers)

    def add(self, layer: nn.Module) -> Stack:
        """Adds a layer that keeps the shape of its input."""
        self.layers.append(layer)
        return self

    def relu(self) -> Stack:
        return self.add(nn.ReLU())

    def conv(
        self, channels: int, kernel: int, pad: int | tuple[int, int], *, stride: int = 1, bias: bool = True
    ) -> Stack:
        """Adds a convolution; ``pad`` counts rows and columns on each side of the map."""
        padding = (pad, pad) if isinstance(pad, int) else pad
        self._resize(kernel, padding, stride)
        layer = nn.Conv2d(self.channels, channels, kernel, stride=stride, padding=padding, bias=bias)
        self.channels = channels
        return self.add(layer)

    def first_conv(self, channels: int, kernel: int, pad: int) -> Stack:
        """Adds the convolution of the images, which pads a side of 28 to 32."""
        rows, columns = (pad + 2 if side == 28 else pad for side in (self.height, self.width))
        return self.conv(channels, kernel, (rows, columns))

    def norm(self) -> Stack:
        """Adds batch norm or instance norm (group norm with one channel per group), with scale and shift."""
        if self.batch_norm:
            return self.add(nn.BatchNorm2d(self.channels))
        if self.height * self.width < 2:
            raise TooSmall
        return self.add(nn.GroupNorm(self.channels, self.channels))

    def average_pool(self) -> Stack:
        self._resize(2, (0, 0), 2)
        return self.add(AveragePool())

    def max_pool(self) -> Stack:
        self._resize(2, (0, 0), 2)
        return self.add(nn.MaxPool2d(2))

    def global_pool(self) -> Stack:
        """Adds a global average pooling layer."""
        layer = nn.AvgPool2d((self.height, self.width))
        self.height = self.width = 1
        return self.add(layer)

    def linear(self, features: int) -> Stack:
        """Flattens the output unless it is flat, and adds a linear layer."""
        if self.height * self.width > 1 or not any(isinstance(layer, nn.Linear) for layer in self.layers):
            self.add(nn.Flatten())
        layer = nn.Linear(self.values, features)
        self.channels, self.height, self.width = features, 1, 1
        return self.add(layer)

    def _resize(self, kernel: int, pad: tuple[int, int], stride: int) -> None:
        self.height, self.width = (
            (side + 2 * p - kernel) // stride + 1
            for side, p in zip((self.height, self.width), pad, strict=True)
        )
        if min(self.height, self.width) < 1:
            raise TooSmall
