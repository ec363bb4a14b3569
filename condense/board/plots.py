"""The leaderboard as plots: each table's scores against IPC and against bytes, and the ranks of methods."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec
from matplotlib import rc_context
from matplotlib.figure import Figure

from condense.board.curve_plots import curve_figure
from condense.board.curves import method_numbers, panels_of
from condense.board.datasets import Gathered
from condense.board.plot_files import data_of, plot_files, shared_key
from condense.board.rank_plots import rank_figure
from condense.board.ranks import picture_name, rankings
from condense.board.tables import Key, Table
from condense.crew import Crew
from condense.files import digest, write_atomic

DRAWING = 2
"""Rises with every change of what plots look like, so that those that are there are drawn again."""


class Plot(NamedTuple):
    """A plot that is to be drawn.

    Attributes:
        name: The name of its file.
        title: What it shows, in few words.
        data: Hash of everything that it shows.
        draw: Draws it.
    """

    name: str
    title: str
    data: str
    draw: Callable[[], Figure]


def draw_plots(board: Gathered, folder: Path) -> list[Path]:
    """Draws every table that holds a set, with a panel for each student network.

    Plots that earlier boards drew and that are not among those of today are removed; those that show what
    they are to show are left.

    Args:
        board: The gathered entries.
        folder: Folder of the plots; it is made if it is missing.

    Returns:
        The files of today: two for each dataset and protocol, ``...-ipc.svg`` and ``...-bytes.svg``, and
        one for each protocol with a ranking (`condense.board.ranks`).
    """
    return begin_plots(board, folder, Crew())()


def begin_plots(board: Gathered, folder: Path, crew: Crew) -> Callable[[], list[Path]]:
    """Lets a crew begin with what `draw_plots` does, and returns what ends it: it writes the plots."""
    plots = list(_plots(board))
    paths = [folder / plot.name for plot in plots]
    stale = [plot for plot, path in zip(plots, paths, strict=True) if data_of(path) != plot.data]
    drawn = crew.map(_drawn, stale)

    def end() -> list[Path]:
        for plot, picture in zip(stale, drawn, strict=True):
            write_atomic(folder / plot.name, picture)
        for file in sorted(folder.glob("*.*")):
            if file.suffix in (".svg", ".png") and file not in paths and data_of(file):
                file.unlink()
        return paths

    return end


def _plots(board: Gathered) -> Iterator[Plot]:
    names = {row: name for one in board.datasets for row, name in one.names.items()}
    numbers, files = method_numbers(board.entries), plot_files(board.tables)
    shared: dict[Key, list[Table]] = defaultdict(list)
    for table in board.tables:
        if table.key in files:
            shared[shared_key(table.key)].append(table)
    for key, tables in shared.items():
        for against, name in files[tables[0].key].items():
            panels = panels_of(tables, against, names, numbers)
            title, more = key.dataset, _shared(key)
            shown: list[object] = [against, more, *map(msgspec.to_builtins, panels)]
            draw = partial(curve_figure, title, more, panels, against)
            yield Plot(name, title, digest([DRAWING, title, shown]), draw)
    for one in rankings(board.tables):
        shown = [one.methods, one.blocks, one.scores.tolist()]
        data = digest([DRAWING, one.protocol, shown])
        yield Plot(picture_name(one), one.protocol, data, partial(rank_figure, one))


def _shared(key: Key) -> str:
    """Returns what the tables of a plot have in common, besides their data."""
    return key.title + (f", {key.space} pixels" if key.space != "multi-hot" else "")


def _drawn(plot: Plot) -> bytes:
    """Returns a plot as SVG with its title and the hash of its data; equal data give equal bytes."""
    out = BytesIO()
    about = {"Title": plot.title, "Identifier": plot.data, "Date": None, "Creator": None}
    # Letters stay text, which can be searched; the salt gives equal figures equal names inside the file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "condense"}):
        plot.draw().savefig(out, format="svg", metadata=about)
    return _small(out.getvalue().decode()).encode()


def _small(text: str) -> str:
    """Returns an SVG document of Matplotlib's that is drawn the same and is a fourth as large.

    Styles that repeat become classes; what nothing refers to (names of groups and groups without any,
    comments, indents, digits beyond hundredths of a point) is left out.
    """
    numbered: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        return f'class="{numbered.setdefault(found[1], f"c{len(numbered)}")}"'

    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    text = re.sub(r'(?<= )(?:d|x|y|transform)="[^"]*"', lambda found: _rounded(found[0]), text)
    text = re.sub(r'style="([^"]*)"', named, text)
    text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
    text = _ungrouped(re.sub(r"\n\s*", "\n", text))
    classes = "".join(f"\n.{name}{{{style}}}" for style, name in numbered.items())
    return text.replace("</style>", f"{classes}</style>", 1)


def _ungrouped(text: str) -> str:
    """Returns a document with one tag in each line without groups that have no attributes."""
    kept: list[str] = []
    groups: list[bool] = []
    for line in text.splitlines(keepends=True):
        tag = line.strip()
        if tag.startswith("<g") and not tag.endswith("/>"):
            groups.append(tag != "<g>")
        if tag not in ("<g>", "<g/>", "</g>") or tag == "</g>" and groups.pop():
            kept.append(line)
    return "".join(kept)


def _rounded(attribute: str) -> str:
    short = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), attribute)
    return re.sub(r"\s*\n\s*", "", short)
