"""Records and boards as values for other programs, and the entries of records as rows of a few columns."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd

from condense.board.cells import TableCell
from condense.board.tables import FILLED, FRACTIONS, Row, Table, gather, published, superseded
from condense.errors import unknown

AS_JSON = ("asked", "chain", "clients", "curve", "versions")
"""The columns of `condense.records.frame.results` that hold JSON as text."""
TOGETHER = (
    "dataset", "target", "protocol", "student", "space", "teacher", "method", "ipc", "fraction", "asked",
    "settings", "train_hash", "test_hash",
)  # fmt: skip
"""The columns that the entries of one row of `rows` have in common."""


def selected(entries: pd.DataFrame, wanted: Mapping[str, object]) -> pd.DataFrame:
    """Returns the entries that have these values.

    Args:
        entries: Rows of `condense.records.frame.results`.
        wanted: Values by column; one of None selects nothing.

    Raises:
        Refused: if no entry has a value.
    """
    for column, value in wanted.items():
        if value is None:
            continue
        if not (entries[column] == value).any():
            known = entries[column].dropna().unique()
            raise unknown(f"{column} of a record", str(value), map(str, known), setting=column)
        entries = entries[entries[column] == value]
    return entries


def entries_json(entries: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns entries as JSON values with the columns of `condense.records.frame.results` as keys."""
    plain = entries.astype(object).where(entries.notna(), None)
    rows = plain.to_dict(orient="records")
    return [{str(key): _value(str(key), value) for key, value in row.items()} for row in rows]


def _value(column: str, value: Any) -> Any:
    if value is not None and column in AS_JSON:
        return json.loads(value)
    return value.item() if hasattr(value, "item") else value


def tables_json(entries: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns the tables of a board as JSON values: those that rank, then the rows under published protocols.

    Args:
        entries: Rows of `condense.records.frame.results`.
    """
    tables = gather(entries)
    newer = superseded(tables)
    found = [
        {
            **one.key._asdict(),
            "asked": json.loads(one.key.asked) if one.key.asked else None,
            "filled": one.key.filled == FILLED,
            "ranked": True,
            "newer_protocol": newer.get(one.key),
            "columns": _across(one),
            "rows": [_row(row, _across(one)) for row in one.rows],
        }
        for one in tables
    ]
    for rows in published(entries).values():
        for key, row in rows:
            more = {"ranked": False, "newer_protocol": None, "columns": "student"}
            asked = json.loads(key.asked) if key.asked else None
            shared = {**key._asdict(), "asked": asked, "filled": key.filled == FILLED}
            found.append({**shared, **more, "rows": [_row(row, "student")]})
    return found


def _across(table: Table) -> str:
    return "fraction" if table.key.filled == FRACTIONS else table.layout.across


def _row(row: Row, across: str) -> dict[str, Any]:
    return {
        "name": row.name,
        "method": row.method,
        "reference": row.reference,
        "baseline": row.baseline,
        "ipc": row.ipc if across == "student" else None,
        "cells": [
            {across: cell.entries[0].fraction if across == "fraction" else column, **_cell(cell)}
            for column, cell in row.cells.items()
        ],
    }


def _cell(cell: TableCell) -> dict[str, Any]:
    return {
        "mean": cell.mean,
        "half_width": cell.half,
        "accuracy": cell.accuracy,
        "sets": len(cell.students),
        "students": sum(cell.students),
        "stored_and_effective": [list(pair) for pair in cell.counts],
        "bytes": {part: int(size) for part, size in cell.bytes.items()},
        "distil_seconds": cell.seconds,
        "papers": [vars(paper) for paper in cell.papers],
        "record_keys": sorted({entry.record_key for entry in cell.entries}),
    }


def rows(entries: pd.DataFrame) -> list[dict[str, str]]:
    """Returns a row of text for each method, IPC, protocol and student: the mean score and its interval.

    The last column holds the settings in which rows differ that would otherwise look alike.

    Args:
        entries: Rows of `condense.records.frame.results`.
    """
    groups = list(entries.groupby(list(TOGETHER), dropna=False, sort=True))
    alike: dict[tuple[Any, ...], list[dict[str, str]]] = defaultdict(list)
    found = []
    for _, group in groups:
        group = group.astype(object).where(group.notna(), None)
        cell = TableCell(tuple(group.itertuples(index=False)))
        first, half = cell.entries[0], cell.half
        target = "" if first.target is None else f" -> {first.target}"
        number = f"{first.fraction:g}" if first.fraction is not None else str(first.ipc or "-")
        row = {
            "dataset": first.dataset + target,
            "method": first.method,
            "IPC": number + "*" * (first.asked is not None),
            "protocol": first.protocol,
            "student": first.student,
            "score": f"{cell.mean:.1f}" + ("" if half is None else f" ± {half:.1f}"),
            "sets x students": f"{len(cell.students)} x {cell.students[0]}",
            "settings": first.settings,
        }
        alike[tuple(value for key, value in row.items() if key not in ("score", "settings"))].append(row)
        found.append(row)
    for same in alike.values():
        texts = [dict(part.partition("=")[::2] for part in row["settings"].split()) for row in same]
        names = [name for name in texts[0] if any(one.get(name) != texts[0][name] for one in texts)]
        for row, one in zip(same, texts, strict=True):
            row["settings"] = " ".join(f"{name}={one[name]}" for name in names if name in one)
    return found
