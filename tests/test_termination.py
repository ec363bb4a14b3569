"""SIGTERM: work with checkpoints writes one and stops, other work ends at once, and both say so."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from condense import __main__ as entry
from condense.errors import Stopped, Terminated
from condense.resources import Budget
from condense.termination import asking, sigterm_arrived, sigterm_as_budget
from condense.training.loop import Loop
from tests.commands import SERVER, Place


@pytest.fixture
def own_handler() -> Iterator[list[int]]:
    """The signals that a handler of the caller's has seen."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def steps(folder: Path, at: int | None = None) -> list[int]:
    """The steps of a loop of nine that are still to be done; SIGTERM arrives in the middle of one of them."""
    rng = torch.Generator()
    loop = Loop(folder, rng, device=torch.device("cpu"), budget=Budget(), title="toy", remedy="")
    done = []
    for step in loop.steps(9, {}):
        if step == at:
            terminate()
        done.append(step)
    return done


def test_a_loop_writes_a_checkpoint_and_stops_in_the_step_of_the_signal(
    tmp_path: Path, own_handler: list[int]
) -> None:
    with pytest.raises(Stopped) as stopped, sigterm_as_budget():
        steps(tmp_path, at=4)
    place = "toy, phase distil, step 5 of 9"
    assert str(stopped.value) == f"SIGTERM ended the work ({place}); the same command goes on from here"
    assert steps(tmp_path) == [5, 6, 7, 8]
    assert own_handler == []


def test_work_outside_of_a_loop_ends_at_once(own_handler: list[int]) -> None:
    with pytest.raises(Terminated), sigterm_as_budget():
        try:
            terminate()
            time.sleep(60)  # a wait
        except Exception:
            pytest.fail("code that expects faults of its own has caught it")


def test_a_second_signal_is_left_to_the_system(own_handler: list[int]) -> None:
    with sigterm_as_budget(), asking():
        terminate()
        assert sigterm_arrived() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_attended_process_takes_the_request_once(own_handler: list[int]) -> None:
    with sigterm_as_budget(attended=lambda: True), asking():
        terminate()
        terminate()
        assert sigterm_arrived() and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    with pytest.raises(Terminated), sigterm_as_budget(attended=lambda: True):
        try:
            terminate()
        finally:
            terminate()  # while the work is cleaned up


def test_a_process_that_is_attended_no_more_ends_with_the_next_signal() -> None:
    process = SERVER.Process(target=left_alone)
    process.start()
    process.join(timeout=60)
    assert process.exitcode == -signal.SIGTERM


def left_alone() -> None:
    attended = [True]
    with sigterm_as_budget(attended=lambda: attended[0]), asking():
        terminate()
        attended[0] = False
        terminate()
        time.sleep(60)


def test_outside_the_command_line_the_handlers_are_the_callers(own_handler: list[int]) -> None:
    with sigterm_as_budget(), asking():
        terminate()
    assert not sigterm_arrived() and not Budget().spent()
    terminate()
    assert own_handler == [signal.SIGTERM]


def test_the_command_ends_with_exit_code_3_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("condense.cli.app.app", lambda **_: terminate())
    with pytest.raises(SystemExit) as ended:
        entry.main()
    told = capsys.readouterr().err
    assert ended.value.code == 3
    assert told == "condense: SIGTERM ended the work; the same command goes on from the last checkpoint\n"


def test_a_distillation_that_is_terminated_stops_like_one_out_of_budget(
    toy_file: Path, tmp_path: Path
) -> None:
    place = Place(tmp_path / "place")
    command = ["distill", "--dataset", str(toy_file), "--device", "cpu", "--param", "iterations=100000"]
    process = place.start(*command, "--param", "network=convnet-w32", "--param", "batch_real=8")
    while not list(place.home.rglob("dm_on_toy.jsonl")) and process.is_alive():
        time.sleep(0.02)
    time.sleep(0.2)
    process.terminate()
    process.join(timeout=60)
    assert process.exitcode == 3
    where = "dm on toy, phase distil, step "
    assert place.told().splitlines()[-1].startswith(f"condense: SIGTERM ended the work ({where}")
    assert list(place.home.rglob("checkpoint-*"))
