"""The linearised network against dense Jacobians in float64, and its implicit gradient."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from condense.distillation.kernel.linearised import (
    InnerProblem,
    Linearised,
    descend,
    dual_weights,
    slope,
)
from condense.networks import Network, build_network
from condense.training.parameters import cut

L2 = 0.05


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


IMAGES, VALUES, REAL = draw(4, 1, 4, 4), draw(4, 3, seed=1), draw(5, 1, 4, 4, seed=2)
TRUTH = torch.tensor([0, 1, 2, 1, 0])


class Small(Network):
    """A smooth network of few parameters."""

    def __init__(self) -> None:
        body = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Softplus(beta=3), nn.AvgPool2d(2))
        super().__init__(body, 8, 3)


@pytest.fixture
def network() -> Network:
    net = Small().double()
    with torch.no_grad():
        for place, parameter in enumerate(net.parameters()):
            parameter.copy_(draw(*parameter.shape, seed=10 + place) / 2)
    return net


def dense(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, d), and the Jacobian of all outputs by body parameters and the last bias, (n, k, p)."""
    at = dict(network.body.named_parameters())
    weight = network.classifier.weight.detach()

    def features(flat: Tensor) -> Tensor:
        found: Tensor = functional_call(network.body, cut(flat, at), (images,)).flatten(1)
        return found

    def outputs(flat: Tensor) -> Tensor:
        return features(flat[:-3]) @ weight.T + flat[-3:]

    start = torch.cat([*(parameter.detach().flatten() for parameter in at.values()), torch.zeros(3).double()])
    return features(start[:-3]), jacrev(outputs)(start)


def inner_loss(network: Network, t: Tensor, images: Tensor, values: Tensor) -> Tensor:
    """Half the squared error plus l2 / 2 times all squared weights, over n k, with the best last layer."""
    f, jacobian = dense(network, images)
    changes = jacobian @ t
    w = torch.linalg.solve(f.T @ f + L2 * torch.eye(f.shape[1]).double(), f.T @ (values - changes))
    error = values - changes - f @ w
    squares = 0.5 * error.square().sum() + 0.5 * L2 * (w.square().sum() + t.square().sum())
    loss: Tensor = squares / values.numel()
    return loss


def outer_loss(network: Network, t: Tensor, images: Tensor, values: Tensor) -> Tensor:
    """Cross-entropy of what a ridge regression on the features and the changes predicts for other images."""
    f, jacobian = dense(network, images)
    g, others = dense(network, REAL)
    changes = jacobian @ t
    w = torch.linalg.solve(f.T @ f + L2 * torch.eye(f.shape[1]).double(), f.T @ (values - changes))
    return torch.nn.functional.cross_entropy(others @ t + g @ w, TRUTH)


def solution(network: Network, images: Tensor, values: Tensor) -> Tensor:
    """The t of the least inner loss, by dense linear algebra, differentiable with respect to the set."""
    f, jacobian = dense(network, images)
    inverse = torch.linalg.inv(f @ f.T + L2 * torch.eye(len(f)).double())
    weighted = torch.einsum("nm,mkp->nkp", inverse, jacobian)
    p = jacobian.shape[-1]
    normal = torch.eye(p).double() + jacobian.flatten(0, 1).T @ weighted.flatten(0, 1)
    found: Tensor = torch.linalg.solve(normal, weighted.flatten(0, 1).T @ values.flatten())
    return found


def change(network: Network, seed: int = 5) -> Tensor:
    zeros = Linearised(network).zeros()
    return draw(len(zeros), seed=seed) / 3


def test_push_and_pull_are_products_with_the_jacobian_and_its_transpose(network: Network) -> None:
    features, jacobian = dense(network, IMAGES)
    model, t, u = Linearised(network), change(network), draw(4, 3, seed=7)
    found, changes = model.push(IMAGES, t)
    torch.testing.assert_close(found, features)
    torch.testing.assert_close(changes, jacobian @ t)
    torch.testing.assert_close(model.pull(IMAGES)(u), torch.einsum("nkp,nk->p", jacobian, u))
    torch.testing.assert_close(model.jacobian(IMAGES), jacobian.flatten(0, 1))


@pytest.mark.parametrize("dense_up_to", [0, 2**20])
def test_loss_gradient_and_hessian_are_those_of_the_naive_loss(
    network: Network, monkeypatch: pytest.MonkeyPatch, dense_up_to: int
) -> None:
    monkeypatch.setattr("condense.distillation.kernel.linearised.DENSE", dense_up_to)
    t, v = change(network).requires_grad_(), change(network, 6)
    problem = InnerProblem(Linearised(network), IMAGES, VALUES, L2)
    value, gradient = problem.value_and_gradient(t.detach())
    naive = inner_loss(network, t, IMAGES, VALUES)
    (first,) = torch.autograd.grad(naive, t, create_graph=True)
    (second,) = torch.autograd.grad(first @ v, t)
    torch.testing.assert_close(value, naive.detach())
    torch.testing.assert_close(gradient, first.detach())
    torch.testing.assert_close(problem.hessian_times(v), second)


def test_the_slope_is_the_gradient_times_the_direction(network: Network) -> None:
    t, v = change(network), change(network, 6)
    model = Linearised(network)
    gradient = InnerProblem(model, IMAGES, VALUES, L2).value_and_gradient(t)[1]
    torch.testing.assert_close(slope(model, IMAGES, VALUES, L2, t, v), gradient @ v)


def test_direct_and_implicit_gradient_are_backpropagation_through_the_solution(network: Network) -> None:
    images, values = IMAGES.clone().requires_grad_(), VALUES.clone().requires_grad_()
    whole = torch.autograd.grad(
        outer_loss(network, solution(network, images, values), images, values), [images, values]
    )
    model = Linearised(network)
    t = solution(network, IMAGES, VALUES).detach().requires_grad_()
    outer = outer_loss(network, t, images, values)
    g, *direct = torch.autograd.grad(outer, [t, images, values])
    problem = InnerProblem(model, IMAGES, VALUES, L2)
    hessian = torch.stack([problem.hessian_times(row) for row in torch.eye(len(t)).double()])
    v = torch.linalg.solve(hessian, g)
    implicit = torch.autograd.grad(-slope(model, images, values, L2, t.detach(), v), [images, values])
    for both, one, other in zip(whole, direct, implicit, strict=True):
        torch.testing.assert_close(one + other, both, rtol=1e-8, atol=1e-10)
        assert float(other.norm()) > 0.01 * float(one.norm())  # it would be missed


def test_descent_converges_to_the_solution_and_to_the_inverse_hessian(network: Network) -> None:
    model = Linearised(network)
    problem, start = InnerProblem(model, IMAGES, VALUES, L2), model.zeros()
    found, losses = descend(start, problem.value_and_gradient, 0.02, 600)
    found, _ = descend(found, problem.value_and_gradient, 0.001, 600)
    torch.testing.assert_close(found, solution(network, IMAGES, VALUES), rtol=0, atol=1e-4)
    assert bool((losses[:10].diff() < 0).all())


def test_a_descent_is_adam_from_a_fresh_start() -> None:
    def square(x: Tensor) -> tuple[Tensor, Tensor]:
        return (x**4).sum(), 4 * x**3

    start = torch.tensor([1.0, -2.0])
    found, seen = descend(start, square, 0.1, 3)
    x = start.clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=0.1)
    values = []
    for _ in range(3):
        loss = (x**4).sum()
        values.append(loss.detach())
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    assert torch.equal(found, x.detach()) and torch.equal(seen, torch.stack(values))


def test_the_dual_weights_are_what_the_last_layer_predicts_with(network: Network) -> None:
    f, g = draw(4, 6), draw(5, 6, seed=3)
    w = torch.linalg.solve(f.T @ f + L2 * torch.eye(6).double(), f.T @ (VALUES - 0.5))
    found = g @ f.T @ dual_weights(f, VALUES, torch.full_like(VALUES, 0.5), L2)
    torch.testing.assert_close(found, g @ w)


@pytest.mark.parametrize("name", ["convnet-w32", "convnet-w32-nonorm"])
def test_the_suites_networks_can_be_linearised(name: str) -> None:
    def build() -> Network:
        return build_network(name, (1, 8, 8), 3, torch.Generator().manual_seed(0))

    net = build().double()
    images, t = draw(3, 1, 8, 8), 1e-6 * change(net)
    features, changes = Linearised(net).push(images, t)
    moved = build().double()
    with torch.no_grad():
        for name_, part in cut(t[:-3], dict(net.body.named_parameters())).items():
            moved.body.get_parameter(name_).add_(part)
        difference = moved.features(images) - net.features(images)
        expected = difference @ net.classifier.weight.T + t[-3:]
    torch.testing.assert_close(features, net.features(images).detach())
    torch.testing.assert_close(changes, expected, rtol=1e-3, atol=1e-10)
