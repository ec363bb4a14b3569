"""The plots: two for each dataset and protocol, with equal bytes for equal records."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from condense.board.datasets import gathered
from condense.board.plots import draw_plots
from condense.distillation.matching.protocols import dc_evaluation
from condense.protocols import GRAPH_V1, GRAPH_V2, HARD_V1, WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def test_each_table_with_sets_has_two_plots_that_repeat_exactly(made: Make, tmp_path: Path) -> None:
    records = [made(ipc=ipc, accuracies=(ipc + 50.0, ipc + 52.0)) for ipc in (1, 10)]
    records += [made("random_subset", seed=seed, accuracies=(40.0 + seed,)) for seed in range(3)]
    records += [made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")]
    records += [made(protocol=dc_evaluation(300, augment="none"))]
    paths = draw_plots(gathered(frame(records)), tmp_path / "a")
    stem = "digits-hard-v1-normalized"
    assert [path.name for path in paths] == [f"{stem}-ipc.svg", f"{stem}-bytes.svg"]
    again = draw_plots(gathered(frame(records[::-1])), tmp_path / "b")
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]


def words(path: Path) -> list[str]:
    """The text of an SVG file."""
    return [text for one in ElementTree.parse(path).iter() if (text := (one.text or "").strip())]


def test_a_plot_is_a_small_document_whose_text_is_text(made: Make, tmp_path: Path) -> None:
    ipc, stored = draw_plots(gathered(frame([made(), made(ipc=10), made("dsa")])), tmp_path)
    assert {"dm", "dsa", "1", "10", "samples per class (IPC)", "digits", "convnet"} <= set(words(ipc))
    assert "size of the stored set, all parts (bytes)" in words(stored)
    text = ipc.read_text()
    assert len(text) < 10_000 and "<dc:date>" not in text
    classes = set(re.findall(r"^\.(c\d+)\{", text, flags=re.MULTILINE))
    assert set(re.findall(r'class="(c\d+)"', text)) == classes
    assert {name[1:] for name in re.findall(r"#[pmhC]?[0-9a-f]{10}", text)} <= set(
        re.findall(r' id="(\w+)"', text)
    )


def test_students_share_the_plot_of_their_protocol(made: Make, tmp_path: Path) -> None:
    ipc, _ = draw_plots(gathered(frame([made(), made(student="vgg11"), made(student="resnet18")])), tmp_path)
    assert {"convnet", "vgg11", "resnet18"} <= set(words(ipc))


def test_protocols_of_one_name_have_plots_of_their_own(made: Make, tmp_path: Path) -> None:
    records = [made(), made(protocol=replace(HARD_V1, lr=0.02))]
    assert len(set(draw_plots(gathered(frame(records)), tmp_path))) == 4


def test_an_older_version_of_a_protocol_has_no_plot(graphs: Make, tmp_path: Path) -> None:
    older = graphs(protocol=GRAPH_V1)
    assert len(draw_plots(gathered(frame([older])), tmp_path)) == 2
    paths = draw_plots(gathered(frame([older, graphs(protocol=GRAPH_V2)])), tmp_path)
    assert all("graph-v2" in path.name for path in paths) and sorted(tmp_path.iterdir()) == sorted(paths)


def test_a_table_of_references_alone_has_no_plot(made: Make, tmp_path: Path) -> None:
    board = gathered(frame([made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")]))
    assert draw_plots(board, tmp_path) == []


def test_a_plot_is_drawn_again_only_if_it_shows_other_data(made: Make, tmp_path: Path) -> None:
    records = [made(), made(ipc=10)]
    paths = draw_plots(gathered(frame(records)), tmp_path)
    times = [path.stat().st_mtime_ns for path in paths]
    assert draw_plots(gathered(frame(records)), tmp_path) == paths
    assert [path.stat().st_mtime_ns for path in paths] == times
    paths[0].write_bytes(b"damaged")
    draw_plots(gathered(frame(records)), tmp_path)
    assert paths[0].read_bytes() != b"damaged" and paths[1].stat().st_mtime_ns == times[1]
    draw_plots(gathered(frame([*records, made("dsa")])), tmp_path)
    assert all(path.stat().st_mtime_ns > time for path, time in zip(paths, times, strict=True))


def test_plots_of_earlier_boards_are_removed_and_no_other_pictures(made: Make, tmp_path: Path) -> None:
    earlier, own = tmp_path / "digits-hard-v1-convnet-normalized-ipc.png", tmp_path / "own.png"
    about = PngInfo()
    about.add_text("Data", "0" * 64)
    Image.new("P", (8, 8)).save(earlier, pnginfo=about)
    Image.new("P", (8, 8)).save(own)
    (tmp_path / "own.svg").write_text("<svg/>")
    (tmp_path / "folder.svg").mkdir()
    gone = draw_plots(gathered(frame([made(dataset="mnist")])), tmp_path)
    assert own.exists() and not earlier.exists()
    paths = draw_plots(gathered(frame([made()])), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*paths, own, tmp_path / "own.svg", tmp_path / "folder.svg"])
    assert not set(gone) & set(paths)
