"""Queues: TOML files that list cells of the board, the most important ones first."""

import math
import tomllib
from dataclasses import fields
from pathlib import Path

from condense.errors import Refused, unknown
from condense.reading import read_text, refused_if_damaged
from condense.runner.cell import CellSpec

MAX_BYTES = 2**20
"""Largest queue that is read, in bytes."""
MAX_CELLS = 100_000
"""Largest number of cells of a queue."""
LISTS = ("dataset", "method", "ipc", "fraction", "student")
"""Fields of a cell that may be a list, which stands for one cell for each item."""


def read_queue(path: Path) -> list[CellSpec]:
    """Reads the cells of a queue, in its order.

    Each ``[[cell]]`` table holds fields of `condense.runner.cell.CellSpec`. A table with a list for
    ``dataset``, ``method``, ``ipc``, ``fraction`` or ``student`` stands for one cell for each item.

    Raises:
        Refused: if the file is missing or is not TOML, or a table holds an unknown field, a wrong value or an
            empty list.
    """
    with refused_if_damaged(f"{path} is not TOML"):
        tables = tomllib.loads(read_text(path, MAX_BYTES)).get("cell", [])
    if not isinstance(tables, list) or not tables:
        raise Refused(f"{path} holds no [[cell]]")
    if (count := sum(map(_count, tables))) > MAX_CELLS:
        raise Refused(f"{path} stands for {count} cells; a queue has at most {MAX_CELLS}")
    return [cell for number, table in enumerate(tables, 1) for cell in _cells(table, number, path)]


def _count(table: object) -> int:
    """Returns the number of cells that a table stands for."""
    lists = [table.get(name) for name in LISTS] if isinstance(table, dict) else []
    return math.prod(len(one) for one in lists if isinstance(one, list))


def _cells(table: object, number: int, path: Path) -> list[CellSpec]:
    """Returns the cells of a table, which is the one with a number, from 1."""
    if not isinstance(table, dict):
        raise Refused(f"{path}: cell = {repr(table)[:60]} is not a table; write [[cell]]")
    known = [field.name for field in fields(CellSpec)]
    if strange := [name for name in table if name not in known]:
        raise unknown(f"field of a cell in {path}:", strange[0], known)
    if empty := [name for name, value in table.items() if value == []]:
        raise Refused(f"{path}: {empty[0]} = [] stands for no work: name something, or leave it out")
    for name in LISTS:
        if isinstance(several := table.get(name), list):
            return [cell for value in several for cell in _cells({**table, name: value}, number, path)]
    for name, value in table.items():
        if wanted := _wanted(name, value):
            raise Refused(f"{path}: {name} = {repr(value)[:60]} is not {wanted}")
    values = dict(table)
    if "seeds" in values:
        values["seeds"] = tuple(values["seeds"])
    if "params" in values:
        values["params"] = {name: str(value) for name, value in values["params"].items()}
    try:
        return [CellSpec(**values)]
    except Refused as error:
        raise Refused(f"{path}: cell {number}: {error}") from error


def _wanted(name: str, value: object) -> str | None:
    """Returns what a field's value should be, in words, if it is something else."""
    if name == "seeds":
        fine = isinstance(value, list) and all(type(seed) is int and abs(seed) < 2**63 for seed in value)
        return None if fine else "a list of whole numbers"
    if name == "ipc_per_class" and isinstance(value, dict):
        return None  # `counts_of` checks what it holds
    if name in ("classes", "targets") and isinstance(value, list):
        return None if all(isinstance(one, str) for one in value) else "text, or a list of texts"
    if name == "fraction":
        return None if type(value) in (int, float) else "a number"
    others: dict[str, tuple[type, str]] = {
        "params": (dict, "a table"),
        "skip_unreadable": (bool, "a boolean"),
        "undirected": (bool, "a boolean"),
        "ipc_per_class": (str, "text, or a table of whole numbers"),
    }
    others |= dict.fromkeys(("ipc", "size", "eval_seeds"), (int, "a whole number"))
    wanted, words = others.get(name, (str, "text"))
    fits = type(value) is wanted and not (isinstance(value, int) and abs(value) >= 2**63)
    return None if fits else words
