from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from condense.augment import dsa
from condense.data import ImageDataset, Images
from condense.data.images.known import KNOWN
from condense.distillation import ExpertTraining, ImageRun, distill
from condense.distillation.matching.trajectory import CIFAR100_STEP
from condense.distillation.matching.unrolled import Unrolled
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.evaluation import ImageStudent
from condense.networks import Network, build_network
from condense.protocol import Protocol, Stage
from condense.resources import Budget
from condense.store import ImageSet
from condense.training.expert_steps import Stacked
from condense.training.experts import experts

MTT = methods()["mtt"]
mtt = import_module(MTT.__module__)

TINY: dict[str, object] = {
    "network": "convnet-w32",
    "iterations": 1,
    "syn_steps": 3,
    "batch_syn": 4,
    "expert_epochs": 2,
    "max_start_epoch": 3,
    "experts": 2,
    "batch_experts": 20,
    "lr_student": 0.01,
}


def made(toy: ImageDataset, cache: Path, name: str = "mtt", /, **settings: object) -> ImageSet:
    params = {key: str(value) for key, value in (TINY | settings).items()}
    one: ImageSet
    one, run = distill(build(name, "toy", 2, params)[0], toy, ipc=2, cache=cache)
    run.done()
    return one


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every update, as it is logged."""
    seen: list[float] = []
    monkeypatch.setattr(ImageRun, "log", lambda self, *, loss, lr: seen.append(float(loss)))
    return seen


def logits(network: Network, theta: Tensor, images: Tensor) -> Tensor:
    """Returns the logits of the network with other parameters."""
    weights, at = {}, 0
    for key, parameter in network.named_parameters():
        weights[key] = theta[at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
    found: Tensor = functional_call(network, weights, (images,))
    return found


def test_an_update_equals_plain_backpropagation_in_float64(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    one = made(toy, tmp_path, lr_images=200.0, lr_lr=1e-5)
    # The run's draws in their order: start, network, expert, epoch, and by step an order of the images where
    # the last one is used up, and an augmentation. Six images in fours: two, four, and two of a new order.
    rng = torch.Generator().manual_seed(0)
    train = toy.train.in_space(toy.space("normalized"))
    begun = train.draw(2, rng).flatten(0, 1)
    network = build_network("convnet-w32", toy.spec.shape, 3, rng).double()
    expert, epoch = (int(torch.randint(high, (), generator=rng)) for high in (2, 3))
    training = ExpertTraining(network="convnet-w32", lr=0.01, batch=20)
    found = experts(
        training, 2, 4, train, toy.spec, "normalized", cache=tmp_path, budget=Budget(), say=pytest.fail
    )
    first, goal = found.at(expert, epoch).double(), found.at(expert, epoch + 2).double()

    images = begun.double().requires_grad_()
    lr = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    theta, order = first.clone().requires_grad_(), torch.empty(0, dtype=torch.long)
    for size in (2, 4, 2):
        if len(order) == 0:
            order = torch.randperm(6, generator=rng)
        chosen, order = order[-size:], order[:-size]
        augmentation = dsa.draw_ops(toy.spec.dsa, (8, 8), rng, per_group=size)
        batch = augmentation(images[chosen][None])[0]
        loss = cross_entropy(logits(network, theta, batch), chosen // 2)
        theta = theta - lr * torch.autograd.grad(loss, theta, create_graph=True)[0]
    matched = (theta - goal).square().sum() / (first - goal).square().sum()
    of_images, of_lr = torch.autograd.grad(matched, [images, lr])

    assert losses == [pytest.approx(float(matched.detach()), rel=1e-4)]
    moved = one.images.double() - begun.double()
    assert 0.1 < moved.abs().max() < 10
    torch.testing.assert_close(moved, -200 * of_images, rtol=1e-3, atol=1e-4)
    assert one.learned_lr is not None and abs(one.learned_lr - 0.01) > 1e-4
    assert one.learned_lr - 0.01 == pytest.approx(-1e-5 * float(of_lr), rel=1e-3)


def test_a_student_whose_rate_is_zero_has_missed_exactly_the_whole_way(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    made(toy, tmp_path, iterations=3, lr_student=0, lr_lr=0, max_rollbacks=0)
    assert losses == [1.0] * 3


def test_the_learned_rate_is_stored_and_the_paper_protocol_uses_it(toy: ImageDataset, tmp_path: Path) -> None:
    one = made(toy, tmp_path, iterations=3, lr_lr=1e-5)
    lr = one.content["hints"]["lr"]
    assert lr is not None and lr == one.learned_lr and abs(lr - 0.01) > 1e-4
    published = MTT.recipes["cifar10", 10].protocol
    assert published is not None
    protocol = replace(published, stages=(Stage(epochs=10),))
    assert protocol.lr is None and one.content["hints"]["augment"] == "dsa"

    def accuracy(protocol: Protocol) -> float:
        space = toy.space("normalized")
        seen = toy.test.in_space(space)
        return (
            ImageStudent(
                source=one.in_space(space), test=seen, spec=toy.spec, protocol=protocol, network="convnet-w32"
            )
            .outcome(0)
            .accuracy
        )

    assert accuracy(protocol) == accuracy(replace(protocol, lr=lr)) != accuracy(replace(protocol, lr=1e-9))


def test_steps_that_are_taken_back_are_counted_in_the_sets_hints(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = made(toy, tmp_path, iterations=4)
    assert plain.content["hints"]["rollbacks"] == 0
    calls = []
    unroll = mtt.unroll

    def failing(*arguments: object, **named: object) -> Unrolled:
        end: Unrolled = unroll(*arguments, **named)
        calls.append(end)
        return replace(end, loss=end.loss * float("inf")) if len(calls) in (2, 4) else end

    monkeypatch.setattr(mtt, "unroll", failing)
    # The first of four is undone by the second, the third by the fourth: nothing is left.
    with pytest.raises(Refused, match=r"all steps were undone \(2\): nothing was learned"):
        made(toy, tmp_path, iterations=4)
    calls.clear()
    other = made(toy, tmp_path / "other", iterations=5)
    assert other.content["hints"]["rollbacks"] == 2
    start = made(toy, tmp_path, lr_images=1e-30)
    assert not torch.equal(other.images, start.images) and not torch.equal(plain.images, other.images)


def test_a_learned_rate_is_kept_positive_or_the_run_is_refused(toy: ImageDataset, tmp_path: Path) -> None:
    one = made(toy, tmp_path, iterations=4, lr_student=0.05, lr_lr=0.0004)
    assert one.learned_lr is not None and 0 < one.learned_lr != 0.05
    assert one.content["hints"]["rollbacks"] >= 1
    with pytest.raises(Refused, match=r"all steps were undone \(1\): nothing was learned"):
        made(toy, tmp_path, iterations=1, lr_student=0.05, lr_lr=0.002)
    with pytest.raises(Refused, match="lower lr_images or lr_lr, for example lr_images to 10"):
        made(toy, tmp_path, iterations=9, lr_student=0.05, lr_lr=2.0)


def test_methods_that_ask_for_the_same_experts_train_them_once(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = Stacked.step

    def counted(self: Stacked, train: Images, epoch: int, batch: int) -> Tensor:
        steps.append(epoch)
        return step(self, train, epoch, batch)

    monkeypatch.setattr(Stacked, "step", counted)
    made(toy, tmp_path)
    after_mtt = len(steps)
    made(toy, tmp_path, "tesla")
    assert len(steps) == after_mtt > 2 * 4 * 3  # experts, epochs, steps: and some to tell the time by
    made(toy, tmp_path, "ftd")
    assert len(steps) > after_mtt  # flat ones are others


@pytest.mark.parametrize("field", ["init", "gradient", "augment"])
def test_an_unknown_name_is_refused(field: str) -> None:
    with pytest.raises(Refused, match="nothing-like-it"):
        build("mtt", "toy", 1, {field: "nothing-like-it"})


def test_the_experts_are_trained_up_to_the_last_possible_goal() -> None:
    method = build("mtt", "cifar10", 10)[0]
    assert (method.max_start_epoch, method.expert_epochs, method.epochs) == (20, 2, 21)  # type: ignore[attr-defined]


def test_the_recipes_are_the_authors_commands_and_use_the_learned_rate() -> None:
    datasets = {"cifar10", "cifar100", "tiny-imagenet"}
    assert set(MTT.recipes) == {(dataset, ipc) for dataset in datasets for ipc in (1, 10, 50)}
    for (dataset, ipc), recipe in MTT.recipes.items():
        method, found = build("mtt", dataset, ipc)
        assert found is recipe and method == recipe.method
        config = method.config()
        assert config["iterations"] == 5000 and config["experts"] == 100 and config["gradient"] == "exact"
        protocol = recipe.protocol
        assert protocol is not None and [stage.epochs for stage in protocol.stages] == [502, 499]
        assert protocol.lr is None and protocol.augment == "dsa"
    small, large = (
        build("mtt", dataset, ipc)[0].config() for dataset, ipc in (("cifar10", 1), ("cifar100", 50))
    )
    assert (small["syn_steps"], small["max_start_epoch"], small["lr_lr"]) == (50, 2, 1e-7)
    assert (large["syn_steps"], large["batch_syn"], large["pixel_space"]) == (80, 125, "zca")


def test_where_cifar100_is_not_whitened_its_pixels_move_as_far_as_the_authors() -> None:
    ours, theirs = (torch.tensor(KNOWN[name].std).square() for name in ("cifar100", "cifar10"))
    ratio = ours / theirs  # p = m + s x, so that dp = s dx = -lr s dL/dx = -lr s^2 dL/dp
    assert [round(float(one), 2) for one in ratio] == [1.75, 1.65, 1.89]
    assert float(theirs.mean() / ours.mean()) == pytest.approx(CIFAR100_STEP, abs=5e-4)
    assert [round(float(one), 2) for one in CIFAR100_STEP * ratio] == [0.99, 0.94, 1.07]
    rates = {cell: recipe.method.config()["lr_images"] for cell, recipe in MTT.recipes.items()}
    assert rates["cifar100", 10] == 567.0 and rates["cifar100", 1] == rates["cifar100", 50] == 1000.0
    said = [cell for cell, recipe in MTT.recipes.items() if "CIFAR-10's" in recipe.source]
    assert said == [("cifar100", 10)]
