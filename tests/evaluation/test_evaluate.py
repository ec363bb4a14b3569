"""Sets that a teacher labels: who that is, what it says, which pixels are seen, and what the record tells."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from condense import protocols
from condense.data import ImageDataset
from condense.data.images.pixels import WHITENED
from condense.distillation import Recipe
from condense.distillation.registry import build as build_method
from condense.distillation.registry import methods, wrappers
from condense.errors import Refused, Remedy
from condense.evaluation import ImageSource, ImageStudent, Outcome
from condense.evaluation.evaluate import evaluate_set, record_of
from condense.evaluation.kinds import KINDS, Setup
from condense.evaluation.labels import LabelsOf, labelled_by, labelling_teacher, require_stored
from condense.networks import build_network
from condense.protocol import Stage
from condense.protocols import REPLAY_V1, REPLAY_V2, SOFT_V1
from condense.records.folder import read_records
from condense.records.record import Record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.reevaluate import reevaluate
from condense.runner.run import run_cell
from condense.runner.sets import make_set
from condense.store import ImageSet, load
from condense.store.images.manifest import ImageContent
from condense.store.targets import Hard, TeacherLogits
from condense.teachers import Header, Teacher, keep_teacher, pin

CPU = torch.device("cpu")
SOFT = replace(SOFT_V1, name="tiny-soft", stages=(Stage(epochs=2),))
OWN = replace(
    SOFT, name="published", labels="own", teacher_mode="train", temperature=4.0, squared=True, seeds=2
)


@pytest.fixture(autouse=True)
def tiny_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol of two epochs beside the suite's own, and a home of the test's own."""
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "tiny-soft": SOFT})


def taught(toy: ImageDataset, seed: int = 0, accuracy: float | None = 91.5) -> Teacher:
    """A teacher with batch norm for the toy data."""
    spec = toy.spec
    header = Header(
        network="convnet-w32-bn", dataset=spec.name, classes=spec.classes, shape=spec.shape, mean=spec.mean,
        std=spec.std, train_hash=toy.train.hash, accuracy=accuracy, training={},
    )  # fmt: skip
    network = build_network(
        "convnet-w32-bn", spec.shape, spec.num_classes, torch.Generator().manual_seed(seed)
    )
    return Teacher.of(header, network.state_dict(), CPU)


@pytest.fixture
def teacher(toy: ImageDataset) -> Teacher:
    """The fixed teacher of the toy data, pinned by the user."""
    found = taught(toy)
    pin(found)
    return found


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


Make = Callable[..., CellSpec]


@pytest.fixture
def cell(toy_file: Path) -> Make:
    def make(**given: object) -> CellSpec:
        usual: dict[str, object] = {
            "method": "random_subset", "dataset": str(toy_file), "protocol": "tiny-soft", "student": "mlp",
            "seeds": (0,), "ipc": 2,
        }  # fmt: skip
        return CellSpec(**(usual | given))  # type: ignore[arg-type]

    return make


def run(cell: CellSpec, places: Paths) -> list[Record]:
    return run_cell(cell, places, Machine())


def made(cell: CellSpec, places: Paths, **content: object) -> ImageSet:
    """A set of the cell, with other content."""
    found, _ = make_set(resolve(cell, places, evaluated=False), 0, Machine())
    assert isinstance(found, ImageSet)
    return replace(found, content=cast(ImageContent, {**found.content, **content}))


def named_by(teacher: Teacher) -> dict[str, object]:
    """What a set says of the teacher that its method inverted."""
    return {
        "hash": teacher.hash, "network": teacher.name, "bytes": teacher.nbytes, "accuracy": teacher.accuracy
    }  # fmt: skip


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[ImageStudent]:
    """What is handed to the training of students, which is left out."""
    seen: list[ImageStudent] = []

    def noted(student: ImageStudent, seed: int, folder: Path | None) -> Outcome:
        seen.append(student)
        return Outcome(50.0, 0.0)

    monkeypatch.setattr("condense.evaluation.student.ImageStudent.outcome", noted)
    return seen


def test_under_soft_v1_every_record_names_the_fixed_teacher(
    cell: Make, places: Paths, teacher: Teacher
) -> None:
    (record,) = run(cell(eval_seeds=3), places)
    assert (record.teacher, record.teacher_bytes, record.teacher_accuracy) == (
        teacher.hash, teacher.nbytes, 91.5
    )  # fmt: skip
    assert record.protocol == SOFT and record.space == "normalized" and len(record.entries) == 3
    assert read_records(places.results) == [record]


def test_random_subsets_run_under_soft_v1_with_the_seed_modulo_three(
    cell: Make, places: Paths, teacher: Teacher, trainings: list[ImageStudent]
) -> None:
    records = run(cell(seeds=None), places)
    assert [[entry.seed for entry in record.entries] for record in records] == [[s % 3] for s in range(10)]
    assert all(student.labeller is not None for student in trainings)


def test_a_full_record_is_up_to_date_only_for_the_same_fixed_teacher(
    cell: Make, places: Paths, teacher: Teacher, toy: ImageDataset, trainings: list[ImageStudent], home: Path
) -> None:
    (first,) = run(cell(eval_seeds=3), places)
    assert run(cell(eval_seeds=3), places) == [first] and len(trainings) == 3
    for path in (home / "teachers").glob("*.safetensors"):
        path.unlink()
    pin(taught(toy, seed=1))
    (second,) = run(cell(eval_seeds=3), places)
    assert len(trainings) == 6 and second.teacher != first.teacher
    assert sorted(read_records(places.results), key=lambda one: one.teacher or "") == sorted(
        [first, second], key=lambda one: one.teacher or ""
    )


def test_data_without_a_fixed_teacher_are_refused_with_a_remedy(
    cell: Make, places: Paths, toy: ImageDataset
) -> None:
    with pytest.raises(Refused) as refused:
        run(cell(), places)
    assert refused.value.reason == "toy has no fixed teacher"
    assert [one.command for one in refused.value.remedies] == ["teach"]
    assert not list(places.out.parent.glob("sets/*"))
    one = made(cell(), places)
    with pytest.raises(Refused, match="toy has no fixed teacher"):
        evaluate_set(one, Setup(toy, SOFT, "mlp"), [0], places.results, Machine())
    assert not places.results.exists() or not read_records(places.results)


def test_a_labeller_returns_the_teachers_logits_and_the_temperature(
    teacher: Teacher,
) -> None:
    images = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    ids = torch.arange(40) % 3
    found = labelled_by(teacher, SOFT)(images, Hard(ids))
    assert isinstance(found, TeacherLogits) and torch.equal(found.ids, ids)
    assert found.temperature == 20.0 and not found.squared
    torch.testing.assert_close(found.logits, teacher.network(images))
    by_batch = labelled_by(teacher, OWN)(images, Hard(ids))
    assert isinstance(by_batch, TeacherLogits) and by_batch.temperature == 4.0 and by_batch.squared
    trained = taught_network(teacher).train()
    torch.testing.assert_close(by_batch.logits, trained(images).detach(), rtol=1e-4, atol=1e-5)
    assert float((by_batch.logits - found.logits).abs().max()) > 1e-2


def taught_network(teacher: Teacher) -> torch.nn.Module:
    """A copy of a teacher's network."""
    network = build_network(teacher.name, (1, 8, 8), 3, torch.Generator())
    network.load_state_dict(teacher.network.state_dict())
    return network


@pytest.mark.parametrize("space", WHITENED)
def test_a_whitened_set_is_seen_with_its_whitening_undone(
    cell: Make, places: Paths, teacher: Teacher, toy: ImageDataset, trainings: list[ImageStudent], space: str
) -> None:
    (plain,) = run(cell(eval_seeds=1), places)
    (whitened,) = run(cell(eval_seeds=1, params={"pixel_space": space}), places)
    assert plain.space == whitened.space == "normalized" and plain.key != whitened.key
    images = [next(first(student.source)) for student in trainings]
    torch.testing.assert_close(images[0], images[1], rtol=1e-3, atol=1e-3)
    tests = [student.test.images for student in trainings]
    assert torch.equal(tests[0], tests[1])
    # Under a protocol without a teacher it keeps its own space, and so does its record.
    job = resolve(cell(params={"pixel_space": space}), places)
    spaces = [KINDS["images"].space_of_method(job.method, one) for one in (SOFT, protocols.HARD_V1)]
    assert spaces == ["normalized", space]
    stored, _ = make_set(job, 0, Machine())
    assert record_of(stored, toy, protocols.HARD_V1, "mlp").space == space


def first(source: ImageSource) -> Iterator[Tensor]:
    for images, _ in source.batches(0, SOFT, torch.Generator()):
        yield images


def test_a_set_is_labelled_by_its_own_teacher_if_the_protocol_says_so(
    cell: Make, places: Paths, teacher: Teacher, toy: ImageDataset, home: Path, trainings: list[ImageStudent]
) -> None:
    own = taught(toy, seed=5, accuracy=None)
    one = made(cell(), places, teacher=named_by(own))
    with pytest.raises(Refused, match=f"the teacher {own.hash[:8]} is not here"):
        evaluate_set(one, Setup(toy, OWN, "mlp"), [0], places.results, Machine())
    keep_teacher(own, home)
    found = labelling_teacher(one, toy, OWN, CPU)
    assert found is not None and found.hash == own.hash != teacher.hash
    record = evaluate_set(one, Setup(toy, OWN, "mlp"), [0], places.results, Machine())
    assert (record.teacher, record.teacher_bytes, record.teacher_accuracy) == (own.hash, own.nbytes, None)
    labeller = trainings[-1].labeller
    assert labeller is not None
    images = torch.randn(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = labeller(images, Hard(torch.zeros(9, dtype=torch.long)))
    assert isinstance(labels, TeacherLogits)
    torch.testing.assert_close(labels.logits, own.logits(images, batch_statistics=True))
    # soft-v1's labeller stays the fixed one, whatever the set was made with.
    fixed = labelling_teacher(one, toy, SOFT, CPU)
    assert fixed is not None and fixed.hash == teacher.hash


def test_a_set_without_a_teacher_is_refused_if_its_own_should_label(
    cell: Make, places: Paths, toy: ImageDataset
) -> None:
    sentence = "under published the set's own teacher labels, and this set of random_subset names none"
    with pytest.raises(Refused, match=sentence):
        evaluate_set(made(cell(), places), Setup(toy, OWN, "mlp"), [0], places.results, Machine())


def test_a_full_record_is_found_before_the_sets_own_teacher_is_known(
    cell: Make,
    places: Paths,
    toy: ImageDataset,
    home: Path,
    trainings: list[ImageStudent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = taught(toy, seed=5)
    keep_teacher(own, home)
    method, _ = build_method("random_subset", "toy", 2)
    recipe = Recipe(method=method, protocol=OWN, source="a table")
    kind = methods()["random_subset"]
    distil = kind.distill

    def with_teacher(self: Any, train: Any, run: Any) -> ImageSet:
        found: ImageSet = distil(self, train, run)
        return replace(found, content=cast(ImageContent, {**found.content, "teacher": named_by(own)}))

    monkeypatch.setattr(kind, "recipes", {("toy", 2): recipe})
    monkeypatch.setattr(kind, "distill", with_teacher)
    wanted = cell(protocol="published", eval_seeds=2)
    (record,) = run(wanted, places)
    assert record.teacher == own.hash and len(trainings) == 2
    monkeypatch.setattr(kind, "distill", None)
    for folder in places.out.iterdir():
        folder.rename(places.out.parent / folder.name)
    assert run(wanted, places) == [record] and len(trainings) == 2


def test_a_stored_set_that_another_fixed_teacher_labelled_is_refused(
    cell: Make, places: Paths, teacher: Teacher, toy: ImageDataset, home: Path
) -> None:
    job = resolve(cell(method="random_subset+fkd", params={"fkd.epochs": "2"}), places)
    made, folder = make_set(job, 0, Machine())
    assert make_set(job, 0, Machine())[0].hash == made.hash
    (home / "teachers" / f"{toy.train.hash}.safetensors").unlink()
    other = taught(toy, seed=1)
    pin(other)
    with pytest.raises(Refused) as refused:
        make_set(job, 0, Machine())
    assert str(refused.value) == (
        f"{folder} was made with the teacher {teacher.hash[:8]}, and the fixed one of toy is "
        f"{other.hash[:8]} now; move the set away; out stores the new set elsewhere"
    )


def test_a_set_without_stored_labels_is_refused_under_replay_v1(
    cell: Make, places: Paths, toy: ImageDataset
) -> None:
    sentence = (
        "replay-v1 trains on labels that are stored with a set's views, and a set of random_subset stores "
        r"none; condense teach .*; condense run with method='random_subset\+fkd', dataset='toy' then makes"
    )
    with pytest.raises(Refused, match=sentence):
        run(cell(protocol="replay-v1"), places)
    assert not places.out.exists() and not places.results.exists()
    one = made(cell(), places)
    with pytest.raises(Refused, match=sentence):
        evaluate_set(one, Setup(toy, REPLAY_V1, "mlp"), [0], places.results, Machine())
    (folder,) = places.out.iterdir()
    with pytest.raises(Refused, match=sentence):
        reevaluate(load(folder), cell(protocol="replay-v1"), places, Machine())
    assert not list(places.results.glob("*/*.json"))


def test_the_remedies_for_missing_stored_labels_work(toy: ImageDataset) -> None:
    def remedies(taught: bool) -> list[Remedy]:
        with pytest.raises(Refused) as refused:
            require_stored(LabelsOf("sre2l", taught=taught), toy, REPLAY_V1)
        return list(refused.value.remedies)

    wrapped = {"method": "sre2l+fkd", "dataset": "toy"}
    assert [one.settings for one in remedies(True)] == [wrapped | {"params.fkd.teacher": "host"}]
    assert [one.command for one in remedies(False)] == ["teach", "run"]
    pin(taught(toy))
    for own in (False, True):
        assert [one.settings for one in remedies(own)] == [wrapped]


def test_a_set_with_stored_labels_is_evaluated_under_replay_v1(
    cell: Make, places: Paths, teacher: Teacher, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"fkd.epochs": "2", "fkd.batch": "4"}
    (record,) = run(cell(method="random_subset+fkd", protocol="replay-v1", params=params), places)
    assert record.protocol == REPLAY_V1 and record.teacher == teacher.hash and record.space == "normalized"
    capsys.readouterr()
    assert run(cell(method="random_subset+fkd", protocol="replay-v1", params=params), places) == [record]
    assert "up to date" in capsys.readouterr().err
    assert record.set is not None and record.set.label == "replayed" and record.set.bytes["replay"] > 0
    # Under soft-v1 the same set is labelled anew, like all others.
    (soft,) = run(cell(method="random_subset+fkd", params=params), places)
    assert soft.teacher == teacher.hash and soft.set == record.set


@pytest.mark.usefixtures("teacher")
def test_by_default_stored_views_are_judged_by_replay_v2_and_by_no_other(
    cell: Make, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(REPLAY_V2, least_steps=600)  # in place of 3000
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, short.name: short})
    monkeypatch.setattr(import_module(wrappers()["fkd"].__module__), "REPLAY_V2", short)
    given = {"method": "random_subset+fkd", "ipc": 1, "seeds": (0,)}
    for protocol, params, words in (
        ("replay-v1", {}, "replay-v1 trains in the batches and for the epochs that a set was labelled for"),
        ("replay-v2", {"fkd.batch": "3"}, "replay-v2 says itself in which batches .*: leave out fkd.batch$"),
    ):
        with pytest.raises(Refused, match=words):
            run(cell(protocol=protocol, params=params, **given), places)
    assert not places.out.exists()
    # 600 epochs of three images each, of which the labels of one are stored.
    judged = cell(protocol="replay-v2", params={"fkd.kept": "1"}, **given)
    (record,) = run(judged, places)
    assert record.protocol == short and record.set is not None and len(record.entries) == 1
    (folder,) = places.out.iterdir()
    with pytest.raises(Refused, match="are the batches and epochs of replay-v2; protocol='replay-v2' judges"):
        reevaluate(load(folder), cell(protocol="replay-v1"), places, Machine())
