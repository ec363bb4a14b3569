from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.kernel.pool import ModelPool
from condense.distillation.registry import build
from condense.errors import Refused
from condense.networks import build_network, initialise_
from tests.stand_ins import start

module = import_module("condense.methods.rcig")
SMALL = {
    "network": "convnet-w32-nonorm", "networks": 2, "batch_real": 9, "iterations": 3, "lr": 0.01,
    "inner_steps": 4, "inverse_steps": 4, "lr_inner": 1e-3, "lr_inverse": 1.0, "tune": False,
}  # fmt: skip


def distilled(toy: ImageDataset, cache: Path, **settings: object) -> Any:
    params = {name: str(value) for name, value in (SMALL | settings).items()}
    return distill(build("rcig", "toy", 1, params)[0], toy, ipc=1, cache=cache)[0]


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, ...]]:
    """The set after every update."""
    seen: list[tuple[Tensor, ...]] = []

    class Noted(module.MovingAverage):  # type: ignore[name-defined]
        def update(self) -> None:
            super().update()
            seen.append(tuple(leaf.detach().clone() for leaf in self._tensors))

    monkeypatch.setattr(module, "MovingAverage", Noted)
    return seen


def test_the_moving_average_of_images_and_labels_is_stored(
    toy: ImageDataset, tmp_path: Path, passed: list[tuple[Tensor, ...]]
) -> None:
    made = distilled(toy, tmp_path, decay=0.5)
    for stored, steps in (
        (made.images, [images for images, _ in passed]),
        (made.features, [v for _, v in passed]),
    ):
        first, second, third = steps
        torch.testing.assert_close(stored, (first + 2 * second + 4 * third) / 7)
        assert not torch.equal(first, third)
    label = made.content["label"]
    assert (label["kind"], label["dim"], label["scale"]) == ("features", 3, 0.5)


def test_the_first_update_moves_every_number_by_the_learning_rate(
    toy: ImageDataset, tmp_path: Path, passed: list[tuple[Tensor, ...]]
) -> None:
    distilled(toy, tmp_path, iterations=1)
    train, run = start(build("rcig", "toy", 1)[0], toy, ipc=1, cache=tmp_path / "other")
    begin = module.Prototypes(train, run, flip=None)
    # AdaBelief's first step: g over the root of (g - 0.1 g)^2.
    moved = [(after - before.detach()).abs() for after, before in zip(passed[0], begin.leaves, strict=True)]
    torch.testing.assert_close(moved[0], torch.full_like(moved[0], 0.01 / 0.9), rtol=1e-3, atol=3e-4)
    torch.testing.assert_close(moved[1], torch.full_like(moved[1], 0.01 / 0.9), rtol=1e-3, atol=3e-4)


def test_both_parts_of_the_gradient_take_part(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distilled(toy, tmp_path / "whole").images
    with monkeypatch.context() as patch:
        patch.setattr(module, "shortened", lambda implicit, direct: torch.zeros_like(implicit))
        direct = distilled(toy, tmp_path / "direct").images
    assert not torch.equal(whole, direct)


def test_networks_are_trained_for_a_random_number_of_steps_and_start_over(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: list[tuple[int, int]] = []
    train: Callable[..., None] = ModelPool.train

    def noted(self: ModelPool, place: int, step: Any, steps: int = 1) -> None:
        visits.append((self.ages[place], steps))
        train(self, place, step, steps)

    monkeypatch.setattr(ModelPool, "train", noted)
    distilled(toy, tmp_path, iterations=40, networks=1, pool_steps=5, online_updates=12, batch_real=2)
    steps = [count for _, count in visits]
    assert set(steps) == {1, 2, 3, 4, 5}
    for (age, count), (following, _) in zip(visits, visits[1:], strict=False):
        assert following == (age + count if age + count < 12 else 0)


def test_the_step_sizes_are_raised_until_a_descent_does_not_fall(toy: ImageDataset, tmp_path: Path) -> None:
    settings = {name: str(value) for name, value in (SMALL | {"inner_steps": 8, "inverse_steps": 8}).items()}
    method: Any = build("rcig", "toy", 1, settings)[0]
    train, run = start(method, toy, ipc=1, cache=tmp_path)
    learned, network = module.Prototypes(train, run, flip=None), method.pool(run).networks[0]
    inner, inverse = module.StepSize(1e-5), module.StepSize(0.01)
    method.raise_sizes(learned, train, network, inner, inverse, run)
    task = method.task(network, learned)

    def outcome(rate: float) -> int:
        _, losses = module.descend(task.zeros(), task.inner.value_and_gradient, rate, 8)
        found: int = module.outcome(losses)
        return found

    failed = inner.rate / 1.2 / 0.7
    assert outcome(failed) != 1 and outcome(failed / 1.2) == 1
    assert inner.rate > 1e-5 and inverse.rate > 0.01


def test_initial_weights_have_lecuns_variance_and_biases_are_zero() -> None:
    net = build_network("convnet-w64-bn", (3, 32, 32), 10, torch.Generator().manual_seed(0))
    module.initialise_widely_(net, torch.Generator().manual_seed(1))
    conv = net.body[4]
    assert isinstance(conv, nn.Conv2d) and conv.bias is not None and not conv.bias.any()
    assert conv.weight.var().item() == pytest.approx(1 / (9 * 64), rel=0.05)
    assert net.classifier.weight.var().item() == pytest.approx(1 / net.feature_dim, rel=0.05)
    plain = build_network("convnet-w64-bn", (3, 32, 32), 10, torch.Generator())
    initialise_(plain, torch.Generator().manual_seed(1))
    torch.testing.assert_close(conv.weight, plain.body.get_parameter("4.weight").mul(3**0.5))


def test_softplus_takes_the_place_of_every_relu() -> None:
    net = build_network("resnet18", (3, 32, 32), 10, torch.Generator().manual_seed(0))
    module.smooth_(net, 60.0)
    assert not any(isinstance(one, nn.ReLU) for one in net.modules())
    sharp = [one.beta for one in net.modules() if isinstance(one, nn.Softplus)]
    assert sharp and set(sharp) == {60.0}


def test_an_average_that_takes_in_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="decay of rcig must be below 1"):
        build("rcig", "toy", 1, {"decay": "1"})
