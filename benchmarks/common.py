"""What the speed benchmarks share: the data that they speak of, the plain network, the clock."""

import time
from collections.abc import Callable

import torch
from torch import nn

from condense.data import ImageSpec
from condense.networks import Network

SPEC = ImageSpec(
    name="cifar10-shaped",
    classes=tuple("0123456789"),
    shape=(3, 32, 32),
    mean=(0.0,) * 3,
    std=(1.0,) * 3,
    dsa="color_crop_cutout_flip_scale_rotate",
)
"""CIFAR-10 without its images."""


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Seconds that a function takes, up to the device's last operation."""
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def framework_pooling(network: Network) -> Network:
    """The same network with the framework's own pooling."""
    for name, module in list(network.body.named_children()):
        if type(module).__name__ == "AveragePool":
            setattr(network.body, name, nn.AvgPool2d(2))
    return network
