"""Datasets of either kind by name or path: what holds graphs is read as graphs, all else as images."""

from pathlib import Path

from condense.data.graphs.sources import GRAPH_NAMES, load_graphs
from condense.data.graphs.spec import GraphDataset
from condense.data.images.sources import NAMES, load
from condense.data.images.spec import ImageDataset
from condense.errors import Refused

Dataset = ImageDataset | GraphDataset
"""A dataset, of whichever kind."""

LAYOUTS = ("*_A.txt", "raw/*_A.txt", "edge.csv.gz", "raw/edge.csv.gz")
"""What only a folder of graphs has: the edges, in TUDataset's layout and in OGB's."""


def load_dataset(
    name_or_path: str,
    *,
    data_dir: Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
) -> Dataset:
    """`condense.data.load`, or `condense.data.load_graphs` for what holds graphs.

    Graphs are what bears a name of `GRAPH_NAMES`, a zip file, or a folder with the edges of graphs in it.

    Args:
        name_or_path: What to load.
        data_dir: Where files of named datasets lie.
        size: Side to resize images to.
        skip_unreadable: Whether to leave out pictures that cannot be read.

    Raises:
        Refused: in one sentence, if there is no such dataset, it is not sound, or it is of graphs and an
            option is given that is for pictures.
    """
    if holds_graphs(name_or_path):
        if size is not None:
            raise Refused(f"--size {size}: {name_or_path} holds graphs, which have no pixels to resize")
        if skip_unreadable:
            raise Refused(f"--skip-unreadable: {name_or_path} holds graphs, no pictures")
        return load_graphs(name_or_path, data_dir=data_dir)
    return load(name_or_path, data_dir=data_dir, size=size, skip_unreadable=skip_unreadable)


def holds_graphs(name_or_path: str) -> bool:
    """Whether a dataset is of graphs, as far as its name or the names of its files tell."""
    if name_or_path in NAMES:
        return False
    path = Path(name_or_path)
    named = name_or_path in GRAPH_NAMES or path.suffix == ".zip"
    return named or any(any(path.glob(one)) for one in LAYOUTS)
