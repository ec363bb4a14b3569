"""Expert labels: one label an image from a checkpoint that is chosen on a part of the training split."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import ImageDataset, Images
from condense.distillation import ImageRun, LabelTrial, distill, without_held_out
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.evaluation import ImageStudent
from condense.evaluation.evaluate import record_of
from condense.evaluation.kinds import kind_of
from condense.networks import build_network
from condense.protocol import Stage
from condense.protocols import LABEL_V1
from condense.resources import Budget, Machine
from condense.store import ImageSet, Soft, load, verify
from condense.teachers import find_teacher

QUICK = {"network": "convnet-w32", "expert.longest": "3", "expert.steps": "12"}


def make(
    dataset: ImageDataset,
    cache: Path,
    params: Mapping[str, str] | None = None,
    *,
    host: str = "random_subset",
    ipc: int = 2,
    seed: int = 0,
    budget: Budget | None = None,
) -> ImageSet:
    settings = {name: str(value) for name, value in methods()[host].quick.items()} | QUICK
    method, _ = build(f"{host}+expert", dataset.spec.name, ipc, settings | dict(params or {}))
    machine = Machine(budget=budget or Budget())
    made: ImageSet
    made, run = distill(method, dataset, ipc=ipc, seed=seed, cache=cache, machine=machine)
    run.done()
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache whose experts and trials tests share that look at sets alone."""
    return tmp_path_factory.mktemp("cache")


def checkpoint(made: ImageSet, cache: Path) -> Mapping[str, Any]:
    """What the file of the network that labelled a set says of its training."""
    header = find_teacher(made.content["label"]["teacher"] or "", cache=cache).header
    assert header is not None
    return header.training


def shown(made: ImageSet, dataset: ImageDataset) -> ImageSet:
    space = dataset.space(made.content["pixels"]["space"])
    return made.with_space(space).in_space(dataset.space("normalized"))


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("random_subset", {}),
        ("random_subset", {"pixel_space": "zca"}),
        ("rded", {}),
        ("idc", {"iterations": "1", "matches": "1"}),
    ],
)
def test_each_image_of_a_host_gets_the_mean_softmax_of_the_named_checkpoint(
    host: str, more: dict[str, str], digits: ImageDataset, tmp_path: Path, cache: Path
) -> None:
    made = make(digits, cache, more, host=host)
    plain = {name: str(value) for name, value in methods()[host].quick.items()} | {"network": "convnet-w32"}
    alone, _ = distill(build(host, "digits", 2, plain | more)[0], digits, ipc=2, cache=tmp_path / "alone")
    assert torch.equal(made.images, alone.images) and torch.equal(made.labels, alone.labels)
    teacher = find_teacher(made.content["label"]["teacher"] or "", cache=cache)
    images = torch.stack([shown(made, digits)[index][0] for index in range(len(made))])
    with torch.no_grad():
        logits = teacher.network(images).double()
    each = logits.exp() / logits.exp().sum(1, keepdim=True)
    wanted = each.view(made.copies, len(made.images), 10).mean(0)
    assert made.soft is not None and made.soft.dtype == torch.float16
    torch.testing.assert_close(made.soft.double(), wanted, rtol=1e-3, atol=1e-6)
    assert made.content["label"]["kind"] == "soft" and made.nbytes()["labels"] == len(made.images) * 21
    assert made.save(tmp_path / "set") == verify(tmp_path / "set") == made.hash


def test_no_test_image_counts(digits: ImageDataset, tmp_path: Path, cache: Path) -> None:
    few = replace(digits, test=Images.of(digits.test.images[:1] * 0, digits.test.labels[:1], 10))
    assert make(few, tmp_path).hash == make(digits, cache).hash


def test_neither_expert_nor_trials_are_trained_on_what_they_are_judged_by(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Images] = []
    trained: list[torch.Tensor] = []
    experts, tried = ImageRun.experts, ImageRun.tried

    def spied(self: ImageRun, training: Any, count: int, epochs: int, train: Images, space: str) -> Any:
        seen.append(train)
        return experts(self, training, count, epochs, train, space)

    def noted(self: ImageRun, trial: LabelTrial, train: Images) -> float:
        job = trial.job(train, self.spec, "normalized")
        trained.append(train.images[job.positions])
        return tried(self, trial, train)

    monkeypatch.setattr(ImageRun, "experts", spied)
    monkeypatch.setattr(ImageRun, "tried", noted)
    make(digits, tmp_path)
    whole = digits.train.in_space(digits.space("normalized"))
    kept, held_out = without_held_out(whole, 0.1, 0)
    assert len(kept) + len(held_out) == len(whole) and len(held_out) > 100
    assert torch.equal(seen[0].images, kept.images) and seen[0].hash == kept.hash != whole.hash
    judged = {image.numpy().tobytes() for image in held_out.images}
    # Digits that occur twice in the data may stand on both sides.
    twice = judged & {image.numpy().tobytes() for image in kept.images}
    used = {image.numpy().tobytes() for images in trained for image in images}
    assert len(trained) == 3 and len(used) == 20 and not (used & judged) - twice


@pytest.mark.parametrize(
    ("worth", "epoch"), [((50.0, 70.0, 60.0), 2), ((50.0, 50.0, 50.0), 1), ((1, 2, 3), 3)]
)
def test_the_checkpoint_with_the_best_student_labels_and_the_earliest_of_equals(
    worth: tuple[float, ...],
    epoch: int,
    digits: ImageDataset,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = iter(worth)
    monkeypatch.setattr(ImageRun, "tried", lambda *_: next(left))
    made = make(digits, cache)
    assert checkpoint(made, cache)["checkpoint"] == epoch
    assert made.provenance["checkpoint"] == dict(zip(("1", "2", "3"), worth, strict=True))
    assert f"the checkpoint after epoch {epoch} labels (held out: " in capsys.readouterr().err


def test_by_its_own_accuracy_the_best_expert_labels_and_a_given_epoch_is_not_judged(
    digits: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageRun, "tried", None)
    made = make(digits, cache, {"expert.measure": "expert", "expert.longest": "4"})
    found = {}
    for number in (1, 2, 4):
        one = make(digits, cache, {"expert.epoch": str(number)})
        teacher = find_teacher(one.content["label"]["teacher"] or "", cache=cache)
        assert teacher.header is not None and teacher.header.training["checkpoint"] == number
        found[number] = teacher.accuracy or 0.0
    assert checkpoint(made, cache)["checkpoint"] == max(found, key=lambda number: found[number])
    assert len(set(found.values())) == 3


@pytest.mark.parametrize(
    ("longest", "epochs"), [(1, (1,)), (2, (1, 2)), (5, (1, 2, 4, 5)), (16, (1, 2, 4, 8, 16))]
)
def test_the_candidates_double(longest: int, epochs: tuple[int, ...]) -> None:
    method: Any = build("random_subset+expert", "digits", 1, {"expert.longest": longest})[0]
    assert method.candidates == epochs


def test_all_draws_of_a_row_are_labelled_by_one_network(
    digits: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(digits, cache)
    monkeypatch.setattr("condense.training.label_trial.train_step", None)
    monkeypatch.setattr("condense.training.expert_steps.Stacked.step", None)
    second = make(digits, cache, seed=1)
    assert not torch.equal(first.images, second.images)
    assert first.content["label"] == second.content["label"]


def test_the_trials_of_a_set_that_fills_a_room_are_as_large_as_it(
    digits: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[LabelTrial] = []

    def noted(self: ImageRun, trial: LabelTrial, train: Images) -> float:
        tried.append(trial)
        return 0.0

    monkeypatch.setattr(ImageRun, "tried", noted)
    for params in ({}, {"room": "4000"}):
        made = make(digits, cache, params)
        assert {trial.counts for trial in tried} == {tuple(made.content["counts"]["per_class"])}
        assert (made.content["counts"]["per_class"] == [2] * 10) != bool(params)
        tried.clear()


def test_a_run_that_is_stopped_goes_on_to_the_same_set(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make(digits, tmp_path / "whole")
    # Once in the expert's training, then in a trial.
    for stops, phase in ((3, "expert 0"), (15, "a trial of labels")):
        budget, asked = Budget(1e9), iter([False] * stops + [True])
        monkeypatch.setattr(budget, "spent", lambda now=None, asked=asked: next(asked))
        with pytest.raises(Stopped, match=phase):
            make(digits, tmp_path / "broken", budget=budget)
    assert make(digits, tmp_path / "broken").hash == whole.hash


def test_students_learn_the_same_from_the_disk_and_more_than_chance(
    digits: ImageDataset, tmp_path: Path, cache: Path
) -> None:
    made = make(digits, cache, {"expert.longest": "8"}, ipc=10)
    made.save(tmp_path / "set")
    short = replace(LABEL_V1, stages=(Stage(epochs=1),), least_steps=200)
    space = digits.space("normalized")
    found = []
    for one in (made, ImageSet.load(tmp_path / "set")):
        assert isinstance(one.target, Soft) and one.soft is not None
        assert torch.equal(one.target.probabilities, one.soft.float())
        student = ImageStudent(
            source=shown(one, digits), test=digits.test.in_space(space), spec=digits.spec, protocol=short,
            network="convnet-w32",
        )  # fmt: skip
        found.append(student.outcome(0).accuracy)
    assert found[0] == found[1] > 50
    record = record_of(load(tmp_path / "set"), digits, LABEL_V1, "convnet-w32")
    assert record.set is not None and record.set.label == "soft" and record.teacher is None


def test_a_stored_set_of_a_host_with_the_fixed_teacher_is_read_again(
    digits: ImageDataset, tmp_path: Path, cache: Path
) -> None:
    made = make(digits, cache, host="rded")
    method, _ = build("rded+expert", "digits", 2, QUICK)
    kind_of(digits).require_same_teacher(made, method, digits, tmp_path)
    content: Any = {**made.content, "teacher": {**made.content["teacher"], "hash": "0" * 64}}
    with pytest.raises(Refused, match="was made with the teacher 00000000"):
        kind_of(digits).require_same_teacher(replace(made, content=content), method, digits, tmp_path)


def test_the_papers_epochs_are_published_settings_of_random_images_only() -> None:
    method, recipe = build("random_subset+expert", "cifar10", 10)
    assert recipe is not None and recipe.method == method and recipe.protocol is not None
    own = {"epoch": 44, "lr": 5e-4, "momentum": 0.0}
    assert method.links()[-1].config().items() >= own.items()
    assert [stage.scale for stage in recipe.protocol.stages] == [1.0, 0.3, 0.09, 0.027]
    assert recipe.protocol.epochs == 3000 and recipe.protocol.labels is None
    for other, dataset in (("herding+expert", "cifar10"), ("random_subset+expert", "mnist")):
        assert build(other, dataset, 10)[1] is None
    assert build("random_subset+fkd", "cifar10", 10)[1] is None


@pytest.mark.parametrize(
    ("params", "key"),
    [
        ({}, "366bd791932cc091f748554b40632be543c648e43238fbcca83066c6b607fb9c"),
        ({"expert.epoch": 4}, "0dd3466057c9c54f7a26a2ba6144109601b664e77deccc59d5e0ac0571ce7972"),
    ],
)
def test_the_keys_of_runs_do_not_change(params: dict[str, object], key: str) -> None:
    assert build("random_subset+expert", "digits", 1, params)[0].run_key("0" * 64, 1, 0) == key


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"expert.held_out": "0"}, "expert.held_out=0.0: a share that is held out is above 0 and below 1"),
        ({"expert.held_out": "1"}, "expert.held_out=1.0: a share that is held out is above 0 and below 1"),
        ({"expert.measure": "test"}, "expert.measure='test': unknown measure of expert"),
        ({"expert.epoch": "0"}, "expert.epoch=0: epoch of expert must be at least 1"),
        ({"network": "convnet-w32-bn"}, "hold no running statistics, and convnet-w32-bn has batch norms"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(
    params: dict[str, str], words: str, digits: ImageDataset, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=words):
        make(digits, tmp_path, params)
    assert not (tmp_path / "experts").exists()


def test_data_with_one_image_a_class_cannot_be_held_out(toy: ImageDataset, tmp_path: Path) -> None:
    places = [int(toy.train.of_class(label)[0]) for label in range(3)]
    one = Images.of(toy.train.images[places], toy.train.labels[places], 3)
    with pytest.raises(Refused, match="toy has one image a class: none can be held out"):
        make(replace(toy, train=one), tmp_path, ipc=1)


def test_a_checkpoint_is_the_network_after_that_epoch(digits: ImageDataset, tmp_path: Path) -> None:
    """One epoch of SGD with momentum without augmentation, by autograd alone."""
    made = make(digits, tmp_path, {"expert.epoch": "1", "expert.augment": "none", "expert.batch": "400"})
    kept, _ = without_held_out(digits.train.in_space(digits.space("normalized")), 0.1, 0)
    rng = torch.Generator().manual_seed(0)
    network = build_network("convnet-w32", digits.spec.shape, 10, rng)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    for part in torch.split(torch.randperm(len(kept), generator=rng), 400):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(kept.images[part]), kept.labels[part])
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        wanted = network(shown(made, digits).images).softmax(1)
    assert made.soft is not None
    torch.testing.assert_close(made.soft.float(), wanted, rtol=0, atol=2e-3)
