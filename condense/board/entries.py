"""Rows of the table of all results as named tuples, from which the board's tables are made."""

from collections import namedtuple
from typing import Any

import numpy as np
import pandas as pd

ORDER = ["seed", "record_key", "eval_seed"]
"""The columns that entries are sorted by."""
AT_ONCE = 4096
"""Number of entries that are made in one go, which bounds the memory beside theirs."""


def tuples(entries: pd.DataFrame, wanted: "pd.Series[bool]", **changed: "pd.Series[Any]") -> list[Any]:
    """Returns rows of `condense.records.frame.results` as named tuples in which what is missing is None.

    They are sorted by seed, record and evaluation seed. Equal values of a column are one object.

    Args:
        entries: The table, of which no copy is made.
        wanted: Whether each row is taken.
        changed: Columns that take the place of those of the table.
    """
    places = np.flatnonzero(wanted)
    rows = entries.iloc[places][ORDER].set_axis(places).sort_values(ORDER).index.to_numpy()
    columns = []
    for name in entries.columns:
        numbers, distinct = pd.factorize(changed.get(name, entries[name]).take(rows))
        values = np.empty(len(distinct) + 1, dtype=object)
        values[:-1] = distinct.astype(object)  # what is missing has the number -1, and stands at the end
        columns.append((values, numbers.astype(np.min_scalar_type(-len(values)))))
    form = namedtuple("Entry", list(entries.columns))  # type: ignore[misc]
    found: list[Any] = []
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        told = [values[numbers[part]].tolist() for values, numbers in columns]
        found += map(form._make, zip(*told, strict=True))
    return found
