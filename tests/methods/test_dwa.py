"""DWA: gradient ascent of the weights, and SRe2L as its limiting case."""

import copy
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build, methods
from condense.networks import Network, build_network

DWA = methods()["dwa"]
dwa = import_module(DWA.__module__)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def network() -> Network:
    return build_network("convnet-d2-bn", (1, 8, 8), 3, seeded()).double().eval().requires_grad_(False)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 1, 8, 8, generator=seeded(1), dtype=torch.float64)


def flat(network: Network) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def test_each_step_goes_a_share_of_the_radius_along_the_gradient_of_all_weights(
    network: Network, images: Tensor
) -> None:
    labels = torch.arange(3)
    expected = copy.deepcopy(network).requires_grad_(True)
    for _ in range(4):
        expected.zero_grad()
        torch.autograd.backward(cross_entropy(expected(images), labels))
        grads = [weight.grad for weight in expected.parameters()]
        length = sum(float(grad.square().sum()) for grad in grads if grad is not None) ** 0.5
        with torch.no_grad():
            for weight in expected.parameters():
                assert weight.grad is not None
                weight.add_(0.3 / 4 * weight.grad / length)
    moved = dwa.adjusted(network, images, labels, steps=4, radius=0.3)
    torch.testing.assert_close(flat(moved), flat(expected), rtol=1e-10, atol=1e-12)


def test_the_weights_go_uphill_within_the_radius_and_all_of_it_in_one_step(
    network: Network, images: Tensor
) -> None:
    labels, before = torch.arange(3), flat(network)
    for steps in (1, 2, 12):
        moved = dwa.adjusted(network, images, labels, steps=steps, radius=0.4)
        distance = float((flat(moved) - before).norm())
        assert 0.3 < distance <= 0.4 + 1e-9 and (steps > 1 or distance == pytest.approx(0.4))
        assert cross_entropy(moved(images), labels) > cross_entropy(network(images), labels)


def test_the_teacher_itself_and_all_running_statistics_stay(network: Network, images: Tensor) -> None:
    state = copy.deepcopy(network.state_dict())
    moved = dwa.adjusted(network, images, torch.arange(3), steps=3, radius=0.4)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not any(weight.requires_grad for weight in [*network.parameters(), *moved.parameters()])
    for name, value in moved.state_dict().items():
        if "running" in name or "tracked" in name:
            assert torch.equal(value, state[name])
    assert not moved.training


def made_by(name: str, toy: ImageDataset, cache: Path, **settings: object) -> Tensor:
    taught = {"network": "convnet-w32-bn", "teacher": "trained", "teacher_epochs": 2, "teacher_batch": 16}
    params = {key: str(value) for key, value in {**taught, "iterations": 8, **settings}.items()}
    images: Tensor = distill(build(name, "toy", 2, params)[0], toy, ipc=2, cache=cache)[0].images
    return images


def test_without_a_radius_it_is_sre2l_from_real_images(toy: ImageDataset, tmp_path: Path) -> None:
    host = made_by("sre2l", toy, tmp_path, init="real", variance_weight=11.0).int()
    for still in ({"radius": 0}, {"steps": 0}):
        assert (made_by("dwa", toy, tmp_path, **still).int() - host).abs().max() <= 1
    assert (made_by("dwa", toy, tmp_path, radius=2.0).int() - host).abs().max() > 1


def test_each_pass_of_each_block_starts_from_the_teacher_itself(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Tensor] = []
    move = dwa.adjusted

    def noted(network: Network, images: Tensor, labels: Tensor, **how: float) -> Network:
        given.append(flat(network))
        moved: Network = move(network, images, labels, **how)
        return moved

    monkeypatch.setattr(dwa, "adjusted", noted)
    made_by("dwa", toy, tmp_path, block=2)
    assert len(given) == 4 and all(torch.equal(weights, given[0]) for weights in given)


def test_the_recipes_are_the_authors_settings() -> None:
    assert set(DWA.recipes) == {
        *((name, ipc) for name in ("cifar10", "cifar100") for ipc in (10, 50)),
        *(("tiny-imagenet", ipc) for ipc in (50, 100)),
    }
    for (name, _), recipe in DWA.recipes.items():
        config, protocol = recipe.method.config(), recipe.protocol
        assert protocol is not None
        assert (config["steps"], config["radius"], config["variance_weight"]) == (12, 0.015, 11)
        assert config["init"] == "real" and config["bn_weight"] == 0.01
        tiny = name == "tiny-imagenet"
        assert (config["iterations"], config["lr_images"], config["block"]) == (
            (2000, 0.1, 200) if tiny else (1000, 0.25, 100)
        )
        assert (protocol.epochs, protocol.batch, protocol.cutmix, protocol.mixup) == (
            (200, 64, 1.0, None) if tiny else (400, 128, None, 0.8)
        )
