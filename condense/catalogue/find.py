"""Finds the folder of a stored set by its path or by its name, and says what else a name could stand for."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from condense.catalogue.download import download
from condense.catalogue.form import SetEntry
from condense.catalogue.hub import SCHEME, fetch
from condense.catalogue.known import KnownSet, known_sets
from condense.errors import Refused, Remedy
from condense.store.folder import read_manifest

PROPOSED = 5
"""Number of sets that a refusal proposes."""
TOLD = 3
"""Number of settings that tell a set from others."""


def locate(given: str | Path) -> Path:
    """Returns the folder of a stored set.

    Args:
        given: A path, which wins if there is something; or the name of a set: ``DATASET/METHOD/ipcN``, or
            with ``/KEY`` behind it, the first 8 letters of its run key, or of its hash where a run has given
            several sets. The files of a set that is not at hand are downloaded if its catalogue has an
            address.

    Raises:
        Refused: if a name is unknown or stands for several sets, or the files are not those that the
            catalogue names, or not to be had.
    """
    if str(given).startswith(SCHEME):
        return fetch(str(given))
    path = Path(given)
    if os.path.lexists(path) or path.is_absolute() or path.parts[:1] in ((), ("..",)):
        return path
    known, name = known_sets(), path.as_posix()
    found = [one for one in known if name in (one.entry.name, one.entry.full, one.entry.of_run)]
    if not found:
        raise _unknown(name, known)
    if len({one.entry.full for one in found}) > 1:
        raise _ambiguous(name, [one.entry for one in found])
    if len(found) > 1:
        raise _disagreeing(found)
    return _at_hand(found[0])


def tell_apart(entries: Sequence[SetEntry]) -> dict[str, str]:
    """Returns by full name what tells sets with the same name apart: ``seed 1, lr=0.1``."""
    values = {
        name: {entry.settings.get(name) for entry in entries}
        for name in sorted({name for entry in entries for name in entry.settings})
    }
    differ = [name for name in values if len(values[name]) > 1]
    differ.sort(key=lambda name: -len(values[name]))  # the ones first that tell most of them apart
    told = {}
    for entry in entries:
        parts = [f"seed {entry.seed}"] if len({one.seed for one in entries}) > 1 else []
        settings = [(name, entry.settings.get(name)) for name in differ[:TOLD]]
        parts += [f"no {name}" if value is None else f"{name}={value}" for name, value in settings]
        parts += [f"{len(differ) - TOLD} more settings"] if len(differ) > TOLD else []
        told[entry.full] = ", ".join(parts) or f"hash {entry.hash[:8]}"
    return told


def _at_hand(known: KnownSet) -> Path:
    entry, folder = known.entry, known.folder
    if folder is not None:
        if (held := str(read_manifest(folder)[1]["hash"])) != entry.hash:
            raise Refused(
                f"{folder} holds the set {held[:8]}, but {known.source} names {entry.hash[:8]} "
                f"as {entry.full}"
            )
        return folder
    if known.url is not None:
        return download(entry, known.url, known.source)
    listed = Remedy(settings={"json": True}, command=f"sets {entry.full}", effect="shows its settings")
    raise Refused(
        f"{entry.full} is known by its hash alone: {known.source} names no files for it", remedies=[listed]
    )


def _unknown(name: str, known: Sequence[KnownSet]) -> Refused:
    names = sorted({one.entry.name for one in known})
    names += [one.entry.full for one in known] if name.count("/") > 2 else []
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    told = f"; nearest: {', '.join(nearest)}" if nearest else ""
    remedies = [Remedy(command="sets", effect="lists the known ones")] if known else []
    return Refused(
        f"there is no folder {name}, and no set of that name is known{told}",
        nearest=nearest, remedies=remedies,
    )  # fmt: skip


def _ambiguous(name: str, entries: Sequence[SetEntry]) -> Refused:
    told = tell_apart(entries)
    listed = [f"{full} ({apart})" for full, apart in told.items()][:PROPOSED]
    more = [Remedy(command=f"sets {name}", effect="lists them all")] if len(told) > PROPOSED else []
    return Refused(
        f"{name} stands for {len(told)} sets: {', '.join(listed)}", nearest=list(told), remedies=more
    )


def _disagreeing(found: Sequence[KnownSet]) -> Refused:
    told = " and ".join(f"{one.source} names {one.entry.hash[:8]}" for one in found)
    return Refused(f"{told} as {found[0].entry.full}: give the folder of the set that you want")
