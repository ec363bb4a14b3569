"""How many students make a row complete: as many as its protocol has, or fewer where a queue says so."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from itertools import product
from typing import Any, NamedTuple

from condense.board.cells import TableCell
from condense.board.tables import LAYOUTS
from condense.protocols import PROTOCOLS
from condense.records.equal_bytes import draws_worth
from condense.records.record import BASELINES, TAUGHT

DRAWS = {BASELINES[0]: 10, TAUGHT: 3, "rs2": 10}
"""The sets behind the row of a method of which there are several, with one student each (`Method.draws`)."""
DEFAULTS = {"dataset": "digits", "method": "dm", "ipc": 1}
"""What a cell of a queue stands for where it does not say."""

Place = tuple[str, str, float, str, str]
"""Dataset, method, IPC (or fraction, or bytes), protocol, and student, which is empty where none is named."""


class Asked(NamedTuple):
    """The number of students that are asked for, and whether a queue fixed it below the protocol's."""

    students: int
    queued: bool


def asked_of(entry: Any) -> Asked | None:
    """Returns how many students stand behind the cell that an entry belongs in, once the cell is complete.

    Args:
        entry: As in `condense.board.cells.TableCell`.

    Returns:
        The number; None under a protocol that is not one of the suite's own, which does not tell.
    """
    protocol = PROTOCOLS.get(entry.protocol)
    if protocol is None or protocol.hash != entry.protocol_hash:
        return None
    if entry.reference:
        return Asked(protocol.seeds, False)
    sets = draws_of(entry.method)
    each = 1 if sets > 1 else protocol.seeds
    if entry.set_hash is None:  # a training on real images
        sets = min(sets, protocol.seeds)
    elif entry.room is not None and entry.method in BASELINES:
        sets = draws_worth(entry.effective, sets)
    usual = sets * each
    size = float(entry.ipc) if entry.fraction is None else entry.fraction
    places = [(entry.dataset, entry.method, size, entry.protocol, student) for student in (entry.student, "")]
    fewer = [queued()[place] for place in places if place in queued()]
    return Asked(min(usual, *fewer), min(fewer) < usual) if fewer else Asked(usual, False)


def is_complete(cell: TableCell) -> bool:
    """Returns whether a cell has as many students as are asked for, as far as the protocol tells."""
    return not lacking(cell)


def lacking(cell: TableCell) -> str:
    """Returns how many of the students that are asked for there are, ``3 of 5``; empty if none is missing."""
    asked, have = asked_of(cell.entries[0]), len(cell.entries)
    return f"{have} of {asked.students}" if asked is not None and have < asked.students else ""


def draws_of(method: str) -> int:
    """Returns the number of sets behind the row of a method, whatever wraps it."""
    return DRAWS.get(method.partition("+")[0], 1)


@cache
def queued() -> Mapping[Place, int]:
    """Returns the students of the cells for which an installed queue fixes seeds, or students for each."""
    found: dict[Place, int] = {}
    for file in sorted(resources.files("condense.benchmarks").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".toml"):
            for cell in tomllib.loads(file.read_text(encoding="utf-8")).get("cell", []):
                for place, count in _counts(cell).items():
                    found[place] = min(count, found.get(place, count))
    return found


def _counts(cell: Mapping[str, Any]) -> dict[Place, int]:
    """Returns the students of the cells that a table of a queue stands for; none if it fixes nothing."""
    if not {"seeds", "eval_seeds"} & cell.keys():
        return {}
    given = {**DEFAULTS, "student": "", **cell}
    names = [_listed(given[name]) for name in ("dataset", "method", "student")]
    filled = given.get("params", {}).get("room")  # in tables it takes the place of the IPC
    sizes = _listed(filled or given.get("fraction", given["ipc"]))
    found = {}
    for dataset, method, student, size in product(*names, sizes):
        name = f"{dataset}@{cell['size']}" if "size" in cell else dataset
        usual = [layout.protocol for layout in LAYOUTS.values()]
        for protocol in _listed(cell.get("protocol", usual)):
            if protocol in PROTOCOLS:
                draws = draws_of(method)
                sets = len(cell["seeds"]) if "seeds" in cell else draws
                each = cell.get("eval_seeds", 1 if draws > 1 else PROTOCOLS[protocol].seeds)
                found[name, method, float(size), protocol, student] = sets * each
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
