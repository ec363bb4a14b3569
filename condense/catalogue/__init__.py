"""Distilled sets by name: what is known of them, where they are, and how they are loaded."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from condense.catalogue.form import short_names

if TYPE_CHECKING:
    import pandas as pd

    from condense.catalogue.find import locate
    from condense.catalogue.known import KnownSet
    from condense.store import DistilledSet

_PLACES = {
    "KnownSet": "condense.catalogue.known",
    "locate": "condense.catalogue.find",
}

__all__ = ["KnownSet", "find_sets", "load", "locate", "sets", "verify"]


def __getattr__(name: str) -> object:
    """Imports what reads sets on first use: forms of catalogues are read without torch."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load(name: str | Path) -> "DistilledSet":
    """Reads a stored set of any kind and checks all of it: form, hash, counts, labels, finite numbers.

    Files of stored labels are checked by their headers here, and by their hashes when they are first read.

    Args:
        name: The set's folder, or its name: ``fashion-mnist/mtt/ipc1`` (see `sets`). A set that is not at
            hand is downloaded to the home folder if its catalogue has an address. ``hf://user/name`` is a
            repository of datasets on the Hugging Face hub, ``hf://user/name@revision`` a version of it.

    Returns:
        The set, on the CPU: a `torch.utils.data.Dataset`.

    Raises:
        Refused: naming the file and what is wrong with it, or the sets that the name could stand for.
    """
    from condense import store
    from condense.catalogue.find import locate

    return store.load(locate(name))


def verify(name: str | Path) -> str:
    """Loads a stored set, checks every byte in its folder, and returns the content hash.

    Args:
        name: The set's folder or name: see `load`.

    Raises:
        Refused: if the set is invalid; the message names the file and what is wrong with it.
    """
    from condense import store
    from condense.catalogue.find import locate

    return store.verify(locate(name))


def sets(*words: str) -> "pd.DataFrame":
    """Lists the sets that `load` knows by name.

    Args:
        *words: Parts that a set's name or place must have.

    Returns:
        A table with a row for each set: ``name`` (the shortest that stands for one set), ``dataset``,
        ``method``, ``ipc``, ``seed``, ``kind``; ``protocol``, ``student``, ``students``, ``accuracy`` and
        ``auc`` (mean in percent) of the first of its scores; ``bytes``, ``where`` (folder or address, missing
        if the set is known by its hash alone), ``key`` and ``hash``.

    Raises:
        Refused: if a catalogue is damaged.
    """
    import pandas as pd

    rows = []
    for name, known in find_sets(words):
        entry, score = known.entry, next(iter(known.entry.scores), None)
        told = ("protocol", "student", "students", "accuracy", "auc")
        rows.append(
            {"name": name}
            | {column: getattr(entry, column) for column in ("dataset", "method", "ipc", "seed", "kind")}
            | {column: getattr(score, column, None) for column in told}
            | {"bytes": entry.bytes, "where": known.where, "key": entry.key, "hash": entry.hash}
        )
    return pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES)


DTYPES = (
    {name: "string" for name in ("name", "dataset", "method")}
    | {"ipc": "int64", "seed": "int64", "kind": "string", "protocol": "string", "student": "string"}
    | {"students": "Int64", "accuracy": "float64", "auc": "float64", "bytes": "int64"}
    | {name: "string" for name in ("where", "key", "hash")}
)
"""The columns of `sets`, and their types."""


def find_sets(words: Sequence[str]) -> "list[tuple[str, KnownSet]]":
    """Returns the known sets whose full name or place has all the words, each with its shortest name.

    Raises:
        Refused: if a catalogue is damaged.
    """
    from condense.catalogue.known import known_sets

    known = known_sets()
    short = short_names([one.entry for one in known])
    texts = [f"{one.entry.full} {one.where or ''}".lower() for one in known]
    return [
        (short[one.entry.full], one)
        for one, text in zip(known, texts, strict=True)
        if all(word.lower() in text for word in words)
    ]
