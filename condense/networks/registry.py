"""Networks by name."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import partial

import torch

from condense.errors import Refused, unknown
from condense.networks.base import Network, initialise_
from condense.networks.classic import alexnet, lenet, mlp, vgg11
from condense.networks.convnet import convnet
from condense.networks.resnet import resnet18, resnet34, resnet50
from condense.networks.stack import TooSmall

Builder = Callable[[tuple[int, int, int], int], Network]
"""From (c, h, w) and the number of classes to a network; raises `TooSmall`."""

_NORMED: Mapping[str, Callable[..., Network]] = {
    "convnet": convnet,
    **{f"convnet-w{width}": partial(convnet, width=width) for width in (32, 64, 256, 512)},
    **{f"convnet-d{depth}": partial(convnet, depth=depth) for depth in range(1, 7)},
    "alexnet": alexnet,
    "vgg11": vgg11,
    "resnet18": resnet18,
    "resnet18-ap": partial(resnet18, pooled=True),
    "resnet34": resnet34,
    "resnet50": resnet50,
}

NETWORKS: Mapping[str, Builder] = {
    **_NORMED,
    **{f"{name}-bn": partial(builder, batch_norm=True) for name, builder in _NORMED.items()},
    "lenet": lenet,
    "mlp": mlp,
}
"""The builders by name. A plain name has instance norm (AlexNet none), ``-bn`` has batch norm.

Batch norm may see a 1 x 1 map, as ResNet18's does at 8 pixels: it compares images, so a training batch
then needs two.
"""


def build_network(
    name: str,
    shape: tuple[int, int, int],
    num_classes: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> Network:
    """Builds a network with freshly drawn parameters, in training mode.

    Args:
        name: One of `NETWORKS`.
        shape: (c, h, w) of the images.
        num_classes: k, the number of logits.
        generator: The CPU generator that the parameters are drawn from; no other randomness is touched.
        device: Where the network shall live.

    Raises:
        Refused: if there is no network of that name, or the images are too small for it.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    try:
        with torch.device("meta"):
            net = NETWORKS[name](shape, num_classes)
    except TooSmall:
        least = smallest_side(name)
        raise Refused(
            f"{name} needs images of at least {least} x {least} pixels; these are {shape[1]} x {shape[2]}"
        ) from None
    net.to_empty(device=device)
    initialise_(net, generator)
    return net


def smallest_side(name: str) -> int:
    """The side in pixels from which on every square image fits the network."""

    def fits(side: int) -> bool:
        try:
            with torch.device("meta"):
                NETWORKS[name]((3, side, side), 2)
        except TooSmall:
            return False
        return True

    # 28 counts as 32 and so may fit where 29 does not; every other side fits if a smaller one does.
    sides = [side for side in range(1, 129) if side != 28]
    return sides[bisect_left(sides, True, key=fits)]
