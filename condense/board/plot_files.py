"""The names of the files of plots, which pages link to without drawing anything."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from condense.board.tables import FRACTIONS, Key, Table
from condense.files import digest, safe_name

Against = Literal["ipc", "bytes"]
"""What the horizontal axis shows."""


def plot_files(tables: Sequence[Table]) -> dict[Key, Mapping[Against, str]]:
    """Returns the names of the plots of tables that hold sets, by what is on the horizontal axis."""
    drawn = [table.key for table in tables if table.ipcs and table.key.filled != FRACTIONS]
    short = {key: _name(key, full=False) for key in drawn}
    names = list(short.values())
    found: dict[Key, Mapping[Against, str]] = {}
    for key, name in short.items():
        stem = name if names.count(name) == 1 else _name(key, full=True)
        axes: tuple[Against, ...] = get_args(Against)
        found[key] = {one: f"{stem}-{one}.png" for one in axes if not (key.filled and one == "ipc")}
    return found


def _name(key: Key, full: bool) -> str:
    parts = [key.dataset, key.protocol, key.student, key.space]
    parts += [f"by-class-{digest(json.loads(key.asked))[:8]}"] if key.asked else []
    parts += ["filled"] if key.filled else []
    parts += [f"to-{key.target.partition(' ')[0]}"] if key.target else []
    if full:
        parts += [part[:8] for part in (key.train_hash, key.test_hash, key.protocol_hash, key.teacher)]
    return safe_name("-".join(part for part in parts if part))
