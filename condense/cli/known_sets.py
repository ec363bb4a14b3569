"""The known sets as lines and as JSON."""

from collections.abc import Sequence
from typing import Any

from condense.board.catalogue import score_text
from condense.board.format import bytes_text
from condense.catalogue import KnownSet
from condense.catalogue.form import entry_values


def as_lines(found: Sequence[tuple[str, KnownSet]], every: bool) -> list[str]:
    """Returns a line for each set (name, IPC, score, bytes, place), and one that counts them.

    Args:
        found: The sets with their names.
        every: Whether those are listed, too, whose files are nowhere.
    """
    shown = [(name, one) for name, one in found if every or one.where]
    rows = [
        (name, f"ipc {one.entry.ipc}", score_text(one.entry), bytes_text([one.entry.bytes]), one.where or "-")
        for name, one in shown
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    missing = sum(one.where is None for _, one in found)
    told = f"{len(found) - missing} set{'' if len(found) - missing == 1 else 's'} to load"
    if missing:
        told += f", {missing} known by hash alone{' (-)' if every else ': --all lists them'}"
    return [*(line.rstrip() for line in lines), told]


def as_values(found: Sequence[tuple[str, KnownSet]]) -> list[dict[str, Any]]:
    """Returns the entries as plain JSON values, with the shortest name that stands for each and its place."""
    return [{**entry_values(one.entry), "shortest": name, "where": one.where} for name, one in found]
