"""Datasets: what they are, where they come from, and the pixel spaces that they are seen in."""

from condense.data.pixels import SPACES, PixelSpace
from condense.data.sources import NAMES, load
from condense.data.spec import Dataset, DatasetSpec, Split

__all__ = ["NAMES", "SPACES", "Dataset", "DatasetSpec", "PixelSpace", "Split", "load"]
