"""The leaderboard as curves: score against IPC and against bytes, a picture each for every table."""

import math
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from condense.board.graph_tables import gather_graphs
from condense.board.render import title
from condense.board.tables import Key, Row, Table, TableCell, gather
from condense.files import write_atomic
from condense.records.record import Record, safe

MARKERS = "osD^vPX*<>"
LEGEND = 40
"""Letters of a line of the legend."""
DOTS = (":", "-.", (0, (1, 4)), (0, (5, 1, 1, 1, 1, 1)))
"""How the lines of references without students differ."""


def draw(records: Iterable[Record], folder: Path) -> list[Path]:
    """Draws every table that holds a set; one of graphs with a panel for each student.

    Args:
        records: In any order.
        folder: Where the pictures go; made if need be.

    Returns:
        The files written: two for each table, ``...-ipc.png`` and ``...-bytes.png``.
    """
    found = list(records)
    pictures = [(table.key, {title(table.key): table}) for table in gather(found) if table.ipcs]
    for graphs in gather_graphs(found):
        panels = {student: graphs.of_student(student) for student in graphs.students}
        if panels := {student: panel for student, panel in panels.items() if panel.ipcs}:
            pictures.append((graphs.key, panels))
    names = [_name(key, full=False) for key, _ in pictures]
    paths = []
    for (key, panels), name in zip(pictures, names, strict=True):
        stem = name if names.count(name) == 1 else _name(key, full=True)
        for against in ("ipc", "bytes"):
            path = folder / f"{stem}-{against}.png"
            write_atomic(path, _picture(key, panels, against))
            paths.append(path)
    return paths


def _name(key: Key, full: bool) -> str:
    parts = [key.dataset, key.protocol, key.student, key.space]
    if full:
        parts += [part[:8] for part in (key.train_hash, key.test_hash, key.protocol_hash, key.teacher)]
    return safe("-".join(part for part in parts if part))


def _picture(key: Key, panels: Mapping[str, Table], against: str) -> bytes:
    """One picture as PNG; its only metadata is its title, so that equal tables give equal bytes.

    Args:
        key: What the panels share.
        panels: Tables by their titles.
        against: ``ipc`` or ``bytes``.
    """
    down = 1 if len(panels) < 4 else 2
    across = -(-len(panels) // down)
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    names = [row.name for table in panels.values() for row in table.rows if not _apart(row)]
    colors = {name: number for number, name in enumerate(dict.fromkeys(names))}
    legend: dict[str, Artist] = {}
    for number, (heading, table) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(down, across, number)
        _panel(axes, table, against, colors)
        axes.set_title(f"{key.dataset}: {heading}", fontsize=10)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    told = [fill(label, LEGEND, subsequent_indent="  ") for label in legend]  # settings make long names
    lines = sum(text.count("\n") + 1 for text in told)
    figure.set_size_inches(4.2 * across + 3.0, max(4.4 * down, 0.4 + 0.17 * lines))
    figure.legend(legend.values(), told, loc="outside right upper", fontsize=8, frameon=False)
    drawn, out = BytesIO(), BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    about = PngInfo()
    about.add_text("Title", key.dataset)
    # Lines and letters have few colours: a palette takes a third of the room.
    Image.open(drawn).convert("RGB").quantize(64).save(out, "png", optimize=True, pnginfo=about)
    return out.getvalue()


def _panel(axes: Axes, table: Table, against: str, colors: Mapping[str, int]) -> None:
    axes.set_xscale("log")
    _axis(axes, table, against)
    dots = iter(DOTS)
    for row in table.rows:
        if row.reference:
            _level(axes, row, "--" if row.method == "whole" else next(dots, ":"))
        elif _apart(row):
            _band(axes, row, against)
        else:
            _curve(axes, row, against, colors[row.name])
    scored = any(cell.accuracy is not None for row in table.rows for cell in row.cells.values())
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -3), min(high, 103))  # an interval of two values may be far wider than any score
    axes.set_ylabel("test ROC-AUC (%)" if scored else "test accuracy (%)")
    axes.grid(alpha=0.25)


def _apart(row: Row) -> bool:
    """Whether a row is drawn in no colour of its own."""
    return row.reference or row.name == "random_subset"


def _curve(axes: Axes, row: Row, against: str, number: int) -> None:
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


def _band(axes: Axes, row: Row, against: str) -> None:
    xs, cells = _points(row, against)
    low = [cell.mean - (cell.half or 0.0) for cell in cells]
    high = [cell.mean + (cell.half or 0.0) for cell in cells]
    if len(xs) == 1:  # a band of one point has no width: give it some
        xs, low, high = [xs[0] / 1.1, xs[0] * 1.1], low * 2, high * 2
        cells = cells * 2
    axes.fill_between(xs, low, high, color="0.75", alpha=0.6, linewidth=0)
    axes.plot(xs, [cell.mean for cell in cells], color="0.45", linewidth=1.3, label=row.name)


def _level(axes: Axes, row: Row, style: str | tuple[int, tuple[int, ...]]) -> None:
    cell = row.cells[0]
    axes.axhline(cell.mean, color="black", linestyle=style, linewidth=1, label=row.name)
    if cell.half:
        axes.axhspan(cell.mean - cell.half, cell.mean + cell.half, color="black", alpha=0.08, linewidth=0)


def _axis(axes: Axes, table: Table, against: str) -> None:
    if against == "ipc":
        axes.set_xlabel("samples per class (IPC)")
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


def _points(row: Row, against: str) -> tuple[list[float], list[TableCell]]:
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
