"""Datasets: what they are, where they come from, and the pixel spaces that they are seen in."""

from condense.data.any_source import AnyDataset, holds_graphs, load_any
from condense.data.graph_sources import GRAPH_NAMES, load_graphs
from condense.data.graphs import GraphDataset, Graphs, GraphSpec
from condense.data.pixels import SPACES, PixelSpace
from condense.data.sources import NAMES, load
from condense.data.spec import Dataset, DatasetSpec, Split

__all__ = [
    "GRAPH_NAMES",
    "NAMES",
    "SPACES",
    "AnyDataset",
    "Dataset",
    "DatasetSpec",
    "GraphDataset",
    "GraphSpec",
    "Graphs",
    "PixelSpace",
    "Split",
    "holds_graphs",
    "load",
    "load_any",
    "load_graphs",
]
