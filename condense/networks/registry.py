"""Builds image networks by name."""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
from torch import Tensor

from condense.errors import Refused, unknown
from condense.networks.base import Network, drawn
from condense.networks.classic import alexnet, lenet, mlp, vgg11
from condense.networks.convnet import convnet
from condense.networks.graph import GRAPH_NETWORKS
from condense.networks.plugins import builder, plugins
from condense.networks.resnet import resnet18, resnet34, resnet50
from condense.networks.stack import TooSmall

Builder = Callable[[tuple[int, int, int], int], Network]
"""Builds a network from (c, h, w) of the images and the number of classes; raises `TooSmall`."""

_NORMED: Mapping[str, Callable[..., Network]] = {
    "convnet": convnet,
    **{f"convnet-w{width}": partial(convnet, width=width) for width in (32, 64, 256, 512)},
    **{f"convnet-d{depth}": partial(convnet, depth=depth) for depth in range(1, 7)},
    "convnet-double": partial(convnet, doubled=True),
    "convnet-double-w32": partial(convnet, doubled=True, width=32),
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
    **{
        f"{name}-nonorm": partial(_NORMED[name], norm=False)
        for name in ("convnet", "convnet-w32", "convnet-double", "convnet-double-w32")
    },
    **{
        f"{name}-nonorm-lecun": partial(_NORMED[name], norm=False, lecun=True)
        for name in ("convnet-double", "convnet-double-w32")
    },
    "lenet": lenet,
    "mlp": mlp,
}
"""Builders of the networks by name: with batch norm for names in ``-bn``, else with instance norm.

Names in ``-nonorm`` have no norm, and ``-double`` are ConvNets whose blocks have 128, 256, 512 ... channels.
Those in ``-lecun`` start from larger weights, as JAX's networks do (`condense.networks.base.LecunNetwork`).

AlexNet and LeNet have no norm by default, nor has the MLP. Batch norm may get a map of 1 x 1, for instance in
a ResNet18 at 8 pixels; a training batch then needs at least two images.
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
        name: Name of the network, one of `NETWORKS` or of another package's (`condense.networks.plugins`).
        shape: (c, h, w) of the images.
        num_classes: Number k of logits.
        generator: A CPU generator that the parameters are drawn from.
        device: Device of the network.

    Raises:
        Refused: If there is no network of that name, or the images are too small for it.
    """
    return drawn(partial(_without_memory, name, shape, num_classes), generator, device)


def network_tensors(name: str, shape: tuple[int, int, int], num_classes: int) -> dict[str, Tensor]:
    """Returns the state of a network as tensors without memory, which have only a type and a shape.

    The arguments and refusals are those of `build_network`.
    """
    return dict(_without_memory(name, shape, num_classes).state_dict())


def _without_memory(name: str, shape: tuple[int, int, int], num_classes: int) -> Network:
    make = _builder(name)
    try:
        with torch.device("meta"):
            return make(shape, num_classes)
    except TooSmall:
        least = smallest_side(name)
        needed = "larger images" if least is None else f"images of at least {least} x {least} pixels"
        raise Refused(f"{name} needs {needed}; these are {shape[1]} x {shape[2]}") from None


def network_names() -> tuple[str, ...]:
    """Returns the full names of all image networks: those of `NETWORKS`, then those of other packages."""
    return (*NETWORKS, *_others())


def full_name(name: str) -> str:
    """Returns the name by which keys and records know a network: for another package's, its full name.

    A name that nobody knows is returned as it is.
    """
    if name in NETWORKS:
        return name
    return next((full for full in _others() if full.partition("@")[0] == name), name)


@cache
def _others() -> tuple[str, ...]:
    """Returns the full names of other packages' networks; refuses one that has the name of an own one."""
    for full in plugins():
        if full.partition("@")[0] in (*NETWORKS, *GRAPH_NETWORKS):
            raise Refused(f"{full} has the name of a network of condense; its package has to rename it")
    return tuple(plugins())


def _builder(name: str) -> Builder:
    full = full_name(name)
    if full in NETWORKS:
        return NETWORKS[full]
    if full in _others():
        return builder(full)
    short, at, package = name.partition("@")
    if not at:
        raise unknown("network", name, [known.partition("@")[0] for known in network_names()])
    there = full_name(short)
    found = f"; {there} is" if there != short else ""
    raise Refused(f"the network {short!r} of {package} is not installed here{found}")


def smallest_side(name: str) -> int | None:
    """Returns the smallest side from which on all square images are large enough for a network.

    It is in pixels; None if it is above 128.
    """
    make = _builder(name)

    def fits(side: int) -> bool:
        try:
            with torch.device("meta"):
                make((3, side, side), 2)
        except TooSmall:
            return False
        return True

    # 28 is padded to 32 and may fit where 29 does not; any other side fits if a smaller one fits.
    sides = [side for side in range(1, 129) if side != 28]
    least = bisect_left(sides, True, key=fits)
    return sides[least] if least < len(sides) else None
