from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condense import protocols
from condense.data import ImageDataset
from condense.distillation import Recipe
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.evaluation.evaluate import evaluate_set
from condense.evaluation.kinds import Setup
from condense.protocol import Protocol, Stage
from condense.records.folder import read_records
from condense.records.record import Record, read_record
from condense.resources import Budget, Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.reevaluate import reevaluate
from condense.runner.run import run_cell
from condense.runner.sets import make_set
from condense.store import ImageSet, load

CPU = torch.device("cpu")
TINY = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=5)
WHOLE = replace(TINY, name="tiny-whole", whole=True, seeds=2)
Given = dict[str, object]


@pytest.fixture(autouse=True)
def tiny_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two protocols of two epochs, by name, and a home of the test's own."""
    known = {**protocols.PROTOCOLS, "tiny": TINY, "tiny-whole": WHOLE}
    monkeypatch.setattr(protocols, "PROTOCOLS", known)


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def cell(toy_file: Path) -> Callable[..., CellSpec]:
    """The maker of cells of random images of the toy dataset, judged by the tiny protocol."""

    def make(**given: object) -> CellSpec:
        usual: Given = {
            "method": "random_subset",
            "dataset": str(toy_file),
            "protocol": "tiny",
            "student": "convnet-w32",
            "seeds": (0,),
        }
        return CellSpec(**(usual | given))  # type: ignore[arg-type]

    return make


def run(cell: CellSpec, places: Paths, budget: Budget | None = None) -> list[Record]:
    return run_cell(cell, places, Machine(budget=budget or Budget()))


def evaluate(path: Path, places: Paths, **given: object) -> Record:
    usual: Given = {"protocol": "tiny", "student": "convnet-w32", "eval_seeds": 1}
    (record,) = reevaluate(load(path), CellSpec(**(usual | given)), places, Machine())  # type: ignore[arg-type]
    return record


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


Make = Callable[..., CellSpec]
Spent = Callable[[int], Budget]


def test_a_full_cell_is_up_to_date_and_nothing_is_trained_or_written(
    cell: Make, places: Paths, spent_after: Spent, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = {"iterations": "2", "batch_real": "4", "network": "convnet-w32"}
    for wanted in (cell(), cell(method="dm", params=quick), cell(method="whole", protocol="tiny-whole")):
        first = run(wanted, places)
        before = contents(places.out.parent)
        capsys.readouterr()
        # Under a budget that is spent already, a single epoch or step would stop.
        assert run(wanted, places, spent_after(0)) == first
        assert capsys.readouterr().err.count("up to date: ") == 1
        assert contents(places.out.parent) == before


def test_a_full_cell_does_not_need_its_set_any_more(
    cell: Make, places: Paths, spent_after: Spent, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(cell(), places)
    (folder,) = places.out.iterdir()
    folder.rename(places.out.parent / "elsewhere")
    assert run(cell(), places, spent_after(0)) == first
    assert "not kept here (distilling makes it again)" in capsys.readouterr().err
    assert not list(places.out.iterdir())


def test_each_random_subset_trains_the_student_of_its_seed_modulo_5(cell: Make, places: Paths) -> None:
    records = run(cell(seeds=None), places)
    assert [record.seed for record in records] == list(range(10))
    assert [[entry.seed for entry in record.entries] for record in records] == [[s % 5] for s in range(10)]
    assert len({record.set.hash for record in records if record.set}) == 10
    assert len(read_records(places.results)) == 10
    # Asked for a number of students, a draw gets the first of the protocol's seeds like any other set.
    (asked,) = run(cell(seeds=(3,), eval_seeds=2), places)
    assert [entry.seed for entry in asked.entries] == [0, 1, 3]


def test_other_methods_make_one_set_and_train_a_student_per_seed(cell: Make, places: Paths) -> None:
    quick = {"iterations": "1", "batch_real": "4", "network": "convnet-w32"}
    (record,) = run(cell(method="dm", seeds=None, params=quick), places)
    assert record.seed == 0 and [entry.seed for entry in record.entries] == [0, 1, 2, 3, 4]
    assert record.method.chain[0]["config"] == {**build("dm", "toy", 1, quick)[0].chain()[0]["config"]}  # type: ignore[dict-item]


def test_a_record_is_written_after_each_student_and_only_grows(
    cell: Make, places: Paths, spent_after: Spent
) -> None:
    wanted = cell(eval_seeds=3)
    with pytest.raises(Stopped, match="convnet-w32 1, phase train, step 1 of 2"):
        run(wanted, places, spent_after(2))  # two steps of the first student, one of the second
    (partial,) = read_records(places.results)
    assert [entry.seed for entry in partial.entries] == [0]
    (full,) = run(wanted, places)
    assert [entry.seed for entry in full.entries] == [0, 1, 2] and full.entries[0] == partial.entries[0]
    (more,) = run(cell(eval_seeds=5), places)
    assert more.entries[:3] == full.entries and len(more.entries) == 5


def test_students_in_pieces_score_as_students_at_once(cell: Make, places: Paths, tmp_path: Path) -> None:
    for count in (1, 2, 5):
        (pieces,) = run(cell(eval_seeds=count), places)
    (at_once,) = run(cell(eval_seeds=5), replace(places, results=tmp_path / "other"))
    assert [e.accuracy for e in pieces.entries] == [e.accuracy for e in at_once.entries]
    assert pieces.key == at_once.key and pieces.set == at_once.set


def test_a_distillation_stopped_by_its_budget_resumes_to_the_same_set(
    cell: Make, places: Paths, tmp_path: Path, spent_after: Spent
) -> None:
    quick = {"iterations": "6", "batch_real": "4", "network": "convnet-w32"}
    wanted = cell(method="dm", ipc=2, params=quick, eval_seeds=1)
    with pytest.raises(Stopped, match="phase distil, step 3 of 6"):
        run(wanted, places, spent_after(2))
    assert not places.results.exists() and not places.out.exists()
    (stopped,) = run(wanted, places)
    (whole,) = run(wanted, Paths(out=tmp_path / "sets 2", results=tmp_path / "results 2"))
    assert stopped.set and whole.set and stopped.set.hash == whole.set.hash
    assert stopped.entries[0].accuracy == whole.entries[0].accuracy


def test_a_stored_set_is_used_again_for_another_student(
    cell: Make, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = run(cell(), places)
    monkeypatch.setattr(methods()["random_subset"], "distill", None)
    (two,) = run(cell(student="mlp"), places)
    assert one.key == two.key and one.set == two.set and (one.student, two.student) == ("convnet-w32", "mlp")
    assert len(read_records(places.results)) == 2


def test_a_stored_set_that_is_damaged_is_refused(cell: Make, places: Paths) -> None:
    run(cell(), places)
    (folder,) = places.out.iterdir()
    data = bytearray((folder / "data.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "data.safetensors").write_bytes(data)
    with pytest.raises(Refused, match="was altered"):
        run(cell(student="mlp"), places)


def test_what_a_killed_run_left_is_removed_once_its_set_is_found(
    cell: Make, places: Paths, home: Path
) -> None:
    job = resolve(cell(), places)
    made, _ = make_set(job, 0, Machine())
    left = home / "runs" / job.key(0)[:32]
    for name in ("checkpoint-00000003.safetensors", ".checkpoint-x", "replay/epoch.bin"):
        (left / name).parent.mkdir(parents=True, exist_ok=True)
        (left / name).write_text("x")
    other = home / "runs" / job.key(1)[:32] / "checkpoint-00000003.safetensors"
    other.parent.mkdir(parents=True)
    other.write_text("x")
    again, _ = make_set(job, 0, Machine())
    assert again.hash == made.hash
    assert not left.exists() and other.exists()


def test_lock_files_of_a_killed_run_go_even_if_it_wrote_no_checkpoint(
    cell: Make, places: Paths, home: Path
) -> None:
    job = resolve(cell(), places)
    _, folder = make_set(job, 0, Machine())
    locks = [path.with_name(f".{path.name}.lock") for path in (folder, home / "runs" / job.key(0)[:32])]
    for lock in locks:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    make_set(job, 0, Machine())
    assert not any(lock.exists() for lock in locks)


def test_a_folder_with_the_set_of_another_run_is_refused(cell: Make, places: Paths) -> None:
    job = resolve(cell(), places)
    other, _ = make_set(job, 1, Machine())
    other.save(job.folder(0))
    with pytest.raises(Refused, match="holds the set of another run; .* out stores sets elsewhere"):
        run(cell(), places)


def test_a_record_of_another_set_from_the_same_settings_is_refused(
    cell: Make, places: Paths, toy: ImageDataset
) -> None:
    (record,) = run(cell(), places)
    (folder,) = places.out.iterdir()
    made = ImageSet.load(folder)
    other = replace(made, images=255 - made.images)
    with pytest.raises(Refused, match=f"holds students of the set .* this one, {other.hash[:8]}, has"):
        evaluate_set(other, Setup(toy, TINY, "convnet-w32"), [1], places.results, Machine())
    assert read_records(places.results) == [record]


def test_a_set_of_other_data_is_refused(cell: Make, places: Paths, toy: ImageDataset) -> None:
    run(cell(), places)
    (folder,) = places.out.iterdir()
    with pytest.raises(Refused, match=f"was made of toy with .* {toy.train.hash[:8]}; digits has "):
        evaluate(folder, places, dataset="digits")


def test_a_stored_set_is_evaluated_like_its_cell(
    cell: Make, places: Paths, tmp_path: Path, toy_file: Path
) -> None:
    (record,) = run(cell(), places)
    (folder,) = places.out.iterdir()
    other = replace(places, results=tmp_path / "other")
    found = evaluate(folder, other, dataset=str(toy_file))
    assert found.path(Path()) == record.path(Path()) and found.set == record.set
    assert found.entries[0].accuracy == record.entries[0].accuracy


def test_a_stored_set_finds_its_data_by_the_name_that_it_holds(cell: Make, places: Paths) -> None:
    (record,) = run(cell(dataset="digits", size=6), places)
    (folder,) = places.out.iterdir()
    assert record.dataset.name == "digits@6" and folder.name.startswith("digits@6-random_subset-ipc1-seed0-")
    assert evaluate(folder, places, dataset=None) == record


def test_published_is_the_protocol_of_the_recipe_or_is_refused(
    cell: Make, places: Paths, toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dm = methods()["dm"]
    method, _ = build("dm", "toy", 1, {"iterations": "1", "batch_real": "4", "network": "convnet-w32"})
    own = replace(TINY, name="published", lr=0.02, stages=(Stage(epochs=3),), seeds=2)
    recipe = Recipe(method=method, protocol=own, source="a table")
    monkeypatch.setattr(dm, "recipes", {("toy", 1): recipe})
    wanted = cell(method="dm", protocol="published")
    (record,) = run(wanted, places)
    assert record.protocol == own and record.method.source == "a table" and len(record.entries) == 2
    (folder,) = places.out.iterdir()
    other = replace(places, results=tmp_path / "other")
    found = evaluate(folder, other, dataset=str(toy_file), protocol="published", eval_seeds=None)
    assert found.protocol == own and len(found.entries) == 2
    before = contents(tmp_path)
    with pytest.raises(Refused, match="dm .* ipc 2, published, .*: there is no published protocol for it"):
        run(replace(wanted, ipc=2), places)
    with pytest.raises(Refused, match="random_subset .*: there is no published protocol for it"):
        run(cell(protocol="published"), places)
    assert contents(tmp_path) == before


def test_students_under_the_published_protocol_are_those_of_the_paper(
    cell: Make, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, _ = build("dm", "toy", 1, {"iterations": "1", "batch_real": "4", "network": "convnet-w32"})
    own = replace(TINY, name="published")
    recipe = Recipe(method=method, protocol=own, source="a table", student="convnet-w32-bn")
    monkeypatch.setattr(methods()["dm"], "recipes", {("toy", 1): recipe})
    wanted = cell(method="dm", protocol="published", student=None)
    assert [one.student for one in resolve(wanted, places).setups] == ["convnet-w32-bn"]
    for other in (replace(wanted, protocol="hard-v1"), replace(wanted, student="convnet")):
        assert [one.student for one in resolve(other, places).setups] == ["convnet"]


def test_protocols_for_the_whole_training_set_are_for_nothing_else(
    cell: Make, places: Paths, toy_file: Path
) -> None:
    with pytest.raises(Refused, match="tiny-whole judges references such as the whole training set"):
        run(cell(protocol="tiny-whole"), places)
    assert not places.out.exists()
    run(cell(), places)
    (folder,) = places.out.iterdir()
    with pytest.raises(Refused, match="whole-v1 judges references such as the whole training set"):
        evaluate(folder, places, dataset=str(toy_file), protocol="whole-v1")
    with pytest.raises(Refused, match="the whole training set is judged by whole-v1, not by tiny"):
        run(cell(method="whole"), places)


def test_the_whole_training_set_has_a_reference_row_that_grows(
    cell: Make, places: Paths, spent_after: Spent
) -> None:
    wanted = cell(method="whole", protocol="tiny-whole")
    with pytest.raises(Stopped):
        run(wanted, places, spent_after(2))
    (partial,) = read_records(places.results)
    (record,) = run(wanted, places)
    assert record.kind == "reference" and record.set is None and record.ipc == 0
    assert [entry.seed for entry in record.entries] == [0, 1] and record.entries[0] == partial.entries[0]
    assert record.space == "normalized" and not places.out.exists()


@pytest.mark.parametrize("count", [0, 6, -1])
def test_more_students_than_the_protocol_has_seeds_are_refused(
    cell: Make, places: Paths, toy_file: Path, count: int
) -> None:
    sentence = f"eval_seeds={count}: tiny has the seeds 0 to 4"
    with pytest.raises(Refused, match=sentence):
        run(cell(eval_seeds=count), places)
    with pytest.raises(Refused, match=f"eval_seeds={count}: tiny-whole has the seeds 0 to 1"):
        run(cell(method="whole", protocol="tiny-whole", eval_seeds=count), places)
    assert not places.out.exists()
    made, folder = make_set(resolve(cell(), places), 0, Machine())
    with pytest.raises(Refused, match=sentence):
        evaluate(folder, places, dataset=str(toy_file), eval_seeds=count)
    assert not places.results.exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"dataset": "digts"}, "dataset='digts': unknown dataset; nearest: digits"),
        ({"method": "random_subst"}, "unknown method 'random_subst'; nearest: random_subset"),
        ({"ipc": 0}, "ipc=0: at least one image per class is needed"),
        ({"ipc": 21}, "ipc=21: class '0' of toy has 20 training images"),
        ({"protocol": "hard-v9"}, "protocol='hard-v9': unknown protocol; nearest: hard-v1"),
        ({"student": "convnot"}, "unknown network 'convnot'; nearest: convnet"),
        ({"student": "resnet18"}, "resnet18 needs images of at least"),
        ({"seeds": (0, -1)}, "seed=-1: a seed is a whole number from 0"),
        ({"seeds": (2**63,)}, f"seed={2**63}: a seed is a whole number from 0"),
        ({"params": {"networks": "mlp"}}, "unknown parameter of random_subset 'networks'; nearest: network"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    cell: Make, places: Paths, given: Given, sentence: str
) -> None:
    with pytest.raises(Refused) as refusal:
        run(cell(**given), places)
    assert str(refusal.value).startswith(sentence)
    assert not places.out.exists() and not places.results.exists()


@pytest.mark.parametrize("which", ["out", "results", "home"])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    cell: Make, places: Paths, tmp_path: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    if which == "home":
        monkeypatch.setenv("CONDENSE_HOME", str(file))
    else:
        places = replace(places, **{which: file / "below"})
    with pytest.raises(Refused, match=f"cannot write to {file}"):
        run(cell(), places)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_whitened_set_is_evaluated_in_its_own_space(cell: Make, places: Paths) -> None:
    (plain,) = run(cell(), places)
    (whitened,) = run(cell(params={"pixel_space": "zca"}), places)
    assert (plain.space, whitened.space) == ("normalized", "zca")
    assert whitened.path(Path()) != plain.path(Path())
    assert run(cell(params={"pixel_space": "zca"}), places) == [whitened]


def test_a_record_names_data_method_set_and_circumstances(
    cell: Make, places: Paths, toy: ImageDataset
) -> None:
    (record,) = run(cell(ipc=2, seeds=(7,)), places)
    path = record.path(places.results)
    assert read_record(path) == record and path.parent.name == "toy"
    assert path.name.startswith("random_subset-ipc2-seed7-tiny-convnet-w32-")
    assert record.dataset.train_hash == toy.train.hash and record.dataset.test_hash == toy.test.hash
    assert record.set is not None and record.set.bytes["images"] == 6 * 64
    assert record.set.counts.per_class == (2, 2, 2) and record.set.seconds is not None
    (entry,) = record.entries
    assert entry.seed == 7 % 5 and 0 <= entry.accuracy <= 100 and entry.threads == torch.get_num_threads()
    assert entry.versions["torch"] and record.paper is None
