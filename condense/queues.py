"""Queues: cells of the board in a TOML file, the worthiest first."""

import tomllib
from dataclasses import fields
from pathlib import Path

from condense.cells import Cell
from condense.errors import Refused, unknown


def read_queue(path: Path) -> list[Cell]:
    """The cells of a queue, in its order.

    Each ``[[cell]]`` table holds fields of `condense.cells.Cell`; one that gives a list for ``ipc``,
    ``method`` or ``student`` stands for one cell an item.

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


def _cells(table: dict[str, object], path: Path) -> list[Cell]:
    known = [field.name for field in fields(Cell)]
    if strange := [name for name in table if name not in known]:
        raise unknown(f"field of a cell in {path}:", strange[0], known)
    several = {name: value for name, value in table.items() if name in ("method", "ipc", "student")}
    if wide := [name for name, value in several.items() if isinstance(value, list)]:
        values = table[wide[0]]
        assert isinstance(values, list)
        return [cell for value in values for cell in _cells({**table, wide[0]: value}, path)]
    values = dict(table)
    if isinstance(seeds := values.get("seeds"), list):
        values["seeds"] = tuple(seeds)
    if isinstance(params := values.get("params"), dict):
        values["params"] = {name: str(value) for name, value in params.items()}
    cell = Cell(**values)  # type: ignore[arg-type]
    for name in ("ipc", "size", "eval_seeds"):
        if not isinstance(number := getattr(cell, name), int | None) or isinstance(number, bool):
            raise Refused(f"{path}: {name} = {number!r} is no whole number")
    return [cell]
