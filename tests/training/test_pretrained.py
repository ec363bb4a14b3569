import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.augment import named_augmentation
from condense.data import ImageDataset, Images
from condense.distillation import Training, feature_extractor, registry
from condense.errors import Stopped
from condense.files import digest
from condense.networks import Network, build_network
from condense.resources import Budget
from condense.store.targets import Hard, Target
from condense.training.image_training import divided
from condense.training.pretrained import Pretrained, pretrained
from condense.training.step import cutmix, train_step
from tests.stand_ins import start

TINY = Training(network="convnet-w32", steps=10, batch=16)


def make(
    toy: ImageDataset,
    cache: Path,
    training: Training = TINY,
    train: Images | None = None,
    budget: Budget | None = None,
    space: str = "normalized",
) -> Pretrained[Network]:
    train = train or toy.train.in_space(toy.space(space))
    return pretrained(training, train, toy.spec, space, cache=cache, budget=budget or Budget())


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor]]:
    """Learning rate and images of every training step, as they come."""
    module = import_module("condense.training.image_training")
    seen: list[tuple[float, Tensor]] = []
    step: Callable[..., Tensor] = module.train_step

    def noted(network: Network, optimizer: torch.optim.Optimizer, images: Tensor, target: Hard) -> Tensor:
        seen.append((optimizer.param_groups[0]["lr"], images))
        return step(network, optimizer, images, target)

    monkeypatch.setattr(module, "train_step", noted)
    return seen


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> list[Target]:
    """What every training step is towards, as they come."""
    module = import_module("condense.training.image_training")
    seen: list[Target] = []
    step: Callable[..., Tensor] = module.train_step

    def noted(network: Network, optimizer: torch.optim.Optimizer, images: Tensor, target: Target) -> Tensor:
        seen.append(target)
        return step(network, optimizer, images, target)

    monkeypatch.setattr(module, "train_step", noted)
    return seen


def test_the_second_call_returns_the_same_network_without_training(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    one = make(toy, tmp_path)
    assert len(steps) == 10
    two = make(toy, tmp_path)
    assert len(steps) == 10
    assert one.hash == two.hash and one.seconds == two.seconds > 0
    x = toy.train.in_space(toy.space("normalized")).images
    assert torch.equal(one.network(x), two.network(x))


def test_the_network_is_frozen_and_in_evaluation_mode(toy: ImageDataset, tmp_path: Path) -> None:
    for training in (TINY, replace(TINY, network="convnet-w32-bn")):
        for _ in range(2):
            network = make(toy, tmp_path, training).network
            assert not network.training
            assert not any(parameter.requires_grad for parameter in network.parameters())


def test_another_cache_gives_the_same_bits(toy: ImageDataset, tmp_path: Path) -> None:
    torch.rand(3)  # global randomness must not matter
    assert make(toy, tmp_path / "one").hash == make(toy, tmp_path / "two").hash


def test_whatever_the_network_depends_on_has_a_place_of_its_own(toy: ImageDataset, tmp_path: Path) -> None:
    half = Images.of(toy.train.images[::2], toy.train.labels[::2], 3).in_space(toy.space("normalized"))
    found = [make(toy, tmp_path), make(toy, tmp_path, train=half), make(toy, tmp_path, space="zca")]
    for change in (
        replace(TINY, steps=11),
        replace(TINY, batch=15),
        replace(TINY, lr=0.02),
        replace(TINY, momentum=0.8),
        replace(TINY, weight_decay=0.1),
        replace(TINY, augment="dsa"),
        replace(TINY, seed=1),
        replace(TINY, network="convnet-w32-bn"),
        replace(TINY, epochs=2),
        replace(TINY, epochs=3),
        replace(TINY, milestones=(0.5, 0.8)),
        replace(TINY, milestones=()),
        replace(TINY, gamma=0.2),
        replace(TINY, cutmix=0.5),
        replace(TINY, cutmix=1.0),
        replace(TINY, cosine=True),
        replace(TINY, held_out=0.2),
    ):
        found.append(make(toy, tmp_path, change))
    assert len({one.hash for one in found}) == len(found) == len(list((tmp_path / "trained").iterdir()))
    # A new version of the training is a new place, even where it should change nothing.
    assert make(toy, tmp_path, replace(TINY, version=2)).hash == found[0].hash
    assert len(list((tmp_path / "trained").iterdir())) == len(found) + 1


def test_epochs_repeat_no_image_and_the_rate_falls_halfway(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    make(toy, tmp_path)
    assert [rate for rate, _ in steps] == [0.01] * 5 + [pytest.approx(0.001)] * 5
    epochs = [torch.cat([images for _, images in steps[at : at + 3]]) for at in (0, 3, 6)]
    for epoch in epochs:
        assert len(epoch) == len({tuple(image) for image in epoch.flatten(1).tolist()}) == 48
    assert not torch.equal(epochs[0], epochs[1])


def test_a_network_of_the_first_version_still_has_its_place(toy: ImageDataset, tmp_path: Path) -> None:
    first = {
        "network": "convnet-w32", "steps": 10, "batch": 16, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4,
        "augment": "none", "seed": 0, "version": 1,
    }  # fmt: skip
    pixels = {"space": "normalized", "mean": toy.spec.mean, "std": toy.spec.std}
    make(toy, tmp_path)
    key = digest({"training": first, "train": toy.train.hash, "pixels": pixels})
    assert [folder.name for folder in (tmp_path / "trained").iterdir()] == [key[:32]]


@pytest.mark.parametrize("augment", ["none", "dsa"])
def test_by_default_a_network_is_that_of_the_first_versions_loop_to_the_bit(
    toy: ImageDataset, tmp_path: Path, augment: str
) -> None:
    rng = torch.Generator().manual_seed(0)
    plain = build_network("convnet-w32", toy.spec.shape, 3, rng)
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    train = toy.train.in_space(toy.space("normalized"))
    order = torch.randperm(60, generator=rng)
    for step in range(10):
        if step == 5:
            optimizer.param_groups[0]["lr"] = 0.1 * 0.01
        at = step % 3 * 16
        if at == 0 and step > 0:
            order = torch.randperm(60, generator=rng)
        chosen = order[at : at + 16]
        images = named_augmentation(augment, toy.spec.dsa)(train.images[chosen], rng)
        train_step(plain, optimizer, images, Hard(train.labels[chosen]))
    network = make(toy, tmp_path, replace(TINY, augment=augment)).network
    for a, b in zip(network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(a, b)


def test_epochs_take_every_image_once_and_the_rate_falls_at_the_milestones(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    make(toy, tmp_path, replace(TINY, epochs=7, milestones=(2 / 3, 5 / 6), gamma=0.2))
    assert [len(images) for _, images in steps] == [16, 16, 16, 12] * 7
    # The milestones, 14 / 3 and 35 / 6 epochs, are rounded down to 4 and 5.
    scales = [1.0] * 16 + [0.2] * 4 + [0.04] * 8
    assert [rate for rate, _ in steps] == [pytest.approx(0.01 * scale) for scale in scales]
    epochs = [torch.cat([images for _, images in steps[at : at + 4]]) for at in range(0, 28, 4)]
    for epoch in epochs:
        assert len({tuple(image) for image in epoch.flatten(1).tolist()}) == 60
    assert not torch.equal(epochs[0], epochs[1])


def test_epochs_make_the_number_of_steps_mean_nothing(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    hashes = {make(toy, tmp_path, replace(TINY, epochs=2, steps=n)).hash for n in (5, 10, 1000)}
    assert len(hashes) == 1 and len(steps) == 8


def test_milestones_of_steps_are_in_steps(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    make(toy, tmp_path, replace(TINY, milestones=(0.25, 0.7), gamma=0.5))
    assert [rate for rate, _ in steps] == [0.01] * 2 + [0.005] * 5 + [0.0025] * 3


def test_along_a_cosine_the_rate_goes_to_zero_and_milestones_mean_nothing(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    training = replace(TINY, epochs=3, cosine=True)
    found = make(toy, tmp_path, training).hash
    rates = [rate for rate, _ in steps]
    assert len(rates) == 12
    assert rates[0] == 0.01 and rates[6] == pytest.approx(0.005)
    assert rates[3] == pytest.approx(0.01 * (2 + 2**0.5) / 4)
    for step, rate in enumerate(rates[1:], start=1):  # the rate at step 12, which is not made, would be 0
        assert rate + rates[12 - step] == pytest.approx(0.01)
    assert make(toy, tmp_path, replace(training, milestones=(0.1,), gamma=0.5)).hash == found
    assert len(steps) == 12


def test_accuracy_is_measured_on_images_that_are_never_trained_on(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    training = replace(TINY, epochs=8, held_out=0.2, lr=0.05)
    found = make(toy, tmp_path, training)
    train = toy.train.in_space(toy.space("normalized"))
    kept, out = divided(train, 0.2, 0)
    assert torch.bincount(train.labels[out]).tolist() == [4, 4, 4]
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(60))
    seen = {tuple(image) for _, images in steps for image in images.flatten(1).tolist()}
    assert seen == {tuple(image) for image in train.images[kept].flatten(1).tolist()}
    right = (found.network(train.images[out]).argmax(1) == train.labels[out]).double().mean()
    assert found.accuracy == pytest.approx(100 * float(right)) and right > 0.5
    assert make(toy, tmp_path, training).accuracy == found.accuracy
    assert make(toy, tmp_path).accuracy is None


def test_a_share_is_held_out_of_each_class_by_seed_and_never_all_of_it(toy: ImageDataset) -> None:
    labels = torch.tensor([0] * 10 + [1] * 2 + [2])
    odd = Images.of(torch.zeros(13, 1, 8, 8, dtype=torch.uint8), labels, 3)
    for share, counts in ((0.0, [0, 0, 0]), (0.01, [1, 1, 0]), (0.3, [3, 1, 0]), (0.99, [9, 1, 0])):
        kept, out = divided(odd, share, 0)
        assert torch.bincount(labels[out], minlength=3).tolist() == counts
        assert sorted([*kept.tolist(), *out.tolist()]) == list(range(13))
    assert len({tuple(divided(odd, 0.3, seed)[1].tolist()) for seed in range(5)}) > 1
    assert torch.equal(divided(odd, 0.3, 1)[1], divided(odd, 0.3, 1)[1])


def test_batches_are_mixed_after_their_augmentation(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]], targets: list[Target]
) -> None:
    make(toy, tmp_path, replace(TINY, steps=1, augment="crop-flip", cutmix=1.0))
    rng = torch.Generator().manual_seed(0)
    build_network("convnet-w32", toy.spec.shape, 3, rng)
    chosen = torch.randperm(60, generator=rng)[:16]
    train = toy.train.in_space(toy.space("normalized"))
    images = named_augmentation("crop-flip", toy.spec.dsa)(train.images[chosen], rng)
    images, target = cutmix(images, Hard(train.labels[chosen]), rng, 1.0)
    assert torch.equal(steps[0][1], images) and not torch.equal(images, train.images[chosen])
    logits = torch.randn(16, 3, generator=rng)
    assert torch.equal(targets[0].loss(logits), target.loss(logits))


def test_raw_and_normalised_images_share_one_network(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    raw, normalized = (make(toy, tmp_path / space, space=space) for space in ("raw", "normalized"))
    assert raw.hash == normalized.hash
    assert torch.equal(steps[0][1], steps[10][1])
    make(toy, tmp_path / "raw")
    assert len(steps) == 20


def test_a_network_untrained_is_the_one_that_its_training_starts_from(
    toy: ImageDataset, tmp_path: Path
) -> None:
    _, run = start(registry.build("dm", "toy", 1)[0], toy, ipc=1, seed=9, cache=tmp_path)
    before = run.rng.get_state()
    for training in (TINY, replace(TINY, seed=4, network="convnet-w32-bn", epochs=3, cutmix=0.5)):
        first = run.untrained(training)
        fresh = build_network(
            training.network, toy.spec.shape, 3, torch.Generator().manual_seed(training.seed)
        )
        still = make(toy, tmp_path, replace(training, lr=0.0)).network
        for a, b, c in zip(first.parameters(), fresh.parameters(), still.parameters(), strict=True):
            assert torch.equal(a, b) and torch.equal(a, c)
        assert not first.training and not any(weight.requires_grad for weight in first.parameters())
    assert torch.equal(run.rng.get_state(), before)


def test_a_batch_larger_than_the_training_set_is_the_training_set(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]]
) -> None:
    make(toy, tmp_path, replace(TINY, batch=256, steps=2))
    assert [len(images) for _, images in steps] == [60, 60]


def test_it_learns(toy: ImageDataset, tmp_path: Path) -> None:
    network = make(toy, tmp_path, replace(TINY, steps=60, batch=20, lr=0.05)).network
    test = toy.test.in_space(toy.space("normalized"))
    assert (network(test.images).argmax(1) == test.labels).float().mean() > 0.6


def test_training_that_its_budget_stopped_goes_on_to_the_same_hash(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]], spent_after: Callable[[int], Budget]
) -> None:
    mixed = replace(TINY, epochs=5, batch=30, milestones=(0.3, 0.6), gamma=0.5, cutmix=0.5)
    parted = replace(TINY, epochs=5, batch=24, cosine=True, held_out=0.2)
    for training in (TINY, replace(TINY, network="convnet-w32-bn", augment="dsa"), mixed, parted):
        whole = make(toy, tmp_path / "whole", training).hash
        steps.clear()
        for times in (3, 2):
            with pytest.raises(Stopped):
                make(toy, tmp_path / "stopped", training, budget=spent_after(times))
        assert make(toy, tmp_path / "stopped", training).hash == whole
        assert len(steps) == 10
        assert not list((tmp_path / "stopped").rglob("checkpoint-*"))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing", "no about", "wrong about"])
def test_damaged_weights_are_trained_again(
    toy: ImageDataset, tmp_path: Path, steps: list[tuple[float, Tensor]], damage: str
) -> None:
    whole = make(toy, tmp_path).hash
    weights, about = (next(tmp_path.rglob(name)) for name in ("weights.safetensors", "about.json"))
    data = bytearray(weights.read_bytes())
    if damage == "truncated":
        weights.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[-100] ^= 1
        weights.write_bytes(data)
    elif damage == "missing":
        weights.unlink()
    elif damage == "no about":
        about.write_text("{")
    else:
        about.write_text(json.dumps({"hash": "0" * 64, "seconds": 1.0}))
    steps.clear()
    assert make(toy, tmp_path).hash == whole
    assert len(steps) == 10
    assert make(toy, tmp_path).hash == whole and len(steps) == 10


def test_the_first_step_is_that_of_plain_sgd_on_the_network_of_the_seed(
    toy: ImageDataset, tmp_path: Path
) -> None:
    # A single step is in the second half, at a tenth of the rate.
    network = make(toy, tmp_path, replace(TINY, steps=1, weight_decay=0.0, seed=5)).network
    rng = torch.Generator().manual_seed(5)
    plain = build_network("convnet-w32", toy.spec.shape, 3, rng)
    order = torch.randperm(60, generator=rng)[:16]
    train = toy.train.in_space(toy.space("normalized"))
    loss = torch.nn.functional.cross_entropy(plain(train.images[order]), train.labels[order])
    gradients = torch.autograd.grad(loss, list(plain.parameters()))
    for found, weight, gradient in zip(network.parameters(), plain.parameters(), gradients, strict=True):
        torch.testing.assert_close(found, weight.detach() - 0.001 * gradient)


def test_the_feature_extractors_recipe_is_pinned() -> None:
    assert feature_extractor("mlp") == Training(
        network="mlp", steps=1000, batch=256, lr=0.01, momentum=0.9, weight_decay=5e-4, augment="none",
        seed=0, version=1, epochs=None, milestones=(0.5,), gamma=0.1, cutmix=0.0, cosine=False, held_out=0.0,
    )  # fmt: skip


@pytest.mark.parametrize(("augment", "shared"), [("none", True), ("dsa:color", True), ("dsa", False)])
def test_the_datasets_strategy_is_hashed_if_the_augmentation_uses_it(
    augment: str, shared: bool, toy: ImageDataset, tmp_path: Path
) -> None:
    training = Training(network="mlp", steps=2, batch=8, augment=augment)
    train = toy.train.in_space(toy.space("normalized"))
    for strategy in ("color", "crop"):
        spec = replace(toy.spec, dsa=strategy)
        pretrained(training, train, spec, "normalized", cache=tmp_path, budget=Budget())
    assert len(list((tmp_path / "trained").iterdir())) == (1 if shared else 2)
