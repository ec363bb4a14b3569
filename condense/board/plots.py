"""The leaderboard as plots: each table's scores against IPC and against bytes."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from textwrap import fill

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from condense.board.cells import TableCell
from condense.board.format import unit_for
from condense.board.plot_files import Against, plot_files
from condense.board.rank_plots import rank_figure
from condense.board.ranks import picture_name, rankings
from condense.board.tables import Row, Table, gather
from condense.files import digest, write_atomic
from condense.records.record import WHOLE

MARKERS = "osD^vPX*<>"
BAND = "random_subset"
"""The row that is drawn as a grey band."""
LEGEND = 40
"""Characters in a line of the legend."""
DRAWING = 1
"""Rises with every change of what plots look like, so that those that are there are drawn again."""
DOTS = (":", "-.", (0, (1, 4)), (0, (5, 1, 1, 1, 1, 1)))
"""Line styles of references other than the whole training set."""


def draw_plots(entries: pd.DataFrame, folder: Path) -> list[Path]:
    """Draws every table that holds a set, with a panel for each student network.

    Args:
        entries: Rows of `condense.records.frame.results` in any order.
        folder: Folder of the plots; it is made if it is missing.

    Returns:
        The files written: two for each table, ``...-ipc.png`` and ``...-bytes.png``, and one for each
        protocol with a ranking (`condense.board.ranks`).
    """
    every = gather(entries)
    files = plot_files(every)
    paths = []
    for table in every:
        for against, name in files.get(table.key, {}).items():
            paths.append(folder / name)
            _write(paths[-1], table.key.dataset, _shown(table, against), partial(_figure, table, against))
    for one in rankings(every):
        paths.append(folder / picture_name(one))
        shown = [one.protocol, one.methods, one.blocks, one.scores.tolist()]
        _write(paths[-1], one.protocol, shown, partial(rank_figure, one))
    return paths


def _write(path: Path, title: str, shown: object, draw: Callable[[], Figure]) -> None:
    """Draws a plot, unless the file says that it shows the same data."""
    data = digest([DRAWING, shown])
    if not (path.is_file() and _data_of(path) == data):
        write_atomic(path, _png(draw(), title, data))


def _data_of(path: Path) -> str | None:
    """Returns the hash of the data that a plot shows; None if the file does not tell."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Data")
    except (OSError, ValueError):  # damaged, or of a size that Pillow refuses
        return None


def _shown(table: Table, against: Against) -> object:
    """Returns all that a table's plot depends on, as JSON values."""
    panels = [
        [student, row.name, row.method, row.baseline, row.reference, _cells(row)]
        for student, rows in table.by_student().items()
        for row in rows
    ]
    return [against, table.key, panels]


def _cells(row: Row) -> list[object]:
    return [
        [place, cell.mean, cell.half, sum(cell.bytes.values()), cell.accuracy is not None]
        for place, cell in row.cells.items()
    ]


def _figure(table: Table, against: Against) -> Figure:
    """Draws the plot of a table."""
    panels = {student: rows for student, rows in table.by_student().items() if _ipcs(rows)}
    down = 1 if len(panels) < 4 else 2
    across = -(-len(panels) // down)
    figure = Figure(layout="constrained")
    names = [row.name for rows in panels.values() for row in rows if not _apart(row)]
    colors = {name: number for number, name in enumerate(dict.fromkeys(names))}
    legend: dict[str, Artist] = {}
    for number, (student, rows) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(down, across, number)
        _panel(axes, rows, against, colors)
        axes.set_title(
            f"{table.key.dataset}: {table.key.title if table.key.student else student}", fontsize=10
        )
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    told = [fill(label, LEGEND, subsequent_indent="  ") for label in legend]  # settings make long names
    lines = sum(text.count("\n") + 1 for text in told)
    figure.set_size_inches(4.2 * across + 3.0, max(4.4 * down, 0.4 + 0.17 * lines))
    figure.legend(legend.values(), told, loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _png(figure: Figure, title: str, data: str) -> bytes:
    """Returns a figure as PNG with its title and the hash of its data; equal tables give equal bytes."""
    FigureCanvasAgg(figure)
    drawn, out = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    about = PngInfo()
    about.add_text("Title", title)
    about.add_text("Data", data)
    # Lines and letters have few colours: with a palette the file is a third as large.
    Image.open(drawn).convert("RGB").quantize(64).save(out, "png", optimize=True, pnginfo=about)
    return out.getvalue()


def _panel(axes: Axes, rows: Sequence[Row], against: Against, colors: Mapping[str, int]) -> None:
    axes.set_xscale("log")
    _axis(axes, rows, against)
    dots = iter(DOTS)
    for row in rows:
        if row.reference:
            _level(axes, row, "--" if row.method == WHOLE else next(dots, ":"))
        elif _apart(row):
            _band(axes, row, against)
        else:
            _curve(axes, row, against, colors[row.name])
    scored = any(cell.accuracy is not None for row in rows for cell in row.cells.values())
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -3), min(high, 103))  # an interval of two values may be far wider than any score
    axes.set_ylabel("test ROC-AUC (%)" if scored else "test accuracy (%)")
    axes.grid(alpha=0.25)


def _apart(row: Row) -> bool:
    return row.reference or row.name == BAND


def _curve(axes: Axes, row: Row, against: Against, number: int) -> None:
    xs, cells = _points(row, against)
    axes.errorbar(
        xs,
        [cell.mean for cell in cells],
        yerr=[math.nan if cell.half is None else cell.half for cell in cells],
        label=row.name,
        color=f"C{number % 10}",
        marker=MARKERS[(number + number // 10) % len(MARKERS)],
        linestyle="--" if row.baseline else "-",
        markersize=5,
        capsize=3,
        linewidth=1.3,
    )


def _band(axes: Axes, row: Row, against: Against) -> None:
    xs, cells = _points(row, against)
    low = [cell.mean - (cell.half or 0.0) for cell in cells]
    high = [cell.mean + (cell.half or 0.0) for cell in cells]
    if len(xs) == 1:  # a band over one point would have no width
        xs, low, high = [xs[0] / 1.1, xs[0] * 1.1], low * 2, high * 2
        cells = cells * 2
    axes.fill_between(xs, low, high, color="0.75", alpha=0.6, linewidth=0)
    axes.plot(xs, [cell.mean for cell in cells], color="0.45", linewidth=1.3, label=row.name)


def _level(axes: Axes, row: Row, style: str | tuple[int, tuple[int, ...]]) -> None:
    cell = row.cells[0]
    axes.axhline(cell.mean, color="black", linestyle=style, linewidth=1, label=row.name)
    if cell.half:
        axes.axhspan(cell.mean - cell.half, cell.mean + cell.half, color="black", alpha=0.08, linewidth=0)


def _axis(axes: Axes, rows: Sequence[Row], against: Against) -> None:
    if against == "ipc":
        ipcs = _ipcs(rows)
        axes.set_xlabel("samples per class (IPC)")
        axes.set_xlim(ipcs[0] / 1.3, ipcs[-1] * 1.3)
        axes.set_xticks(ipcs)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        sizes = [x for row in rows if not row.reference for x in _points(row, against)[0]]
        axes.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
        axes.set_xlabel("size of the stored set, all parts (bytes)")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _size(x)))
        axes.xaxis.set_minor_locator(NullLocator())


def _points(row: Row, against: Against) -> tuple[list[float], list[TableCell]]:
    cells = {float(ipc): row.cells[ipc] for ipc in sorted(row.cells)}
    points = [
        (ipc if against == "ipc" else max(1.0, sum(cell.bytes.values())), cell) for ipc, cell in cells.items()
    ]
    points.sort(key=lambda point: point[0])
    return [x for x, _ in points], [cell for _, cell in points]


def _ipcs(rows: Sequence[Row]) -> list[float]:
    return sorted({float(ipc) for row in rows if not row.reference for ipc in row.cells})


def _size(count: float) -> str:
    scale, unit = unit_for(count)
    return f"{count / scale:g} {unit}"
