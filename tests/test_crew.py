"""Work that processes share: the same answers in the same order, whatever happens to a process."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import parent_process
from pathlib import Path

import pandas as pd
import psutil
import pytest

from condense.board import publish
from condense.crew import FEW, Crew
from condense.errors import Refused
from condense.records import frame as table
from condense.records.folder import record_files
from condense.records.frame import read_files, results
from condense.records.record import Record

Make = Callable[..., Record]


def place_of(number: int) -> tuple[int, int]:
    """The number, and the process that answers."""
    return number, os.getpid()


def fatal(number: int) -> int:
    """The number; a process of a crew that shall answer for 2 is killed."""
    if number == 2 and parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def frozen(_: int) -> bool:
    """Whether there are objects that the collector of reference cycles never looks at."""
    return gc.get_freeze_count() > 1000


def refused(number: int) -> int:
    if number > 1:
        raise Refused(f"{number} is too large")
    return number


def test_for_a_few_items_no_process_begins() -> None:
    with Crew(2) as crew:
        assert list(crew.map(place_of, range(FEW))) == [(number, os.getpid()) for number in range(FEW)]
        assert os.getpid() not in {place for _, place in crew.map(place_of, range(FEW + 1))}
        assert os.getpid() not in {place for _, place in crew.map(place_of, range(1))}


def test_alone_a_crew_answers_in_this_process_when_it_is_asked() -> None:
    with Crew() as crew:
        answers = crew.map(refused, [0, 1, 2])
        assert [next(answers), next(answers)] == [0, 1]
        with pytest.raises(Refused, match="2 is too large"):
            next(answers)


def test_the_collector_of_a_process_looks_at_nothing_that_was_there_before_the_work() -> None:
    with Crew(2) as crew:
        assert set(crew.map(frozen, range(FEW + 1))) == {True}


def test_processes_answer_in_order_and_raise_what_a_call_raises() -> None:
    with Crew(2, ["condense.errors"]) as crew:
        numbers, places = zip(*crew.map(place_of, range(20)), strict=True)
        assert numbers == tuple(range(20)) and os.getpid() not in places
        answers = crew.map(refused, [0, 1, 2, 3])
        assert [next(answers), next(answers)] == [0, 1]
        with pytest.raises(Refused, match="2 is too large"):
            next(answers)


def test_what_a_process_dies_over_is_answered_here() -> None:
    with Crew(2) as crew:
        assert list(crew.map(fatal, range(6))) == list(range(6))
        assert list(crew.map(place_of, range(2))) == [(0, os.getpid()), (1, os.getpid())]


def test_no_process_outlives_the_one_that_began_it(tmp_path: Path) -> None:
    script = tmp_path / "begun.py"
    script.write_text(
        "import os, time\n"
        "from condense.crew import Crew\n"
        "def place(_):\n"
        "    time.sleep(0.2)\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    with Crew(2) as crew:\n"
        "        print(*crew.map(place, range(8)), flush=True)\n"
        "        time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as begun:
        assert begun.stdout is not None
        places = {int(place) for place in begun.stdout.readline().split()}
        assert places and begun.pid not in places
        begun.kill()
    late = time.monotonic() + 30
    while any(map(psutil.pid_exists, places)) and time.monotonic() < late:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, places))


def test_a_crew_reads_the_same_table(made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(7):
        made("dm" if seed % 2 else "random_subset", seed=seed).write(tmp_path)
    alone, files = results(tmp_path), list(record_files(tmp_path))
    monkeypatch.setattr(table, "AT_ONCE", 2)
    with Crew(2) as crew:
        pd.testing.assert_frame_equal(read_files(files, crew), alone)
        copy = files[-1].with_name("zz.json")
        copy.write_bytes(files[0].read_bytes())
        with pytest.raises(Refused, match=r"and .*zz\.json hold the same record"):
            read_files([*files, copy], crew)
        copy.write_text("{}")
        with pytest.raises(Refused, match=r"zz\.json: protocol is missing"):
            read_files([*files, copy], crew)


def test_a_board_of_many_records_is_that_of_one_process(
    made: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    for many in (10**6, 2):
        monkeypatch.setattr(publish, "MANY", many)
        folder = tmp_path / str(many)
        for method in ("dm", "dsa", "random_subset"):
            made(method).write(folder / "results")
        publish.refresh(folder / "results", plots=True)
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        written.append({file.relative_to(folder): file.read_bytes() for file in files})
    assert written[0] == written[1] and any(file.suffix == ".svg" for file in written[0])
