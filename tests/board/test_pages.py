"""The files of a board: what is written, checked, linked and removed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from condense.board.asked import DRAWS, asked_of
from condense.board.datasets import gathered
from condense.board.entries import tuples
from condense.board.pages import MARK, board_pages, stale_pages
from condense.board.publish import refresh, require_current
from condense.distillation.registry import methods
from condense.errors import Refused
from condense.protocols import HARD_V1, PROTOCOLS
from condense.records.frame import frame
from condense.records.record import Record
from tests.board.markdown import front

Make = Callable[..., Record]


def write(folder: Path, *records: Record) -> Path:
    for record in records:
        record.write(folder / "results")
    return folder / "results"


def test_a_page_without_records_says_so(tmp_path: Path) -> None:
    text = front(frame([]))
    assert text.startswith("# Leaderboard\n") and text.endswith("\nNo records yet.\n")
    assert list(board_pages(gathered(frame([])), tmp_path / "results")) == [tmp_path / "leaderboard.md"]


def test_each_dataset_has_a_page_beside_its_records(made: Make, tmp_path: Path) -> None:
    results = write(tmp_path, made(), made(dataset="mnist"), made(dataset="cifar10[cat,dog]"))
    refresh(results)
    folders = sorted(path.parent.name for path in results.glob("*/board.md"))
    assert folders == sorted(path.parent.name for path in results.glob("*/*.json"))
    assert require_current(results) == tmp_path / "leaderboard.md"


@pytest.mark.parametrize("name", ["leaderboard.md", "results/digits/board.md"])
def test_a_change_of_one_character_is_found_on_every_page(made: Make, tmp_path: Path, name: str) -> None:
    results = write(tmp_path, made())
    refresh(results)
    require_current(results)
    page = tmp_path / name
    page.write_bytes(page.read_bytes().replace(b"71.0", b"71.1", 1))
    with pytest.raises(Refused, match="is not what the records in .* give"):
        require_current(results)


def test_a_new_record_is_found(made: Make, tmp_path: Path) -> None:
    results = write(tmp_path, made())
    refresh(results)
    made(seed=1).write(results)
    with pytest.raises(Refused, match="is not what the records"):
        require_current(results)


def test_the_page_of_a_dataset_without_records_is_removed_and_no_other(made: Make, tmp_path: Path) -> None:
    results = write(tmp_path, made(), made(dataset="mnist"))
    refresh(results)
    own = results / "notes" / "board.md"
    own.parent.mkdir()
    own.write_text("mine")
    for record in (results / "mnist").glob("*.json"):
        record.unlink()
    left = results / "mnist" / "board.md"
    assert left.read_text().startswith(MARK)
    assert stale_pages(results, [results / "digits" / "board.md"]) == [left]
    refresh(results)
    require_current(results)
    assert not left.exists() and own.read_text() == "mine"
    left.write_text(MARK)
    with pytest.raises(Refused, match="is of a dataset without records"):
        require_current(results)


def test_two_datasets_of_one_name_share_a_page(made: Make, tmp_path: Path) -> None:
    records = [made("dm"), made("dsa", train_hash="3" * 64)]
    first, *others = board_pages(gathered(frame(records)), tmp_path / "results").values()
    assert len(others) == 1 and "\n## digits (train 11111111)\n" in others[0]
    assert "### digits (train 33333333)" in first and "board.md#33333333-dsa)" in first
    assert '<a id="33333333-dsa">' in others[0]


def test_several_draws_are_those_of_the_methods() -> None:
    every = {**methods("graphs"), **methods()}
    assert {name: DRAWS.get(name, 1) for name in every} == {name: one.draws for name, one in every.items()}


def test_a_protocol_of_another_hash_does_not_tell_how_many_students(made: Make) -> None:
    entries = frame([made()])
    (entry, *_) = tuples(entries, entries["split"].isna())
    asked = asked_of(entry)
    assert asked is not None and asked.students == HARD_V1.seeds == PROTOCOLS["hard-v1"].seeds
    assert asked_of(entry._replace(protocol_hash="0")) is None
