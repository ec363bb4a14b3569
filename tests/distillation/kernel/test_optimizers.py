"""LAMB and AdaBelief against the formulas, written out for one tensor."""

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from condense.distillation.kernel.optimizers import AdaBelief, Lamb

GRADIENTS = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def start() -> Tensor:
    return torch.tensor([[1.0, -2.0], [0.5, 3.0], [0.0, 0.25]], dtype=torch.float64, requires_grad=True)


def follow(optimizer: Optimizer, p: Tensor) -> Tensor:
    for gradient in GRADIENTS:
        p.grad = gradient.clone()
        optimizer.step()
    return p.detach()


def test_lamb_is_adam_with_steps_in_proportion_to_the_tensors_length() -> None:
    p = start()
    found = follow(Lamb([p], lr=0.01), p)
    x = start().detach()
    m, v = torch.zeros_like(x), torch.zeros_like(x)
    for t, g in enumerate(GRADIENTS, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        u = (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + 1e-6)
        x = x - 0.01 * (x**2).sum().sqrt() / (u**2).sum().sqrt() * u
    torch.testing.assert_close(found, x, rtol=1e-12, atol=0)


def test_a_step_of_lamb_changes_a_tensor_by_the_learning_rate_of_its_length() -> None:
    p = start()
    before = p.detach().clone()
    p.grad = GRADIENTS[0].clone()
    Lamb([p], lr=0.03).step()
    assert float((p.detach() - before).norm() / before.norm()) == pytest.approx(0.03)


def test_lamb_moves_a_tensor_of_zeros_like_adam() -> None:
    p = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    p.grad = GRADIENTS[0].clone()
    Lamb([p], lr=0.01).step()
    torch.testing.assert_close(p.detach(), -0.01 * GRADIENTS[0].sign(), rtol=1e-4, atol=0)


def test_adabelief_divides_by_the_deviation_of_the_gradient_from_its_average() -> None:
    p = start()
    found = follow(AdaBelief([p], lr=0.01), p)
    x = start().detach()
    m, s = torch.zeros_like(x), torch.zeros_like(x)
    for t, g in enumerate(GRADIENTS, 1):
        m = 0.9 * m + 0.1 * g
        s = 0.999 * s + 0.001 * (g - m) ** 2 + 1e-16
        x = x - 0.01 * (m / (1 - 0.9**t)) / ((s / (1 - 0.999**t)) ** 0.5 + 1e-16)
    torch.testing.assert_close(found, x, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [Lamb, AdaBelief])
def test_a_restored_optimiser_goes_on_as_if_nothing_had_happened(kind: type[Lamb] | type[AdaBelief]) -> None:
    whole = start()
    wanted = follow(kind([whole], lr=0.01), whole)
    p = start()
    optimizer: Optimizer = kind([p], lr=0.01)
    for place, gradient in enumerate(GRADIENTS):
        if place == 2:
            saved, p = optimizer.state_dict(), p.detach().clone().requires_grad_()
            optimizer = kind([p], lr=0.01)
            optimizer.load_state_dict(saved)
        p.grad = gradient.clone()
        optimizer.step()
    assert torch.equal(p.detach(), wanted)


def test_a_tensor_without_a_gradient_stays() -> None:
    p, q = start(), start()
    q.grad = GRADIENTS[0].clone()
    Lamb([p, q], lr=0.01).step()
    assert torch.equal(p, start()) and not torch.equal(q, start())
