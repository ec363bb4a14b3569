"""The parameters of a network as one vector, and the way back."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from condense.networks import Network


def flatten(network: Network) -> Float[Tensor, " p"]:
    """Returns a copy of all parameters as one vector, in the order of ``parameters()``."""
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def as_parameters(network: Network, flat: Float[Tensor, " p"]) -> dict[str, Tensor]:
    """Returns differentiable views of a vector, named and shaped as a network's parameters: see `flatten`."""
    return cut(flat, dict(network.named_parameters()))


def cut(flat: Float[Tensor, " p"], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns views of a vector in the shapes of named tensors, one after the other."""
    pieces = torch.split(flat, [tensor.numel() for tensor in like.values()])
    return {name: piece.view_as(tensor) for (name, tensor), piece in zip(like.items(), pieces, strict=True)}
