"""Critical-difference plots: methods on an axis of mean ranks, with bars over those that do not differ."""

from matplotlib.figure import Figure

from condense.board.ranks import Ranking

INCHES, LINE, TOP = 7.0, 0.26, 2.5
"""Width of the picture and height of a line of text in inches, and the lines above the axis."""


def rank_figure(one: Ranking) -> Figure:
    """Draws a ranking: the better half of the methods is named on the left, the other on the right."""
    count = len(one.methods)
    left, below = (count + 1) // 2, 0.6 + 0.45 * len(one.alike)
    lines = below + max(left, count - left) + 0.5
    figure = Figure(figsize=(INCHES, LINE * (lines + TOP)))
    axes = figure.add_axes((0.3, 0, 0.4, 1))
    axes.set_xlim(1, count)
    axes.set_ylim(lines, -TOP)
    axes.axis("off")
    axes.plot([1, count], [0, 0], color="black", linewidth=1)
    for rank in range(1, count + 1):
        axes.plot([rank, rank], [-0.2, 0], color="black", linewidth=1)
        axes.text(rank, -0.35, str(rank), ha="center", va="bottom", fontsize=9)
    _critical(figure, one)
    for run, (first, last) in enumerate(one.alike):
        low, high = one.ranks[first], one.ranks[last]
        axes.plot([low, high], [0.5 + 0.45 * run] * 2, color="black", linewidth=3.5, solid_capstyle="round")
    for place, (name, rank) in enumerate(zip(one.methods, one.ranks, strict=True)):
        best = place < left
        height = below + 0.5 + (place if best else count - 1 - place)
        edge = 1 - 0.04 * (count - 1) if best else count + 0.04 * (count - 1)
        axes.plot([rank, rank, edge], [0, height, height], color="0.4", linewidth=1, clip_on=False)
        axes.annotate(
            f"{name}: {rank:.2f}", (edge, height), (-4 if best else 4, 0), textcoords="offset points",
            annotation_clip=False, ha="right" if best else "left", va="center", fontsize=9,
        )  # fmt: skip
    return figure


def _critical(figure: Figure, one: Ranking) -> None:
    """Draws how long the critical difference is on the axis, and names the test's p-value."""
    axes, count = figure.axes[0], len(one.methods)
    end = min(1 + one.distance, count)
    axes.plot([1, end], [-1.4, -1.4], color="black", linewidth=1.5)
    told = f"{one.protocol}: critical difference {one.distance:.2f}, Friedman's p = {one.chance:.2g}"
    axes.text(1, -1.55, told, ha="left", va="bottom", fontsize=8)
