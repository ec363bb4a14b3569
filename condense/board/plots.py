"""The leaderboard as plots: each table's scores against IPC and against bytes, and the ranks of methods."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from io import BytesIO
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from condense.board.curve_plots import curve_figure
from condense.board.curves import method_numbers, panels_of
from condense.board.datasets import Gathered
from condense.board.plot_files import data_of, plot_files, shared_key
from condense.board.rank_plots import rank_figure
from condense.board.ranks import picture_name, rankings
from condense.board.tables import Key, Table
from condense.files import digest, write_atomic

DRAWING = 2
"""Rises with every change of what plots look like, so that those that are there are drawn again."""


def draw_plots(board: Gathered, folder: Path) -> list[Path]:
    """Draws every table that holds a set, with a panel for each student network.

    Plots that earlier boards drew and that are not among those of today are removed.

    Args:
        board: The gathered entries.
        folder: Folder of the plots; it is made if it is missing.

    Returns:
        The files of today: two for each dataset and protocol, ``...-ipc.svg`` and ``...-bytes.svg``, and
        one for each protocol with a ranking (`condense.board.ranks`).
    """
    every = board.tables
    names = {row: name for one in board.datasets for row, name in one.names.items()}
    numbers, files = method_numbers(board.entries), plot_files(every)
    shared: dict[Key, list[Table]] = defaultdict(list)
    for table in every:
        if table.key in files:
            shared[shared_key(table.key)].append(table)
    paths = []
    for key, tables in shared.items():
        for against, name in files[tables[0].key].items():
            paths.append(folder / name)
            panels = panels_of(tables, against, names, numbers)
            title, more = key.dataset, _shared(key)
            shown = [against, more, *map(asdict, panels)]
            _write(paths[-1], title, shown, partial(curve_figure, title, more, panels, against))
    for one in rankings(every):
        paths.append(folder / picture_name(one))
        ranked = [one.methods, one.blocks, one.scores.tolist()]
        _write(paths[-1], one.protocol, ranked, partial(rank_figure, one))
    for file in sorted(folder.glob("*.*")):
        if file.suffix in (".svg", ".png") and file not in paths and data_of(file):
            file.unlink()
    return paths


def _shared(key: Key) -> str:
    """Returns what the tables of a plot have in common, besides their data."""
    return key.title + (f", {key.space} pixels" if key.space != "multi-hot" else "")


def _write(path: Path, title: str, shown: object, draw: Callable[[], Figure]) -> None:
    """Draws a plot, unless the file says that it shows the same data."""
    data = digest([DRAWING, title, shown])
    if not (path.is_file() and data_of(path) == data):
        write_atomic(path, svg(draw, title, data))


def svg(draw: Callable[[], Figure], title: str, data: str) -> bytes:
    """Returns a figure as SVG with its title and the hash of its data; equal data give equal bytes."""
    out = BytesIO()
    about = {"Title": title, "Identifier": data, "Date": None, "Creator": None}
    # Letters stay text, which can be searched; the salt gives equal figures equal names inside the file.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "condense"}):
        draw().savefig(out, format="svg", metadata=about)
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
