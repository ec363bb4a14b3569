from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.augment import dsa
from condense.data import ImageDataset, Images
from condense.distillation import ImageRun, distill
from condense.distillation.matching.distribution import class_means
from condense.distillation.registry import build, methods
from condense.networks import build_network, initialise_

DM = methods()["dm"]


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every iteration, as it is logged."""
    seen: list[float] = []
    monkeypatch.setattr(ImageRun, "log", lambda self, *, loss: seen.append(float(loss.detach())))
    return seen


def train_of(toy: ImageDataset) -> Images:
    return toy.train.in_space(toy.space("normalized"))


def distilled(toy: ImageDataset, cache: Path, ipc: int, **settings: object) -> Tensor:
    params = {"network": "convnet-w32"} | {name: str(value) for name, value in settings.items()}
    images: Tensor = distill(build("dm", "toy", ipc, params)[0], toy, ipc=ipc, cache=cache)[0].images
    return images


def test_all_real_images_have_no_distance_from_themselves_and_stay(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    made = distilled(toy, tmp_path, 20, iterations=3, batch_real=20, lr_images=1)
    start = distilled(toy, tmp_path, 20, iterations=3, batch_real=20, lr_images=1e-30)
    assert max(losses) < 1e-9
    torch.testing.assert_close(made, start, rtol=0, atol=1e-4)
    assert sorted(start.flatten(1).tolist()) == sorted(train_of(toy).images.flatten(1).tolist())
    distilled(toy, tmp_path, 19, iterations=1, batch_real=20)
    assert losses[-1] > 1e-4  # with an image less there is a distance


def test_the_loss_and_the_first_update_equal_a_naive_derivation_in_float64(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    made = distilled(toy, tmp_path, 2, iterations=1, batch_real=12, lr_images=0.5)
    # The run's draws in their order: start, first network, and for the iteration network, operations, batch.
    rng = torch.Generator().manual_seed(0)
    train = train_of(toy)
    start = train.draw(2, rng)
    network = build_network("convnet-w32", toy.spec.shape, 3, rng)
    initialise_(network, rng)
    augment = dsa.siamese(toy.spec.dsa, (8, 8), 3, rng)
    real = train.draw(12, rng).double()
    network = network.double()
    images = start.double().requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for label in range(3):
        alone = dsa.Drawn(augment.ops[label : label + 1], augment.values[label : label + 1], augment.size)
        of_real = network.features(alone(real[label : label + 1])[0]).mean(0)
        of_images = network.features(alone(images[label : label + 1])[0]).mean(0)
        loss = loss + ((of_real - of_images) ** 2).sum()
    (gradient,) = torch.autograd.grad(loss, images)
    assert losses == [pytest.approx(float(loss.detach()), rel=1e-4)]
    moved = (start.double() - 0.5 * gradient).flatten(0, 1)
    torch.testing.assert_close(made.double(), moved, rtol=1e-4, atol=1e-5)
    assert (moved - start.double().flatten(0, 1)).abs().max() > 1e-3


def test_n_iterations_are_n_updates_each_under_another_network(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    seen = [distilled(toy, tmp_path, 1, iterations=count, batch_real=8, momentum=0) for count in (1, 2, 3)]
    assert len(losses) == 1 + 2 + 3 and losses[0] == losses[1] == losses[3] and losses[2] == losses[4]
    assert not torch.equal(seen[0], seen[1]) and not torch.equal(seen[1], seen[2])
    losses.clear()
    # Images that stand still under real batches that are the whole class: what changes is the network.
    distilled(toy, tmp_path, 1, iterations=4, batch_real=20, lr_images=1e-30)
    assert len(set(losses)) == 4


def test_the_momentum_of_the_pixels_is_that_of_sgd(toy: ImageDataset, tmp_path: Path) -> None:
    def images(iterations: int, momentum: float, lr_images: float = 1.0) -> Tensor:
        return distilled(
            toy,
            tmp_path,
            1,
            iterations=iterations,
            batch_real=8,
            momentum=momentum,
            lr_images=lr_images,
        )

    # The first update is the same with and without; the second adds half of the first.
    start, first = images(1, 0.0, 1e-30), images(1, 0.0)
    assert torch.equal(images(1, 0.5), first) and not torch.equal(first, start)
    torch.testing.assert_close(images(2, 0.5) - images(2, 0.0), 0.5 * (first - start), rtol=1e-4, atol=1e-5)


def test_the_images_come_nearer_to_the_mean_of_their_class(toy: ImageDataset, tmp_path: Path) -> None:
    def gap(images: Tensor) -> float:
        """Mean squared feature distance over networks that the method has not seen, without augmentation."""
        train = train_of(toy)
        total = 0.0
        for seed in range(100, 110):
            network = build_network("convnet-w32", toy.spec.shape, 3, torch.Generator().manual_seed(seed))
            real = [network.features(train.images[train.of_class(label)]).mean(0) for label in range(3)]
            total += float((network.features(images) - torch.stack(real)).detach().square().sum())
        return total

    settings = {"batch_real": 20, "lr_images": 0.1}
    start = distilled(toy, tmp_path, 1, iterations=1, **(settings | {"lr_images": 1e-30}))
    assert gap(distilled(toy, tmp_path, 1, iterations=60, **settings)) < 0.8 * gap(start)


def test_the_means_of_rows_that_lie_class_by_class_are_each_classs() -> None:
    features = torch.arange(24.0).view(6, 4)
    expected = torch.stack([features[:2].mean(0), features[2:4].mean(0), features[4:].mean(0)])
    assert torch.equal(class_means(features, (len(features) // 3,) * 3), expected)


def test_the_recipes_are_the_authors_cells_and_rates_with_their_evaluation() -> None:
    rates = {cell: getattr(recipe.method, "lr_images", None) for cell, recipe in DM.recipes.items()}
    assert rates["cifar10", 10] == rates["mnist", 1] == rates["tiny-imagenet", 50] == 1.0
    assert rates["cifar10", 1250] == 10.0 and rates["cifar100", 125] == 1.0
    assert len(rates) == 8 + 5 + 3 + 3
    digits = DM.recipes["mnist", 10].method.config()  # the defaults of main_DM.py, as the docstring says
    defaults = {"iterations": 20000, "lr_images": 1.0, "momentum": 0.5, "batch_real": 256}
    assert digits == defaults | {"network": "convnet", "pixel_space": "normalized", "init": "real"}
    for recipe in DM.recipes.values():
        assert getattr(recipe.method, "iterations", None) == 20000
        protocol = recipe.protocol
        assert protocol is not None and [stage.epochs for stage in protocol.stages] == [502, 499]
        assert protocol.augment == "dsa" and protocol.reset
