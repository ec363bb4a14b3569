"""Figures of curves: styles that never repeat, names that never overlap, ticks where results are."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from condense.board.curve_plots import LINE, curve_figure, spread, style_of
from condense.board.curves import Curve, Panel, Point
from condense.board.plot_files import Against


def curve(number: int, *points: tuple[float, float], half: float | None = 1.0, role: str = "method") -> Curve:
    placed = tuple(Point(at, mean, half, True) for at, mean in points)
    return Curve(f"method{number}", role, number, placed)  # type: ignore[arg-type]


def figure(*curves: Curve, against: Against = "ipc") -> Figure:
    return curve_figure("digits", "hard-v1", [Panel("convnet", curves, scored=False)], against)


def names(drawn: Figure) -> list[Text]:
    return [text for text in drawn.axes[0].texts if text.get_text().startswith("method")]


def test_no_two_of_many_methods_share_colour_and_marker() -> None:
    styles = [style_of(curve(number, (1, 50))) for number in range(120)]
    assert len(set(styles)) == 120 and len({color for color, _ in styles}) == 120


def test_names_of_forty_rows_with_equal_scores_do_not_overlap() -> None:
    drawn = figure(*(curve(number, (1, 50), (10, 60.0 + number / 50)) for number in range(40)))
    axes = drawn.axes[0]
    low, high = axes.get_ylim()
    tall = axes.get_position().height * drawn.get_figheight()
    heights = [(text.get_position()[1] - low) / (high - low) * tall for text in names(drawn)]
    assert len(heights) == 40 and min(after - before for before, after in pairwise(heights)) > 0.99 * LINE
    assert min(heights) >= 0 and max(heights) <= tall * 1.001


def test_names_stand_in_the_order_of_the_ends_of_curves() -> None:
    drawn = figure(curve(0, (1, 50), (10, 60)), curve(1, (1, 40), (10, 70)), curve(2, (1, 65)))
    assert [text.get_text() for text in names(drawn)] == ["method0", "method2", "method1"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_spread_places_are_the_closest_ones_with_a_gap(count: int) -> None:
    heights = sorted(np.random.RandomState(count).uniform(0, 3, count).tolist())
    found = spread(heights, 1.0, 0.0, 10.0)
    assert all(after - before > 1 - 1e-9 for before, after in pairwise(found))

    def distance(places: list[float]) -> float:
        return float(np.square(np.subtract(places, heights)).sum())

    rng = np.random.RandomState(0)
    for _ in range(300):
        steps = np.maximum(np.diff(found) + rng.normal(0, 0.2, count - 1), 1.0)
        other = np.concatenate([[0.0], steps.cumsum()]) + max(0.0, found[0] + rng.normal(0, 0.2))
        assert distance(found) <= distance(other.tolist()) + 1e-9


def test_places_that_are_apart_already_stay_and_all_keep_within_the_bounds() -> None:
    assert spread([1.0, 3.0, 8.0], 1.0, 0.0, 10.0) == [1.0, 3.0, 8.0]
    assert spread([9.5, 9.6, 9.7], 1.0, 0.0, 10.0) == pytest.approx([8.0, 9.0, 10.0])
    assert spread([0.1, 0.2], 1.0, 0.0, 10.0) == pytest.approx([0.0, 1.0])


def test_ticks_stand_at_the_ipcs_that_were_run() -> None:
    axes = figure(curve(0, (1, 50), (10, 60)), curve(1, (4, 55))).axes[0]
    assert list(axes.get_xticks()) == [1, 4, 10] and list(axes.get_xticks(minor=True)) == []


def test_points_that_all_have_one_ipc_stand_side_by_side_without_lines() -> None:
    axes = figure(curve(0, (10, 50)), curve(1, (10, 60))).axes[0]
    drawn = [(line.get_linestyle(), np.asarray(line.get_xdata())) for line in axes.lines]
    points = [x.item() for style, x in drawn if style == "None" and len(x) == 1]
    xs = sorted(set(points))
    assert len(xs) == 2 and not any(style == "None" and len(x) > 1 for style, x in drawn)
    assert xs[0] < 10 < xs[1]


def test_random_samples_and_references_are_bands() -> None:
    drawn = figure(
        curve(0, (1, 50), (10, 60)),
        curve(1, (1, 40), (10, 50), half=2.0, role="random"),
        curve(2, (0, 80), half=1.5, role="reference"),
    )
    (band,) = (one for one in drawn.axes[0].collections if isinstance(one, PolyCollection))
    assert band.get_paths()[0].get_extents().bounds == pytest.approx((1, 38, 9, 14))
    (level,) = drawn.axes[0].patches
    assert (level.get_y(), level.get_height()) == pytest.approx((78.5, 3.0))  # type: ignore[attr-defined]
