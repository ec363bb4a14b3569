"""The networks that sets are distilled with and judged by, built by name for the images or graphs at hand."""

from condense.networks.base import (
    CHUNK,
    Network,
    features_in_chunks,
    in_chunks,
    initialise_,
    network_in_chunks,
)
from condense.networks.graph import GRAPH_NETWORKS, GraphNetwork, build_graph, graph_chunks, in_graph_chunks
from condense.networks.registry import NETWORKS, build

__all__ = [
    "CHUNK",
    "GRAPH_NETWORKS",
    "NETWORKS",
    "GraphNetwork",
    "Network",
    "build",
    "build_graph",
    "features_in_chunks",
    "graph_chunks",
    "in_chunks",
    "in_graph_chunks",
    "initialise_",
    "network_in_chunks",
]
