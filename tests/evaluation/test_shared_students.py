"""Students of one record that several processes train at once (here: threads, which locks keep apart too)."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from condense.errors import Stopped
from condense.evaluation import evaluate
from condense.evaluation.student import Outcome
from condense.files import locked
from condense.records.record import Entry, Record, read_record
from condense.resources import Budget, Machine

Make = Callable[..., Record]
SEEDS = range(6)


def trained(record: Record, results: Path, seeds: range = SEEDS, workers: int = 3) -> list[tuple[int, int]]:
    """Who trained which student, when several workers are asked for all of them at once."""
    done: list[tuple[int, int]] = []
    ends: list[Record] = []

    def work(worker: int) -> None:
        def trial(seed: int, folder: Path | None) -> Outcome:
            time.sleep(0.03)
            done.append((worker, seed))
            return Outcome(50.0 + seed, 0.1)

        ends.append(evaluate._entered(record, seeds, trial, results, Machine()))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = read_record(record.path(results))
    assert ends == [stored] * workers, "every worker returns the students of all"
    assert {entry.seed: entry.accuracy for entry in stored.entries} == {seed: 50.0 + seed for seed in seeds}
    return done


def test_each_student_is_trained_once_and_everybody_has_a_share(made: Make, tmp_path: Path) -> None:
    done = trained(made(accuracies=()), tmp_path)
    assert sorted(seed for _, seed in done) == list(SEEDS)
    assert len({worker for worker, _ in done}) == 3
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"], "no lock is left"


def test_students_that_are_recorded_are_left_to_no_one(made: Make, tmp_path: Path) -> None:
    made(accuracies=(50.0, 51.0)).write(tmp_path)
    done = trained(made(accuracies=()), tmp_path)
    assert sorted(seed for _, seed in done) == [2, 3, 4, 5]


def test_the_budget_ends_the_wait_for_anothers_student(made: Make, tmp_path: Path) -> None:
    record, claimed, over = made(accuracies=()), threading.Event(), threading.Event()

    def other() -> None:
        with locked(evaluate._claim(record, 0, tmp_path), what="trains"):
            claimed.set()
            over.wait()

    thread = threading.Thread(target=other, daemon=True)
    thread.start()
    claimed.wait()
    machine = Machine(budget=Budget(0.05))
    with pytest.raises(Stopped, match="while another process trains convnet 0 for .*json"):
        evaluate._entered(record, range(2), lambda *_: Outcome(1.0, 0.1), tmp_path, machine)
    over.set()
    thread.join()
    assert [entry.seed for entry in read_record(record.path(tmp_path)).entries] == [1]


def test_of_two_results_of_one_student_the_first_stays_and_this_is_said(
    made: Make, entry: Callable[[int, float], Entry], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = made(accuracies=())

    def overtaken(seed: int, folder: Path | None) -> Outcome:
        replace(record, entries=(entry(seed, 60.0),)).write(tmp_path)
        return Outcome(61.0, 0.1)

    found = evaluate._entered(record, range(1), overtaken, tmp_path, Machine())
    assert [one.accuracy for one in found.entries] == [60.0]
    assert "convnet 0: another process had recorded this student by then" in capsys.readouterr().err


def test_what_is_left_of_recorded_students_goes_but_not_that_of_others(
    made: Make, tmp_path: Path, home: Path
) -> None:
    record, cpu = made(accuracies=(50.0, 51.0)), Machine().device
    record.write(tmp_path)
    done, finished, unfinished = (evaluate._folder(record, seed, cpu) for seed in range(3))
    for folder in (done, unfinished):
        folder.mkdir(parents=True)
    finished.with_name(f".{finished.name}.lock").touch()
    evaluate.tidy_record(record, tmp_path, cpu)
    assert list((home / "students").iterdir()) == [unfinished]
