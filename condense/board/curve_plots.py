"""Figures of curves: a panel for each student network, with the name of each curve at its right end."""

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap

import colorcet
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.typing import LineStyleType
from scipy.optimize import isotonic_regression  # type: ignore[attr-defined]

from condense.board.curves import Curve, Panel
from condense.board.plot_files import Against
from condense.files import unit_for

PALETTE = colorcet.glasbey_bw_minc_20_maxl_70
"""Colours that differ as much as so many can, none of them grey or too light for a white page."""
MARKERS = "osD^v<>PX*pdh"
"""Their number shares no factor with that of the colours, so that no two methods share both."""
DOTS: tuple[LineStyleType, ...] = (":", "-.", (0, (1, 3)), (0, (5, 1, 1, 1, 1, 1)), (0, (7, 3)))
"""Line styles of references other than the whole training set."""
LEVEL, RANDOM = "0.0", "0.45"
"""Greys of references and of random samples."""

ACROSS = 3
"""Panels in a row."""
WIDE, NARROW, HIGH = 3.6, 2.9, 3.1
"""Width of the axes with one or two panels and with more, and their least height, in inches."""
LEFT, BELOW, ABOVE, TOP = 0.62, 0.5, 0.3, 0.24
"""Room for the scores, for what is below and above axes, and for the title, in inches."""
LINE, LETTER, KEY = 0.15, 0.069, 0.36
"""Height of a name, width of a letter, and room between axes and names, in inches."""
SMALL, SIZE = 8, 4.5
"""Sizes of all text but the titles, and of markers, in points."""

CAPTION = (
    "Of each method the best setting at each IPC by test score, named (a), (b) as on the dataset's page, "
    "which has all. Bars, bands: 95 % intervals. Dashed: selects real samples. "
    "Hollow: fewer students than asked for."
)


def curve_figure(title: str, more: str, panels: Sequence[Panel], against: Against) -> Figure:
    """Draws a panel for each student network.

    Args:
        title: The title of the figure.
        more: What stands below the title.
        panels: The panels, at least one.
        against: What is on the horizontal axis.
    """
    across = min(len(panels), ACROSS)
    down = -(-len(panels) // across)
    wide = WIDE if across < ACROSS else NARROW
    high = max(HIGH, LINE * max(len(panel.curves) for panel in panels))
    named = KEY + LETTER * max(len(curve.name) for panel in panels for curve in panel.curves)
    width = across * (LEFT + wide + named)
    under, caption = (wrap(text, int(width / LETTER) - 2) for text in (more, CAPTION))
    head, foot = TOP + LINE * len(under), LINE * (len(caption) + 0.5)
    size = width, head + down * (ABOVE + high + BELOW) + foot
    figure = Figure(figsize=size)
    for number, panel in enumerate(panels):
        row, column = divmod(number, across)
        left = LEFT + column * (LEFT + wide + named)
        bottom = foot + (down - 1 - row) * (ABOVE + high + BELOW) + BELOW
        axes = figure.add_axes((left / size[0], bottom / size[1], wide / size[0], high / size[1]))
        axes.set_title(panel.student, fontsize=9, loc="left")
        _draw(axes, panel, against, 1 / wide, LINE / high)
    figure.text(0.1 / size[0], 1 - 0.8 * TOP / size[1], title, fontsize=10, weight="bold")
    for lines, above in ((under, size[1] - TOP), (caption, foot)):
        for number, text in enumerate(lines, 1):
            height = (above - LINE * number) / size[1]
            figure.text(0.1 / size[0], height, text, fontsize=SMALL, color="0.3")
    return figure


def _draw(axes: Axes, panel: Panel, against: Against, inch: float, line: float) -> None:
    """Draws a panel.

    Args:
        axes: Where it is drawn.
        panel: The panel.
        against: What is on the horizontal axis.
        inch: An inch as a part of the width of the axes.
        line: The height of a name as a part of the height of the axes.
    """
    axes.set_xscale("log")
    places = panel.places
    margin = 1.3 if against == "ipc" else 1.6
    axes.set_xlim(places[0] / margin, places[-1] * margin)
    dots = iter(DOTS)
    styles: dict[str, LineStyleType] = {
        curve.name: "--" if curve.name.startswith("whole") else next(dots, ":")
        for curve in panel.curves
        if curve.role == "reference"
    }
    moved = _moved(panel, margin)
    bars: list[Bar] = []
    for curve in panel.curves:
        if curve.role == "reference" or curve.role == "random" and len(places) == 1:
            _level(axes, curve, styles.get(curve.name, "-"))
        elif curve.role == "random" and not _alone(curve, panel):
            _band(axes, curve)
        else:
            bars += _curve(axes, curve, moved.get(curve.name, 1.0))
    if bars:
        ends, colors = zip(*bars, strict=True)
        axes.add_collection(LineCollection(ends, colors=colors, linewidths=0.9, zorder=2))
    axes.margins(y=0.04)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -3), min(high, 103))  # an interval of two values may be far wider than any score
    _label(axes, panel, styles, moved, inch, line)
    _ticks(axes, places, against)
    axes.set_ylabel("test ROC-AUC (%)" if panel.scored else "test accuracy (%)", fontsize=SMALL)
    axes.yaxis.set_label_coords(-0.42 * inch, 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(8, steps=(1, 2, 5, 10)))
    axes.tick_params(labelsize=SMALL)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _moved(panel: Panel, margin: float) -> dict[str, float]:
    """Returns factors that move curves apart, the best to the right: far if all are at one place."""
    part = 0.15 if len(panel.places) > 1 else 0.75
    order = sorted((c for c in panel.curves if c.role in ("method", "selection")), key=lambda c: c.end.mean)
    middle = (len(order) - 1) / 2
    steps = {curve.name: (number - middle) / max(middle, 1) for number, curve in enumerate(order)}
    return {name: margin ** (part * step) for name, step in steps.items()}


Bar = tuple[list[tuple[float, float]], str | tuple[float, ...]]
"""The two ends of an interval, and its colour."""


def _curve(axes: Axes, curve: Curve, moved: float) -> list[Bar]:
    """Draws points, joined by a line if there are several, and returns the bars of their intervals.

    The bars of all curves are drawn as one: a picture has hundreds, and each artist of Matplotlib's is slow.
    """
    color, marker = style_of(curve)
    xs, means = [point.at * moved for point in curve.points], [point.mean for point in curve.points]
    line = "" if len(xs) == 1 else "--" if curve.role == "selection" else "-"
    full = [number for number, point in enumerate(curve.points) if point.complete]
    hollow = [number for number, point in enumerate(curve.points) if not point.complete]
    axes.plot(
        xs, means, color=color, linestyle=line, linewidth=1.2,
        marker=marker, markersize=SIZE, markevery=full,
    )  # fmt: skip
    if hollow:
        at, scores = [xs[n] for n in hollow], [means[n] for n in hollow]
        axes.plot(at, scores, marker, color=color, markerfacecolor="white", markersize=SIZE)
    return [
        ([(x, point.mean - point.half), (x, point.mean + point.half)], color)
        for x, point in zip(xs, curve.points, strict=True)
        if point.half is not None
    ]


def style_of(curve: Curve) -> tuple[str | tuple[float, ...], str]:
    """Returns the colour and the marker of a curve, which no other method has; greys for what is none."""
    if curve.role in ("random", "reference"):
        return (RANDOM if curve.role == "random" else LEVEL), "s"
    color = tuple(PALETTE[curve.number % len(PALETTE)])
    return color, MARKERS[curve.number % len(MARKERS)]


def _band(axes: Axes, curve: Curve) -> None:
    xs = [point.at for point in curve.points]
    low = [point.mean - (point.half or 0.0) for point in curve.points]
    high = [point.mean + (point.half or 0.0) for point in curve.points]
    axes.fill_between(xs, low, high, color=RANDOM, alpha=0.25, linewidth=0)
    axes.plot(xs, [point.mean for point in curve.points], color=RANDOM, linewidth=1.4)


def _level(axes: Axes, curve: Curve, style: LineStyleType) -> None:
    color, _ = style_of(curve)
    mean, half = curve.end.mean, curve.end.half
    axes.axhline(mean, color=color, linestyle=style, linewidth=1)
    if half:
        axes.axhspan(mean - half, mean + half, color=color, alpha=0.12, linewidth=0)


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns places at least a gap apart, as close as possible to ascending heights by least squares.

    Args:
        heights: n heights, ascending.
        gap: The least distance of two places.
        low: The least place.
        high: The largest place; there is room for n - 1 gaps.
    """
    steps = [gap * number for number in range(len(heights))]
    free = [height - step for height, step in zip(heights, steps, strict=True)]
    # The places less their steps must not fall. With bounds, the best places are those without, clipped.
    found = np.clip(isotonic_regression(free).x, low, max(low, high - steps[-1]))
    return [float(place) + step for place, step in zip(found, steps, strict=True)]


def _label(
    axes: Axes,
    panel: Panel,
    styles: Mapping[str, LineStyleType],
    moved: Mapping[str, float],
    inch: float,
    line: float,
) -> None:
    """Writes the name of each curve at the right in the order of their ends, with how it is drawn."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    order = sorted(panel.curves, key=lambda curve: (curve.end.mean, curve.name))
    ends = [min(max(curve.end.mean, low), high) for curve in order]
    beside = axes.get_yaxis_transform()
    leaders, colors = [], []
    for curve, end, place in zip(order, ends, spread(ends, line * (high - low), low, high), strict=True):
        start, (color, marker) = 1.0, style_of(curve)
        if curve.role in ("method", "selection") or curve.role == "random" and len(panel.places) > 1:
            start = math.log(curve.end.at * moved.get(curve.name, 1.0) / left) / math.log(right / left)
        leaders.append([(start, end), (1 + 0.18 * inch, place)])
        colors.append(color)
        if curve.role == "reference" or curve.role == "random" and not _alone(curve, panel):
            style = styles.get(curve.name, "-")
            ends_of_key = [1 + 0.17 * inch, 1 + 0.31 * inch]
            key = Line2D(ends_of_key, [place, place], linestyle=style, linewidth=1.3)
        else:
            key = Line2D([1 + 0.24 * inch], [place], marker=marker, markersize=SIZE)
        key.set(transform=beside, clip_on=False, color=color)
        axes.add_artist(key)
        name = axes.text(1 + KEY * inch, place, curve.name, fontsize=SMALL, va="center_baseline")
        name.set_transform(beside)
    axes.add_artist(
        LineCollection(
            leaders, colors=colors, linewidths=0.5, alpha=0.6, transform=beside, clip_on=False, zorder=2
        )
    )


def _alone(curve: Curve, panel: Panel) -> bool:
    """Returns whether random samples have one point among several places."""
    return len(curve.points) == 1 < len(panel.places)


def _ticks(axes: Axes, places: Sequence[float], against: Against) -> None:
    if against == "ipc":
        axes.set_xlabel("samples per class (IPC)", fontsize=SMALL)
        axes.set_xticks(places)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    else:
        axes.set_xlabel("size of the stored set, all parts (bytes)", fontsize=SMALL)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if places[-1] < 20 * places[0] else (1,)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _size(x)))
    axes.xaxis.set_minor_locator(NullLocator())


def _size(count: float) -> str:
    scale, unit = unit_for(count)
    return f"{count / scale:g} {unit}"
