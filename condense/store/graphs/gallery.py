"""A picture of a set of graphs: the heaviest graphs of each class; trees grow down from their roots."""

import io
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from condense.store.graphs.check import GraphParts
from condense.store.graphs.placement import Edges, Places, place_graph, place_trees

ITEMS = 10
"""Largest number of graphs that are drawn of a class."""
NODES = 40
"""Largest number of nodes that are drawn of a graph."""
CLASSES = 12
"""Largest number of classes that are drawn."""
MOST_KINDS = 10
"""Number of kinds of nodes that have a colour of their own."""
COLOURS = (
    "#9ecae9", "#ffbf79", "#8cd17d", "#ff9d9a", "#d4a6c8",
    "#f1ce63", "#86bcb6", "#d7b5a6", "#f5a8d6", "#c0d45f",
)  # fmt: skip
OTHER, LINE = "#e4e8ec", "#606060"
STYLES = ("-", (0, (3, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2)))
"""Line styles of the most frequent labels of edges."""

WIDE = 12.0
"""Width of the picture in inches."""
EDGE = 0.15
"""Margin around each graph in inches."""
TITLE = 0.42
"""Height of the two lines of title above each graph, in inches."""
LEAST = 1.5
"""Width of a title in inches."""
NODE = 0.075
"""Radius of a node in inches."""


@dataclass(frozen=True)
class _Item:
    """The drawn part of one graph: n nodes at their places and e edges."""

    title: str
    places: Places
    edges: Edges
    edge_labels: Int[np.ndarray, " e"]
    kinds: Int[np.ndarray, " n"]
    roots: Bool[np.ndarray, " n"]

    @property
    def wide(self) -> float:
        return max(LEAST, float(np.ptp(self.places[:, 0])) + 2 * NODE) + 2 * EDGE

    @property
    def high(self) -> float:
        return TITLE + float(np.ptp(self.places[:, 1])) + 2 * NODE + 2 * EDGE


def draw_graphs(made: GraphParts) -> bytes:
    """Draws the heaviest graphs of each class of a set on the CPU. Equal sets give equal PNG files."""
    names, kinds = _kinds(made)
    frequent = [kind for kind, _ in Counter(kinds.tolist()).most_common(MOST_KINDS)]
    classes = made.content["dataset"]["classes"]
    weights = made.weighting.numpy()
    lines: list[str | list[_Item]] = []
    for label in range(min(len(classes), CLASSES)):
        members = np.flatnonzero(made.labels.numpy() == label)
        members = members[np.argsort(-weights[members], kind="stable")]
        shown = members[:ITEMS]
        rest = f"; the {'heaviest' if made.weights is not None else 'first'} {ITEMS}" * (len(members) > ITEMS)
        lines.append(f"class {classes[label]}: {len(members)} graph{'s' * (len(members) != 1)}{rest}")
        row: list[_Item] = []
        for number in shown.tolist():
            item = _item(made, number, kinds)
            if row and sum(one.wide for one in row) + item.wide > WIDE:
                lines.append(row)
                row = []
            row.append(item)
        lines += [row] if row else []
    if len(classes) > CLASSES:
        lines.append(f"and {len(classes) - CLASSES} classes more")
    return _sheet(made, lines, {kind: names[kind] for kind in frequent}, len(names))


def _kinds(made: GraphParts) -> tuple[list[str], Int[np.ndarray, " z"]]:
    """Returns the names of all kinds of nodes that occur, and the number of the kind of each node."""
    nodes = made.nodes.numpy()
    if nodes.dtype.kind == "f":
        found, kinds = np.unique(nodes.argmax(1), return_inverse=True)
        return [f"{column}" for column in found], kinds.reshape(-1)
    found, kinds = np.unique(nodes, axis=0, return_inverse=True)
    return [" ".join(map(str, row)) for row in found], kinds.reshape(-1)


def _item(made: GraphParts, number: int, kinds: Int[np.ndarray, " z"]) -> _Item:
    first, last = made.nodes_ptr[number : number + 2].tolist()
    begin, end = made.edges_ptr[number : number + 2].tolist()
    edges = made.edges[:, begin:end].numpy() - first
    zeros = np.zeros(end - begin, dtype=np.int64)
    labels = zeros if made.edge_labels is None else made.edge_labels[begin:end].numpy()
    trees = made.content["edges"] == "to-parent"
    drawn, said = _some_trees(edges, last - first) if trees else _some_nodes(edges, last - first)
    place = np.full(last - first, -1)
    place[drawn] = np.arange(len(drawn))
    kept = (place[edges] >= 0).all(0) & (trees | (edges[0] < edges[1]))
    edges, labels = place[edges[:, kept]], labels[kept]
    total = f"node{'s' * (last - first != 1)}"
    title = f"{number}: {f'{said} of ' if said else ''}{last - first} {total}"
    if made.weights is not None:
        weight = made.weights[number].item()
        title += f"\nweight {weight:.4g}" + f" ({100 * float(made.weighting[number]):.2g} %)"
    else:
        title += f"\n{(end - begin) // (1 if trees else 2)} edges"
    roots = np.zeros(len(drawn), dtype=bool) if made.roots is None else made.roots.numpy()[first:last][drawn]
    places = (place_trees if trees else place_graph)(edges, len(drawn))
    return _Item(title, places, edges, labels, kinds[first:last][drawn], roots)


def _some_trees(edges: Edges, nodes: int) -> tuple[Int[np.ndarray, " n"], str]:
    """Chooses the nodes of as many whole trees as fit, at least of one.

    Returns:
        The nodes, and their number as text if some are left out.
    """
    top = np.arange(nodes)
    top[edges[0]] = edges[1]
    for _ in range(nodes.bit_length()):
        top = top[top]
    roots, sizes = np.unique(top, return_counts=True)
    fits = max(1, int((sizes.cumsum() <= NODES).sum()))
    drawn = np.flatnonzero(np.isin(top, roots[:fits]))[: 2 * NODES]
    return drawn, "" if len(drawn) == nodes else f"{len(drawn)}"


def _some_nodes(edges: Edges, nodes: int) -> tuple[Int[np.ndarray, " n"], str]:
    """Chooses all nodes if they fit, else those nearest to the node with most edges: see `_some_trees`."""
    if nodes <= NODES:
        return np.arange(nodes), ""
    degrees = np.bincount(edges[1], minlength=nodes)
    near, frontier = [int(degrees.argmax())], [int(degrees.argmax())]
    seen = set(near)
    while frontier and len(near) < NODES:
        fresh = sorted(set(edges[1, np.isin(edges[0], frontier)].tolist()) - seen)
        near, frontier = near + fresh, fresh
        seen |= set(fresh)
    more = [node for node in range(nodes) if node not in seen]
    return np.array(sorted((near + more)[:NODES])), f"{NODES}"


def _sheet(made: GraphParts, lines: list[str | list[_Item]], names: dict[int, str], kinds: int) -> bytes:
    """Draws the legend, then lines of headings and graphs, and returns the picture as a PNG file."""
    short = all(len(name) <= 2 for name in names.values())
    marks = {
        kind: name if short else string.ascii_lowercase[place]
        for place, (kind, name) in enumerate(names.items())
    }
    legend = _legend(made, names, marks, kinds)
    columns = max(1, int(WIDE / (0.6 + 0.085 * max(len(str(entry.get_label())) for entry in legend))))
    head = 0.5 + 0.25 * -(-len(legend) // columns)  # a title above the rows of the legend
    tall = sum(0.42 if isinstance(line, str) else max(item.high for item in line) for line in lines)
    height = head + 0.2 + tall
    figure = Figure(figsize=(WIDE, height))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, WIDE)
    axes.set_ylim(height, 0)
    one = len(made.content["dataset"]["features"]) == 1
    title = "largest feature" if made.nodes.is_floating_point() else "node label" if one else "node features"
    axes.legend(handles=legend, loc="upper left", ncols=columns, title=title, alignment="left", frameon=False)
    y = head
    for line in lines:
        if isinstance(line, str):
            axes.text(EDGE, y + 0.2, line, fontsize=12, weight="bold", va="center")
            axes.plot([EDGE, WIDE - EDGE], [y + 0.34] * 2, color="#b0b0b0", linewidth=0.8)
            y += 0.42
            continue
        x = 0.0
        for item in line:
            _draw(axes, item, (x, y), marks, _styles(made))
            x += item.wide
        y += max(item.high for item in line)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=120, metadata={"Software": None})
    return file.getvalue()


def _styles(made: GraphParts) -> dict[int, Any]:
    """Returns the line style of each label of edges, if there are few; the most frequent has a solid line."""
    if made.edge_labels is None:
        return {}
    found = [label for label, _ in Counter(made.edge_labels.tolist()).most_common()]
    return dict(zip(found, STYLES, strict=False)) if len(found) <= len(STYLES) else {}


def _legend(made: GraphParts, names: dict[int, str], marks: dict[int, str], kinds: int) -> list[Line2D]:
    """Returns the legend's entries: a node of each colour, a root, and a line for each label of edges."""

    def node(label: str, colour: str, shape: str = "o", rim: str = "#404040") -> Line2D:
        dot = Line2D([], [], linestyle="", marker=shape, markersize=10, label=label)
        dot.set(markerfacecolor=colour, markeredgecolor=rim)
        return dot

    entries = [
        node(name if marks[kind] == name else f"{marks[kind]}: {name}", colour)
        for (kind, name), colour in zip(names.items(), COLOURS, strict=False)
    ]
    if kinds > len(names):
        entries.append(node(f"{kinds - len(names)} others", OTHER))
    if made.roots is not None:
        entries.append(node("root", "white", "s", "black"))
    styles = _styles(made)
    if made.edge_labels is not None and not styles:
        entries.append(Line2D([], [], linestyle="", label="labels of edges are not drawn"))
    for label, style in styles.items():
        entries.append(Line2D([], [], color=LINE, linestyle=style, label=f"edge label {label}"))
    return entries


def _draw(
    axes: Axes, item: _Item, corner: tuple[float, float], marks: dict[int, str], styles: dict[int, Any]
) -> None:
    x, y = corner
    axes.text(x + EDGE, y + TITLE / 2 + 0.02, item.title, fontsize=9, va="center", linespacing=1.15)
    shift = np.array([x + EDGE + NODE, y + TITLE + NODE + 0.05]) - item.places.min(0)
    places = item.places + shift
    segments = places[item.edges.T]
    lines = [styles.get(int(label), "-") for label in item.edge_labels]
    width = 1.3 if len(lines) <= 2 * len(places) else 0.6
    axes.add_collection(LineCollection(segments, colors=LINE, linewidths=width, linestyles=lines, zorder=1))
    order = list(marks)
    colours = [COLOURS[order.index(kind)] if kind in marks else OTHER for kind in item.kinds.tolist()]
    texts = [marks.get(kind, "") for kind in item.kinds.tolist()]
    for flag in (False, True):
        chosen = np.flatnonzero(item.roots == flag)
        _dots(axes, places[chosen], [colours[i] for i in chosen], [texts[i] for i in chosen], flag)


def _dots(axes: Axes, places: Places, colours: Sequence[str], texts: Sequence[str], roots: bool) -> None:
    """Draws nodes with their marks in them; roots are square and have a black rim."""
    size = (2 * NODE * 72) ** 2
    rim, width, marker = ("black", 1.8, "s") if roots else ("#404040", 0.5, "o")
    axes.scatter(
        places[:, 0],
        places[:, 1],
        s=size,
        c=list(colours),
        marker=marker,
        edgecolors=rim,
        linewidths=width,
        zorder=2,
    )
    for (x, y), text in zip(places.tolist(), texts, strict=True):
        axes.text(x, y, text, fontsize=6.5, ha="center", va="center_baseline", zorder=3)
