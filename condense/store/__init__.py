"""The stored set: one format for everything that is distilled."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condense.store.base import DistilledSet
    from condense.store.graphs.graph_set import GraphSet
    from condense.store.graphs.manifest import GraphContent
    from condense.store.images.decode import Compensated, MultiFormation, as_compensators, formation
    from condense.store.images.image_set import ImageSet
    from condense.store.images.manifest import ImageContent
    from condense.store.images.replay import Replay
    from condense.store.sealing import Verified
    from condense.store.targets import Features, Hard, Soft, Target

_PLACES = {
    "DistilledSet": "condense.store.base",
    "GraphSet": "condense.store.graphs.graph_set",
    "GraphContent": "condense.store.graphs.manifest",
    "Compensated": "condense.store.images.decode",
    "MultiFormation": "condense.store.images.decode",
    "as_compensators": "condense.store.images.decode",
    "formation": "condense.store.images.decode",
    "ImageSet": "condense.store.images.image_set",
    "ImageContent": "condense.store.images.manifest",
    "Replay": "condense.store.images.replay",
    "Verified": "condense.store.sealing",
    "Features": "condense.store.targets",
    "Hard": "condense.store.targets",
    "Soft": "condense.store.targets",
    "Target": "condense.store.targets",
}

__all__ = [
    "DistilledSet",
    "Compensated",
    "Features",
    "ImageContent",
    "ImageSet",
    "GraphContent",
    "GraphSet",
    "Hard",
    "MultiFormation",
    "Replay",
    "Soft",
    "Target",
    "Verified",
    "as_compensators",
    "examine",
    "formation",
    "load",
    "save",
    "verify",
]


def __getattr__(name: str) -> object:
    """Imports a name on first use: what manifests and records say is read without torch."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(path: Path | str) -> "DistilledSet":
    """Reads a stored set of any kind and checks all of it: form, hash, counts, labels, finite numbers.

    Files of stored labels are checked by their headers here, and by their hashes when they are first read.

    Args:
        path: The set's folder.

    Returns:
        The set, on the CPU: a `torch.utils.data.Dataset`.

    Raises:
        Refused: naming the file and what is wrong with it.
    """
    from condense.store.folder import read_manifest
    from condense.store.graphs.graph_set import GraphSet
    from condense.store.images.image_set import ImageSet

    kind = read_manifest(Path(path))[0]["kind"]
    return next(one for one in (ImageSet, GraphSet) if one.kind == kind).load(path)


def save(distilled: "DistilledSet", path: Path | str) -> str:
    """Stores a set as a folder, which appears whole or not at all; an older set there is replaced.

    Args:
        distilled: The set.
        path: The folder.

    Returns:
        The content hash.

    Raises:
        Refused: if the set contradicts itself, holds numbers that are not finite, or cannot be written.
    """
    return distilled.save(path)


def verify(path: Path | str) -> str:
    """Loads a stored set, checks every byte in its folder, and returns the content hash: see `examine`.

    Raises:
        Refused: if the set is invalid; the message names the file and what is wrong with it.
    """
    return examine(path).hash


def examine(path: Path | str) -> "Verified":
    """Loads a stored set, checks every byte in its folder, and says what nothing vouches for.

    Raises:
        Refused: if the set is invalid; the message names the file and what is wrong with it.
    """
    from condense.store.sealing import verify_folder

    loaded = load(path)
    loaded.verify()
    return verify_folder(Path(path), loaded.label_metadata())
