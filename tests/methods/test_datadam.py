from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from condense.augment import dsa
from condense.data import ImageDataset
from condense.distillation import ImageRun, distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.networks import Network, build_network, initialise_

DataDAM = methods()["datadam"]
datadam = import_module(DataDAM.__module__)

POWERS = [1.0, 2.0, 2.5, 3.0, 4.0, 6.0]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every iteration, as it is logged."""
    seen: list[float] = []
    monkeypatch.setattr(ImageRun, "log", lambda self, *, loss: seen.append(float(loss.detach())))
    return seen


def distilled(name: str, toy: ImageDataset, cache: Path, ipc: int, **settings: object) -> Tensor:
    params = {"network": "convnet-d3"} | {key: str(value) for key, value in settings.items()}
    images: Tensor = distill(build(name, "toy", ipc, params)[0], toy, ipc=ipc, cache=cache)[0].images
    return images


def attentive(**settings: float) -> Any:
    return build("datadam", "toy", 1, {name: str(value) for name, value in settings.items()})[0]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rectified(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).relu()


def naive_loss(network: Network, real: Tensor, images: Tensor, power: float, task_balance: float) -> Tensor:
    """The paper's loss with the authors' factor, from all maps, image by image and class by class."""

    def through(batch: Tensor) -> tuple[list[Tensor], Tensor]:
        """The attention of each layer but the last, and the features: each (k, b, d)."""
        x, maps = batch.flatten(0, 1), []
        for layer in network.body:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        looks = []
        for of_layer in maps[:-1]:
            sums = [(one.abs() ** power).sum(0).flatten() for one in of_layer]
            looks.append(torch.stack([one / (one * one).sum().sqrt() for one in sums]))
        return [look.view(*batch.shape[:2], -1) for look in looks], x.reshape(*batch.shape[:2], -1)

    real_looks, real_features = through(real)
    looks, features = through(images)
    loss = torch.zeros((), dtype=real.dtype)
    for label in range(len(real)):
        for a, b in zip(real_looks, looks, strict=True):
            loss = loss + 100 * ((a[label].mean(0) - b[label].mean(0)) ** 2).sum()
        gap = real_features[label].mean(0) - features[label].mean(0)
        loss = loss + 100 * task_balance * (gap**2).sum()
    return loss


@pytest.mark.parametrize(
    ("network", "power", "task_balance"),
    [("convnet-d3", 4, 0.01), ("convnet-d3", 1, 0.3), ("convnet-d2-bn", 4, 0.01), ("convnet-d2", 3, 0)],
)
def test_the_loss_and_the_first_update_equal_a_naive_derivation_in_float64(
    toy: ImageDataset, tmp_path: Path, losses: list[float], network: str, power: float, task_balance: float
) -> None:
    settings = {"network": network, "power": power, "task_balance": task_balance, "lr_images": 0.5}
    made = distilled("datadam", toy, tmp_path, 2, iterations=1, batch_real=12, **settings)
    # The run's draws in their order: start, first network, and for the iteration network, operations, batch.
    rng = seeded(0)
    train = toy.train.in_space(toy.space("normalized"))
    start = train.draw(2, rng)
    net = build_network(network, toy.spec.shape, 3, rng)
    initialise_(net, rng)
    augment = dsa.siamese(toy.spec.dsa, (8, 8), 3, rng)
    real = augment(train.draw(12, rng).double())
    images = start.double().requires_grad_()
    loss = naive_loss(net.double(), real, augment(images), power, task_balance)
    (gradient,) = torch.autograd.grad(loss, images)
    assert losses == [pytest.approx(float(loss.detach()), rel=1e-4)]
    moved = (start.double() - 0.5 * gradient).flatten(0, 1)
    torch.testing.assert_close(made.double(), moved, rtol=1e-4, atol=1e-5)
    assert (moved - start.double().flatten(0, 1)).abs().max() > 1e-3


@pytest.mark.parametrize("power", POWERS)
def test_the_loss_and_its_gradient_are_the_naive_ones_to_rounding(power: float) -> None:
    net = build_network("convnet-d3", (1, 8, 8), 2, seeded(0)).double()
    images = torch.randn(2, 3, 1, 8, 8, generator=seeded(1), dtype=torch.float64).requires_grad_()
    real = torch.randn(2, 5, 1, 8, 8, generator=seeded(2), dtype=torch.float64)
    method = attentive(power=power, task_balance=0.2)
    means = [
        method.describe(net, batch.flatten(0, 1)).view(*batch.shape[:2], -1).mean(1)
        for batch in (images, real)
    ]
    assert means[0].shape == (2, 128 + 64 + 16)
    loss = (means[0] - means[1]).square().sum()
    expected = naive_loss(net, real, images, power, 0.2)
    torch.testing.assert_close(loss, expected, rtol=1e-10, atol=0)
    gradients = [torch.autograd.grad(value, images)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
    assert gradients[0].abs().max() > 1e-3


@pytest.mark.parametrize("power", POWERS)
def test_attention_is_the_normalised_sum_of_powers_whatever_the_maps_scale(
    power: float,
) -> None:
    maps = rectified((4, 5, 3, 6))
    looks = datadam.attention(maps, power)
    sums = (maps.abs() ** power).sum(1).reshape(4, 18)
    torch.testing.assert_close(looks, sums / sums.norm(dim=1, keepdim=True), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(looks.norm(dim=1), torch.ones(4, dtype=torch.float64))
    scales = torch.tensor([0.1, 1.0, 7.0, 100.0], dtype=torch.float64)[:, None, None, None]
    torch.testing.assert_close(datadam.attention(scales * maps, power), looks)


def test_attention_has_a_finite_gradient_where_an_image_is_dark() -> None:
    maps = rectified((3, 4, 2, 2))
    maps[1] = 0
    for power in POWERS:
        leaf = maps.clone().requires_grad_()
        looks = datadam.attention(leaf.relu(), power)
        assert looks[1].eq(0).all()
        (gradient,) = torch.autograd.grad(looks[:, 0].sum(), leaf)
        assert gradient.isfinite().all() and gradient[0].abs().max() > 0


def test_all_real_images_have_no_distance_from_themselves_and_stay(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    made = distilled("datadam", toy, tmp_path, 20, iterations=3, batch_real=20, lr_images=1)
    start = distilled("datadam", toy, tmp_path, 20, iterations=3, batch_real=20, lr_images=1e-30)
    assert max(losses) < 1e-9
    torch.testing.assert_close(made, start, rtol=0, atol=1e-4)
    distilled("datadam", toy, tmp_path, 19, iterations=1, batch_real=20)
    assert losses[-1] > 1e-4  # with an image less there is a distance


def test_with_a_single_layer_it_is_dm(toy: ImageDataset, tmp_path: Path) -> None:
    settings = {"network": "convnet-d1", "iterations": 3, "batch_real": 8, "lr_images": 0.5}
    dm = distilled("dm", toy, tmp_path, 2, **settings)
    assert torch.equal(distilled("datadam", toy, tmp_path, 2, **settings), dm)
    two = settings | {"network": "convnet-d2"}
    assert not torch.allclose(
        distilled("datadam", toy, tmp_path, 2, **two), distilled("dm", toy, tmp_path, 2, **two), atol=1e-3
    )


def test_with_flat_layers_it_is_dm(toy: ImageDataset, tmp_path: Path) -> None:
    settings = {"network": "mlp", "iterations": 3, "batch_real": 8, "lr_images": 0.5}
    made = [distilled(name, toy, tmp_path, 2, **settings) for name in ("datadam", "dm")]
    torch.testing.assert_close(*made, rtol=1e-5, atol=1e-5)


def test_attention_alone_brings_the_images_attention_nearer_to_their_class(
    toy: ImageDataset, tmp_path: Path
) -> None:
    train = toy.train.in_space(toy.space("normalized"))
    nets = [build_network("convnet-d2", toy.spec.shape, 3, seeded(seed)) for seed in range(100, 105)]

    @torch.no_grad()
    def means(images: Tensor) -> Tensor:
        """Returns the class means of the attention in new networks: (networks, k, h*w)."""
        looks = [net.features_and_maps(images, lambda maps: datadam.attention(maps, 4))[1][0] for net in nets]
        return torch.stack([look.view(3, -1, look.shape[1]).mean(1) for look in looks])

    real = means(train.images[torch.cat([train.of_class(label) for label in range(3)])])
    settings = {"network": "convnet-d2", "batch_real": 20, "task_balance": 0}
    start = distilled("datadam", toy, tmp_path, 1, iterations=1, lr_images=1e-30, **settings)
    made = distilled("datadam", toy, tmp_path, 1, iterations=40, lr_images=0.2, **settings)
    gap, before = ((means(images) - real).square().sum() for images in (made, start))
    assert gap < 0.8 * before


def test_a_power_below_one_is_refused() -> None:
    with pytest.raises(Refused, match=r"datadam: power = 0.5 must be at least 1"):
        attentive(power=0.5)


def test_the_recipes_are_the_authors_table() -> None:
    recipes = DataDAM.recipes
    whitened = {cell for cell, recipe in recipes.items() if recipe.method.config()["pixel_space"] == "zca"}
    assert whitened == {(name, ipc) for name in ("cifar10", "cifar100") for ipc in (1, 10, 50, 100, 200)}
    assert {name for name, _ in set(recipes) - whitened} == {
        "tiny-imagenet", "imagenette", "imagewoof", "imagesquawk"
    }  # fmt: skip
    for (name, ipc), recipe in recipes.items():
        config = recipe.method.config()
        assert config["iterations"] == 8000 and config["batch_real"] == 256 and config["power"] == 4
        assert config["lr_images"] == (1 if ipc <= 50 else 10)
        assert config["task_balance"] == (0.02 if name.startswith("image") else 0.01)
        protocol = recipe.protocol
        assert protocol is not None and [stage.epochs for stage in protocol.stages] == [902, 899]
        assert protocol.batch == 256 and protocol.augment == "dsa" and protocol.reset
