"""Datasets of images and of graphs, their loaders, and the pixel spaces that images are encoded in."""

from condense.data.base import KIND_NAMES, Dataset, DatasetSpec, Samples
from condense.data.graphs.sources import GRAPH_NAMES, load_graphs
from condense.data.graphs.spec import GraphDataset, Graphs, GraphSpec
from condense.data.images.augmentation import unmarked
from condense.data.images.pixels import SPACES, PixelSpace
from condense.data.images.sources import IMAGE_NAMES, load_images
from condense.data.images.spec import ImageDataset, Images, ImageSpec
from condense.data.load import holds_graphs, load_dataset
from condense.data.subset import whole_name, with_classes

__all__ = [
    "GRAPH_NAMES", "IMAGE_NAMES", "KIND_NAMES", "SPACES", "Dataset", "DatasetSpec", "GraphDataset",
    "GraphSpec", "Graphs", "ImageDataset", "ImageSpec", "Images", "PixelSpace", "Samples", "holds_graphs",
    "load_dataset", "load_graphs", "load_images", "unmarked", "whole_name", "with_classes",
]  # fmt: skip
