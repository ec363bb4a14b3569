"""The optimisers of students, as protocols name them."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import nn
from torch.optim import Optimizer

from condense.errors import Refused
from condense.protocol import Protocol

SECOND_BETA = 0.999
"""The second beta of AdamW and Adam."""


def _groups(network: nn.Module, protocol: Protocol) -> list[dict[str, object]]:
    parameters = list(network.parameters())
    if protocol.decay is None:
        return [{"params": parameters}]
    weights = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    return [{"params": weights}, {"params": others, "weight_decay": 0.0}]


OPTIMIZERS: Mapping[str, Callable[..., Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adamw": torch.optim.AdamW,
    # Fused: one call for all parameters, of which a network for graphs has a few small ones.
    "adam": partial(torch.optim.Adam, fused=True),
}
"""The optimisers that train networks, by the names that protocols use."""


def make_optimizer(network: nn.Module, lr: float, protocol: Protocol) -> Optimizer:
    """Makes the protocol's optimiser of a network's parameters; refuses one that does not train networks."""
    if protocol.optimizer not in OPTIMIZERS:
        raise Refused(f"{protocol.name}: {protocol.optimizer} does not train networks")
    moments = (protocol.momentum, SECOND_BETA)
    memory: dict[str, object] = {"betas": moments}
    if protocol.optimizer == "sgd":
        memory = {"momentum": moments[0], "nesterov": bool(protocol.nesterov)}
    groups, make = _groups(network, protocol), OPTIMIZERS[protocol.optimizer]
    return make(groups, lr=lr, weight_decay=protocol.weight_decay, **memory)


def set_rate(optimizer: Optimizer, lr: float) -> None:
    """Sets the learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def set_momentum(optimizer: Optimizer, momentum: float) -> None:
    """Sets the momentum of SGD, or the first beta of AdamW and Adam, from the next step on."""
    for group in optimizer.param_groups:
        if "betas" in group:
            group["betas"] = (momentum, SECOND_BETA)
        else:
            group["momentum"] = momentum
