from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from condense.data import ImageDataset
from condense.distillation import Experts, distill
from condense.distillation.matching.unrolled import Batch, Unrolled
from condense.distillation.registry import build, methods
from condense.networks import build_network
from condense.store import ImageSet
from condense.training.parameters import as_parameters

TESLA = methods()["tesla"]
tesla = import_module(TESLA.__module__)

TINY: dict[str, object] = {
    "network": "convnet-w32",
    "iterations": 1,
    "syn_steps": 4,
    "batch_syn": 4,
    "expert_epochs": 2,
    "max_start_epoch": 3,
    "experts": 2,
    "batch_experts": 20,
}


def made(toy: ImageDataset, cache: Path, name: str = "tesla", /, **settings: object) -> ImageSet:
    params = {key: str(value) for key, value in (TINY | settings).items()}
    one: ImageSet
    one, run = distill(build(name, "toy", 2, params)[0], toy, ipc=2, cache=cache)
    run.done()
    return one


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[Tensor, Tensor]]]:
    """The images and labels of each student's steps, without augmentation."""
    students: list[list[tuple[Tensor, Tensor]]] = []
    unroll = tesla.unroll

    def noted(
        network: object, start: Tensor, batches: list[Batch], *rest: object, **named: object
    ) -> Unrolled:
        students.append([(images.detach().clone(), labels) for images, labels in (b() for b in batches)])
        end: Unrolled = unroll(network, start, batches, *rest, **named)
        return end

    monkeypatch.setattr(tesla, "unroll", noted)
    return students


@pytest.fixture
def goals(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The snapshots in the order in which they are read."""
    rows: list[Tensor] = []
    at = Experts.at

    def noted(self: Experts, expert: int, epoch: int) -> Tensor:
        rows.append(at(self, expert, epoch))
        return rows[-1]

    monkeypatch.setattr(Experts, "at", noted)
    return rows


def test_it_is_trajectory_matching_with_another_gradient_and_nothing_else(
    toy: ImageDataset, tmp_path: Path
) -> None:
    plain, exact = made(toy, tmp_path, "mtt"), made(toy, tmp_path, gradient="exact")
    assert torch.equal(exact.images, plain.images) and exact.learned_lr == plain.learned_lr
    truncated, asked = made(toy, tmp_path), made(toy, tmp_path, "mtt", gradient="tesla")
    assert torch.equal(truncated.images, asked.images) and truncated.learned_lr == asked.learned_lr
    start = made(toy, tmp_path, lr_images=1e-30).images
    apart = (truncated.images - plain.images).norm() / (plain.images - start).norm()
    assert 1e-3 < apart < 1


def test_for_a_single_step_its_gradient_is_the_true_one_and_not_half_of_it(
    toy: ImageDataset, tmp_path: Path
) -> None:
    def moved(name: str) -> Tensor:
        settings = {"syn_steps": 1, "batch_syn": 6}
        start, end = (made(toy, tmp_path, name, lr_images=lr, **settings).images for lr in (1e-30, 100))
        return end - start

    assert moved("mtt").abs().max() > 1e-3
    torch.testing.assert_close(moved("tesla"), moved("mtt"), rtol=1e-3, atol=1e-6)


def test_soft_labels_are_the_goals_answers_without_augmentation(
    toy: ImageDataset, tmp_path: Path, goals: list[Tensor]
) -> None:
    one = made(toy, tmp_path, soft_labels="true")
    start = made(toy, tmp_path, soft_labels="true", lr_images=1e-30).images
    _, goal = goals[:2]
    network = build_network("convnet-w32", toy.spec.shape, 3, torch.Generator()).double()
    said = functional_call(network, as_parameters(network, goal.double()), (start.double(),)).softmax(1)
    assert one.soft is not None and one.content["label"]["kind"] == "soft"
    torch.testing.assert_close(one.soft.double(), said.detach(), rtol=1e-4, atol=1e-6)
    assert one.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_each_update_has_labels_of_its_own_and_the_set_those_of_the_last(
    toy: ImageDataset, tmp_path: Path, seen: list[list[tuple[Tensor, Tensor]]], goals: list[Tensor]
) -> None:
    one = made(toy, tmp_path, iterations=4, soft_labels="true", augment="none", batch_syn=6)
    targets = goals[1::2]
    assert len(targets) == len(seen) == 4
    network = build_network("convnet-w32", toy.spec.shape, 3, torch.Generator())
    for target, student in zip(targets, seen, strict=True):
        for images, labels in student:
            said = functional_call(network, as_parameters(network, target), (images,)).softmax(1)
            torch.testing.assert_close(labels, said.detach(), rtol=1e-3, atol=1e-5)
    first, last = (
        {tuple(image.flatten().tolist()): row.tolist() for image, row in zip(*student[0], strict=True)}
        for student in (seen[0], seen[-1])
    )
    assert one.soft is not None
    assert sorted(one.soft.tolist()) == sorted(last.values()) != sorted(first.values())


def test_soft_labels_are_no_leaves_of_the_gradient(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_of: list[object] = []
    start = TESLA.initial  # type: ignore[attr-defined]

    def kept(self: object, *rest: object) -> object:
        made_of.append(start(self, *rest))
        return made_of[-1]

    monkeypatch.setattr(TESLA, "initial", kept)
    made(toy, tmp_path, soft_labels="true")
    (learned,) = made_of
    assert learned.logits.grad is None and not learned.logits.requires_grad  # type: ignore[attr-defined]
    assert learned.syn.images.grad is not None  # type: ignore[attr-defined]


def test_the_labels_of_an_update_that_is_undone_are_not_stored(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made(toy, tmp_path, iterations=2, soft_labels="true")
    count = []
    unroll = tesla.unroll

    def failing(*arguments: object, **named: object) -> Unrolled:
        count.append(1)
        end: Unrolled = unroll(*arguments, **named)
        return replace(end, loss=end.loss * float("nan")) if len(count) == 3 else end

    monkeypatch.setattr(tesla, "unroll", failing)
    after = made(toy, tmp_path, iterations=3, soft_labels="true")  # the third undoes the second
    assert before.soft is not None and after.soft is not None and after.content["hints"]["rollbacks"] == 1
    assert torch.equal(after.soft, before.soft)


def test_without_soft_labels_the_set_has_class_ids_alone(toy: ImageDataset, tmp_path: Path) -> None:
    one = made(toy, tmp_path)
    assert one.soft is None and one.content["label"]["kind"] == "hard"


def test_the_recipes_are_the_authors_commands_at_half_the_pixels_rate() -> None:
    assert set(TESLA.recipes) == {("cifar10", 1), ("cifar100", 50)}
    for (dataset, ipc), recipe in TESLA.recipes.items():
        method, found = build("tesla", dataset, ipc)
        config = method.config()
        assert found is recipe and config["gradient"] == "tesla" and config["lr_images"] == 500
        assert config["iterations"] == 10000 and config["soft_labels"] is False
        protocol = recipe.protocol
        assert protocol is not None and protocol.lr is None
        assert [stage.epochs for stage in protocol.stages] == [502, 499]
    config = build("tesla", "cifar100", 50)[0].config()
    assert (config["syn_steps"], config["batch_syn"], config["pixel_space"]) == (80, 125, "zca")
