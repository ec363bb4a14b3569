"""What methods with a teacher share: its fields, how it is found or trained, and what the set says of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset, Images
from condense.distillation import ImageMethod, ImageRun, TeacherMethod, Training, Wrapper
from condense.distillation.engine import distill
from condense.distillation.images.taught import require_teacher, with_teacher_file
from condense.errors import Refused, Stopped
from condense.networks import build_network
from condense.resources import Budget, Machine
from condense.store import ImageSet
from condense.teachers import Teacher, find_teacher, load_teacher, pin
from condense.teachers.training import teach
from condense.training.pretrained import pretrained
from tests.stand_ins import start

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Means(TeacherMethod):
    """The class means, and what the teacher says of them."""

    name = "means"

    network: str = "convnet-w32-bn"
    teacher_epochs: int = 3
    teacher_batch: int = 19
    labels: bool = True

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        teacher = run.teacher(self.teacher, self.training(), train)
        images = torch.stack([train.images[train.of_class(label)].mean(0) for label in range(3)])
        if not self.labels:
            return run.distilled(images, torch.arange(3))
        soft = teacher.logits(images).softmax(1)
        return run.distilled(images, torch.arange(3), soft=soft, labelled_by=teacher)


@dataclass(frozen=True, kw_only=True)
class Plain(ImageMethod):
    """A method that has no teacher."""

    name = "plain"


@dataclass(frozen=True, kw_only=True)
class Again(Wrapper):
    """A wrapper with a teacher of its own."""

    name = "again"

    teacher: str = "fixed"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        run.teacher(self.teacher, None, train)
        return self.host.distill(train, run)


def runs(toy: ImageDataset, cache: Path, method: ImageMethod | None = None) -> ImageRun:
    run: ImageRun = start(method or Means(), toy, ipc=1, cache=cache)[1]
    return run


def labelled(toy: ImageDataset, cache: Path, method: ImageMethod) -> ImageSet:
    made, run = distill(method, toy, ipc=1, cache=cache)
    run.done()
    return made


@pytest.fixture
def own(toy: ImageDataset, home: Path) -> Teacher:
    """A teacher of the toy data that was trained for long enough to know them."""
    training = Means(teacher_epochs=30).training()
    return teach(training, toy, Machine())


def test_a_teacher_is_trained_by_the_papers_recipe_with_a_part_held_out() -> None:
    assert TeacherMethod.teacher == "fixed"
    for method, epochs in ((Means(), 3), (Means(teacher_epochs=200, teacher_lr=0.2), 200)):
        assert method.training() == Training(
            network="convnet-w32-bn", epochs=epochs, lr=method.teacher_lr, batch=19, momentum=0.9,
            weight_decay=5e-4, augment="crop-flip", cosine=True, held_out=0.05, seed=0,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("pixel_space", "zca", "means: pixel_space = zca, but a teacher sees normalized images only"),
        ("pixel_space", "raw", "means: pixel_space = raw, but a teacher sees normalized images only"),
        ("teacher", "fixd", "unknown teacher of means 'fixd'; nearest: fixed"),
        ("teacher", "a" * 63, "unknown teacher of means"),
        ("teacher", "A" * 64, "unknown teacher of means"),
        (
            "teacher",
            "nets/one.pt",
            r"teacher='nets/one.pt': means: this field holds one of fixed, trained or a hash, not a file",
        ),
        ("teacher_epochs", 0, "teacher_epochs=0: teacher_epochs of means must be at least 1"),
    ],
)
def test_fields_that_make_no_sense_are_refused(field: str, value: object, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        replace(Means(), **{field: value})  # type: ignore[arg-type]


def test_a_teacher_is_a_word_or_a_hash() -> None:
    for fine in ("fixed", "trained", "0123456789abcdef" * 4):
        require_teacher(Means(teacher=fine))
    host = Again(host=Plain(), teacher="host")
    require_teacher(host, ["host"])
    with pytest.raises(Refused):
        require_teacher(host)


def test_a_dataset_without_a_fixed_teacher_is_refused_before_any_work(
    toy: ImageDataset, home: Path, tmp_path: Path
) -> None:
    for method in (Means(), Again(host=Means(teacher="trained"))):
        with pytest.raises(
            Refused, match="toy has no fixed teacher; condense teach with dataset='toy', .* makes one"
        ):
            distill(method, toy, ipc=1, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_pinned_teacher_is_the_fixed_one(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    pin(own)
    made = labelled(toy, tmp_path, Means())
    assert made.content["teacher"]["hash"] == own.hash
    assert made.content["method"]["chain"][0]["config"]["teacher"] == "fixed"


def test_a_trained_teacher_is_the_trained_network_after_rounding(
    toy: ImageDataset, home: Path, tmp_path: Path
) -> None:
    method = Means(teacher="trained")
    run = runs(toy, tmp_path, method=method)
    train = toy.train.in_space(toy.space("normalized"))
    teacher = run.teacher(method.teacher, method.training(), train)
    found = pretrained(method.training(), train, toy.spec, "normalized", cache=tmp_path, budget=Budget())
    state = found.network.state_dict()
    for name, value in teacher.network.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, state[name] if "running" in name else state[name].half().float())
    assert teacher.accuracy == found.accuracy is not None
    assert len(list((tmp_path / "trained").iterdir())) == 1
    assert run.teacher("trained", method.training(), train).hash == teacher.hash


def test_condense_teach_and_a_method_train_the_same_teacher_once(toy: ImageDataset, home: Path) -> None:
    method = Means(teacher="trained")
    made = teach(method.training(), toy, Machine())
    assert labelled(toy, home, method).content["teacher"]["hash"] == made.hash
    assert len(list((home / "trained").iterdir())) == 1


@pytest.mark.parametrize("space", ["raw", "zca"])
def test_a_teacher_sees_normalised_images_in_every_pixel_space(
    space: str, toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    training = Means().training()
    hashes = []
    for name in ("normalized", space):
        run = runs(toy, tmp_path, Plain(pixel_space=name))
        train = toy.train.in_space(toy.space(name))
        hashes.append(run.teacher("trained", training, train).hash)
        pin(own)
        assert run.teacher("fixed", None, train).hash == own.hash
    assert hashes[0] == hashes[1]


def test_the_set_names_the_teacher_and_says_whether_it_labelled(
    toy: ImageDataset, home: Path, tmp_path: Path
) -> None:
    made = labelled(toy, tmp_path, Means(teacher="trained"))
    part = made.content["teacher"]
    teacher = find_teacher(part["hash"], cache=tmp_path)
    assert part == {
        "hash": teacher.hash, "network": "convnet-w32-bn", "bytes": teacher.nbytes,
        "accuracy": teacher.accuracy,
    }  # fmt: skip
    assert made.content["label"]["teacher"] == teacher.hash
    assert made.soft is not None and torch.equal(made.soft, teacher.logits(made.images).softmax(1))
    plain = labelled(toy, tmp_path, Means(teacher="trained", labels=False))
    assert plain.content["label"]["teacher"] is None and plain.content["teacher"] == part
    for one, folder in ((made, tmp_path / "made"), (plain, tmp_path / "plain")):
        one.save(folder)
        assert ImageSet.load(folder).content["teacher"] == part


def test_a_run_without_a_teacher_names_none(toy: ImageDataset, tmp_path: Path) -> None:
    made = runs(toy, tmp_path).distilled(torch.zeros(3, 1, 8, 8), torch.arange(3))
    assert "teacher" not in made.content and made.content["label"]["teacher"] is None


def test_the_set_names_the_first_teacher_that_was_asked_for(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    pin(own)
    made = labelled(toy, tmp_path, Again(host=Means(teacher="trained")))
    assert made.content["teacher"]["hash"] == own.hash != made.content["label"]["teacher"]


def test_a_file_sets_the_hash_in_every_link_with_a_teacher(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    path = tmp_path / "own.safetensors"
    own.save(path)
    method, teachers = with_teacher_file(Again(host=Means()), path, toy)
    assert [link["config"]["teacher"] for link in method.chain()] == [own.hash] * 2  # type: ignore[index]
    assert teachers == {own.hash: path} and method.title == "means+again"
    made, _ = distill(method, toy, ipc=1, cache=tmp_path / "cache", teachers=teachers)
    assert made.content["teacher"]["hash"] == own.hash
    assert str(path) not in str(made.content)
    # What a run has used is kept: from now on the hash is enough.
    path.unlink()
    again, _ = distill(method, toy, ipc=1, cache=tmp_path / "cache")
    assert again.hash == made.hash
    with pytest.raises(Refused, match=f"the teacher {own.hash[:8]} is not here; teacher names its file"):
        distill(method, toy, ipc=1, cache=tmp_path / "elsewhere")


def test_a_method_without_a_teacher_takes_no_file(toy: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="teacher='a.pt': plain has no teacher"):
        with_teacher_file(Plain(), Path("a.pt"), toy)


def test_a_file_that_changes_before_it_is_used_is_refused(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    path = tmp_path / "own.safetensors"
    own.save(path)
    method, teachers = with_teacher_file(Means(), path, toy)
    teach(Means().training(), toy, Machine()).save(path)
    with pytest.raises(Refused, match="own.safetensors has changed: it holds another teacher now"):
        distill(method, toy, ipc=1, cache=tmp_path / "cache", teachers=teachers)


def test_foreign_weights_are_the_same_teacher_before_and_in_a_run(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    torch.save(own.network.state_dict(), tmp_path / "foreign.pt")
    method, teachers = with_teacher_file(Means(), tmp_path / "foreign.pt", toy)
    made, _ = distill(method, toy, ipc=1, cache=tmp_path / "cache", teachers=teachers)
    (hash_,) = teachers
    assert made.content["teacher"] == {
        "hash": hash_, "network": "convnet-w32-bn", "bytes": own.nbytes, "accuracy": None,
    }  # fmt: skip
    with pytest.raises(Refused, match="foreign.pt does not hold a convnet-w32: "):
        with_teacher_file(Means(network="convnet-w32"), tmp_path / "foreign.pt", toy)


def test_foreign_weights_that_know_nothing_of_the_data_are_refused(
    toy: ImageDataset, home: Path, tmp_path: Path
) -> None:
    fresh = build_network("convnet-w32-bn", toy.spec.shape, 3, torch.Generator().manual_seed(0)).state_dict()
    fresh["classifier.bias"] = torch.tensor([100.0, 0, 0])
    torch.save(fresh, tmp_path / "fresh.pt")
    method, teachers = with_teacher_file(Means(), tmp_path / "fresh.pt", toy)
    with pytest.raises(Refused, match="is right about 33.3 % of 60 training images of toy: its classes may"):
        distill(method, toy, ipc=1, cache=tmp_path / "cache", teachers=teachers)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


def test_training_a_teacher_costs_the_run_what_it_once_cost(
    toy: ImageDataset, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = []
    for _ in range(2):
        run = runs(toy, tmp_path, method=Means(teacher="trained"))
        train = toy.train.in_space(toy.space("normalized"))
        run.teacher("trained", Means().training(), train)
        normalized = toy.train.in_space(toy.space("normalized"))
        cost = pretrained(
            Means().training(), normalized, toy.spec, "normalized", cache=tmp_path, budget=Budget()
        ).seconds
        made = run.distilled(torch.zeros(3, 1, 8, 8), torch.arange(3))
        spent = made.provenance["seconds"]
        assert isinstance(spent, float)
        seconds.append(spent - cost)
    assert all(-0.001 <= one < 5 for one in seconds)


def test_a_budget_stops_the_training_and_the_next_call_goes_on(
    toy: ImageDataset, home: Path, tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    whole = teach(Means().training(), toy, Machine()).hash
    (home / "trained").rename(tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(Stopped):
            teach(Means().training(), toy, Machine(budget=spent_after(3)))
    assert teach(Means().training(), toy, Machine()).hash == whole


def test_a_teacher_knows_test_images_and_survives_its_file(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    own.save(tmp_path / "own.safetensors")
    test = toy.test.in_space(toy.space("normalized"))
    logits = load_teacher(tmp_path / "own.safetensors").logits(test.images)
    assert torch.equal(logits, own.logits(test.images))
    assert (logits.argmax(1) == test.labels).float().mean() > 0.6
