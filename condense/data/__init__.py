"""Datasets: what they are, where they come from, and the pixel spaces that they are seen in."""

from condense.data.graphs.sources import GRAPH_NAMES, load_graphs
from condense.data.graphs.spec import GraphDataset, Graphs, GraphSpec
from condense.data.images.pixels import SPACES, PixelSpace
from condense.data.images import sources
from condense.data.images.sources import NAMES
from condense.data.images.spec import ImageDataset, Images, ImageSpec
from condense.data.load import Dataset, holds_graphs, load_dataset

load = sources.load  # after the module of that name, which would hide it

__all__ = [
    "GRAPH_NAMES",
    "NAMES",
    "SPACES",
    "Dataset",
    "ImageDataset",
    "ImageSpec",
    "GraphDataset",
    "GraphSpec",
    "Graphs",
    "PixelSpace",
    "Images",
    "holds_graphs",
    "load",
    "load_dataset",
    "load_graphs",
]
