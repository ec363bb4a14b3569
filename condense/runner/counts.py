"""How many samples of each class a cell asks for, where they are not equally many."""

import csv
from collections.abc import Mapping
from pathlib import Path

from condense.data import Dataset
from condense.errors import Refused, unknown
from condense.reading import read_file
from condense.runner.cell import CellSpec

HEAD = ["class", "count"]
"""The first line of a file of counts."""
MAX_BYTES = 2**20
"""Largest file of counts that is read, in bytes."""


def counts_of(cell: CellSpec, dataset: Dataset) -> tuple[int, ...] | None:
    """Returns the samples of each class that a cell asks for; None if they are ``ipc`` of each.

    Raises:
        Refused: if the file cannot be read, or names an unknown class or a count below 1.
    """
    spec = dataset.spec
    if cell.ipc < 1:  # a fraction is given, or a method's `check` refuses it
        return None
    wanted = dict.fromkeys(spec.classes, cell.ipc)
    told = cell.ipc_per_class
    for name, count in ({} if told is None else told if isinstance(told, Mapping) else _read(told)).items():
        if name not in wanted:
            raise unknown(f"class of {spec.name} in ipc_per_class:", name, spec.classes)
        if type(count) is not int or count < 1:
            raise Refused(f"ipc_per_class: at least one sample of a class is needed, not {name!r}: {count!r}")
        wanted[name] = count
    counts = tuple(wanted.values())
    if cell.imbalanced is not None:
        counts = tuple(map(min, counts, dataset.train.counts()))
    return None if counts == (cell.ipc,) * spec.num_classes else counts


def _read(path: str | Path) -> dict[str, int]:
    """Reads a CSV file with the head ``class,count`` and a line for each of some classes."""
    path = Path(path)
    if not path.is_file():
        raise Refused("there is no such file", setting="ipc_per_class", value=str(path))
    try:
        text = read_file(path, MAX_BYTES).decode("utf-8-sig")
        rows = [row for row in csv.reader(text.splitlines()) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise Refused(f"cannot read {path}: {error}") from error
    if not rows or rows[0] != HEAD:
        raise Refused(f"{path} does not begin with the line {','.join(HEAD)}")
    counts: dict[str, int] = {}
    for row in rows[1:]:
        if len(row) != 2 or not row[1].strip().isdecimal():
            raise Refused(f"{path}: {','.join(row)!r} is not a class and a whole number")
        if row[0] in counts:
            raise Refused(f"{path} names the class {row[0]!r} twice")
        if len(row[1].strip()) > 9:
            raise Refused(f"{path}: {row[1].strip()} samples of the class {row[0]!r} are too many")
        counts[row[0]] = int(row[1])
    return counts
