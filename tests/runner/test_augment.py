"""A chosen augmentation from the option to keys, sets, students and records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from condense import protocols
from condense.errors import Refused
from condense.protocol import Protocol, Stage
from condense.records.folder import read_records
from condense.records.record import Record
from condense.resources import Machine
from condense.runner import api
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.queue import read_queue
from condense.runner.reevaluate import reevaluate
from condense.runner.run import distil_cell, run_cell

TINY = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=2)
Cell = Callable[..., CellSpec]


@pytest.fixture(autouse=True)
def tiny_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two protocols of two epochs, by name, and a home of the test's own."""
    known = {"tiny": TINY, "whole": replace(TINY, name="whole", whole=True)}
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, **known})


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def cell(toy_file: Path) -> Cell:
    """The maker of cells of random images of the toy dataset, judged by the tiny protocol."""

    def make(**given: object) -> CellSpec:
        usual: dict[str, object] = {"method": "random_subset", "dataset": str(toy_file), "protocol": "tiny"}
        usual |= {"student": "convnet-w32", "seeds": (0,), "eval_seeds": 1}
        return CellSpec(**(usual | given))  # type: ignore[arg-type]

    return make


def entered(records: list[Record]) -> list[float]:
    return [entry.accuracy for record in records for entry in record.entries]


def test_keys_and_tables_of_a_chosen_augmentation_stand_apart(cell: Cell, places: Paths) -> None:
    usual, chosen = resolve(cell(), places), resolve(cell(augment="none"), places)
    assert usual.given == {} and chosen.given == {"augment": "none"}
    assert usual.key(0) != chosen.key(0) and chosen.folder(0) != usual.folder(0)
    assert resolve(cell(augment="crop"), places).key(0) != chosen.key(0)
    for given in ({}, {"augment": "none"}):
        run_cell(cell(**given), places, Machine())
        run_cell(cell(method="whole", protocol="whole", seeds=None, **given), places, Machine())
    records = read_records(places.results)
    assert sorted(record.dataset.name for record in records) == ["toy", "toy", "toy~none", "toy~none"]
    assert len({record.evaluation_key() for record in records}) == 4
    assert len({record.dataset.train_hash for record in records}) == 1


def test_a_set_is_evaluated_with_the_augmentation_that_it_was_made_with(cell: Cell, places: Paths) -> None:
    ((made, _),) = distil_cell(cell(augment="none"), places, Machine())
    content = {**made.content["dataset"]}
    assert (content["name"], content["dsa"]) == ("toy~none", "none")
    (again,) = reevaluate(made, cell(), places, Machine(), recorded=False)
    assert again.dataset.name == "toy~none" and "augmentation none, without flips: as chosen" in (
        again.dataset.notes
    )
    (direct,) = run_cell(cell(augment="none"), places, Machine())
    assert entered([again]) == entered([direct]) and again.evaluation_key() == direct.evaluation_key()
    ((other, _),) = distil_cell(cell(), places, Machine())
    with pytest.raises(
        Refused, match="of toy with the augmentation color_.*; toy~none has none; augment='col"
    ):
        reevaluate(other, cell(augment="none"), places, Machine(), recorded=False)


def test_students_train_with_the_chosen_augmentation(cell: Cell, places: Paths) -> None:
    scores = {
        augment: entered(run_cell(cell(ipc=5, augment=augment), places, Machine()))
        for augment in (None, "none", "cutout")
    }
    assert len({str(score) for score in scores.values()}) > 1


def test_queues_and_python_take_an_augmentation(toy_file: Path, tmp_path: Path) -> None:
    queue = tmp_path / "queue.toml"
    queue.write_text(f'[[cell]]\nmethod = "dm"\ndataset = "{toy_file}"\naugment = "none"\n')
    (read,) = read_queue(queue)
    assert read.augment == "none"
    made = api.distill("random_subset", toy_file, augment="none", out=tmp_path / "sets", skip_unreadable=True)
    assert {**made.content["dataset"]}["dsa"] == "none"
    table = api.evaluate(made, dataset=toy_file, protocol="tiny", student="convnet-w32", eval_seeds=1)
    assert set(table["dataset"]) == {"toy~none"}
