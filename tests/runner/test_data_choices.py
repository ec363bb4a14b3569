"""Choices about the data: smaller batches for small classes, some of the classes, counts of each class."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from condense import protocols
from condense.protocol import Protocol, Stage
from condense.records.folder import read_records
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import Job, resolve
from condense.runner.reevaluate import reevaluate
from condense.runner.run import run_cell, say_settings
from condense.store import load

Write = Callable[..., Path]
Resolved = Callable[..., Job]


@pytest.fixture(autouse=True)
def tiny_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol of two epochs and one student."""
    tiny = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=1)
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "tiny": tiny})


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """A function that writes a file of images with as many of each class as it is told."""

    def write(*sizes: int, name: str = "own") -> Path:
        rng, path = np.random.RandomState(0), tmp_path / f"{name}.npz"
        labels = np.arange(len(sizes)).repeat(sizes)
        images = rng.randint(0, 255, (len(labels), 8, 8)).astype(np.uint8)
        there = {"train_images": images, "train_labels": labels}
        np.savez(path, **there, test_images=images[::-1], test_labels=labels[::-1])  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def resolved(home: Path, tmp_path: Path) -> Resolved:
    """A function that resolves a cell of a dataset, which is not evaluated."""

    def resolve_(dataset: Path | str, method: str = "dm", **given: object) -> Job:
        cell = CellSpec(method=method, dataset=str(dataset), **given)  # type: ignore[arg-type]
        return resolve(cell, Paths(out=tmp_path / "sets"), evaluated=False)

    return resolve_


@pytest.mark.parametrize("method", ["dm", "datadam", "dc", "dsa", "idc", "ncfm", "dm+fyi"])
def test_a_batch_of_a_class_is_at_most_the_smallest_class_of_a_users_data(
    method: str, written: Write, resolved: Resolved, capsys: pytest.CaptureFixture[str]
) -> None:
    job = resolved(written(4, 3, 5), method)
    assert job.method is not None
    assert job.method.links()[0].config()["batch_real"] == 3
    assert job.method.chain()[0]["config"]["batch_real"] == 3  # type: ignore[index]
    say_settings(job)
    told = "batch_real is 3, as the smallest class of own has 3 training images"
    assert told in capsys.readouterr().err


def test_a_batch_that_the_user_chose_and_one_that_fits_stay_as_they_are(
    written: Write, resolved: Resolved
) -> None:
    for given, batch in (({"batch_real": "64"}, 64), ({"dm.batch_real": "64"}, 64), ({"batch_real": "2"}, 2)):
        job = resolved(written(4, 3), params=given)
        assert job.method is not None and job.method.config()["batch_real"] == batch and not job.fitted


def test_a_named_dataset_keeps_the_batches_that_its_records_were_made_with(resolved: Resolved) -> None:
    job = resolved("digits", ipc=1)
    assert min(job.dataset.train.counts()) < 256
    assert job.method is not None and job.method.config()["batch_real"] == 256 and not job.fitted


def test_a_set_of_some_classes_is_made_recorded_and_found_again(
    written: Write, home: Path, tmp_path: Path
) -> None:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results", data_dir=tmp_path)
    given: dict[str, object] = {"method": "random_subset", "dataset": str(written(4, 3, 5)), "classes": "2,0"}
    given |= {"seeds": (0,), "protocol": "tiny", "student": "mlp"}
    (record,) = run_cell(CellSpec(**given), paths, Machine())  # type: ignore[arg-type]
    assert record.dataset.name == "own[0,2]" and record.paper is None
    assert any("1 of 3 classes were left out" in note for note in record.dataset.notes)
    (folder,) = (tmp_path / "sets").iterdir()
    assert folder.name.startswith("own[0,2]-random_subset-ipc1-seed0-")
    made = load(folder)
    assert made.content["dataset"]["classes"] == ["0", "2"]
    again = CellSpec(dataset=str(given["dataset"]), protocol="tiny", student="convnet-w32", eval_seeds=1)
    (other,) = reevaluate(made, again, paths, Machine())
    assert other.dataset == record.dataset
    assert len(read_records(tmp_path / "results")) == 2
