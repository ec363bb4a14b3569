from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset, Images
from condense.errors import Stopped
from condense.files import hash_tensors
from condense.resources import Budget
from condense.teachers.encoder import Encoder
from condense.training.barlow_twins import EPSILON, LAST, BarlowTwins, Twins, barlow_twins_loss, view
from condense.training.pretrained import Pretrained, pretrained

TINY = BarlowTwins(network="convnet-w32-bn", images=40, epochs=2, batch=16, projector=12)


def make(
    toy: ImageDataset,
    cache: Path,
    training: BarlowTwins = TINY,
    budget: Budget | None = None,
    train: Images | None = None,
) -> Pretrained[Twins]:
    images = (train or toy.train).in_space(toy.space("normalized"))
    return pretrained(training, images, toy.spec, "normalized", cache=cache, budget=budget or Budget())


def naive(first: Tensor, second: Tensor, redundancy: float) -> Tensor:
    """The paper's formula, entry by entry."""
    n, p = first.shape
    columns = []
    for z in (first, second):
        mean = sum(z[i] for i in range(n)) / n
        variance = sum((z[i] - mean) ** 2 for i in range(n)) / n
        columns.append((z - mean) / (variance + EPSILON) ** 0.5)
    a, b = columns
    total = torch.zeros((), dtype=torch.float64)
    for i in range(p):
        for j in range(p):
            c = sum(a[m, i] * b[m, j] for m in range(n)) / n
            total = total + ((1 - c) ** 2 if i == j else redundancy * c**2)
    return total


def outputs(n: int = 7, p: int = 4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, n, p, generator=rng, dtype=torch.float64)
    return first.requires_grad_(), second.requires_grad_()


def test_the_loss_and_its_gradient_equal_the_papers_formula_in_float64() -> None:
    ours, theirs = outputs(), outputs()
    mine, expected = barlow_twins_loss(*ours, 0.3), naive(*theirs, 0.3)
    torch.autograd.backward([mine, expected])
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=0)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_the_loss_ignores_the_scale_and_the_shift_of_each_output() -> None:
    first, second = (one.detach() for one in outputs(n=64))
    moved = second * torch.tensor([2.0, 3.0, 0.5, 7.0]) + torch.tensor([1.0, -2.0, 0.0, 5.0])
    one, other = (barlow_twins_loss(first, z, 0.5) for z in (second, moved))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_equal_views_with_uncorrelated_outputs_have_no_loss() -> None:
    signs = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert float(barlow_twins_loss(signs, signs, 1.0)) == pytest.approx(0, abs=1e-8)
    repeated = signs[:, [0, 0]]
    assert float(barlow_twins_loss(repeated, repeated, 0.25)) == pytest.approx(2 * 0.25, abs=1e-4)


def test_views_are_drawn_anew_and_mirrored_only_where_flips_are_allowed() -> None:
    x = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    first, second = (view(x, torch.Generator().manual_seed(seed), flips=True) for seed in (0, 1))
    assert first.shape == x.shape and not torch.equal(first, second)
    grey = (first == first[:, :1]).all((1, 2, 3))
    assert 0 < int(grey.sum()) < 16
    ramp = torch.arange(8.0).expand(64, 1, 8, 8)
    rises = {
        flips: (view(ramp, torch.Generator().manual_seed(0), flips=flips).diff(dim=3) >= 0).all((1, 2, 3))
        for flips in (False, True)
    }
    assert bool(rises[False].all()) and not bool(rises[True].all())


def test_the_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    training = BarlowTwins(network="convnet", lr=2.0, warmup=0.2)
    rates = [training.rate(step, 10) for step in range(10)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(2 * (LAST + (1 - LAST) / 2))
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)


def test_the_same_training_gives_the_same_bits_and_is_done_once(toy: ImageDataset, tmp_path: Path) -> None:
    one, again, other = make(toy, tmp_path), make(toy, tmp_path), make(toy, tmp_path / "elsewhere")
    assert one.hash == again.hash == other.hash and one.seconds == again.seconds
    changes = ({"images": 30}, {"epochs": 3}, {"redundancy": 0.1}, {"projector": 8}, {"seed": 1})
    others = [make(toy, tmp_path, replace(TINY, **change)) for change in changes]
    assert len({one.hash, *(found.hash for found in others)}) == 1 + len(changes)


def test_labels_change_no_bit_of_an_encoder(toy: ImageDataset, tmp_path: Path) -> None:
    mixed = Images.of(toy.train.images, toy.train.labels.roll(7), 3)
    assert make(toy, tmp_path, train=mixed).hash == make(toy, tmp_path).hash


def test_an_interrupted_training_goes_on_to_the_same_bits(
    toy: ImageDataset, tmp_path: Path, spent_after: Callable[[int], Budget], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0")
    with pytest.raises(Stopped):
        make(toy, tmp_path, budget=spent_after(2))
    assert make(toy, tmp_path).hash == make(toy, tmp_path / "whole").hash


def test_training_lowers_the_loss_on_views_that_it_has_not_seen(toy: ImageDataset, tmp_path: Path) -> None:
    x, scores = toy.test.in_space(toy.space("normalized")).images, []
    for epochs in (1, 40):
        twins = make(toy, tmp_path, replace(TINY, epochs=epochs, images=60)).network
        rng = torch.Generator().manual_seed(9)
        with torch.no_grad():
            first, second = (twins(view(x, rng, flips=False)) for _ in range(2))
            scores.append(float(barlow_twins_loss(first, second, TINY.redundancy)))
    assert scores[1] < 0.8 * scores[0]


def test_an_encoder_is_named_by_the_tensors_that_make_its_features(toy: ImageDataset, tmp_path: Path) -> None:
    found = make(toy, tmp_path)
    encoder = Encoder.of(found.network, TINY.network)
    body = {name: value for name, value in found.network.encoder.state_dict().items() if "body" in name}
    assert encoder.hash == hash_tensors(body) and encoder.nbytes == sum(one.nbytes for one in body.values())
    assert encoder.dim == 32 * 4 * 4 and encoder.name == "convnet-w32-bn" and encoder.accuracy is None
    x = toy.train.in_space(toy.space("normalized")).images
    features = encoder.features(x)
    assert features.shape == (60, encoder.dim) and not features.requires_grad
    torch.testing.assert_close(features[:3], encoder.features(x[:3]))
