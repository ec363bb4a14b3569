"""LAMB and AdaBelief, which PyTorch does not have, as FRePo and RCIG use them."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class _Moments(Optimizer):
    """Averages of the gradients and of a second moment, both corrected for their start at 0."""

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Takes one step; a closure is not called."""
        for group in self.param_groups:
            first, second = group["betas"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                held = self.state[p]
                if not held:
                    held |= {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
                held["step"] += 1
                t, m, v = held["step"], held["m"], held["v"]
                m.lerp_(p.grad, 1 - first)
                v.mul_(second).add_(self.second_moment(p.grad, m, second, group["eps"]))
                p.add_(
                    self.update(p, m / (1 - first**t), v / (1 - second**t), group["eps"]), alpha=-group["lr"]
                )

    def second_moment(self, gradient: Tensor, m: Tensor, beta: float, eps: float) -> Tensor:
        """Returns what is added to beta times the average of the second moment, given the new average m."""
        raise NotImplementedError

    def update(self, p: Tensor, m: Tensor, v: Tensor, eps: float) -> Tensor:
        """Returns the update of a tensor, from corrected averages; the learning rate is a factor of it."""
        raise NotImplementedError


class Lamb(_Moments):
    """LAMB: Adam's update of each tensor, scaled to the tensor's own length
    (https://arxiv.org/abs/1904.00962).

    With Adam's update u = m / (sqrt(v) + eps), the step is lr (|p| / |u|) u; the quotient is 1 if one of the
    two norms is 0. There is no weight decay, and no bound of the norm, as in optax's ``lamb``.

    Args:
        params: The tensors.
        lr: Learning rate: the relative change of a tensor in a step.
        betas: Decay of both averages.
        eps: Added to the root of the second moment.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
    ) -> None:
        super().__init__(params, lr, betas, eps)

    def second_moment(self, gradient: Tensor, m: Tensor, beta: float, eps: float) -> Tensor:
        return gradient.square() * (1 - beta)

    def update(self, p: Tensor, m: Tensor, v: Tensor, eps: float) -> Tensor:
        u = m / (v.sqrt() + eps)
        length, own = u.norm(), p.norm()
        return u * torch.where((length > 0) & (own > 0), own / length, torch.ones_like(own))


class AdaBelief(_Moments):
    """AdaBelief: Adam with the deviation of the gradient from its average (https://arxiv.org/abs/2010.07468).

    The second moment is s = beta s + (1 - beta) (g - m)^2 + eps, with the average m after this step's
    gradient g, and the step is lr m / (sqrt(s) + eps) with both averages corrected for their start.

    Args:
        params: The tensors, or groups of them.
        lr: Learning rate.
        betas: Decay of both averages.
        eps: Added to the second moment in each step, and to its root.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
    ) -> None:
        super().__init__(params, lr, betas, eps)

    def second_moment(self, gradient: Tensor, m: Tensor, beta: float, eps: float) -> Tensor:
        return (gradient - m).square() * (1 - beta) + eps

    def update(self, p: Tensor, m: Tensor, v: Tensor, eps: float) -> Tensor:
        return m / (v.sqrt() + eps)
