"""The networks that sets are distilled with and evaluated with, built by name for images or for graphs."""

from condense.networks.base import (
    CHUNK,
    Network,
    drawn,
    features_in_chunks,
    in_chunks,
    initialise_,
    network_in_chunks,
)
from condense.networks.graph import (
    GRAPH_NETWORKS,
    GraphNetwork,
    build_graph_network,
    graph_chunks,
    in_graph_chunks,
)
from condense.networks.registry import (
    NETWORKS,
    build_network,
    full_name,
    network_names,
    network_tensors,
)
from condense.networks.stack import TooSmall

__all__ = [
    "CHUNK", "GRAPH_NETWORKS", "NETWORKS", "GraphNetwork", "Network", "TooSmall", "build_graph_network",
    "build_network", "drawn", "features_in_chunks", "full_name", "graph_chunks", "in_chunks",
    "in_graph_chunks", "initialise_", "network_in_chunks", "network_names", "network_tensors",
]  # fmt: skip
