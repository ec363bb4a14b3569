"""Datasets: what they are, where they come from, and the pixel spaces that they are seen in."""

from condense.data.graph_sources import GRAPH_NAMES, load_graphs
from condense.data.graphs import GraphDataset, Graphs, GraphSpec
from condense.data.pixels import SPACES, PixelSpace
from condense.data.sources import NAMES, load
from condense.data.spec import Dataset, DatasetSpec, Split

__all__ = [
    "GRAPH_NAMES",
    "NAMES",
    "SPACES",
    "Dataset",
    "DatasetSpec",
    "GraphDataset",
    "GraphSpec",
    "Graphs",
    "PixelSpace",
    "Split",
    "load",
    "load_graphs",
]
