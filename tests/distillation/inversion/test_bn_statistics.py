"""BN statistics: the distance and its gradient against the formula in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from condense.distillation.inversion.bn_statistics import (
    BNStatistics,
    channel_moments,
    statistics_distance,
    total_variation,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def naive(x: Tensor, mean: Tensor, var: Tensor, weight: float = 1.0) -> Tensor:
    """The distance of one pass, channel by channel."""
    columns = [x[:, channel].flatten() for channel in range(x.shape[1])]
    of_mean = torch.stack([column.sum() / len(column) for column in columns])
    of_var = torch.stack(
        [((column - m) ** 2).sum() / len(column) for column, m in zip(columns, of_mean, strict=True)]
    )
    return weight * ((of_var - var) ** 2).sum().sqrt() + ((of_mean - mean) ** 2).sum().sqrt()


def test_the_gap_is_the_norms_of_the_differences_of_mean_and_biased_variance() -> None:
    x, mean, var = randn(4, 3, 5, 2) * 2 + 1, randn(3, seed=1), randn(3, seed=2).square()
    torch.testing.assert_close(statistics_distance(x, mean, var, 1), naive(x, mean, var)[None])
    torch.testing.assert_close(statistics_distance(x, mean, var, 1, 11.0), naive(x, mean, var, 11.0)[None])


def test_each_pass_has_a_gap_of_its_own() -> None:
    x, mean, var = randn(6, 3, 4, 4), randn(3, seed=1), randn(3, seed=2).square()
    expected = torch.stack([naive(part, mean, var, 0.5) for part in torch.split(x, 2)])
    torch.testing.assert_close(statistics_distance(x, mean, var, 3, 0.5), expected)


def test_the_gradient_is_that_of_the_formula() -> None:
    mean, var = randn(3, seed=1), randn(3, seed=2).square()
    x = randn(6, 3, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda images: statistics_distance(images, mean, var, 2, 3.0), (x,))
    ours = torch.autograd.grad(
        statistics_distance(x, mean, var, 2, 3.0) @ torch.tensor([1.0, -2.0]).double(), x
    )[0]
    one, two = (naive(part, mean, var, 3.0) for part in torch.split(x, 3))
    torch.testing.assert_close(ours, torch.autograd.grad(one - 2 * two, x)[0])


def test_statistics_that_agree_have_no_gap_and_no_gradient() -> None:
    x = torch.tensor([1.0, -1.0, -1.0, 1.0]).double().view(4, 1, 1, 1).requires_grad_()
    gap = statistics_distance(x, torch.zeros(1).double(), torch.ones(1).double(), 1)
    assert gap.item() == 0 and torch.autograd.grad(gap.sum(), x)[0].abs().max() == 0


def test_moments_far_from_zero_lose_nothing_where_the_running_mean_is_near() -> None:
    x = randn(2, 10, 3, 8, 8) * 0.01 + 100
    expected = torch.var_mean(x, (1, 3, 4), correction=0)
    for ours, true in zip(channel_moments(x, torch.full((3,), 100.0).double()), expected, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-9, atol=0)
    for ours, true in zip(channel_moments(x.float(), torch.full((3,), 100.0)), expected, strict=True):
        torch.testing.assert_close(ours.double(), true, rtol=1e-3, atol=0)


class Skipping(nn.Module):
    """Batch norms, registered in another order than they are reached in; the first registered never is."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = nn.BatchNorm2d(2)
        self.first = nn.BatchNorm2d(2)
        self.second = nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(self.second(x).relu())
        return out


@pytest.fixture
def skipping() -> Skipping:
    net = Skipping().double().eval()
    for seed, norm in enumerate((net.idle, net.first, net.second)):
        assert norm.running_mean is not None and norm.running_var is not None
        norm.running_mean.copy_(randn(2, seed=seed))
        norm.running_var.copy_(randn(2, seed=seed + 5).square() + 0.1)
    return net


def of_norm(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    assert norm.running_mean is not None and norm.running_var is not None
    return naive(x, norm.running_mean, norm.running_var, 2.0)


def test_the_first_batch_norm_reached_counts_tenfold_and_idle_ones_do_not_count(
    skipping: Skipping,
) -> None:
    x = randn(4, 2, 3, 3)
    inner = skipping.second(x).relu()
    expected = torch.stack(
        [
            10 * of_norm(skipping.first, inner[part]) + of_norm(skipping.second, x[part])
            for part in (slice(0, 2), slice(2, 4))
        ]
    )
    statistics = BNStatistics(2, 2.0, 10.0)
    with statistics.recording(skipping):
        skipping(x)
    torch.testing.assert_close(statistics.loss(), expected)


@pytest.mark.usefixtures("unchecked_shapes")
def test_recording_leaves_no_hook_behind_even_after_an_error(skipping: Skipping) -> None:
    statistics = BNStatistics(1, 1.0, 10.0)
    with pytest.raises(RuntimeError), statistics.recording(skipping):
        assert skipping.first._forward_pre_hooks
        raise RuntimeError
    assert not any(module._forward_pre_hooks for module in skipping.modules())


@pytest.mark.parametrize("batch", [0, 1])
def test_total_variation_sums_four_norms_over_a_pass(batch: int) -> None:
    x = randn(2, 3, 2, 4, 5)

    def norm(of: Callable[[Tensor, int, int], Tensor | None]) -> Tensor:
        found = [
            of(x[batch, b, c], i, j) for b in range(3) for c in range(2) for i in range(4) for j in range(5)
        ]
        return torch.stack([value for value in found if value is not None]).square().sum().sqrt()

    def step(down: int, right: int) -> Callable[[Tensor, int, int], Tensor | None]:
        def of(image: Tensor, i: int, j: int) -> Tensor | None:
            inside = i + down < 4 and 0 <= j + right < 5
            return image[i, j] - image[i + down, j + right] if inside else None

        return of

    expected = norm(step(0, 1)) + norm(step(1, 0)) + norm(step(1, 1)) + norm(step(1, -1))
    torch.testing.assert_close(total_variation(x)[batch], expected)
