"""What was read from records: found again while the files are as they were, and only then."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from condense.board import publish
from condense.crew import Crew
from condense.errors import Refused
from condense.files import home, state_of
from condense.records import frame as table
from condense.records import readings
from condense.records.folder import record_files
from condense.records.frame import read_files, results
from condense.records.readings import Readings
from condense.records.record import Record, read_record

Make = Callable[..., Record]
Reader = Callable[[], tuple[pd.DataFrame, list[str]]]

LONG_AGO = 1_600_000_000


def settled(files: Sequence[Path]) -> None:
    for file in files:
        os.utime(file, (LONG_AGO, LONG_AGO))


@pytest.fixture
def folder(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of twelve records that were written long ago, read in chunks of about two."""
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(table, "AT_ONCE", 2)
    for seed in range(12):
        made("dm", seed=seed, accuracies=(50.0 + seed, 51.0)).write(tmp_path / "results")
    settled(list(record_files(tmp_path / "results")))
    return tmp_path / "results"


@pytest.fixture
def read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """Reads the folder with what is kept, and returns the table and the names of the files it opened."""

    def again() -> tuple[pd.DataFrame, list[str]]:
        opened = list[str]()

        def noting(path: Path) -> Record:
            opened.append(path.name)
            return read_record(path)

        monkeypatch.setattr(table, "read_record", noting)
        entries = read_files(list(record_files(folder)), Crew(), Readings(folder))
        monkeypatch.setattr(table, "read_record", read_record)
        pd.testing.assert_frame_equal(entries, results(folder))
        return entries, opened

    return again


def kept() -> list[Path]:
    return sorted(file for file in (home() / "readings").rglob("*") if file.is_file())


def test_files_that_are_as_they_were_are_not_opened_again(folder: Path, read: Reader) -> None:
    names = [file.name for file in record_files(folder)]
    assert read()[1] == names and read()[1] == []
    assert 1 < len(kept()) < len(names)


def test_a_changed_file_is_read_again_and_few_others(folder: Path, read: Reader, made: Make) -> None:
    read()
    path = made("dm", seed=7, accuracies=(90.0, 91.0)).path(folder)
    path.write_text(path.read_text().replace("57.0", "58.5"))  # as many bytes as before
    os.utime(path, (LONG_AGO, LONG_AGO + 1))
    entries, opened = read()
    assert path.name in opened and len(opened) <= 4 * table.AT_ONCE
    assert entries[entries["seed"] == 7]["accuracy"].tolist() == [58.5, 51.0]
    assert read()[1] == []


def test_further_and_missing_files_leave_most_as_they_are(folder: Path, read: Reader, made: Make) -> None:
    read()
    settled([made("dsa", seed=seed).write(folder) for seed in range(3)])
    assert 3 <= len(read()[1]) <= 3 + 4 * table.AT_ONCE
    next(iter(record_files(folder))).unlink()
    entries, opened = read()
    assert len(opened) <= 4 * table.AT_ONCE and entries["record_key"].nunique() == 14


def test_a_file_that_has_just_changed_is_read_every_time(folder: Path, read: Reader) -> None:
    read()
    path = next(iter(record_files(folder)))
    os.utime(path)
    assert path.name in read()[1] and path.name in read()[1]
    settled([path])
    read()
    assert read()[1] == []


def test_what_is_damaged_or_of_other_sources_is_not_used(
    folder: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = read()[1]
    for place in kept():
        place.write_bytes(place.read_bytes()[:-3])
    assert read()[1] == every
    monkeypatch.setattr(readings, "state_of", lambda files: [*state_of(files), ("another.py", 0, 0)])
    assert read()[1] == every


def test_only_what_the_last_reading_used_is_kept(folder: Path, read: Reader) -> None:
    read()
    before = kept()
    path = next(iter(record_files(folder)))
    os.utime(path, (LONG_AGO, LONG_AGO + 5))
    read()
    assert len(kept()) == len(before) and len(set(kept()) - set(before)) == 1


def test_where_nothing_can_be_kept_everything_is_read(folder: Path, read: Reader) -> None:
    home().write_text("a file where the folder should be")
    assert len(read()[1]) == len(read()[1]) == 12


def test_a_record_that_two_files_hold_is_refused_whether_read_or_kept(folder: Path, read: Reader) -> None:
    read()
    first = next(iter(record_files(folder)))
    copy = first.with_name("zz.json")
    copy.write_bytes(first.read_bytes())
    settled([copy])
    for _ in range(2):
        with pytest.raises(Refused, match=r"and .*zz\.json hold the same record"):
            read()


def test_a_board_of_many_records_keeps_them_and_its_check_reads_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(path: Path) -> Record:
        raise Refused(f"{path} is opened")

    publish.refresh(folder)
    assert not kept()
    monkeypatch.setattr(publish, "MANY", 12)
    publish.refresh(folder)
    page = (folder.parent / "leaderboard.md").read_bytes()
    monkeypatch.setattr(table, "read_record", never)
    publish.refresh(folder)
    assert kept() and (folder.parent / "leaderboard.md").read_bytes() == page
    monkeypatch.setattr(publish, "MANY", 100)
    with pytest.raises(Refused, match="is opened"):
        publish.require_current(folder)
