"""Trainings without a set, from the cell to the record, and what is refused before any work."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condense import protocols
from condense.errors import Refused, Stopped
from condense.protocol import Stage
from condense.protocols import PRUNE_V1
from condense.records.frame import frame
from condense.records.record import Record, read_record
from condense.resources import Budget, Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.queue import read_queue
from condense.runner.run import run_cell

TINY = replace(PRUNE_V1, name="tiny-prune", stages=(Stage(epochs=2),), batch=16)
HARD = replace(protocols.HARD_V1, name="tiny", stages=(Stage(epochs=2),), seeds=2)


@pytest.fixture(autouse=True)
def tiny_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol for fractions and one for sets, of two epochs each."""
    known = {**protocols.PROTOCOLS, "tiny": HARD, "tiny-prune": TINY}
    monkeypatch.setattr(protocols, "PROTOCOLS", known)


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def run(toy_file: Path, places: Paths) -> Callable[..., list[Record]]:
    """Runs a cell of RS2 on a third of the toy dataset, under the tiny protocol."""

    def make(budget: Budget | None = None, **given: Any) -> list[Record]:
        usual: dict[str, Any] = {"method": "rs2", "dataset": str(toy_file), "student": "convnet-w32"}
        if "ipc" not in given:
            usual |= {"fraction": 1 / 3, "protocol": "tiny-prune"}
        return run_cell(CellSpec(**(usual | given)), places, Machine(budget=budget or Budget()))

    return make


Run = Callable[..., list[Record]]


def test_a_fraction_is_trained_on_and_recorded_and_then_up_to_date(
    run: Run, places: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    records = run()
    assert [record.seed for record in records] == [0, 1, 2] and not places.out.exists()
    for seed, record in enumerate(records):
        assert record == read_record(record.path(places.results))
        assert record.kind == "training" and record.fraction == 1 / 3 and record.ipc == 0
        assert [entry.seed for entry in record.entries] == [seed]
        assert record.training is not None and record.training.steps == 2 * 2
        assert record.training.images == 38 and not record.training.whole
    assert len({record.key for record in records}) == 3
    capsys.readouterr()
    assert run() == records
    assert capsys.readouterr().err.count("up to date: ") == 3


def test_a_fixed_choice_is_judged_by_several_students(run: Run) -> None:
    (record,) = run(method="herding", params={"network": "mlp"})
    assert [entry.seed for entry in record.entries] == [0, 1, 2]
    assert record.training is not None and record.training.images == 18


def test_by_ipc_a_student_takes_as_many_steps_as_one_of_a_set(run: Run) -> None:
    records = run(ipc=3, protocol="tiny")
    assert [record.ipc for record in records] == [3, 3] and records[0].fraction is None
    assert all(record.training is not None and record.training.steps == 2 for record in records)
    plain = run(method="random_subset", ipc=3, protocol="tiny", seeds=(0,))
    assert plain[0].kind == "set" and plain[0].key != records[0].key


def test_the_key_tells_fractions_settings_and_seeds_apart(run: Run) -> None:
    cells: list[dict[str, Any]] = [
        {}, {"fraction": 0.5}, {"params": {"stratified": True}}, {"ipc": 3, "protocol": "tiny"}
    ]  # fmt: skip
    keys = [record.key for given in cells for record in run(seeds=(0,), **given)]
    assert len(set(keys)) == len(cells)
    table = frame(run(seeds=(0,)))
    assert table["fraction"].tolist() == [1 / 3] and table["touched"].tolist() == [38 * 65]


def test_a_training_within_a_budget_goes_on_where_it_stopped(
    run: Run, spent_after: Callable[[int], Budget], places: Paths
) -> None:
    whole = run(seeds=(0,))[0].entries[0].accuracy
    (places.results / "toy").rename(places.results.parent / "elsewhere")
    with pytest.raises(Stopped):
        run(spent_after(2), seeds=(0,))
    assert run(seeds=(0,))[0].entries[0].accuracy == whole


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"fraction": 0.0}, "fraction=0.0: a fraction is above 0 and at most 1"),
        ({"fraction": 1.5}, "fraction=1.5: a fraction is above 0 and at most 1"),
        ({"fraction": math.nan}, "fraction=nan: a fraction is above 0 and at most 1"),
        ({"fraction": 0.1, "ipc": 3}, "given by a fraction or for each class, not by both"),
        ({"fraction": 0.1, "imbalanced": "keep"}, "given by a fraction or for each class, not by both"),
        ({"method": "dm"}, "dm makes sets of a number of images of each class, not of a fraction"),
        ({"protocol": "tiny"}, "tiny judges a number of images a class"),
        ({"ipc": 3, "protocol": "tiny-prune"}, "tiny-prune judges trainings on a fraction of the images"),
        ({"ipc": 3, "protocol": "replay-v2"}, "replay-v2 trains on labels of a set, and there is none"),
        ({"ipc": 20, "protocol": "tiny"}, "class '0' of toy has 19 images to train on, not 20"),
        ({"ipc": 3, "method": "rs2+fyi"}, "fyi wraps a method that .*, and rs2 makes no set"),
        ({"ipc": 3, "method": "rs2+fkd"}, "fkd wraps a method that makes images, and rs2 makes no set"),
        (
            {"method": "random_subset+fkd", "params": {"fkd.teacher": "trained"}},
            "random_subset.fkd makes sets of a number of images",
        ),
        ({"method": "herding", "params": {"pixel_space": "zca"}}, "students see normalized pixels, not zca"),
        (
            {"method": "random_subset", "params": {"encode": "jpeg:10"}},
            "encode='jpeg:10': encode compresses a set, and students of random_subset are trained",
        ),
        (
            {
                "method": "random_subset+kd",
                "dataset": "digits",
                "ipc": 3,
                "protocol": "tiny",
                "params": {"room": "2000"},
            },
            "room=2000: room compresses a set, and students of random_subset are trained without one",
        ),
        ({"dataset": "mutag"}, "rs2 distils images; mutag holds graphs"),
        ({"dataset": "mutag", "method": "herding"}, "herding makes sets of a number of graphs"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(
    given: dict[str, Any], reason: str, run: Run, places: Paths
) -> None:
    with pytest.raises(Refused, match=reason):
        run(**given)
    assert not places.results.exists() or not list(places.results.glob("*/*"))


def test_all_images_have_one_key_however_the_fraction_is_written(toy_file: Path, places: Paths) -> None:
    keys = set()
    for whole in (1, 1.0):
        cell = CellSpec(method="rs2", dataset=str(toy_file), fraction=whole)
        assert type(cell.fraction) is float
        keys.add(resolve(cell, places).key(0))
    assert len(keys) == 1


def test_a_queue_lists_fractions(tmp_path: Path) -> None:
    path = tmp_path / "queue.toml"
    path.write_text('[[cell]]\nmethod = "rs2"\nfraction = [0.05, 0.1, 1]\n')
    assert [cell.fraction for cell in read_queue(path)] == [0.05, 0.1, 1]
    for wrong, reason in (('"0.1"', "is not a number"), ("[0.1, 2]", "at most 1"), ("nan", "at most 1")):
        path.write_text(f'[[cell]]\nmethod = "rs2"\nfraction = {wrong}\n')
        with pytest.raises(Refused, match=reason):
            read_queue(path)
