"""The first results in a README: a picture of stored sets, and a part of the front page's first table."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from condense.board.catalogue import stored_folders
from condense.board.datasets import DatasetResults, gathered
from condense.board.front import excerpt
from condense.board.plot_files import data_of
from condense.board.publish import refresh, require_current
from condense.board.readme import FIRST
from condense.board.strip import LARGEST, STRIP, draw_strip, strip_of
from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.errors import Refused
from condense.records.frame import frame
from condense.records.record import Record
from tests.board.markdown import front

Make = Callable[..., Record]
FIVE = (70.0, 71.0, 72.0, 71.5, 70.5)


@pytest.fixture
def store(toy: ImageDataset, tmp_path: Path) -> Callable[[Record], Record]:
    """A function that stores a set of real images as the one that a record names."""

    def stored(record: Record) -> Record:
        method = build("random_subset", "toy", 1)[0]
        number = len(stored_folders(sets))
        made, _ = distill(method, toy, ipc=1, seed=number, cache=tmp_path / "cache")
        content = made.save(sets / f"set{number}")
        assert record.set is not None
        return replace(record, set=replace(record.set, hash=content))

    sets = tmp_path / "results" / "sets"
    return stored


def results_of(*records: Record) -> list[DatasetResults]:
    return gathered(frame(list(records))).datasets


def test_the_picture_shows_the_best_stored_setting_of_each_method(
    made: Make, store: Callable[[Record], Record], tmp_path: Path
) -> None:
    low, high = made(accuracies=FIVE), made(config={"lr_img": 2.0}, accuracies=[one + 9 for one in FIVE])
    records = [store(low), high, store(made("dsa", accuracies=[one + 1 for one in FIVE]))]
    records += [store(made(dataset="mnist")), made("dsa", dataset="mnist")]
    sets = tmp_path / "results" / "sets"
    strip = strip_of(results_of(*records), stored_folders(sets))
    assert strip is not None and strip.title == "digits"
    assert [label for label, _ in strip.rows] == ["dsa  72.0", "dm (a)  71.0"]
    drawn = draw_strip(strip, sets)
    assert drawn == draw_strip(strip, sets) and len(drawn) < LARGEST
    (tmp_path / STRIP).write_bytes(drawn)
    assert data_of(tmp_path / STRIP) == strip.data
    with Image.open(BytesIO(drawn)) as picture:
        assert picture.width > 3 * 64 and 2 * 64 <= picture.height < 3 * 64  # three classes, two methods


def test_a_set_that_is_not_stored_is_not_shown(made: Make, store: Callable[[Record], Record]) -> None:
    assert strip_of(results_of(made(), made("dsa")), {}) is None
    one = store(made())
    assert strip_of(results_of(one, made("dsa")), {str(one.set and one.set.hash): "dm"}) is None


def test_the_readme_and_its_picture_are_written_and_checked(
    made: Make, store: Callable[[Record], Record], tmp_path: Path
) -> None:
    results, readme = tmp_path / "results", tmp_path / "README.md"
    for record in (store(made()), store(made("dsa"))):
        record.write(results)
    readme.write_text("before\n\n{}\n{}\n\nafter\n".format(*FIRST))
    with pytest.raises(Refused):
        require_current(results)
    refresh(results)
    text = readme.read_text()
    assert text.startswith("before\n\n") and text.endswith("\n\nafter\n")
    assert '<img src="results/sets/strip.png"' in text and "[dm](results/digits/board.md#dm)" in text
    assert require_current(results) == tmp_path / "leaderboard.md"
    (results / "sets" / STRIP).write_bytes(b"another")
    with pytest.raises(Refused, match=r"strip.png does not show what the records"):
        require_current(results)
    refresh(results)
    require_current(results)


def test_a_readme_without_marks_stays_as_it_is(made: Make, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    made().write(tmp_path / "results")
    refresh(tmp_path / "results")
    assert (tmp_path / "README.md").read_text() == "mine" and not list(tmp_path.rglob(STRIP))


def test_one_mark_without_the_other_is_refused(made: Make, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(FIRST[1])
    made().write(tmp_path / "results")
    with pytest.raises(Refused, match="needs both marks"):
        refresh(tmp_path / "results")


def test_an_excerpt_has_the_rows_of_the_front_page_and_the_best_of_each_column(made: Make) -> None:
    names = ("dm", "dsa", "mtt", "dc")
    records = [
        made(name, ipc=ipc, accuracies=[score + step * (place if ipc == 10 else -place) for score in FIVE])
        for place, name in enumerate(names)
        for ipc, step in ((1, 3), (10, 5))
    ]
    (one,) = results_of(*records)
    page = front(frame(records)).splitlines()
    text = excerpt(one, "results/digits/board.md", 3)
    rows = [line for line in text.splitlines() if line.startswith("| [")]
    assert [row.split("]")[0] for row in rows] == ["| [dc", "| [mtt", "| [dm"]
    squeezed = {" ".join(line.split()) for line in page}
    assert all(" ".join(row.split()) in squeezed for row in rows)
    assert "1 more methods" in text
