"""The front page: what a reader finds first, in which order, and what it says of the records."""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxtyping
import pandas as pd
import pytest

from condense.board.asked import queued
from condense.board.datasets import gathered
from condense.board.front import LARGEST, WIDTH
from condense.board.overview import overview_of
from condense.board.pages import board_pages
from condense.protocols import PRUNE_SHORT_V1, SOFT_V2, WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Record, TrainingUsed
from tests.board.markdown import front
from tests.board_records import board_records

Make = Callable[..., Record]
ROOT = Path(__file__).parents[2]
FILES = {"card": "README.md", "gallery": "gallery.png"}
FIVE = (70.0, 71.0, 72.0, 71.5, 70.5)


def shifted(by: float) -> tuple[float, ...]:
    return tuple(value + by for value in FIVE)


def draws(made: Make, mean: float, **given: Any) -> list[Record]:
    return [
        made("random_subset", seed=seed, accuracies=(mean + (seed - 4.5) / 10,), **given)
        for seed in range(10)
    ]


def cells(text: str) -> dict[str, list[str]]:
    """The cells of all tables by the first one, without links, emphasis and anchors."""
    found = {}
    for line in text.splitlines():
        if line.startswith("|"):
            first, *others = [cell.strip() for cell in line.split("|")[1:-1]]
            found[re.sub(r"\[(.*?)\]\(.*?\)", r"\1", first).strip("*")] = others
    return found


@pytest.fixture(scope="module")
def entries() -> pd.DataFrame:
    """The entries of the committed records, tabled without checks of shapes: there are thousands."""
    records = board_records()
    jaxtyping.config.update("jaxtyping_disable", True)
    found = frame(records)
    jaxtyping.config.update("jaxtyping_disable", False)
    return found


@pytest.fixture(scope="module")
def committed(entries: pd.DataFrame) -> dict[Path, str]:
    """The pages that the committed records give."""
    return board_pages(gathered(entries), ROOT / "results")


def test_the_committed_front_page_is_short_and_narrow(committed: dict[Path, str]) -> None:
    text = committed[ROOT / "leaderboard.md"]
    assert len(text.encode()) < LARGEST == 30_000
    assert max(map(len, text.splitlines())) <= WIDTH == 160


def test_images_come_before_graphs_and_cifar10_is_the_first(committed: dict[Path, str]) -> None:
    text = committed[ROOT / "leaderboard.md"]
    names = re.findall(r"^### (.*)", text, flags=re.MULTILINE)
    assert names[0] == "cifar10" and names.index("digits@32") < names.index("dd") < names.index("mutag")
    assert text.index("\n## Images\n") < text.index("### cifar10") < text.index("\n## Graphs\n")
    assert text.index("\n## Graphs\n") < text.index("### dd")


def test_every_link_of_the_pages_leads_to_a_file_and_an_anchor(committed: dict[Path, str]) -> None:
    for page, text in committed.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            there = committed.get(target)
            assert there is not None or target.exists() or target.parent == ROOT / "plots", link
            if anchor:
                assert there is not None and anchor in anchors(there), link


def test_every_record_belongs_to_exactly_one_page(entries: pd.DataFrame) -> None:
    held: dict[str, set[str]] = defaultdict(set)
    for one in gathered(entries).datasets:
        rows = [row for table in one.tables for row in table.rows] + [row for _, row in one.published]
        cells = [cell for row in rows for cell in row.cells.values()]
        cells += [cell for table in one.federated for _, cell in table.rows]
        for cell in cells:
            for entry in cell.entries:
                held[entry.record_key].add(one.folder)
    assert set(held) == set(entries["record_key"]) and all(len(folders) == 1 for folders in held.values())


def test_settings_link_to_the_card_and_the_gallery_of_a_stored_set(committed: dict[Path, str]) -> None:
    text = committed[ROOT / "results" / "digits@32" / "board.md"]
    (line,) = {line for line in text.splitlines() if line.startswith("- dm, IPC 1, seed 0")}
    (folder,) = (ROOT / "results" / "sets").glob("digits@32-dm-ipc1-*")
    files = [f"[{name}](../sets/{folder.name}/{file})" for name, file in FILES.items()]
    assert line.endswith(f"; {', '.join(files)}")


def anchors(text: str) -> set[str]:
    """Anchors of a page: those that are set, and GitHub's of its headings."""
    headings = re.findall(r"^#+ (.*)", text, flags=re.MULTILINE)
    made = {re.sub(r"[^a-z0-9_ -]", "", title.lower()).replace(" ", "-") for title in headings}
    own = re.findall(r'<a id="([^"]*)"></a>', text)
    assert len(own) == len(set(own))
    return made | set(own)


def is_aligned(text: str) -> bool:
    """Whether the rows of each table are of equal length."""
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return all(len(set(map(len, table.splitlines()))) == 1 for table in tables)


def test_the_tables_of_the_datasets_pages_are_aligned(committed: dict[Path, str]) -> None:
    for page, text in committed.items():
        assert page == ROOT / "leaderboard.md" or is_aligned(text)


def test_the_best_is_bold_and_the_sentence_says_what_it_beats(made: Make) -> None:
    records = [
        made("dm", accuracies=FIVE), made("dsa", accuracies=shifted(0.2)), made("dc", accuracies=shifted(-9)),
        *draws(made, 50), made("whole", ipc=0, accuracies=(90.0,) * 3, protocol=WHOLE_V1, kind="reference"),
    ]  # fmt: skip
    text = front(frame(records))
    found = cells(text)
    assert list(found)[2:] == ["whole training set", "random_subset", "— methods —", "dsa", "dm", "dc"]
    assert found["dsa"] == ["**71.2 ± 1.0** a"] and found["dm"] == ["71.0 ± 1.0 a"]
    assert found["dc"] == ["62.0 ± 1.0 b"] and found["random_subset"] == ["50.0 ± 0.2 c"]
    assert "- IPC 1: best is `dsa` (71.2), not told apart from `dm` (71.0); 21.2 above random (50.0)." in text
    assert "- The whole training set gives 90.0." in text
    told = front(frame(records[1:]))
    assert "best is `dsa` (71.2), which beats `dc` (62.0); 21.2 above random (50.0)" in told


def test_a_method_below_random_images_is_said_to_be_so(made: Make) -> None:
    text = front(frame([made("dm", accuracies=FIVE), *draws(made, 80)]))
    assert "the only method so far is `dm` (71.0); 9.0 below random (80.0)" in text
    assert cells(text)["random_subset"] == ["**80.0 ± 0.2** a"]


def test_a_training_without_a_set_stands_among_the_references_and_is_never_the_best(made: Make) -> None:
    read = TrainingUsed(bytes=47_000, images=500, whole=False, steps=100, seconds=1.0)
    drawn = replace(made("rs2", accuracies=shifted(20)), kind="training", set=None, training=read)
    page = front(frame([drawn, made("dm", accuracies=FIVE), *draws(made, 40.0)]))
    order = [page.index(text) for text in ("*random_subset*", "*rs2 (no set)*", "— methods —", "[dm]")]
    assert order == sorted(order)
    assert "**91.0" not in page and "the only method so far is `dm` (71.0)" in page


def test_incomplete_rows_are_marked_and_never_above_complete_ones(made: Make) -> None:
    records = [
        made("dm", ipc=10, accuracies=FIVE), made("dsa", ipc=10, accuracies=(99.0, 99.1, 99.2)),
        made("dsa", ipc=1, accuracies=FIVE), made("mtt", ipc=10, accuracies=(98.0, 98.1)),
        *draws(made, 50, ipc=10)[:9],
    ]  # fmt: skip
    text = front(frame(records))
    found = cells(text)
    assert list(found)[2:] == ["random_subset", "— methods —", "dm", "dsa", "mtt"]
    assert found["dsa"] == ["**71.0 ± 1.0**", "99.1 (3 of 5)"] and found["mtt"] == ["-", "98.0 (2 of 5)"]
    assert found["random_subset"][1] == "50.0 (9 of 10)" and found["dm"][1] == "**71.0 ± 1.0**"
    assert "- IPC 10: the only method so far is `dm` (71.0)" in text


def test_no_incomplete_score_is_ranked_above_a_complete_one(entries: pd.DataFrame) -> None:
    for one in gathered(entries).datasets:
        for overview in map(overview_of, one.overviews):
            last = [line.cells.get(spot) for spot in overview.spots[-1:] for line in overview.methods]
            complete = [cell is not None and cell.complete for cell in last]
            assert complete == sorted(complete, reverse=True)


def test_fewer_students_are_enough_where_a_queue_asks_for_no_more(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("digits", "dm", 1.0, "hard-v1", "convnet")
    monkeypatch.setattr("condense.board.asked.queued", lambda: {place: 3})
    text = front(frame([made("dm"), made("dsa")]))
    assert cells(text)["dm"] == ["**71.0 ± 2.5**"] and cells(text)["dsa"] == ["71.0 (3 of 5)"]
    assert "Students as queued, fewer than the protocol has: 3 at IPC 1 (dm)." in text


def test_a_queue_of_sets_that_fill_bytes_says_nothing_of_an_ipc() -> None:
    place = ("cifar10", "random_subset", 65536.0, "hard-v1", "convnet-w32")
    assert queued()[place] == 5 and (*place[:2], 1.0, *place[3:]) not in queued()


def test_one_row_of_several_settings_shows_the_best_complete_one_of_each_ipc(made: Make) -> None:
    records = [
        made("dm", ipc=10, accuracies=shifted(1), config={"steps": 1}),
        made("dm", ipc=10, accuracies=shifted(2), config={"steps": 2}),
        made("dm", ipc=10, accuracies=(99.0,), config={"steps": 3}),
        made("dm", ipc=1, accuracies=FIVE, config={"steps": 3}),
    ]
    pages = list(board_pages(gathered(frame(records)), Path("results")).values())
    assert cells(pages[0])["dm (c / b)"] == ["**71.0 ± 1.0**", "**73.0 ± 1.0**"]
    assert "](results/digits/board.md#dm-b)" in pages[0]
    for letter, steps in zip("abc", (1, 2, 3), strict=True):
        assert re.search(rf"^- dm \({letter}\), .*steps={steps}`", pages[1], flags=re.MULTILINE)
        assert f'<a id="dm-{letter}"></a>dm ({letter})' in pages[1]


def test_the_papers_number_stands_beside_ours_and_where_there_is_none(made: Make) -> None:
    records = [made("dm", ipc=10, dataset="cifar10", student="convnet-w32", accuracies=FIVE)]
    found = cells(front(frame(records)))
    assert found["method"] == ["IPC 1 [paper]", "IPC 10 [paper]", "IPC 50 [paper]"]
    assert found["dm"] == ["not run [26.0]", "**71.0 ± 1.0** [48.9]", "not run [63.0]"]
    assert found["mtt"] == ["not run [46.3]", "not run [65.3]", "not run [71.6]"]
    assert found["whole training set"] == ["not run [84.8]"] * 3
    names = list(found)
    assert names.index("dm") < names.index("— not run —") < names.index("mtt")
    assert "random_subset+expert" not in found and "rded" not in found


def test_a_large_page_loses_alignment_and_then_rows_without_results(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = frame([made("dm", ipc=10, dataset="cifar10", student="convnet-w32", accuracies=FIVE)])
    whole = front(records)
    monkeypatch.setattr("condense.board.front.LARGEST", len(whole.encode()) - 1)
    narrow = front(records)
    assert is_aligned(whole) and not is_aligned(narrow)
    assert list(cells(narrow).items())[2:] == list(cells(whole).items())[2:]
    assert set(narrow.splitlines()) > {line for line in whole.splitlines() if not line.startswith("|")}
    monkeypatch.setattr("condense.board.front.LARGEST", len(narrow.encode()) - 1)
    named = front(records)
    assert "— not run —" not in named and "- Published and not run: datadam, datm, dc, " in named


def test_imported_sets_are_marked_and_stand_beside_the_papers_number(made: Make) -> None:
    text = front(frame([made("imported-dm", ipc=10, dataset="cifar10", accuracies=FIVE)]))
    assert cells(text)["imported-dm"][1] == "**71.0 ± 1.0** [48.9]"


def test_teachers_labels_and_fractions_have_small_tables_of_their_own(made: Make) -> None:
    soft = made("rded", protocol=SOFT_V2, teacher="f" * 64)
    pruned = replace(
        made("el2n", ipc=0, protocol=PRUNE_SHORT_V1, kind="training", accuracies=(30.0, 31.0)),
        fraction=0.1,
        training=TrainingUsed(
            images=10, bytes=640, whole=False, steps=100, seconds=1.0
        ),
    )  # fmt: skip
    text = front(frame([made("dm", accuracies=FIVE), soft, pruned]))
    heads = re.findall(r"^\*\*(.*?)\*\*: protocol `(.*?)`", text, flags=re.MULTILINE)
    assert heads == [
        ("Without a teacher", "hard-v1"), ("Labels of a teacher", "soft-v2"),
        ("Trainings on a fraction of the images", "prune-short-v1"),
    ]  # fmt: skip
    assert cells(text)["rded"] == ["**71.0 ± 2.5**"] and cells(text)["el2n"] == ["**30.5 ± 6.4**"]


def test_graphs_are_told_by_pooling_over_the_networks(graphs: Make) -> None:
    names = [f"{layer}-{pool}" for layer in ("gcn", "gat", "gin") for pool in ("sum", "mean")]
    aucs = [60.0 + (seed - 4.5) / 10 for seed in range(10)]
    records = [
        graphs("mirage", [auc + place for auc in aucs], student=name) for place, name in enumerate(names)
    ]
    records += [graphs("herding", aucs, student=name) for name in names if name != "gat-sum"]
    found = cells(front(frame(records)))
    # Means over gcn, gat, gin: shifts 0, 2, 4 with the sum, and 1, 3, 5 with the mean.
    assert found["mirage"] == ["**62.0**", "**63.0** a"]
    assert found["herding"] == ["60.0 (20 of 30)", "60.0 b"]
    assert found["doscond"][0] == "-" and found["doscond"][1].startswith("not run [")
