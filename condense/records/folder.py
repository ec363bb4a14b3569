"""A results folder: the files of its records, and all of them at once."""

import os
from collections.abc import Iterator
from pathlib import Path

from condense.catalogue.form import CATALOGUE, SHIPPED
from condense.errors import Refused
from condense.records.record import Record, read_record
from condense.store.manifest import MANIFEST

NO_RECORDS = (MANIFEST, CATALOGUE, SHIPPED)
"""Names of other JSON files in a results folder."""


def record_files(folder: Path) -> Iterator[Path]:
    """Yields the files of all records of a results folder, ``folder/<dataset>/*.json``, in order of path.

    Manifests of stored sets and catalogues of sets may lie in the same place and are left out. A folder that
    is missing has no records.

    Raises:
        OSError: if a folder may not be read.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as found:
        places = sorted(one.name for one in found if one.is_dir())
    for place in places:
        names = sorted(name for name in os.listdir(folder / place) if name.endswith(".json"))
        yield from (folder / place / name for name in names if name not in NO_RECORDS)


def read_records(folder: Path) -> list[Record]:
    """Reads the records below a results folder, in order of path: see `record_files`.

    Raises:
        Refused: if a file cannot be read or holds no valid record, or if two files hold the same record.
    """
    met, records = Met(), []
    for path in record_files(folder):
        records.append(record := read_record(path))
        met.add(record.dataset.name, record.evaluation_key(), path)
    return records


class Met:
    """The records that were met so far, to see that no two files hold the same one."""

    def __init__(self) -> None:
        self._places: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, dataset: str, key: str, path: Path) -> None:
        """Adds a record by its dataset and its key.

        Raises:
            Refused: if another file holds it.
        """
        place = path.parts[-2], path.parts[-1]  # two short texts take less memory than a path
        other = self._places.setdefault((dataset, key), place)
        if other != place:
            raise Refused(f"{path.parents[1].joinpath(*other)} and {path} hold the same record")
