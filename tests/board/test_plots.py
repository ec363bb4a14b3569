"""The plots: two for each table, with equal bytes for equal records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from matplotlib.image import imread

from condense.board.plots import draw_plots
from condense.distillation.matching.protocols import dc_evaluation
from condense.protocols import HARD_V1, WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def test_each_table_with_sets_has_two_plots_that_repeat_exactly(made: Make, tmp_path: Path) -> None:
    records = [made(ipc=ipc, accuracies=(ipc + 50.0, ipc + 52.0)) for ipc in (1, 10)]
    records += [made("random_subset", seed=seed, accuracies=(40.0 + seed,)) for seed in range(3)]
    records += [made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")]
    records += [made(protocol=dc_evaluation(300, augment="none"))]
    paths = draw_plots(frame(records), tmp_path / "a")
    stem = "digits-hard-v1-convnet-normalized"
    assert [path.name for path in paths] == [f"{stem}-ipc.png", f"{stem}-bytes.png"]
    again = draw_plots(frame(records[::-1]), tmp_path / "b")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    assert imread(paths[0]).std() > 0.05


def test_protocols_of_one_name_have_plots_of_their_own(made: Make, tmp_path: Path) -> None:
    records = [made(), made(protocol=replace(HARD_V1, lr=0.02))]
    assert len(set(draw_plots(frame(records), tmp_path))) == 4


def test_a_table_of_references_alone_has_no_plot(made: Make, tmp_path: Path) -> None:
    assert draw_plots(frame([made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")]), tmp_path) == []


def test_a_plot_is_drawn_again_only_if_it_shows_other_data(made: Make, tmp_path: Path) -> None:
    records = [made(), made(ipc=10)]
    paths = draw_plots(frame(records), tmp_path)
    times = [path.stat().st_mtime_ns for path in paths]
    assert draw_plots(frame(records), tmp_path) == paths
    assert [path.stat().st_mtime_ns for path in paths] == times
    paths[0].write_bytes(b"damaged")
    draw_plots(frame(records), tmp_path)
    assert paths[0].read_bytes() != b"damaged" and paths[1].stat().st_mtime_ns == times[1]
    draw_plots(frame([*records, made("dsa")]), tmp_path)
    assert all(path.stat().st_mtime_ns > time for path, time in zip(paths, times, strict=True))
