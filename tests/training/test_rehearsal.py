"""Rehearsals: what the first steps tell of all of them."""

import time
from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset
from condense.resources import Budget
from condense.training import progress
from condense.training.experts import ExpertTraining, experts
from condense.training.loop import Loop
from condense.training.rehearsal import rehearsing, under_way

STEPS = 500


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pace is known after six steps, however short they are."""
    monkeypatch.setattr(progress, "_LEAST_SECONDS", 0.0)


def run(title: str, n: int = STEPS, seconds: float = 0.004, folder: Path | None = None) -> int:
    """The number of steps that a loop makes."""
    loop = Loop(
        folder, torch.Generator(), device=torch.device("cpu"), budget=Budget(), title=title, remedy="none"
    )
    made = 0
    for _ in loop.steps(n, {}, "work"):
        time.sleep(seconds)
        made += 1
    return made


def test_a_rehearsal_tells_the_time_of_all_steps_from_the_first_ones() -> None:
    started = time.monotonic()
    with rehearsing() as rehearsal:
        made = run("a")
        spent = time.monotonic() - started
    assert made < 10 and spent < 1
    assert 0.9 * STEPS * 0.004 < rehearsal.seconds < 3 * STEPS * 0.004
    assert rehearsal.peak_bytes > 10**6


def test_without_a_rehearsal_all_steps_are_made() -> None:
    assert under_way() is None and run("a", 20, 0.0) == 20
    with pytest.raises(ZeroDivisionError), rehearsing():
        _ = 1 / 0
    assert under_way() is None


def test_a_short_computation_is_rehearsed_as_a_whole() -> None:
    with rehearsing() as rehearsal:
        assert run("a", 3, 0.01) == 3
        assert 0.03 <= rehearsal.seconds < 1


def test_computations_that_differ_by_a_number_are_timed_once() -> None:
    with rehearsing() as rehearsal:
        assert [run(f"images {first} to {first + 9}") for first in (0, 10, 20)][1:] == [1, 1]
        assert run("images 0 to 9", n=STEPS // 2) > 1, "another number of steps is another computation"
    assert rehearsal.seconds > 0.9 * 3.5 * STEPS * 0.004


def test_experts_are_not_trained_but_counted(digits: ImageDataset, tmp_path: Path) -> None:
    training = ExpertTraining(network="convnet-w32", batch=64, lr=0.01)
    train, say = digits.train.in_space(digits.space("normalized")), list[str]()
    with rehearsing() as rehearsal:
        found = experts(
            training, 3, 2, train, digits.spec, "normalized", cache=tmp_path, budget=Budget(),
            say=say.append,
        )  # fmt: skip
        (shared,) = rehearsal.shared
    assert len(found) == 3 and found.at(2, 1).shape == found.at(0, 0).shape
    assert not torch.equal(found.at(0, 0), found.at(0, 2))
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]
    made = experts(
        training, 3, 2, train, digits.spec, "normalized", cache=tmp_path, budget=Budget(),
        say=say.append,
    )  # fmt: skip
    assert made.at(0, 0).shape == found.at(0, 0).shape
    written = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert abs(written - shared.disk) < 0.01 * written
    assert shared.seconds > 0
    with rehearsing() as again:
        experts(
            training, 3, 2, train, digits.spec, "normalized", cache=tmp_path, budget=Budget(),
            say=say.append,
        )  # fmt: skip
    assert again.shared == []
