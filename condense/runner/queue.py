"""Queues: cells of the board in a TOML file, the worthiest first."""

import tomllib
from dataclasses import fields
from pathlib import Path

from condense.errors import Refused, unknown
from condense.runner.cell import CellSpec


def read_queue(path: Path) -> list[CellSpec]:
    """The cells of a queue, in its order.

    Each ``[[cell]]`` table holds fields of `condense.runner.cell.CellSpec`; one that gives a list for
    ``dataset``, ``method``, ``ipc`` or ``student`` stands for one cell an item.

    Raises:
        Refused: if the file is missing, no TOML, or holds an unknown field.
    """
    try:
        tables = tomllib.loads(path.read_text()).get("cell", [])
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path} is no TOML: {error}") from error
    if not isinstance(tables, list) or not tables:
        raise Refused(f"{path} holds no [[cell]]")
    return [cell for table in tables for cell in _cells(table, path)]


def _cells(table: object, path: Path) -> list[CellSpec]:
    if not isinstance(table, dict):
        raise Refused(f"{path}: cell = {table!r} is no table; write [[cell]]")
    known = [field.name for field in fields(CellSpec)]
    if strange := [name for name in table if name not in known]:
        raise unknown(f"field of a cell in {path}:", strange[0], known)
    for name in ("dataset", "method", "ipc", "student"):
        if isinstance(several := table.get(name), list):
            return [cell for value in several for cell in _cells({**table, name: value}, path)]
    for name, value in table.items():
        if wanted := _wanted(name, value):
            raise Refused(f"{path}: {name} = {value!r} is no {wanted}")
    values = dict(table)
    if "seeds" in values:
        values["seeds"] = tuple(values["seeds"])
    if "params" in values:
        values["params"] = {name: str(value) for name, value in values["params"].items()}
    return [CellSpec(**values)]


def _wanted(name: str, value: object) -> str | None:
    """What a field's value should be, in words, if it is something else."""
    if name == "params":
        return None if isinstance(value, dict) else "table"
    if name == "seeds":
        fine = isinstance(value, list) and all(type(seed) is int for seed in value)
        return None if fine else "list of whole numbers"
    if name == "skip_unreadable":
        return None if isinstance(value, bool) else "boolean"
    if name in ("ipc", "size", "eval_seeds"):
        return None if type(value) is int else "whole number"
    return None if isinstance(value, str) else "text"
