"""What was read from records, kept in the home folder until one of their files changes.

A board is written anew whenever there are more records. Of a hundred thousand, nearly all are then as they
were, and reading them would take half of the time.
"""

import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from condense.errors import Refused
from condense.files import digest, home, state_of, write_atomic

SETTLED = 2.0
"""Seconds after its last change from which on a file counts as known by its time and size.

Another change within the same tick of a file system's clock would show in neither.
"""


class Readings:
    """What was read from the files of a results folder: bytes, under a hash of the files' times and sizes.

    What an earlier version of condense has read is not found, as its sources are part of that hash. Where
    the home folder cannot be written, nothing is kept.

    Args:
        results: The results folder.

    Raises:
        Refused: if nobody knows the home folder.
    """

    def __init__(self, results: Path) -> None:
        self._folder = home() / "readings" / digest(os.path.realpath(results))[:32]
        self._sources = digest(state_of(sorted(Path(__file__).parents[1].rglob("*.py"))))

    def place(self, files: Sequence[Path]) -> Path | None:
        """Returns where the reading of some files is kept; None if one has changed just now, or is gone."""
        state = state_of(files)
        latest = max((changed for _, changed, _ in state), default=0) / 1e9
        if len(state) < len(files) or latest > time.time() - SETTLED:
            return None
        return self._folder / digest([self._sources, state])[:32]

    def forget_all_but(self, places: Collection[Path | None]) -> None:
        """Removes what is kept of files as they were before."""
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path not in places:
                    path.unlink()


def load(place: Path) -> bytes | None:
    """Returns what is kept at a place; None if there is nothing."""
    with suppress(OSError):
        return place.read_bytes()
    return None


def keep(place: Path, data: bytes) -> None:
    """Keeps data at a place, if it can be written."""
    with suppress(Refused):
        write_atomic(place, data)
