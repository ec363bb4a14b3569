"""The names of the files of plots, which pages link to without drawing anything, and what they show."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from condense.board.tables import FRACTIONS, Key, Table, superseded
from condense.files import digest, safe_name

Against = Literal["ipc", "bytes"]
"""What the horizontal axis shows."""
FORMAT = ".svg"
DATA = "Data"
"""The field of a PNG file that holds the hash of the data that it shows; SVG files have it as identifier."""
MARK = re.compile(rb"(?:<dc:identifier>|tEXt" + DATA.encode() + rb"\0)([0-9a-f]{64})")
HEAD = 4096
"""Bytes at the start of a file in which the mark stands."""


def plot_files(tables: Sequence[Table]) -> dict[Key, Mapping[Against, str]]:
    """Returns the names of the plots of tables that hold sets, by what is on the horizontal axis.

    Tables that differ only in the student network share their plots, which have a panel for each of them.
    Those under older versions of protocols have none.
    """
    older = superseded(tables)
    held = [table.key for table in tables if table.ipcs and table.key.filled != FRACTIONS]
    drawn = [key for key in held if key not in older]
    short = {shared: _name(shared, full=False) for shared in map(shared_key, drawn)}
    names = list(short.values())
    found: dict[Key, Mapping[Against, str]] = {}
    for key in drawn:
        name = short[shared := shared_key(key)]
        stem = name if names.count(name) == 1 else _name(shared, full=True)
        axes: tuple[Against, ...] = get_args(Against)
        found[key] = {one: f"{stem}-{one}{FORMAT}" for one in axes if not (key.filled and one == "ipc")}
    return found


def data_of(path: Path) -> str | None:
    """Returns the hash of the data that a picture shows; None if the file does not tell or is no file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        found = MARK.search(file.read(HEAD))
    return found[1].decode() if found else None


def shared_key(key: Key) -> Key:
    """Returns what the tables of one plot have in common."""
    return key._replace(student="")


def _name(key: Key, full: bool) -> str:
    parts = [key.dataset, key.protocol, key.space]
    parts += [f"by-class-{digest(json.loads(key.asked))[:8]}"] if key.asked else []
    parts += ["filled"] if key.filled else []
    parts += [f"to-{key.target.partition(' ')[0]}"] if key.target else []
    if full:
        parts += [part[:8] for part in (key.train_hash, key.test_hash, key.protocol_hash, key.teacher)]
    return safe_name("-".join(part for part in parts if part))
