"""``condense plan``: what it writes, and what it does not."""

import json
from pathlib import Path

import pytest

from condense.runner import rehearse
from condense.runner.rehearse import Estimate
from condense.runner.units import Unit
from tests.cli.command import Condense


@pytest.fixture(autouse=True)
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each set takes two minutes and each student one; a unit needs more memory than any machine has."""

    def estimate(unit: Unit, *_: object) -> Estimate:
        return Estimate(120.0 if unit.stage == "distil" else 60.0, 3 * 10**15, 2000)

    monkeypatch.setattr(rehearse, "_in_process", estimate)


def test_a_queue_is_planned_as_text_and_as_json(condense: Condense, toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "queue.toml").write_text(
        f'[[cell]]\nmethod = ["dm", "dn"]\ndataset = "{toy_file}"\nstudent = "mlp"\neval_seeds = 2\n'
    )
    ended = condense("plan", "queue.toml")
    assert ended.code == 0 and ended.err.splitlines()[0].startswith("rehearses 1 of 3: dm ")
    assert "cannot be filled: dn " in ended.out and "3 units, 4 min one after the other on " in ended.out
    assert "1: 4 min, 2: 3 min, 4: 3 min" in ended.out and "never less than 3 min" in ended.out
    assert (
        "needs 3e+06 GB of memory" in ended.out and "a smaller batch_real or a narrower network" in ended.out
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "data") == ["home", "queue.toml"]
    found = json.loads(condense("plan", "queue.toml", "--json").out)
    assert [unit["stage"] for unit in found["units"]] == ["distil", "student", "student"]
    assert found["seconds"] == 240 and found["seconds_with_workers"]["2"] == found["critical_seconds"] == 180
    assert [unit["needs"] for unit in found["units"]] == [[], *[[found["units"][0]["key"]]] * 2]
    assert list(found["refused"])[0].startswith("dn ")


def test_a_cell_is_planned_with_its_baselines_as_it_would_be_run(condense: Condense, toy_file: Path) -> None:
    cell = ["--method", "dm", "--dataset", toy_file, "--student", "mlp", "--eval-seeds", 1]
    units = json.loads(condense("plan", *cell, "--json").out)["units"]
    made = [unit["title"].split()[0] for unit in units if unit["stage"] == "distil"]
    assert set(made) == {"dm", "random_subset", "herding", "k_center"}


def test_what_is_done_needs_no_plan(condense: Condense, toy_file: Path) -> None:
    cell = ["--method", "random_subset", "--dataset", toy_file, "--student", "mlp", "--eval-seeds", 1]
    assert condense("run", *cell, "--seed", 0).code == 0
    assert condense("plan", *cell, "--seed", 0).out == "everything is done already\n"


def test_a_plan_of_nothing_is_refused(condense: Condense, tmp_path: Path) -> None:
    ended = condense("plan", "--dataset", "nope", "--json")
    assert ended.code == 2 and ended.out == "" and "--dataset nope: unknown" in ended.err.splitlines()[-1]
    (tmp_path / "queue.toml").write_text(
        "[[cell]]\nmethod = 'dm'\nparams = { batch_real = 0 }\n[[cell]]\nparams = { iterations = 'x' }\n"
    )
    ended = condense("plan", "queue.toml")
    assert ended.code == 2 and ended.err == "condense: none of the 2 cells of queue.toml can be filled\n"
    first, second = ended.out.splitlines()
    assert first.startswith("cannot be filled: dm digits ipc 1: batch_real=0: ")
    assert second.startswith("cannot be filled: dm digits ipc 1: iterations='x': ")
    ended = condense("plan", "queue.toml", "--json")
    refused = json.loads(ended.out)["refused"]["dm digits ipc 1"]
    assert ended.code == 2 and "batch_real=0: " in refused and "; iterations='x': " in refused


def test_a_run_tells_what_was_planned(condense: Condense, toy_file: Path) -> None:
    cell = ["--method", "random_subset", "--dataset", toy_file, "--student", "mlp", "--eval-seeds", 1]
    condense("plan", *cell, "--seed", 0)
    ended = condense("run", *cell, "--seed", 0)
    assert "planned: 2 units in about 3 min" in ended.out + ended.err
    assert "planned 3 min for 2 units, took " in ended.out + ended.err
