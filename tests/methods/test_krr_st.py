"""KRR-ST: the mathematics of its loss, its inner training, its pool, and what it does not read."""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset, Images
from condense.distillation.engine import distill
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.evaluation.transfer import TransferStudent
from condense.networks import Network, build_network, initialise_
from condense.protocols import TRANSFER_V1
from condense.resources import Machine
from condense.store import ImageSet
from tests.stand_ins import start

module: Any = import_module("condense.methods.krr_st")
QUICK: dict[str, object] = {**methods()["krr_st"].quick, "iterations": "6"}


def made(dataset: ImageDataset, cache: Path, name: str = "krr_st", **params: object) -> ImageSet:
    fields: dict[str, object] = {**(QUICK if name == "krr_st" else methods()[name].quick), **params}
    found, run = distill(build(name, "toy", 2, fields)[0], dataset, ipc=2, cache=cache)
    run.done()
    assert isinstance(found, ImageSet)
    return found


def problem(m: int = 5, b: int = 7, d: int = 4) -> tuple[Network, Tensor, Tensor, Tensor, Tensor]:
    """A network in float64, images with targets, and real images with the teacher's vectors."""
    rng = torch.Generator().manual_seed(0)
    network = build_network("convnet-w32-bn", (1, 8, 8), d, rng).double()
    x, y, real, g = (
        torch.randn(*shape, generator=rng, dtype=torch.float64)
        for shape in ((m, 1, 8, 8), (m, d), (b, 1, 8, 8), (b, d))
    )
    return network, x.requires_grad_(), y.requires_grad_(), real, g


def with_one(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], 1)


def test_the_loss_is_that_of_float64_kernel_ridge_regression() -> None:
    network, x, y, real, g = problem()
    mine = module.outer_loss(network, x, y, real, g)
    with torch.no_grad():
        f_s, f_r = with_one(network.features(x)), with_one(network.features(real))
        k_ss = f_s @ f_s.T
        ridge = 1e-6 * k_ss.trace()
        predicted = f_r @ f_s.T @ torch.linalg.inv(k_ss + ridge * torch.eye(5, dtype=torch.float64)) @ y
    torch.testing.assert_close(mine.detach(), ((predicted - g) ** 2).sum() / (7 * 4), rtol=1e-9, atol=0)
    assert not network.training


def test_it_is_the_loss_of_a_last_layer_that_least_squares_has_converged_to() -> None:
    network, x, y, real, g = problem(m=3)
    network.eval()
    f_s, f_r = with_one(network.features(x)).detach(), with_one(network.features(real)).detach()
    ridge = 1e-6 * (f_s @ f_s.T).trace()
    layer = torch.zeros(f_s.shape[1], 4, dtype=torch.float64)
    step = 1 / torch.linalg.matrix_norm(f_s, ord=2) ** 2
    for _ in range(20_000):  # gradient descent on |F w - Y|^2 + ridge |w|^2
        layer -= step * (f_s.T @ (f_s @ layer - y.detach()) + ridge * layer)
    unrolled = (f_r @ layer - g).square().mean()
    torch.testing.assert_close(
        module.outer_loss(network, x, y, real, g).detach(), unrolled, rtol=1e-5, atol=0
    )


def test_predicting_the_set_from_itself_gives_its_targets() -> None:
    network, x, y, _, _ = problem()
    loss = module.outer_loss(network, x, y, x.detach(), y.detach())
    assert float(loss.detach()) < 1e-6 * float(y.detach().square().mean())
    strong = replace(module.RIDGE, factor=1.0)
    network.eval()
    features = network.features(x)
    assert float((strong.predict_by_kernel(features, features, y) - y).detach().abs().max()) > 1e-2


def test_the_gradient_of_the_targets_has_its_closed_form() -> None:
    network, x, y, real, g = problem()
    torch.autograd.backward(module.outer_loss(network, x, y, real, g), inputs=[x, y])
    with torch.no_grad():
        f_s, f_r = with_one(network.features(x)), with_one(network.features(real))
        k = f_s @ f_s.T
        k += 1e-6 * k.trace() * torch.eye(5, dtype=torch.float64)
        predicted = f_r @ f_s.T @ torch.linalg.solve(k, y)
        expected = torch.linalg.solve(k, f_s @ f_r.T @ (2 * (predicted - g) / (7 * 4)))
    torch.testing.assert_close(y.grad, expected, rtol=1e-7, atol=1e-10)


def test_the_gradient_of_a_pixel_is_the_slope_with_the_ridge_held_fixed() -> None:
    network, x, y, real, g = problem()
    torch.autograd.backward(module.outer_loss(network, x, y, real, g), inputs=[x, y])
    assert x.grad is not None
    with torch.no_grad():
        f_r, f_s = with_one(network.features(real)), with_one(network.features(x))
        ridge = 1e-6 * (f_s @ f_s.T).trace() * torch.eye(5, dtype=torch.float64)

        def loss(shift: float) -> Any:
            moved = x.detach().clone()
            moved[1, 0, 3, 4] += shift
            f = with_one(network.features(moved))
            return (f_r @ f.T @ torch.linalg.solve(f @ f.T + ridge, y) - g).square().mean()

        slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    torch.testing.assert_close(x.grad[1, 0, 3, 4], slope, rtol=1e-5, atol=1e-9)


def test_a_step_of_a_network_is_the_mean_squared_error_and_draws_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, x, y, _, _ = problem()
    images, targets = x.detach().float(), y.detach().float()
    networks = [build_network("convnet-w32-bn", (1, 8, 8), 4, torch.Generator().manual_seed(1)) for _ in "ab"]
    state = torch.random.get_rng_state()
    for name in ("randperm", "rand", "randn", "randint"):
        monkeypatch.setattr(torch, name, None)
    for network in networks[:1]:
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        module.inner_step(images, targets, network, optimizer)
    assert torch.equal(torch.random.get_rng_state(), state)
    plain = networks[1]
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    torch.autograd.backward(torch.nn.functional.mse_loss(plain.train()(images), targets))
    optimizer.step()
    for one, other in zip(networks[0].parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("reset", [True, False])
def test_ages_stay_spread_with_the_reset_and_all_grow_old_without(
    toy: ImageDataset, tmp_path: Path, reset: bool
) -> None:
    method: Any = build(
        "krr_st", "toy", 2, {**QUICK, "networks": 6, "online_steps": 8, "counter_reset": reset}
    )[0]
    _, run = start(method, toy, ipc=2, cache=tmp_path)
    pool = method.pool(run, 4)
    drawn: list[Network] = []

    def noted(network: Network, rng: torch.Generator) -> None:
        drawn.append(network)
        initialise_(network, rng)

    pool._initialise = noted
    method.warm_start(pool, lambda *_: None, run)
    assert all(1 <= age < 8 for age in pool.ages) and len(set(pool.ages)) > 1 and not drawn
    seen = []
    for _ in range(600):
        method.visit(pool, pool.draw(run.rng), lambda *_: None, run)
        seen.append(list(pool.ages))
    counts = torch.bincount(torch.tensor(seen[100:]).flatten(), minlength=9)
    if reset:
        assert 600 / 9 * 0.7 < len(drawn) < 600 / 9 * 1.3  # once in eight steps and a renewal
        assert int(counts.min()) > 0.4 * float(counts.float().mean())
    else:
        assert int(counts[8]) == int(counts.sum()) and len(drawn) > 500


def test_a_network_that_starts_over_is_not_trained_in_that_visit(toy: ImageDataset, tmp_path: Path) -> None:
    method: Any = build("krr_st", "toy", 2, QUICK)[0]
    _, run = start(method, toy, ipc=2, cache=tmp_path)
    pool, steps = method.pool(run, 4), list[int]()
    pool.ages[0] = pool.lifetime
    method.visit(pool, 0, lambda *_: steps.append(1), run)
    assert not steps and pool.ages[0] == 0
    method.visit(pool, 0, lambda *_: steps.append(1), run)
    assert len(steps) == 1 and pool.ages[0] == 1


@pytest.mark.parametrize("name", ["krr_st", "random_taught"])
def test_other_labels_of_the_training_images_change_no_bit(
    toy: ImageDataset, tmp_path: Path, name: str
) -> None:
    mixed = Images.of(toy.train.images, toy.train.labels[torch.arange(59, -1, -1)], 3)
    one, other = made(toy, tmp_path, name), made(replace(toy, train=mixed), tmp_path, name)
    assert one.tensors().keys() == other.tensors().keys()
    assert all(torch.equal(held, other.tensors()[part]) for part, held in one.tensors().items())
    assert one.content["dataset"]["classes"] == ["unlabelled"]


def test_random_taught_is_where_it_starts_and_the_set_names_the_encoder(
    toy: ImageDataset, tmp_path: Path
) -> None:
    first = made(toy, tmp_path, "random_taught")
    learned = made(toy, tmp_path, lr=1e-12)
    assert first.features is not None and learned.features is not None
    torch.testing.assert_close(learned.images, first.images)
    torch.testing.assert_close(learned.features, first.features)
    assert first.content["label"] == learned.content["label"]
    label: dict[str, Any] = {**first.content["label"]}
    assert label["dim"] == 512 and label["scale"] == 1 / 512
    assert label["teacher"] == first.content["teacher"]["hash"]
    assert first.content["teacher"]["network"] == "convnet-w32-bn"
    normalized = toy.train.in_space(toy.space("normalized")).images
    rows = {tuple(image) for image in normalized.flatten(1).tolist()}
    assert all(tuple(image) in rows for image in first.images.flatten(1).tolist())


def test_its_updates_lower_the_loss_of_fresh_networks_on_images_it_has_not_seen(
    digits: ImageDataset, tmp_path: Path
) -> None:
    params: dict[str, object] = {
        **QUICK,
        "iterations": "150",
        "batch_real": "128",
        "lr": "0.01",
        "online_steps": "20",
    }
    method: Any = build("krr_st", "digits", 1, params)[0]
    learned, run = distill(method, digits, ipc=1, cache=tmp_path)
    train, start_run = start(method, digits, ipc=1, cache=tmp_path)
    encoder = method.encoder(train, start_run)
    sets = {"learned": (learned.images, learned.features), "first": method.first(train, start_run, encoder)}
    unseen = digits.test.in_space(digits.space("normalized")).images[:200]
    losses = {}
    for name, (images, targets) in sets.items():
        total = 0.0
        for seed in range(3):
            rng = torch.Generator().manual_seed(seed)
            network = build_network("convnet-w32-bn", (1, 8, 8), encoder.dim, rng)
            optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
            for _ in range(20):
                module.inner_step(images, targets, network, optimizer)
            total += float(
                module.outer_loss(network, images, targets, unseen, encoder.features(unseen)).detach()
            )
        losses[name] = total / 3
    assert losses["learned"] < 0.9 * losses["first"]


def test_a_run_cut_short_in_the_warm_start_or_later_ends_in_the_same_set(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spent_after: Any
) -> None:
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0")
    expected = made(toy, tmp_path / "whole").hash
    method: Any = build("krr_st", "toy", 2, QUICK)[0]
    made(toy, tmp_path / "cut", "random_taught")  # the encoder, which has a test of its own
    for asked in (0, 2, 1):  # in the warm start, and twice after it
        with pytest.raises(Stopped):
            distill(method, toy, ipc=2, cache=tmp_path / "cut", machine=Machine(budget=spent_after(asked)))
    assert made(toy, tmp_path / "cut").hash == expected


def test_a_student_learns_from_the_set_and_goes_on(toy: ImageDataset, tmp_path: Path) -> None:
    assert TRANSFER_V1.tune is not None and TRANSFER_V1.regress is not None
    short = replace(
        TRANSFER_V1,
        regress=replace(TRANSFER_V1.regress, epochs=5),
        tune=replace(TRANSFER_V1.tune, steps=60, batch=20, augment="none"),
    )
    learned = made(toy, tmp_path)
    student = TransferStudent.of(learned, toy, toy, short, "convnet-w32", Machine())
    assert student.outcome(0).accuracy > 60


def test_settings_that_cannot_work_are_refused(toy: ImageDataset, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, object], int, str]] = [
        ({"pixel_space": "zca"}, 1, "the teacher sees normalized pixels"),
        ({"teacher_images": "1"}, 1, "two images or more"),
        ({}, 21, "toy has 60 training images, and krr_st starts from 63 of them"),
        ({"teacher_network": "resnet99"}, 1, "resnet99"),
    ]
    for params, ipc, reason in cases:
        with pytest.raises(Refused, match=reason):
            distill(build("krr_st", "toy", ipc, {**QUICK, **params})[0], toy, ipc=ipc, cache=tmp_path)
    for wrapper in ("fkd", "expert"):
        with pytest.raises(Refused, match=f"{wrapper} goes by classes, and the images of krr_st have none"):
            build(f"krr_st+{wrapper}", "toy", 1)


def test_the_loop_of_the_method_applies_no_augmentation_to_the_sets_images(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []

    def noted(strategy: str, dsa: str) -> Any:
        def same(images: Tensor, rng: torch.Generator) -> Tensor:
            seen.append(images)
            return images

        return same

    monkeypatch.setattr(module, "named_augmentation", noted)
    learned = made(toy, tmp_path)
    assert len(seen) == 6 and all(len(images) == 60 for images in seen)
    assert all(not images.requires_grad for images in seen) and len(learned.images) == 6


def test_the_learning_rate_falls_linearly_to_a_thousandth() -> None:
    assert [module.falling(part) for part in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.5005, 0.001])


def test_recipes_have_the_papers_numbers() -> None:
    recipe = methods()["krr_st"].recipes["cifar100", 10]
    method: Any = recipe.method
    assert (method.iterations, method.lr, method.networks, method.online_steps) == (160_000, 1e-4, 10, 1000)
    assert (method.lr_network, method.momentum, method.weight_decay, method.batch_real) == (
        0.1,
        0.9,
        1e-3,
        1024,
    )
    assert method.teacher_network == "resnet18-bn" and method.counter_reset
    assert recipe.protocol is not None and recipe.protocol.tune == TRANSFER_V1.tune
