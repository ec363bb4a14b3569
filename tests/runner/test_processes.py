"""Many processes at once, and processes that are killed at any instant: nothing is lost, nothing is left."""

import random
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from condense.evaluation.evaluate import grown
from condense.records.record import Record, read_record
from tests.commands import KILL_AT, SERVER, Place
from tests.conftest import make_entry, make_record

STUDENT = ("--student", "mlp", "--protocol", "tiny", "--no-baselines")
MTT = {
    "network": "mlp", "iterations": "6", "experts": "2", "expert_epochs": "1", "max_start_epoch": "1",
    "syn_steps": "2",
}  # fmt: skip
TAUGHT = {"network": "convnet-w32-bn", "teacher": "trained", "teacher_epochs": "1"}
JOBS: Mapping[str, Mapping[str, str]] = {
    "dm": {"network": "mlp", "iterations": "20", "batch_real": "16"},
    "dc": {"network": "mlp", "iterations": "8", "batch_real": "16"},
    "mtt": MTT,
    "ftd": MTT,
    "datm": MTT | {"epochs_experts": "2"},
    "sre2l": TAUGHT | {"iterations": "10"},
    "rded": TAUGHT,
    "herding": {"network": "mlp"},
    "dm+fkd": {"network": "mlp", "iterations": "3", "batch_real": "16", "fkd.epochs": "10"},
    "mirage": {},
}
"""Small settings of methods of all families."""


def command(method: str, *more: str, students: int = 2, ipc: int = 1) -> list[str]:
    """The command that fills a small cell."""
    params = [word for name, value in JOBS[method].items() for word in ("--param", f"{name}={value}")]
    judged = ("--student", "gcn-sum", "--protocol", "tiny-graph", "--no-baselines")
    cell = ["run", "--method", method, "--ipc", str(ipc), *params, "--eval-seeds", str(students)]
    return [*cell, *(judged if method == "mirage" else STUDENT), *more]


# Many at once --------------------------------------------------------------------------------------------


def work_at_once(place: Place, workers: int, students: int) -> None:
    """Lets processes fill one cell while another keeps the board; checks that all of it is there, once."""
    (place.folder / "results").mkdir()
    at_work = [place.start(*command("dm", students=students)) for _ in range(workers)]
    while any(one.is_alive() for one in at_work):
        place.run("leaderboard")
    place.end(at_work)
    place.run("leaderboard", "--check")
    (record,) = (place.folder / "results").glob("*/*.json")
    assert [entry.seed for entry in read_record(record).entries] == list(range(students))
    told = place.told()
    assert told.count(" -> results/") == students, "each student is trained once"
    assert told.count("dm on digits distil: 20/20") == 1, "the set is distilled once"
    alone = Place(place.folder.with_name("alone"))
    alone.run(*command("dm", students=students))
    alone.run("leaderboard")
    assert place.results() == alone.results() and place.tree() == alone.tree()


def test_processes_on_one_cell_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    work_at_once(Place(tmp_path / "place"), workers=3, students=5)


@pytest.mark.slow
def test_eight_processes_on_one_cell_lose_nothing_and_do_nothing_twice(tmp_path: Path) -> None:
    work_at_once(Place(tmp_path / "place"), workers=8, students=40)


def record_students(folder: str, first: int, count: int) -> None:
    """Records students one after the other, as a process does that trains them."""
    record: Record = make_record(accuracies=())
    for seed in range(first, first + count):
        record = grown(record, Path(folder)).with_entry(make_entry(seed, 50.0))
        record.write(Path(folder))


@pytest.mark.parametrize("count", [10, pytest.param(60, marks=pytest.mark.slow)])
def test_four_processes_that_write_one_record_lose_no_entry(tmp_path: Path, count: int) -> None:
    writers = [
        SERVER.Process(target=record_students, args=(str(tmp_path), n * count, count)) for n in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert [entry.seed for entry in read_record(path).entries] == list(range(4 * count))


def test_runs_that_share_experts_train_them_once(tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    place.end([place.start(*command("mtt", students=1, ipc=ipc)) for ipc in (1, 2, 3)])
    assert place.told().count("2 experts (mlp on digits") == 1
    assert len(list(place.home.glob("experts/*/expert-*.safetensors"))) == 2
    assert not [path for path in place.tree() if "/." in path or "training" in path]


def test_labels_can_be_stored_by_several_processes_at_once(tmp_path: Path) -> None:
    place = Place(tmp_path / "place")
    elsewhere = command("dm+fkd", "--out", "elsewhere", "--results", "records/elsewhere")
    place.end([place.start(*words) for words in (command("dm+fkd"), command("dm+fkd"), elsewhere)])
    made = [path.parent.name for path in place.folder.glob("*/*/set.json")]
    assert len(made) == 2 and len(set(made)) == 1
    assert not [path for path in place.tree() if "/." in path or "home" in path and "replay" in path]


# Kills ---------------------------------------------------------------------------------------------------


def kill_again_and_again(method: str, tmp_path: Path, kills: int, rng: random.Random) -> None:
    """Kills a command at random instants; its results and files must be those of one left in peace."""
    settings = {"CONDENSE_CHECKPOINT_SECONDS": "0"}
    whole = Place(tmp_path / "whole", **settings)
    whole.run(*command(method))
    started = time.monotonic()
    again = Place(tmp_path / "again", **settings)
    again.run(*command(method))
    seconds = time.monotonic() - started
    assert again.results() == whole.results() and again.tree() == whole.tree()
    done = trial = 0
    while done < kills:
        place, trial = Place(tmp_path / f"killed-{trial}", **settings), trial + 1
        for _ in range(min(10, kills - done)):
            process = place.start(*command(method))
            process.join(rng.uniform(0, seconds))
            killed = process.is_alive()
            process.kill()
            process.join()
            if not killed and process.exitcode == 0:
                break
            assert killed, place.told()
            done += 1
        place.run(*command(method))
        assert place.results() == whole.results() and place.tree() == whole.tree(), place.told()
    print(f"{method}: {done} kills in {trial} trials, {seconds:.1f} s in peace")


def test_a_command_killed_at_random_ends_with_the_same_results_and_files(tmp_path: Path) -> None:
    kill_again_and_again("dm+fkd", tmp_path, kills=4, rng=random.Random(0))


def kill_at_changes(method: str, tmp_path: Path, changes: Iterable[int]) -> int:
    """Kills a command ahead of chosen changes of the disk, each in a place of its own.

    Returns:
        The number of kills; the first change that the command does not come to ends the list.
    """
    settings = {"CONDENSE_CHECKPOINT_SECONDS": "0"}
    whole = Place(tmp_path / "whole", **settings)
    whole.run(*command(method))
    for kills, number in enumerate(changes):
        place = Place(tmp_path / f"killed-{number}", **settings)
        process = place.start(*command(method), **{KILL_AT: str(number)})
        process.join()
        if process.exitcode == 0:
            return kills
        assert process.exitcode == -signal.SIGKILL, place.told()
        place.run(*command(method))
        assert place.results() == whole.results(), f"change {number}: {place.told()}"
        assert place.tree() == whole.tree(), f"change {number}: {place.told()}"
    return len(list(changes))


def test_a_command_killed_while_it_writes_ends_with_the_same_files(tmp_path: Path) -> None:
    assert kill_at_changes("mtt", tmp_path, (6, 13, 32, 45)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("method", ["mtt", "dm+fkd", "rded", "mirage"])
def test_kills_ahead_of_any_change_of_the_disk_change_and_leave_nothing(tmp_path: Path, method: str) -> None:
    kills = kill_at_changes(method, tmp_path, range(1000))
    print(f"{method}: killed ahead of each of {kills} changes of the disk")
    assert kills > 20


@pytest.mark.slow
@pytest.mark.parametrize("method", JOBS)
def test_thirty_kills_of_each_family_change_and_leave_nothing(tmp_path: Path, method: str) -> None:
    kill_again_and_again(method, tmp_path, kills=30, rng=random.Random(method))
