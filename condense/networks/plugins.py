"""Networks of other packages, found by their entry points.

A package names a builder as an entry point of the group ``condense.networks``: a function, or a class derived
from `Network`, that is called with the (c, h, w) of the images and the number of classes and returns a
`Network`. Two packages may give the same name to different networks, and one package may change a network
from one version to the next. The full name therefore holds the package and its version,
``tiny@acme-nets-1.2``. It stands wherever a name enters a key, a stored set or a record; a user may leave out
what follows ``@``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import torch
from torch import nn

from condense.errors import Refused
from condense.networks.base import Network
from condense.networks.stack import TooSmall

GROUP = "condense.networks"
"""The entry-point group for networks of other packages: ``name = "package.module:builder"``."""

NORMS = (nn.GroupNorm, nn.BatchNorm2d)
"""The norms that `initialise_` resets."""

AtRandom = nn.modules.dropout._DropoutNd
"""Layers that draw from torch's global generator when they are used."""


@cache
def plugins() -> Mapping[str, EntryPoint]:
    """Returns the entry points of other packages' networks by full name, sorted; none is imported.

    Raises:
        Refused: if two packages give the same name to a network, or a name cannot be part of a file's name.
    """
    found: dict[str, EntryPoint] = {}
    places: dict[str, str] = {}
    for entry in entry_points(group=GROUP):
        if not re.fullmatch(r"\w[\w.-]*", entry.name):
            raise Refused(
                f"the network {entry.name!r} of {entry.value} needs a name of letters, digits and . _ -"
            )
        package = f"{entry.dist.name}-{entry.dist.version}" if entry.dist else entry.value
        if places.setdefault(entry.name, package) != package:
            raise Refused(
                f"two networks are called {entry.name!r}: those of {places[entry.name]} and of {package}; "
                "uninstall one of the packages"
            )
        found[f"{entry.name}@" + re.sub(r"[^\w.-]", "_", package)] = entry
    return dict(sorted(found.items()))


def builder(full: str) -> Callable[..., Network]:
    """Imports what an entry point names; refuses what cannot be imported or called."""
    entry = plugins()[full]
    try:
        loaded: Any = entry.load()
    except Exception as error:
        raise Refused(f"cannot import the network {entry.name!r} from {entry.value}: {error}") from error
    if not callable(loaded):
        raise Refused(f"the entry point {entry.name!r} of {entry.value} is not a builder of networks")

    def build(shape: tuple[int, int, int], num_classes: int) -> Network:
        try:
            made = loaded(shape, num_classes)
        except (Refused, TooSmall):
            raise
        except Exception as error:
            reason = f"the network {full} cannot be built for images of {shape}: {error}"
            raise Refused(reason) from error
        if wrong := find_network_error(made, shape, num_classes):
            raise Refused(f"the network {full}: {wrong}")
        assert isinstance(made, Network)
        return made

    return build


def find_network_error(made: object, shape: tuple[int, int, int], num_classes: int) -> str | None:
    """Says why a network, built on torch's meta device, cannot be trained as all others are, or returns None.

    Args:
        made: What a package's builder returned.
        shape: (c, h, w) of the images.
        num_classes: Number k of logits that is wanted.
    """
    if not isinstance(made, Network):
        return f"it is a {type(made).__name__}, not a condense Network (condense.plugin.Network)"
    for name, module in made.named_modules():
        if isinstance(module, AtRandom) and module.p:
            return f"{name} drops values by torch's global generator, so that no seed could repeat a result"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not isinstance(module, nn.BatchNorm2d):
            return f"{name} is a {type(module).__name__}; the only batch norm that is known is BatchNorm2d"
    if strange := next(_undrawn(made), None):
        return (
            f"nothing draws {strange}: parameters and buffers belong to Conv2d, Linear, GroupNorm or "
            "BatchNorm2d, or the network draws them in a method draw_others_(generator)"
        )
    images = torch.empty((2, *shape), device="meta")
    for what, wanted, call in (
        ("features", (2, made.feature_dim), made.features),
        ("logits", (2, num_classes), made.forward),
    ):
        if (given := tuple(call(images).shape)) != wanted:
            return f"two images of {shape} give {what} of the shape {given}, not {wanted}"
    return None


def _undrawn(network: Network) -> Iterator[str]:
    """Yields the names of the parameters and buffers that neither `initialise_` nor the network draws."""
    if type(network).draw_others_ is not Network.draw_others_:
        return
    for name, module in network.named_modules():
        if not isinstance(module, (nn.Conv2d, nn.Linear, *NORMS)):
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            yield from (f"{name}.{one}".strip(".") for one, _ in own)
