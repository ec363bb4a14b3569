"""The networks that sets are distilled with and judged by, built by name for the size of the images."""

from condense.networks.base import (
    CHUNK,
    Network,
    features_in_chunks,
    in_chunks,
    initialise_,
    network_in_chunks,
)
from condense.networks.registry import NETWORKS, build

__all__ = [
    "CHUNK",
    "NETWORKS",
    "Network",
    "build",
    "features_in_chunks",
    "in_chunks",
    "initialise_",
    "network_in_chunks",
]
