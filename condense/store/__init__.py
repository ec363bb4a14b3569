"""The stored set: one format for everything that is distilled."""

from pathlib import Path

from condense.data.images.pixels import PixelSpace
from condense.store import folder
from condense.store.graphs.graph_set import GraphSet
from condense.store.graphs.manifest import GraphContent
from condense.store.images.decode import Compensated, MultiFormation, as_compensators, formation
from condense.store.images.image_set import ImageSet
from condense.store.images.replay import Replay
from condense.store.manifest import ImageContent
from condense.store.targets import Hard, Soft, Target

DistilledSet = ImageSet | GraphSet
"""A stored set, of whichever kind."""

__all__ = [
    "DistilledSet",
    "Compensated",
    "ImageContent",
    "ImageSet",
    "GraphContent",
    "GraphSet",
    "Hard",
    "MultiFormation",
    "Replay",
    "Soft",
    "Target",
    "as_compensators",
    "formation",
    "load",
    "save",
    "verify",
]


def load(path: Path | str) -> DistilledSet:
    """Reads a stored set of either kind and checks all of it.

    Args:
        path: The set's folder.

    Returns:
        The set, on the CPU: a `torch.utils.data.Dataset`.

    Raises:
        Refused: naming the file and what is wrong with it.
    """
    graphs = folder.read_manifest(Path(path))[0]["kind"] == "graphs"
    return GraphSet.load(path) if graphs else ImageSet.load(path)


def save(distilled: DistilledSet, path: Path | str, space: PixelSpace | None = None) -> str:
    """Stores a set as a folder, which appears whole or not at all; an older set there is replaced.

    Args:
        distilled: The set.
        path: The folder.
        space: The space of the stored pixels, for the gallery; only a whitened set needs it.

    Returns:
        The content hash.

    Raises:
        Refused: if the set contradicts itself, holds numbers that are not finite, or cannot be written.
    """
    return distilled.save(path) if isinstance(distilled, GraphSet) else distilled.save(path, space)


def verify(path: Path | str) -> str:
    """Recomputes the content hash of a stored set, and checks bytes, counts, class ids and finite numbers.

    Files of stored labels are gone through one after the other: their number takes no memory.

    Args:
        path: The set's folder.

    Returns:
        The content hash, which is the recorded one.

    Raises:
        Refused: naming the file and what is wrong with it.
    """
    stored = load(path)
    if isinstance(stored, ImageSet) and stored.replay is not None:
        stored.replay.verify()
    return stored.hash
