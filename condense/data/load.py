"""Loads any dataset by its name or path."""

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from condense.data.base import Dataset
from condense.data.graphs.sources import GRAPH_NAMES, load_graphs
from condense.data.images.sources import IMAGE_NAMES, load_images
from condense.data.notes import is_leftover
from condense.data.subset import with_classes
from condense.errors import Refused

EDGE_FILES = ("*_A.txt", "raw/*_A.txt", "edge.csv.gz", "raw/edge.csv.gz")
"""Files with the edges of graphs, in TUDataset's layout and in OGB's: a folder of images has none."""

Loaded = dict[Hashable, Dataset]
"""Datasets by what `load_dataset` was asked for, the one that was asked for last at the end."""
REMEMBERED = 4
"""Largest number of datasets that are remembered."""
_loaded: ContextVar[Loaded | None] = ContextVar("loaded", default=None)


@contextmanager
def remembering(loaded: Loaded | None = None) -> Iterator[None]:
    """Lets `load_dataset` return a dataset again that was loaded within the block, or is in `loaded`.

    The files of datasets are taken not to change meanwhile.
    """
    token = _loaded.set({} if loaded is None else loaded)
    try:
        yield
    finally:
        _loaded.reset(token)


def load_dataset(
    name_or_path: str,
    *,
    data_dir: Path | None = None,
    size: int | None = None,
    skip_unreadable: bool = False,
    undirected: bool = False,
    classes: Sequence[str] | None = None,
    augment: str | None = None,
) -> Dataset:
    """Loads a dataset of either kind, with `load_images` or, if `holds_graphs`, with `load_graphs`.

    Args:
        name_or_path: Name of the dataset, or the path of its file or folder.
        data_dir: Folder with the files of named datasets.
        size: Side in pixels to resize images to.
        skip_unreadable: Whether to leave out images that cannot be read.
        undirected: Whether edges of graphs that seem to have directions may lose them: see `load_graphs`.
        classes: Names of the classes to take, see `with_classes`; None takes all.
        augment: Augmentation of the images, see `Dataset.augmented`; None takes the usual one.

    Raises:
        Refused: If there is no such dataset, it is damaged, it holds graphs and ``size``, ``augment`` or
            ``skip_unreadable`` is given, or images and ``undirected`` is, or it lacks one of the classes.
    """
    loaded = _loaded.get()
    asked = (name_or_path, data_dir, size, skip_unreadable, undirected, classes and tuple(classes), augment)
    data = None if loaded is None else loaded.pop(asked, None)
    if data is None:
        data = _whole(name_or_path, data_dir, size, skip_unreadable, undirected)
        data = data if classes is None else with_classes(data, classes)
        data = data if augment is None else data.augmented(augment)
    if loaded is not None:
        loaded[asked] = data
        for oldest in [*loaded][:-REMEMBERED]:
            del loaded[oldest]
    return data


def _whole(
    name_or_path: str, data_dir: Path | None, size: int | None, skip_unreadable: bool, undirected: bool
) -> Dataset:
    if not holds_graphs(name_or_path):
        if undirected:
            reason = f"{name_or_path} holds no graphs, and images have no edges"
            raise Refused(reason, setting="undirected", value=True)
        return load_images(name_or_path, data_dir=data_dir, size=size, skip_unreadable=skip_unreadable)
    if size is not None:
        reason = f"{name_or_path} holds graphs, which have no pixels to resize"
        raise Refused(reason, setting="size", value=size)
    if skip_unreadable:
        raise Refused(f"{name_or_path} holds graphs, not images", setting="skip_unreadable", value=True)
    return load_graphs(name_or_path, data_dir=data_dir, undirected=undirected)


def holds_graphs(name_or_path: str) -> bool:
    """Returns whether a dataset holds graphs, judging by its name and the names of its files alone."""
    if name_or_path in IMAGE_NAMES:
        return False
    path = Path(name_or_path)
    named = name_or_path in GRAPH_NAMES or path.suffix == ".zip"
    files = (file for pattern in EDGE_FILES for file in path.glob(pattern))
    return named or any(not is_leftover(file.name) for file in files)
