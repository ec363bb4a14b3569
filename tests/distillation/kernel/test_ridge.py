"""Ridge regression on features, against the normal equations and limits, in float64."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from condense.distillation.kernel.ridge import KernelRidge

Times = Literal["trace", "mean", "one"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(queries: Tensor, features: Tensor, values: Tensor, ridge: float) -> Tensor:
    """Solves for the linear layer itself: (F^T F + ridge I) w = F^T Y."""
    d = features.shape[1]
    normal = features.T @ features + ridge * torch.eye(d, dtype=torch.float64)
    found: Tensor = queries @ torch.linalg.inv(normal) @ (features.T @ values)
    return found


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("times", ["trace", "mean", "one"])
def test_the_predictions_are_those_of_the_normal_equations(times: Times, bias: bool) -> None:
    queries, features, values = draw(7, 5), draw(4, 5, seed=1), draw(4, 3, seed=2)
    found = KernelRidge(factor=0.3, times=times, bias=bias).predict(queries, features, values)
    if bias:
        queries, features = (torch.cat([x, torch.ones(len(x), 1).double()], 1) for x in (queries, features))
    squares = float(features.square().sum())
    ridge = {"trace": 0.3 * squares, "mean": 0.3 * squares / 4, "one": 0.3}[times]
    torch.testing.assert_close(found, naive(queries, features, values, ridge), rtol=1e-10, atol=1e-12)


def test_without_a_ridge_the_known_values_are_reproduced() -> None:
    features, values = draw(6, 20), draw(6, 3, seed=1)
    found = KernelRidge(factor=1e-12, times="mean").predict(features, features, values)
    torch.testing.assert_close(found, values, rtol=0, atol=1e-8)


def test_with_a_ridge_of_the_trace_the_scale_of_the_features_does_not_matter() -> None:
    queries, features, values = draw(7, 5), draw(4, 5, seed=1), draw(4, 3, seed=2)
    ridge = KernelRidge(factor=0.1, times="trace")
    found = ridge.predict(1000 * queries, 1000 * features, values)
    torch.testing.assert_close(found, ridge.predict(queries, features, values))


def test_a_small_ridge_survives_single_precision() -> None:
    features, values = draw(40, 41).float(), draw(40, 3, seed=1).float()
    features[20:] = features[:20] + 1e-3 * draw(20, 41, seed=3).float()
    ridge = KernelRidge(factor=1e-6, times="mean")
    wide = ridge.predict(features.double(), features.double(), values.double())
    found = ridge.predict(features, features, values)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wide.float(), rtol=0, atol=1e-4)


def test_the_gradient_of_the_values_is_the_transposed_weight_of_each() -> None:
    queries, features, values = draw(7, 5), draw(4, 5, seed=1), draw(4, 3, seed=2).requires_grad_()
    error, ridge = draw(7, 3, seed=4), KernelRidge(factor=1e-6, times="trace", detached=True, bias=True)
    (found,) = torch.autograd.grad((ridge.predict(queries, features, values) * error).sum(), values)
    known, asked = ridge.with_bias(features), ridge.with_bias(queries)
    kernel = known @ known.T
    regular = kernel + 1e-6 * kernel.trace() * torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(found, torch.linalg.inv(regular) @ (asked @ known.T).T @ error)


def test_no_gradient_flows_through_a_detached_trace() -> None:
    features = draw(4, 5).requires_grad_()
    kernel = features @ features.T
    assert not KernelRidge(factor=1.0, times="trace", detached=True).ridge(kernel).requires_grad
    (found,) = torch.autograd.grad(KernelRidge(factor=2.0, times="mean").ridge(kernel), features)
    torch.testing.assert_close(found, 2.0 * 2 * features.detach() / 4)


def test_the_gradient_of_the_predictions_passes_a_numerical_check() -> None:
    ridge = KernelRidge(factor=0.1, times="mean", bias=True)
    inputs = (
        draw(3, 4).requires_grad_(),
        draw(2, 4, seed=1).requires_grad_(),
        draw(2, 2, seed=2).requires_grad_(),
    )
    assert torch.autograd.gradcheck(ridge.predict, inputs)


def test_numbers_that_are_not_finite_stay_visible() -> None:
    features = draw(3, 4)
    features[1, 2] = float("nan")
    assert not KernelRidge(factor=0.1).predict(draw(2, 4), features, draw(3, 2)).isfinite().any()


@pytest.mark.parametrize("bias", [False, True])
def test_a_prediction_by_the_kernel_is_that_of_the_layer(bias: bool) -> None:
    rng = torch.Generator().manual_seed(5)
    queries, features, values = (torch.randn(*size, generator=rng) for size in ((6, 9), (4, 9), (4, 12)))
    ridge = KernelRidge(factor=0.1, times="trace", bias=bias)
    by_kernel = ridge.predict_by_kernel(queries, features, values)
    torch.testing.assert_close(by_kernel, ridge.predict(queries, features, values), rtol=1e-5, atol=1e-5)
