"""The leaderboard as curves: accuracy against IPC and against bytes, a picture each for every table."""

import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from condense.board.records import Record, safe
from condense.board.render import title
from condense.board.tables import Cell, Row, Table, gather
from condense.files import write_atomic

MARKERS = "osD^vPX*<>"


def draw(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draws every table that holds a set.

    Args:
        records: In any order.
        folder: Where the pictures go; made if need be.

    Returns:
        The files written: two for each table, ``...-ipc.png`` and ``...-bytes.png``.
    """
    tables = [table for table in gather(records) if table.ipcs]
    names = [_name(table, full=False) for table in tables]
    paths = []
    for table, name in zip(tables, names, strict=True):
        stem = name if names.count(name) == 1 else _name(table, full=True)
        for against in ("ipc", "bytes"):
            path = folder / f"{stem}-{against}.png"
            write_atomic(path, _picture(table, against))
            paths.append(path)
    return paths


def _name(table: Table, full: bool) -> str:
    key = table.key
    parts = [key.dataset, key.protocol, key.student, key.space]
    if full:
        parts += [
            part[:8] for part in (key.train_hash, key.test_hash, key.protocol_hash, key.teacher) if part
        ]
    return safe("-".join(parts))


def _picture(table: Table, against: str) -> bytes:
    """One picture as PNG; its only metadata is its title, so that equal tables give equal bytes."""
    figure = Figure(figsize=(7.2, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    _axis(axes, table, against)
    colors = iter(range(len(table.rows)))
    for row in table.rows:
        if row.reference:
            _level(axes, row)
        elif row.method == "random_subset":
            _band(axes, row, against)
        else:
            _curve(axes, row, against, next(colors))
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(f"{table.key.dataset}: {title(table.key)}", fontsize=10)
    axes.grid(alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8, frameon=False)
    out = BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": None, "Title": table.key.dataset})
    return out.getvalue()


def _curve(axes: Axes, row: Row, against: str, number: int) -> None:
    xs, cells = _points(row, against)
    axes.errorbar(
        xs,
        [cell.mean for cell in cells],
        yerr=[math.nan if cell.half is None else cell.half for cell in cells],
        label=row.name,
        color=f"C{number % 10}",
        marker=MARKERS[number % len(MARKERS)],
        linestyle="--" if row.baseline else "-",
        markersize=5,
        capsize=3,
        linewidth=1.3,
    )


def _band(axes: Axes, row: Row, against: str) -> None:
    xs, cells = _points(row, against)
    low = [cell.mean - (cell.half or 0.0) for cell in cells]
    high = [cell.mean + (cell.half or 0.0) for cell in cells]
    if len(xs) == 1:  # a band of one point has no width: give it some
        xs, low, high = [xs[0] / 1.1, xs[0] * 1.1], low * 2, high * 2
        cells = cells * 2
    axes.fill_between(xs, low, high, color="0.75", alpha=0.6, linewidth=0)
    axes.plot(xs, [cell.mean for cell in cells], color="0.45", linewidth=1.3, label=row.name)


def _level(axes: Axes, row: Row) -> None:
    cell = row.cells[0]
    style = "--" if row.method == "whole" else ":"
    axes.axhline(cell.mean, color="black", linestyle=style, linewidth=1, label=row.name)
    if cell.half:
        axes.axhspan(cell.mean - cell.half, cell.mean + cell.half, color="black", alpha=0.08, linewidth=0)


def _axis(axes: Axes, table: Table, against: str) -> None:
    if against == "ipc":
        axes.set_xlabel("images per class (IPC)")
        axes.set_xlim(table.ipcs[0] / 1.3, table.ipcs[-1] * 1.3)
        axes.set_xticks(table.ipcs)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        sizes = [x for row in table.rows if not row.reference for x in _points(row, against)[0]]
        axes.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
        axes.set_xlabel("size of the stored set, all parts (bytes)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _size(x)))
        axes.xaxis.set_minor_locator(NullLocator())


def _points(row: Row, against: str) -> tuple[list[float], list[Cell]]:
    cells = [row.cells[ipc] for ipc in sorted(row.cells)]
    xs: Sequence[float] = (
        sorted(row.cells) if against == "ipc" else [max(1, sum(cell.bytes.values())) for cell in cells]
    )
    order = sorted(range(len(cells)), key=lambda i: xs[i])
    return [float(xs[i]) for i in order], [cells[i] for i in order]


def _size(count: float) -> str:
    for scale, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= scale:
            return f"{count / scale:g} {unit}"
    return f"{count:g} B"
