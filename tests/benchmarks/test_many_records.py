"""Many made records: they are valid, and the work of their board grows in proportion."""

import os
import subprocess
import sys
from cProfile import Profile
from pathlib import Path
from pstats import Stats

import pytest

from condense.benchmarks.many_records import METHODS, names, write
from condense.board.datasets import gathered
from condense.board.front import LARGEST
from condense.board.pages import FRONT, board_pages
from condense.records.folder import read_records, record_files
from condense.records.frame import results

BYTES = 2**30
"""The most resident memory that the board of 100 000 records takes, in one process."""


def calls(folder: Path, count: int) -> int:
    """The function calls that a board of some records takes, from the first file to the text of its pages."""
    write(folder, count)
    profile = Profile()
    with profile:
        board_pages(gathered(results(folder)), folder)
    return int(Stats(profile).total_calls)  # type: ignore[attr-defined]


def test_the_records_are_valid_and_those_of_a_smaller_folder_come_first(tmp_path: Path) -> None:
    assert write(tmp_path / "few", 30) == 30 and write(tmp_path / "more", 60) == 60
    few, more = ({one.evaluation_key() for one in read_records(tmp_path / name)} for name in ("few", "more"))
    assert few < more and (len(few), len(more)) == (30, 60)
    assert len(set(names())) == METHODS


def test_a_board_takes_work_in_proportion_to_its_records(tmp_path: Path) -> None:
    calls(tmp_path / "warm", 100)
    half, whole = (calls(tmp_path / str(count) / "results", count) for count in (300, 600))
    assert 1.5 < whole / half < 2.4


def test_a_front_page_of_many_methods_shows_the_best_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    write(folder, 1200)
    page = board_pages(gathered(results(folder)), folder)[tmp_path / FRONT]
    assert len(page.encode()) <= LARGEST and max(map(len, page.splitlines())) <= 160
    assert "**The best alone.**" in page


@pytest.mark.slow
def test_a_board_of_a_hundred_thousand_records_takes_less_than_one_gibibyte(tmp_path: Path) -> None:
    count = 100_000
    write(tmp_path / "results", count)
    assert sum(1 for _ in record_files(tmp_path / "results")) == count
    command = [sys.executable, "-m", "condense", "leaderboard", "--results", str(tmp_path / "results")]
    child = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{used.ru_utime + used.ru_stime:.0f} s of CPU time, peak {peak / 2**20:.0f} MiB")
    assert peak < BYTES
