from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from condense.data import ImageDataset
from condense.distillation import ImageRun, distill
from condense.distillation.registry import build, methods
from condense.networks import Network, build_network
from tests.stand_ins import start

FREPO: Any = methods()["frepo"]
SMALL = {"network": "convnet-w32", "networks": 1, "batch_real": 7, "iterations": 1, "lr": 0.02}


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, float]]:
    """What every iteration logs."""
    seen: list[dict[str, float]] = []

    def log(self: ImageRun, **values: Tensor) -> None:
        seen.append({name: float(value.detach()) for name, value in values.items()})

    monkeypatch.setattr(ImageRun, "log", log)
    return seen


def distilled(toy: ImageDataset, cache: Path, ipc: int = 1, **settings: object) -> Any:
    params = {name: str(value) for name, value in (SMALL | settings).items()}
    return distill(build("frepo", "toy", ipc, params)[0], toy, ipc=ipc, cache=cache)[0]


@pytest.mark.parametrize("flip", [False, True])
def test_loss_and_first_update_equal_a_naive_derivation_in_float64(
    toy: ImageDataset, tmp_path: Path, losses: list[dict[str, float]], flip: bool
) -> None:
    made = distilled(toy, tmp_path, 2, flip=flip)
    # The run's draws in their order: the images, the pool's network, and for the iteration place and batch.
    rng = torch.Generator().manual_seed(0)
    train = toy.train.in_space(toy.space("normalized"))
    images = train.draw_counts((2, 2, 2), rng).double().requires_grad_()
    network = build_network("convnet-w32", toy.spec.shape, 3, rng).double()
    torch.randint(1, (), generator=rng)
    chosen = torch.randperm(60, generator=rng)[:7]
    one_hot = torch.eye(3, dtype=torch.float64)
    ids = torch.tensor([0, 0, 1, 1, 2, 2])
    values = ((one_hot[ids] - 1 / 3) / (3 / 10) ** 0.5).requires_grad_()

    x, y = images, values
    if flip:
        x, y = torch.cat([images, torch.flip(images, (3,))]), torch.cat([values, values])
    f, g = network.features(x), network.features(train.images[chosen].double())
    kernel = f @ f.T
    ridge = 1e-6 * kernel.diagonal().sum() / len(x) * torch.eye(len(x), dtype=torch.float64)
    predicted = g @ f.T @ torch.linalg.inv(kernel + ridge) @ y
    truth = one_hot[train.labels[chosen]] - 1 / 3
    error = sum(0.5 * ((predicted[i] - truth[i]) ** 2).sum() for i in range(7)) / 7
    gaps = []
    for row in values:
        first, second = sorted(row, reverse=True)[:2]
        gaps.append(torch.minimum(first - second, torch.tensor(1 / 3, dtype=torch.float64)))
    loss = error - sum(gaps) / len(gaps)
    torch.autograd.backward(torch.as_tensor(loss))

    assert losses[0]["loss"] == pytest.approx(torch.as_tensor(loss).item(), rel=1e-4)
    assert losses[0]["error"] == pytest.approx(torch.as_tensor(error).item(), rel=1e-4)
    assert images.grad is not None and values.grad is not None
    for before, gradient, after in (
        (images, images.grad, made.images),
        (values, values.grad, made.features),
    ):
        u = gradient / (gradient.abs() + 1e-6)
        step = 0.02 * before.norm() / u.norm() * u
        torch.testing.assert_close(after.double(), (before - step).detach(), rtol=0, atol=2e-4)


def test_labels_start_centred_and_divided_by_the_root_of_a_tenth_of_the_classes(
    toy: ImageDataset, tmp_path: Path
) -> None:
    made = distilled(toy, tmp_path, learn_labels=False, iterations=3)
    expected = (torch.eye(3) - 1 / 3) / (3 / 10) ** 0.5
    torch.testing.assert_close(made.features, expected)
    label = made.content["label"]
    assert (label["kind"], label["dim"], label["scale"]) == ("features", 3, 0.5)
    assert not torch.equal(distilled(toy, tmp_path, iterations=3).features, made.features)


def test_mirror_images_join_where_the_datas_augmentation_mirrors(toy: ImageDataset, tmp_path: Path) -> None:
    assert "flip" not in toy.spec.dsa
    images = {flip: distilled(toy, tmp_path, flip=flip).images for flip in (False, True, None)}
    assert torch.equal(images[False], images[None]) and not torch.equal(images[False], images[True])
    turned = distilled(toy.augmented("flip_crop"), tmp_path / "turned", flip=None)
    assert torch.equal(turned.images, images[True])


def test_a_network_takes_a_step_at_each_visit_and_starts_over_after_its_last(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ages: list[int] = []
    visit = FREPO.train_network

    def noted(self: Any, learned: Any, generator: Any, network: Network, optimizer: Any) -> None:
        visit(self, learned, generator, network, optimizer)
        ages.append(int(next(iter(optimizer.state.values()))["step"]))

    monkeypatch.setattr(FREPO, "train_network", noted)
    distilled(toy, tmp_path, iterations=11, online_updates=4)
    # Five steps, of which the last is the one past four; then a visit that renews the network, and so on.
    assert ages == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]


def test_the_networks_of_a_pool_start_over_at_different_times(toy: ImageDataset, tmp_path: Path) -> None:
    method = build("frepo", "toy", 1, {"network": "convnet-w32-bn"})[0]

    _, run = start(method, toy, ipc=1, cache=tmp_path)
    pool = method.pool(run)  # type: ignore[attr-defined]
    assert pool.ages == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90] and pool.lifetime == 101
    norms = [module for module in pool.networks[3].modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and all(norm.momentum == 0.9 for norm in norms)


def test_the_learning_rate_falls_as_a_cosine_to_a_tenth() -> None:
    falling = import_module("condense.methods.frepo").falling
    assert falling(0.0) == 1.0 and falling(0.5) == pytest.approx(0.55) and falling(1.0) == pytest.approx(0.1)


def test_many_images_train_a_network_in_a_random_batch(toy: ImageDataset, tmp_path: Path) -> None:
    made = distilled(toy, tmp_path, 3, batch_network=4, iterations=3)
    assert made.images.shape[0] == 9 and made.find_inconsistency() is None
    whole = distilled(toy, tmp_path, 3, batch_network=9, iterations=3)
    assert not torch.equal(made.images, whole.images)
