"""A set that is stored, judged with the teacher that it was made with."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from condense.cli.resolve import sentence
from condense.data import ImageDataset
from condense.errors import Refused
from condense.evaluation import Outcome
from condense.networks import build_network
from condense.protocol import Stage
from condense.protocols import SOFT_V1
from condense.records.record import Record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.reevaluate import reevaluate
from condense.runner.sets import make_set
from condense.store import ImageSet, load
from condense.store.foreign import Origin, import_set
from condense.store.images.manifest import ImageContent
from condense.teachers import Header, Teacher, find_teacher

CPU = torch.device("cpu")
OWN = replace(SOFT_V1, name="published", stages=(Stage(epochs=2),), labels="own")


@pytest.fixture(autouse=True)
def no_training(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No student is trained, and a home of the test's own."""

    def trained(*_: object) -> Outcome:
        return Outcome(50.0, 0.0)

    monkeypatch.setattr("condense.evaluation.student.ImageStudent.outcome", trained)


@pytest.fixture
def teacher(toy: ImageDataset) -> Teacher:
    """A teacher that lies nowhere yet."""
    spec = toy.spec
    header = Header(
        network="convnet-w32-bn", dataset=spec.name, classes=spec.classes, shape=spec.shape, mean=spec.mean,
        std=spec.std, train_hash=toy.train.hash, accuracy=90.0, training={},
    )  # fmt: skip
    network = build_network("convnet-w32-bn", spec.shape, 3, torch.Generator().manual_seed(0))
    return Teacher.of(header, network.state_dict(), CPU)


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def folder(teacher: Teacher, toy: ImageDataset, toy_file: Path, places: Paths) -> Path:
    """A stored set that names the teacher, and a protocol in which it labels."""
    job = resolve(CellSpec(method="random_subset", dataset=str(toy_file)), places, evaluated=False)
    made, _ = make_set(job, 0, Machine())
    assert isinstance(made, ImageSet)
    own = {"hash": teacher.hash, "network": teacher.name, "bytes": teacher.nbytes, "accuracy": 90.0}
    content = cast(ImageContent, {**made.content, "teacher": own, "protocol": OWN.to_json()})
    path = places.out / "named"
    replace(made, content=content).save(path)
    return path


def evaluate(
    folder: Path, toy_file: Path, places: Paths, teacher: Path | None, protocol: str = "published"
) -> Record:
    cell = CellSpec(dataset=str(toy_file), protocol=protocol, student="mlp", eval_seeds=1, teacher=teacher)
    (record,) = reevaluate(load(folder), cell, places, Machine())
    return record


def test_the_teacher_of_a_set_is_given_by_its_file_and_kept(
    folder: Path, toy_file: Path, places: Paths, teacher: Teacher, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="is not here; teacher names its file"):
        evaluate(folder, toy_file, places, None)
    file = tmp_path / "own.safetensors"
    teacher.save(file)
    record = evaluate(folder, toy_file, places, file)
    assert record.teacher == teacher.hash
    file.unlink()
    assert find_teacher(teacher.hash).hash == teacher.hash
    assert evaluate(folder, toy_file, places, None) == record


def test_a_file_of_another_teacher_is_refused_and_not_kept(
    folder: Path, toy_file: Path, places: Paths, teacher: Teacher, tmp_path: Path
) -> None:
    assert teacher.header is not None
    other = Teacher.of(replace(teacher.header, accuracy=None), teacher.network.state_dict(), CPU)
    file = tmp_path / "other.safetensors"
    other.save(file)
    sentence = f"holds the teacher {other.hash[:8]}; the set was made with {teacher.hash[:8]}"
    with pytest.raises(Refused, match=sentence):
        evaluate(folder, toy_file, places, file)
    with pytest.raises(Refused, match="is not here"):
        find_teacher(other.hash)
    assert not list(places.results.glob("*/*.json"))


def test_a_teacher_is_refused_where_no_teacher_of_the_set_labels(
    folder: Path, toy_file: Path, places: Paths, teacher: Teacher, tmp_path: Path
) -> None:
    file = tmp_path / "own.safetensors"
    teacher.save(file)
    with pytest.raises(Refused, match="under hard-v1 a set's own teacher labels nothing"):
        evaluate(folder, toy_file, places, file, protocol="hard-v1")


def test_the_command_line_names_the_data_as_the_user_did(folder: Path, toy_file: Path, places: Paths) -> None:
    with pytest.raises(Refused) as refused:
        evaluate(folder, toy_file, places, None, protocol="soft-v1")
    told = sentence(refused.value, {"dataset": str(toy_file), "size": None, "skip_unreadable": False})
    assert f"; condense teach --dataset {toy_file} --network convnet-w32-bn --epochs 20 --pin " in told


@pytest.mark.parametrize(("method", "epochs"), [("dc", 1001), ("dc_of_others", None), (None, None)])
def test_the_published_protocol_of_an_imported_set_is_that_of_its_method(
    toy: ImageDataset, places: Paths, tmp_path: Path, method: str | None, epochs: int | None
) -> None:
    named = replace(toy, spec=replace(toy.spec, name="mnist"))
    torch.save({"data": [[torch.rand(3, *toy.spec.shape), torch.arange(3)]]}, tmp_path / "res.pt")
    made = import_set(tmp_path / "res.pt", Origin("dc", method), named, space="raw", trusted=True)
    cell = CellSpec(protocol="published", student="convnet-w32")
    if epochs is None:
        with pytest.raises(Refused, match="there is no published protocol for it"):
            resolve(cell, places, made=made, dataset=named)
    else:
        (setup,) = resolve(cell, places, made=made, dataset=named).setups
        assert (setup.protocol.name, sum(stage.epochs for stage in setup.protocol.stages)) == (
            "published",
            epochs,
        )
