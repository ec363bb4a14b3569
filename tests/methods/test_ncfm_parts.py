"""The parts of NCFM: its distance, the two sides of its game, and its blended networks."""

import cmath
import math
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from condense.distillation.registry import methods
from condense.networks import Network, build_network

ncfm = import_module(methods()["ncfm"].__module__)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sides() -> tuple[Tensor, Tensor, Tensor]:
    """Features of real and of synthetic images, and frequencies."""
    return drawn(7, 5), drawn(4, 5, seed=1) + 0.3, drawn(11, 5, seed=2)


# The distance -------------------------------------------------------------------------------------------


def functions(target: Tensor, learned: Tensor, frequencies: Tensor) -> list[tuple[complex, complex]]:
    """Both characteristic functions at each frequency, term by term from their definition."""
    values = []
    for t in frequencies.tolist():
        both = [
            sum(cmath.exp(1j * math.fsum(a * b for a, b in zip(t, x, strict=True))) for x in rows) / len(rows)
            for rows in (target.tolist(), learned.tolist())
        ]
        values.append((both[0], both[1]))
    return values


def test_the_distance_is_the_papers_over_complex_exponentials() -> None:
    alpha, beta = 0.3, 0.9
    total = 0.0
    for p, q in functions(*sides()):
        angle = cmath.phase(p) - cmath.phase(q)
        amplitude, phase = (abs(p) - abs(q)) ** 2, 2 * abs(p) * abs(q) * (1 - math.cos(angle))
        total += math.sqrt(alpha * amplitude + beta * phase)
    assert float(ncfm.cf_loss(*sides(), alpha, beta)) == pytest.approx(total / 11, rel=1e-12)


def test_amplitude_and_phase_together_are_the_complex_distance() -> None:
    plain = sum(abs(p - q) for p, q in functions(*sides())) / 11
    assert float(ncfm.cf_loss(*sides(), 1, 1)) == pytest.approx(plain, rel=1e-12)


def test_shifts_change_the_phase_alone_and_spread_about_0_the_amplitude() -> None:
    x, _, t = sides()
    assert ncfm.cf_loss(x, x + 0.2, t, 1, 0) < 1e-7 < 0.1 < ncfm.cf_loss(x, x + 0.2, t, 0, 1)
    x = torch.cat([0.1 * x, -0.1 * x])  # both functions are real, and positive
    assert ncfm.cf_loss(x, 2 * x, t, 0, 1) < 2e-6 < 0.01 < ncfm.cf_loss(x, 2 * x, t, 1, 0)


def test_equal_samples_have_no_distance_in_any_order_and_number() -> None:
    x, other, t = sides()
    again = torch.cat([x.flip(0), x])
    assert 0 <= ncfm.cf_loss(x, again, t, 0.5, 0.5) <= 2 * math.sqrt(0.5 * ncfm.EPS)
    assert ncfm.cf_loss(x, other, t, 0.5, 0.5) > 0.05
    learned = again.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(ncfm.cf_loss(x, learned, t, 0.5, 0.5), learned)
    assert torch.isfinite(gradient).all()


def test_the_gradient_of_the_loss_equals_finite_differences() -> None:
    inputs = [side.requires_grad_() for side in sides()]
    assert torch.autograd.gradcheck(lambda *sides: ncfm.cf_loss(*sides, 0.4, 0.7), inputs)


# The players --------------------------------------------------------------------------------------------


def test_an_update_moves_images_down_and_the_sampling_network_up_the_loss() -> None:
    x, learned, _ = sides()
    learned.requires_grad_()
    psi = ncfm.sampling_net(5, torch.Generator().manual_seed(0)).double()
    noise = drawn(11, 5, seed=3)

    def loss() -> Tensor:
        value: Tensor = ncfm.cf_loss(x, learned, psi(noise), 0.5, 0.5)
        return value

    before, start = float(loss().detach()), learned.detach().clone()
    images = torch.optim.SGD([learned], lr=1e-3)
    rises = torch.optim.SGD(psi.parameters(), lr=1e-3, momentum=0.5, maximize=True)
    assert float(ncfm.update(loss(), [images, rises])) == before
    moved = learned.detach().clone()
    with torch.no_grad():
        learned.copy_(start)
    assert loss() > before + 1e-7  # only the network has moved
    with torch.no_grad():
        learned.copy_(moved)
        for layer, fresh in zip(psi, ncfm.sampling_net(5, torch.Generator().manual_seed(0)), strict=True):
            if not isinstance(layer, nn.LeakyReLU | nn.Tanh):
                layer.load_state_dict(fresh.state_dict())
    assert loss() < before - 1e-7  # only the images have


def test_the_sampling_network_is_three_normed_layers_bounded_by_one() -> None:
    state = torch.random.get_rng_state()
    psi = ncfm.sampling_net(5, torch.Generator().manual_seed(0)).double()
    assert torch.equal(torch.random.get_rng_state(), state)
    x = noise = drawn(11, 5)
    for number, (linear, norm) in enumerate(zip(psi[::3], psi[1::3], strict=True)):
        bound = 1 / math.sqrt(5)
        assert linear.weight.abs().max() < bound and linear.weight.abs().max() > 0.8 * bound
        x = x @ linear.weight.T + linear.bias
        x = (x - x.mean(0)) / (x.var(0, unbiased=False) + norm.eps).sqrt()
        x = x.tanh() if number == 2 else torch.where(x > 0, x, 0.2 * x)
    torch.testing.assert_close(psi(noise), x)
    assert len(psi) == 9 and x.abs().max() < 1
    again = ncfm.sampling_net(5, torch.Generator().manual_seed(0)).double()
    assert torch.equal(again(noise), psi(noise))


def networks(count: int) -> list[Network]:
    return [
        build_network("convnet-w32", (1, 8, 8), 3, torch.Generator().manual_seed(seed))
        for seed in range(count)
    ]


def test_a_blended_network_is_the_convex_combination_of_the_two() -> None:
    network, start, end = networks(3)
    for share in (0.0, 0.25, 1.0):
        ncfm.blend_(network, start, end, share)
        for parameter, a, b in zip(network.parameters(), start.parameters(), end.parameters(), strict=True):
            torch.testing.assert_close(parameter, share * a + (1 - share) * b)
    ncfm.blend_(network, start, end, 0.25)
    assert not torch.equal(network.classifier.weight, start.classifier.weight)
