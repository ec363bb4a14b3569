"""Inversion: the loss in float64, and the loop against the authors' loop, one pass after another."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condense.augment.shared import SharedViews
from condense.data import ImageDataset
from condense.distillation import ImageRun
from condense.distillation.inversion import invert as inverting
from condense.distillation.inversion.bn_statistics import total_variation
from condense.distillation.inversion.invert import (
    Inversion,
    Start,
    from_images,
    from_noise,
    inversion_loss,
    invert,
    invert_shared,
)
from condense.distillation.registry import build
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.training.checkpoint import Checkpoints
from tests.stand_ins import start

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def squeezed(name: str = "convnet-d2-bn", seed: int = 0) -> Network:
    """A frozen network whose batch norms remember statistics, as a trained one's do."""
    network = build_network(name, (1, 8, 8), 3, seeded(seed)).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(generator=seeded(seed + 1)).mul_(0.2)
            module.running_var.uniform_(0.3, 1.5, generator=seeded(seed + 2))
    return network


def make_run(toy: ImageDataset, cache: Path, ipc: int = 2, seed: int = 0) -> ImageRun:
    run: ImageRun
    _, run = start(build("dm", "toy", ipc)[0], toy, ipc=ipc, seed=seed, cache=cache / f"{ipc}-{seed}")
    return run


def settings(iterations: int = 6, crop: float = 0.3, **more: float) -> Inversion:
    return Inversion(
        lr=0.2, bn_weight=0.05, crop_mins=(crop,) * iterations, flip=True, roll=2, roll_both=True, **more
    )


def recovered(toy: ImageDataset, cache: Path, *, ipc: int = 2, block: int = 3, iterations: int = 6) -> Tensor:
    run = make_run(toy, cache, ipc)
    return invert(run, squeezed(), settings(iterations), from_noise(run.spec.shape), block=block)


# The loss


def gap(x: Tensor, norm: nn.BatchNorm2d, variance_weight: float) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None
    columns = x.transpose(0, 1).flatten(1)
    of_mean = columns.mean(1)
    of_var = (columns - of_mean[:, None]).square().mean(1)
    norms: Tensor = (
        variance_weight * (of_var - norm.running_var).norm() + (of_mean - norm.running_mean).norm()
    )
    return norms


def naive(network: Network, seen: Tensor, labels: Tensor, numbers: Inversion) -> Tensor:
    """The loss of one pass, layer by layer."""
    x, gaps = seen, []
    for layer in network.body:
        if isinstance(layer, nn.BatchNorm2d):
            gaps.append(gap(x, layer, numbers.variance_weight))
        x = layer(x)
    loss: Tensor = -network.classifier(x.flatten(1)).log_softmax(1)[torch.arange(len(labels)), labels].mean()
    loss = loss + numbers.bn_weight * (numbers.first_bn * gaps[0] + sum(gaps[1:]))
    norms = torch.stack([image.square().sum().sqrt() for image in seen])
    return loss + numbers.tv_weight * total_variation(seen[None])[0] + numbers.l2_weight * norms.mean()


@pytest.mark.parametrize(
    "numbers", [settings(), settings(variance_weight=11.0, tv_weight=0.3, l2_weight=0.2)]
)
def test_each_passs_loss_and_gradient_are_those_of_the_pass_alone(numbers: Inversion) -> None:
    network = squeezed().double()
    labels = torch.tensor([2, 0, 1])
    seen = torch.randn(4, 3, 1, 8, 8, generator=seeded(5), dtype=torch.float64, requires_grad=True)
    ours = inversion_loss(network, seen, labels, numbers)
    alone = torch.stack([naive(network, one, labels, numbers) for one in seen])
    torch.testing.assert_close(ours, alone, rtol=1e-10, atol=0)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(ours @ weights, seen)
    (expected,) = torch.autograd.grad(alone @ weights, seen)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_the_weights_get_no_gradient_and_nothing_of_the_network_changes(
    toy: ImageDataset, tmp_path: Path
) -> None:
    network, untouched = squeezed(), squeezed().state_dict()
    run = make_run(toy, tmp_path)
    invert(run, network, settings(), from_noise(run.spec.shape), block=3)
    assert all(weight.grad is None and not weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(value, untouched[name]) for name, value in network.state_dict().items())


# The loop


def plain(run: ImageRun, network: Network, numbers: Inversion, start: Tensor, views: SharedViews) -> Tensor:
    """One pass of all classes as the authors' loop has it, with each step's crop, flip and roll given."""
    images = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([images], lr=numbers.lr, betas=(0.5, 0.9), eps=1e-8)
    low, high = run.spec.extremes(CPU)
    for step in range(numbers.iterations):
        optimizer.param_groups[0]["lr"] = (
            numbers.lr * 0.5 * (1 + math.cos(math.pi * step / numbers.iterations))
        )
        top, left, height, width = views.boxes[0, step].tolist()
        seen = F.interpolate(
            images[..., top : top + height, left : left + width], size=(8, 8), mode="bilinear"
        )
        seen = (seen.flip(3) if views.mirrored[0, step] else seen).roll(tuple(views.rolls[0, step]), (2, 3))
        optimizer.zero_grad()
        naive(network, seen, torch.arange(len(images)), numbers).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        images.data = torch.minimum(torch.maximum(images.data, low), high)
    return images.detach()


def test_each_pass_is_the_authors_loop(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[SharedViews] = []
    draw = SharedViews.random

    def noted(*arguments: Any, **named: Any) -> SharedViews:
        drawn.append(draw(*arguments, **named))
        return drawn[-1]

    monkeypatch.setattr(SharedViews, "random", noted)
    run, network, numbers = make_run(toy, tmp_path), squeezed(), settings(15, variance_weight=3.0)
    start = torch.randn(3, 2, 1, 8, 8, generator=seeded(9))
    made = invert(run, network, numbers, from_images(start), block=3).view(3, 2, 1, 8, 8)
    for number, views in enumerate(drawn):
        expected = plain(run, network, numbers, start[:, number], views)
        torch.testing.assert_close(made[:, number], expected, rtol=1e-3, atol=1e-4)
    assert len(drawn) == 2 and not torch.equal(drawn[0].boxes, drawn[1].boxes)


def test_a_finished_recovery_keeps_its_images_alone_and_gives_them_again(
    toy: ImageDataset, tmp_path: Path
) -> None:
    made = recovered(toy, tmp_path)
    tree = Checkpoints(next(tmp_path.rglob("checkpoint-*.safetensors")).parent).read()
    assert tree is not None and isinstance(tree["finished"], dict)
    assert isinstance(phase := tree["finished"]["recover"], dict) and isinstance(held := phase["state"], dict)
    assert list(held) == ["images"] and isinstance(held["images"], Tensor)
    assert torch.equal(held["images"].flatten(0, 1), made)
    assert torch.equal(recovered(toy, tmp_path), made)


def test_the_images_of_one_ipc_are_the_first_of_a_larger_ones(toy: ImageDataset, tmp_path: Path) -> None:
    two, three = (recovered(toy, tmp_path, ipc=ipc).view(3, ipc, 1, 8, 8) for ipc in (2, 3))
    torch.testing.assert_close(three[:, :2], two, rtol=1e-4, atol=1e-5)
    assert (three[:, 2] - three[:, 1]).abs().max() > 0.1


@pytest.mark.parametrize(("limit", "value"), [("SWEEP_VALUES", 2 * 3 * 64), ("CPU_PIXELS", 2 * 3 * 64)])
def test_how_many_passes_run_together_changes_nothing(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    whole = recovered(toy, tmp_path / "whole", ipc=5)
    for most in (value, 1):  # two passes and one left over; each by itself
        monkeypatch.setattr(inverting, limit, most)
        parts = recovered(toy, tmp_path / str(most), ipc=5)
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-5)


def test_blocks_are_passes_of_consecutive_classes_and_the_last_has_what_is_left(
    toy: ImageDataset, tmp_path: Path
) -> None:
    seen: list[tuple[list[int], int]] = []
    run = make_run(toy, tmp_path)
    noise = from_noise(run.spec.shape)

    def start(classes: range, number: int, generator: torch.Generator) -> Tensor:
        seen.append((list(classes), number))
        return noise(classes, number, generator)

    network = squeezed()
    classified = Inversion(lr=0.2, bn_weight=0.0, crop_mins=(1.0,) * 40)
    made = invert(run, network, classified, start, block=2)
    assert seen == [([0, 1], 0), ([0, 1], 1), ([2], 0), ([2], 1)]
    assert made.shape == (6, 1, 8, 8)
    # rows: the class recovered, columns: the logit; each logit is largest for its own class's images
    assert network(made).view(3, 2, 3).mean(1).argmax(0).tolist() == [0, 1, 2]


def test_pixels_stay_between_black_and_white_and_some_reach_both(toy: ImageDataset, tmp_path: Path) -> None:
    raw = toy.space("normalized").decode(recovered(toy, tmp_path, iterations=20))
    assert raw.min() > -1e-6 and raw.max() < 1 + 1e-6
    assert (raw < 1e-6).any() and (raw > 1 - 1e-6).any()


def test_a_shared_image_is_learned_for_all_classes_and_not_clamped(toy: ImageDataset, tmp_path: Path) -> None:
    run, network = make_run(toy, tmp_path), squeezed()
    base = torch.randn(3, 2, 1, 8, 8, generator=seeded(3))
    still = Inversion(lr=0.9, bn_weight=0.05, crop_mins=(1.0,) * 8)

    made = invert_shared(run, network, still, base, phase="recover")
    assert made.shape == (2, 1, 8, 8)
    low, high = run.spec.extremes(CPU)
    assert ((made < low) | (made > high)).any()
    for number in range(2):
        added = torch.zeros(1, 1, 8, 8, requires_grad=True)
        optimizer = torch.optim.Adam([added], betas=(0.5, 0.9))
        for step in range(8):
            optimizer.param_groups[0]["lr"] = 0.9 * 0.5 * (1 + math.cos(math.pi * step / 8))
            optimizer.zero_grad()
            loss = naive(network, base[:, number] + added, torch.arange(3), still)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        torch.testing.assert_close(made[number], added.detach()[0], rtol=1e-3, atol=1e-4)


def test_each_pass_of_each_block_gets_a_network_made_from_the_given_one(
    toy: ImageDataset, tmp_path: Path
) -> None:
    run, network, other = make_run(toy, tmp_path), squeezed(), squeezed(seed=7)
    given: list[tuple[Network, Tensor, list[int]]] = []

    def other_network(one: Network, images: Tensor, labels: Tensor) -> Network:
        given.append((one, images, labels.tolist()))
        return other

    start = torch.randn(3, 2, 1, 8, 8, generator=seeded(3))
    still = Inversion(lr=0.1, bn_weight=0.05, crop_mins=(1.0,) * 5)
    made = invert(run, network, still, from_images(start), block=2, pass_network=other_network)
    assert [labels for _, _, labels in given] == [[0, 1], [0, 1], [2], [2]]
    assert all(one is network for one, _, _ in given)
    assert torch.equal(given[1][1], start[:2, 1]) and torch.equal(given[2][1], start[2:, 0])
    same = invert(make_run(toy, tmp_path, seed=1), other, still, from_images(start), block=2)
    torch.testing.assert_close(made, same, rtol=1e-4, atol=1e-5)


def test_a_network_without_batch_norm_is_refused(toy: ImageDataset, tmp_path: Path) -> None:
    run = make_run(toy, tmp_path)
    start: Start = from_noise(run.spec.shape)
    with pytest.raises(Refused, match="this network has none"):
        invert(run, squeezed("convnet-d1"), settings(), start, block=3)
