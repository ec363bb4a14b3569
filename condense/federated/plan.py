"""What the federation of one seed is to do."""

from dataclasses import dataclass

import torch

from condense.data import ImageSpec
from condense.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a federation is to do.

    Attributes:
        protocol: Rounds, clients in each, and how they train.
        network: Name of the network.
        spec: Specification of all clients' images.
        names: The clients' names.
        seed: Seed of the federation.
        device: The device that the server computes on.
    """

    protocol: Protocol
    network: str
    spec: ImageSpec
    names: tuple[str, ...]
    seed: int
    device: torch.device

    @property
    def per_round(self) -> int:
        """Number of clients in a round."""
        assert self.protocol.client_ratio is not None
        return max(1, int(self.protocol.client_ratio * len(self.names)))
