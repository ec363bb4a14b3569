"""Mixup: the distribution of the weight, and which images are mixed."""

import pytest
import torch
from scipy.special import betainc
from scipy.stats import kstest

from condense.augment import mixup


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("a", [0.2, 0.8, 1.0, 3.0])
def test_the_weight_has_a_beta_distribution(a: float) -> None:
    rng = seeded()
    shares = [mixup.symmetric_beta(a, rng) for _ in range(1500)]
    assert kstest(shares, lambda x: betainc(a, a, x)).pvalue > 0.01
    for other in (a / 1.6, a * 1.6):
        assert kstest(shares, lambda x, b=other: betainc(b, b, x)).pvalue < 0.01


def test_weights_for_a_tiny_parameter_are_finite_and_near_0_or_1() -> None:
    rng = seeded()
    shares = torch.tensor([mixup.symmetric_beta(1e-3, rng) for _ in range(200)])
    assert bool(shares.isfinite().all()) and bool(((shares >= 0) & (shares <= 1)).all())
    assert 60 < int((shares > 0.99).sum()) < 140 and 60 < int((shares < 0.01).sum()) < 140


def test_a_mixed_pixel_is_the_weighted_mean_of_two_images() -> None:
    x = torch.randn(5, 2, 3, 4, generator=seeded(), dtype=torch.float64)
    order, share = mixup.draw_mixup(5, 0.8, seeded(2))
    mixed = mixup.mix(x, order, share)
    assert sorted(order.tolist()) == list(range(5)) and 0 < share < 1
    for i in range(5):
        expected = share * x[i] + (1 - share) * x[int(order[i])]
        torch.testing.assert_close(mixed[i], expected, rtol=1e-15, atol=0)
    assert torch.equal(mixup.mix(x, order, 1.0), x) and torch.equal(mixup.mix(x, order, 0.0), x[order])


def test_draws_depend_on_the_generator() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (mixup.draw_mixup(50, 0.8, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one[0], two[0]) and one[1] == two[1]
    assert not torch.equal(one[0], other[0]) and one[1] != other[1]
    assert torch.equal(torch.random.get_rng_state(), state)
