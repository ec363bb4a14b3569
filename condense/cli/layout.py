"""Plain text for what has a name: aligned columns, of which the last one is wrapped."""

import json
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

NARROWEST, WIDEST = 72, 100
"""Least and largest number of columns of a page."""

FIELD = ["name", "type", "default", "meaning"]
WHERE = {"images": "for images", "graphs": "for graphs", "any": "for any data"}


def width() -> int:
    """Returns the number of columns to write in: that of the terminal within bounds, or 100 in a file."""
    return min(max(shutil.get_terminal_size((WIDEST, 24)).columns, NARROWEST), WIDEST)


def columns(rows: Iterable[Sequence[str]], indent: int = 2, gap: int = 2) -> Iterator[str]:
    """Yields the lines of a table; its last column is wrapped, and the others are as wide as they need be.

    Args:
        rows: The cells of each row, equally many in all rows.
        indent: Blanks in front of each line.
        gap: Blanks between two columns.
    """
    table = [[str(cell) for cell in row] for row in rows]
    if not table:
        return
    sizes = [max(len(cell) for cell in column) for column in zip(*table, strict=True)][:-1]
    start = indent + sum(size + gap for size in sizes)
    room = max(width() - start, 24)
    for row in table:
        head = "".join(f"{cell:{size + gap}}" for cell, size in zip(row, sizes, strict=False))
        first, *more = textwrap.wrap(row[-1], room, break_long_words=False, break_on_hyphens=False) or [""]
        yield f"{'':{indent}}{head}{first}".rstrip()
        yield from (f"{'':{start}}{line}" for line in more)


def page(entry: Mapping[str, Any]) -> str:
    """Returns the page of one entry of `condense.runner.names.described`."""
    kind = "federated algorithm" if entry["kind"] == "federated" else entry["kind"]
    version = "" if entry["version"] is None else f", version {entry['version']}"
    blocks = [[f"{entry['name']}: {kind} {WHERE[entry['data']]}{version}"]]
    said = dict.fromkeys(filter(None, (entry["description"], entry["about"])))
    if len(said) == 2 and entry["about"].startswith(entry["description"]):
        said = dict.fromkeys([entry["about"]])
    blocks.append([line for text in said for line in columns([[text]])])
    labels = {"paper": "paper", "code": "authors' code", "package": "package", "not_for": "not for"}
    blocks.append(list(columns([label, entry[key]] for key, label in labels.items() if entry[key])))
    blocks.append(list(columns([name, _plain(value)] for name, value in entry["facts"].items() if value)))
    if entry["fields"]:
        title = "Numbers" if entry["kind"] == "protocol" else "Fields (--param NAME=VALUE)"
        names = ["name", "value", "meaning"] if entry["kind"] == "protocol" else FIELD
        keys = ["default" if name == "value" else name for name in names]
        rows = [[_plain(one[key]) for key in keys] for one in entry["fields"]]
        blocks.append([title, *columns([names, *rows])])
    blocks += [_recipes(entry["recipes"]), _numbers(entry)]
    return "\n\n".join("\n".join(lines) for lines in blocks if lines)


def _recipes(recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the published settings by dataset, with the IPCs that share them in one row."""
    groups: dict[str, dict[tuple[str, str], list[str]]] = {}
    for one in recipes:
        settings = " ".join(f"{name}={_plain(value)}" for name, value in one["settings"].items())
        group = groups.setdefault(one["source"], {})
        group.setdefault((one["dataset"], settings or "the defaults"), []).append(str(one["ipc"]))
    lines = []
    for source, rows in groups.items():
        shown = [[name, ", ".join(ipcs), text] for (name, text), ipcs in rows.items()]
        lines += [*columns([[source]]), *columns(shown, indent=4)]
    return ["Published settings, which are taken at these datasets and IPCs", *lines] if lines else []


def _numbers(entry: Mapping[str, Any]) -> list[str]:
    """Returns the published numbers; one that was not read in its source has a question mark."""
    other = "method" if entry["kind"] == "dataset" else "dataset"
    rows = [
        [
            one[other],
            str(one["ipc"] or "whole"),
            one["student"],
            f"{one['value']:g}" + ("" if one["error"] is None else f" ± {one['error']:g}"),
            "" if one["verified"] else "?",
            one["source"],
        ]
        for one in entry["published"]
    ]
    if not rows:
        return []
    head = [other, "IPC", "student", "percent", "", "source"]
    return ["Published numbers (? not read in the source itself)", *columns([head, *rows])]


def _plain(value: object) -> str:
    """Returns a value as ``--param`` takes it."""
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_plain(one)}" for name, one in value.items())
    if isinstance(value, list):
        shown = ", ".join(_plain(one) for one in value[:20])
        return shown if len(value) <= 20 else f"{shown}, ... ({len(value)})"
    return value if isinstance(value, str) else "none" if value is None else json.dumps(value)
