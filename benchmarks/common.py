"""Shared by the speed benchmarks: the shape of the data, a clock, and a network with PyTorch's pooling."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
"""The shape and classes of CIFAR-10; its images are not needed."""


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds that a function takes, including pending operations of the device."""
    started = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a file of JSON lines, which holds what a script has finished; [] without it."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Appends an object to a file of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps(values) + "\n")


def framework_pooling(network: Network) -> Network:
    """Replaces the pooling layers of a network by PyTorch's own and returns it."""
    for name, module in list(network.body.named_children()):
        if type(module).__name__ == "AveragePool":
            setattr(network.body, name, nn.AvgPool2d(2))
    return network
