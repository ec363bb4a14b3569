"""Students that are trained on a set, then on other data, and tested there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation.registry import build
from condense.errors import Refused, Stopped
from condense.evaluation import student as students
from condense.evaluation import transfer
from condense.evaluation.evaluate import evaluate_set
from condense.evaluation.kinds import KINDS, Setup
from condense.evaluation.transfer import TransferStudent
from condense.networks import Network
from condense.protocol import Part, Protocol, Stage
from condense.protocols import HARD_V1, TRANSFER_V1
from condense.resources import Budget, Machine
from condense.store import ImageSet, load
from condense.training.loop import Loop
from condense.training.step import accuracy
from tests.stand_ins import start

SHORT = replace(
    TRANSFER_V1,
    name="short",
    stages=(Stage(epochs=4),),
    regress=Part(epochs=6, lr=0.05, augment="none"),
    tune=Part(steps=9, lr=0.02, batch=16, augment="none", schedule="step-cosine", floor=0.0),
)
PROBE = replace(
    SHORT,
    tune=Part(steps=60, lr=0.2, batch=30, augment="none", schedule="step-cosine", floor=0.0, frozen=True),
)


@pytest.fixture
def unlabelled(toy: ImageDataset, tmp_path: Path) -> ImageSet:
    """Six images without classes, with vectors of five numbers."""
    train, run = start(build("random_subset", "toy", 2)[0], toy, ipc=2, cache=tmp_path / "cache")
    vectors = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    made: ImageSet = run.distilled(train.images[:6], None, features=vectors, scale=1 / 5)
    return made


@pytest.fixture
def classified(toy: ImageDataset, tmp_path: Path) -> ImageSet:
    """Two images of each class."""
    train, run = start(build("random_subset", "toy", 2)[0], toy, ipc=2, cache=tmp_path / "cache")
    chosen = torch.cat([train.of_class(label)[:2] for label in range(3)])
    made: ImageSet = run.selected(train, chosen)
    return made


def student(
    made: ImageSet | None, toy: ImageDataset, protocol: Protocol = SHORT, budget: Budget | None = None
) -> TransferStudent:
    return TransferStudent.of(made, toy, toy, protocol, "convnet-w32", Machine(budget=budget or Budget()))


def loop() -> Loop:
    rng = torch.Generator().manual_seed(0)
    device = torch.device("cpu")
    return Loop(None, rng, device=device, budget=Budget(), title="a student", remedy="none")


def test_vectors_are_learned_by_regression_and_classes_by_the_protocols_own_fields(
    unlabelled: ImageSet, classified: ImageSet, toy: ImageDataset
) -> None:
    regressing, classifying = student(unlabelled, toy), student(classified, toy)
    assert (regressing.outputs, regressing.first.epochs, regressing.first.lr) == (5, 6, 0.05)
    assert regressing.first.augment == "none"
    assert (classifying.outputs, classifying.first.epochs, classifying.first.lr) == (3, 4, 0.01)
    assert classifying.first.augment == "dsa" and student(None, toy).outputs == 3


def test_the_first_part_lowers_the_loss_on_the_set(unlabelled: ImageSet, toy: ImageDataset) -> None:
    one = student(unlabelled, toy, replace(SHORT, regress=Part(epochs=60, lr=0.05, augment="none")))
    running, source = loop(), unlabelled.in_space(toy.space("normalized"))
    network = one.build(running.rng)
    (images, target), *_ = source.batches(0, HARD_V1, torch.Generator())
    before = float(target.loss(network(images)).detach())
    students.fit(network, source, one.first, toy.spec, running)
    assert float(target.loss(network(images)).detach()) < 0.2 * before


def test_all_weights_are_tuned_and_only_the_last_layer_is_probed(
    unlabelled: ImageSet, toy: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, bodies = students.fit, list[Tensor]()

    def noted(network: Network, source: Any, *rest: Any, **named: Any) -> None:
        fit(network, source, *rest, **named)
        bodies.append(next(network.parameters()).detach().clone())

    monkeypatch.setattr(transfer, "fit", noted)
    for protocol in (SHORT, PROBE):
        one, running = student(unlabelled, toy, protocol), loop()
        network = one.train(one.build(running.rng), running)
        assert network.classifier.weight.shape == (3, network.feature_dim)
        learned, final = bodies[-2], next(network.parameters()).detach()
        assert torch.equal(learned, final) == (protocol is PROBE)
    head = network.classifier.weight.detach()
    assert torch.equal(bodies[-1], head)


def test_a_probe_learns_what_logistic_regression_on_the_features_would(
    unlabelled: ImageSet, toy: ImageDataset
) -> None:
    assert student(unlabelled, toy, PROBE).outcome(0).accuracy > 60


def test_the_test_images_are_read_once_after_the_last_step(
    unlabelled: ImageSet, toy: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, steps, log = list[int](), list[int](), Loop.log

    def noted(self: Loop, **values: Tensor | float) -> None:
        steps.append(1)
        log(self, **values)

    def judged(*given: Any) -> float:
        read.append(len(steps))
        return accuracy(*given)

    monkeypatch.setattr(Loop, "log", noted)
    monkeypatch.setattr(transfer, "accuracy", judged)
    student(unlabelled, toy).outcome(0)
    assert read == [6 + 9] and len(steps) == 15


@pytest.mark.parametrize("protocol", [SHORT, PROBE], ids=["tuned", "probed"])
@pytest.mark.parametrize("asked", range(1, 12, 5))
def test_a_student_that_is_cut_short_goes_on_to_the_same_bits(
    unlabelled: ImageSet,
    toy: ImageDataset,
    tmp_path: Path,
    spent_after: Callable[[int], Budget],
    protocol: Protocol,
    asked: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0")
    whole = student(unlabelled, toy, protocol)
    final = [weights.clone() for weights in _trained(whole, None).parameters()]
    with pytest.raises(Stopped):
        _trained(student(unlabelled, toy, protocol, spent_after(asked)), tmp_path / "student")
    resumed = _trained(student(unlabelled, toy, protocol), tmp_path / "student")
    assert all(torch.equal(a, b) for a, b in zip(final, resumed.parameters(), strict=True))


def _trained(one: TransferStudent, folder: Path | None) -> Network:
    """The network of a student, trained in a loop with checkpoints."""
    rng = torch.Generator().manual_seed(3)
    running = Loop(folder, rng, device=one.device, budget=one.budget, title="a student", remedy="none")
    return one.train(one.build(rng), running)


def test_a_set_without_classes_survives_the_disk_and_says_so(unlabelled: ImageSet, tmp_path: Path) -> None:
    assert not unlabelled.labelled and unlabelled.num_classes == 1 and unlabelled.find_inconsistency() is None
    assert unlabelled.content["counts"]["per_class"] == [6]
    unlabelled.save(tmp_path / "set")
    stored = load(tmp_path / "set")
    assert stored.verify() == unlabelled.hash
    card = (tmp_path / "set" / "README.md").read_text()
    assert "| Dataset | toy, without classes |" in card and "no class ids (all are 0)" in card
    assert "a row for each class" not in card
    image, vector = stored[0]
    assert image.shape == (1, 8, 8) and vector.shape == (5,)


def test_its_gallery_shows_all_images_in_rows_of_ten(toy: ImageDataset, tmp_path: Path) -> None:
    from PIL import Image

    train, run = start(build("random_subset", "toy", 8)[0], toy, ipc=8, cache=tmp_path / "cache")
    (tmp_path / "few.png").write_bytes(
        run.distilled(train.images[:9], None, features=torch.ones(9, 2)).gallery()
    )
    (tmp_path / "many.png").write_bytes(
        run.distilled(train.images[:24], None, features=torch.ones(24, 2)).gallery()
    )
    few, many = (Image.open(tmp_path / name).height for name in ("few.png", "many.png"))
    assert many - 2 == 3 * (few - 2)


def test_protocols_of_classes_refuse_a_set_without_them(unlabelled: ImageSet, toy: ImageDataset) -> None:
    reason = "hard-v1 judges by classes, and the images of random_subset have none"
    with pytest.raises(Refused, match=reason):
        evaluate_set(unlabelled, Setup(toy, HARD_V1, "convnet-w32"), [0], None, Machine())
    assert KINDS["images"].usual_protocol(unlabelled, toy) == "transfer-short-v1"


def test_a_record_names_the_set_and_the_target(
    unlabelled: ImageSet, toy: ImageDataset, tmp_path: Path
) -> None:
    record = evaluate_set(unlabelled, Setup(toy, SHORT, "convnet-w32", toy), [0], tmp_path, Machine())
    assert record.kind == "transfer" and record.set is not None and record.target is not None
    assert record.set.hash == unlabelled.hash and record.set.label == "features"
    assert (record.target.train_hash, record.target.test_hash) == (toy.train.hash, toy.test.hash)
    assert record.target.name == "toy" and record.space == "normalized"


def test_a_batch_of_one_image_in_either_part_is_refused_for_batch_norms(
    unlabelled: ImageSet, toy: ImageDataset
) -> None:
    for protocol in (replace(SHORT, batch=5), replace(SHORT, tune=Part(steps=4, batch=59, augment="none"))):
        one = TransferStudent.of(unlabelled, toy, toy, protocol, "resnet18-bn", Machine())
        with pytest.raises(Refused, match="ends with a batch of one"):
            one.check()
    student(unlabelled, toy, replace(SHORT, batch=5)).check()
