"""The gradient of a loss through what a linearised network learns from a set, and its step sizes.

The outer loss is a cross-entropy of predictions for real images. Its gradient by images and labels of the set
has a direct part, at a fixed change t of the network, and an implicit one, through t (`condense.distillation.
kernel.linearised`).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.distillation.kernel.linearised import (
    InnerProblem,
    Linearised,
    Vector,
    descend,
    dual_weights,
    slope,
)
from condense.distillation.kernel.prototypes import Prototypes, margin


@dataclass(frozen=True)
class Outer:
    """An outer loss and its gradients at a fixed t: by t, by images and labels, and by the temperature."""

    loss: Float[Tensor, ""]
    by_t: Vector
    direct: tuple[Tensor, ...]
    by_temperature: Float[Tensor, ""]


class Task:
    """What a set is to teach one linearised network.

    Args:
        model: The linearised network.
        learned: The set.
        l2: Weight of the squares of all weights.

    Attributes:
        inner: The inner problem.
    """

    def __init__(self, model: Linearised, learned: Prototypes, l2: float) -> None:
        self._model, self._learned, self._l2 = model, learned, l2
        images, values = learned.all()
        self.inner = InnerProblem(model, images, values, l2)

    def zeros(self) -> Vector:
        """Returns the t at which the inner problem starts."""
        return self._model.zeros()

    def outer(
        self, t: Vector, real: Float[Tensor, "b c h w"], labels: Int[Tensor, " b"],
        temperature: Float[Tensor, ""],
    ) -> Outer:  # fmt: skip
        """Returns the outer loss of a real batch.

        Args:
            t: Where the inner problem ended.
            real: The images.
            labels: Their classes.
            temperature: Logarithm of the factor of the predictions.
        """
        with torch.no_grad():
            queries, shifts = self._model.push(real, t)  # (b, d), (b, k)
        shifts.requires_grad_()
        images, values = self._learned.all()
        features, changes = self._model.push(images, t)  # (n, d), (n, k)
        weights = features.T @ dual_weights(features, values, changes, self._l2)
        predicted = (shifts + queries @ weights) * temperature.exp()
        kept = margin(self._learned.values, 0.5 / values.shape[1])
        loss = cross_entropy(predicted, labels) - kept
        by_shifts, by_changes, *direct, by_temperature = torch.autograd.grad(
            loss, [shifts, changes, *self._learned.leaves, temperature]
        )
        by_t = self._model.pull(real)(by_shifts) + self.inner.pull(by_changes)
        return Outer(loss.detach(), by_t, tuple(direct), by_temperature)

    def inverse(self, g: Vector, lr: float, steps: int) -> tuple[Vector, Float[Tensor, " s"]]:
        """Approaches the inverse Hessian times g; also returns v (H v - 2 g) before each step."""

        def value_and_gradient(v: Vector) -> tuple[Float[Tensor, ""], Vector]:
            product = self.inner.hessian_times(v)
            return v @ (product - 2 * g), product - g

        return descend(torch.zeros_like(g), value_and_gradient, lr, steps)

    def implicit(self, t: Vector, v: Vector) -> tuple[Tensor, ...]:
        """Returns the implicit gradient by images and labels, for v = H^-1 times the gradient by t."""
        images, values = self._learned.all()
        return torch.autograd.grad(-slope(self._model, images, values, self._l2, t, v), self._learned.leaves)


def shortened(implicit: Float[Tensor, "*s"], direct: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Returns an implicit gradient, as long as the direct one if it is longer."""
    factor: Tensor = (direct.norm() / implicit.norm()).nan_to_num().clamp(max=1)
    return implicit * factor


class StepSize:
    """A step size that follows how the descents with it went.

    Args:
        rate: The first step size.

    Attributes:
        rate: The present step size.
        outcomes: How the descents since its last change went: see `outcome`.
    """

    def __init__(self, rate: float) -> None:
        self.rate, self.outcomes = rate, list[int]()

    def note(self, values: Float[Tensor, " s"]) -> None:
        """Takes in the values that a descent passed through."""
        self.outcomes.append(outcome(values))

    def adapt(self) -> None:
        """Lowers the rate if 29 % of the descents ended higher, raises it if 70 % fell at every step."""
        n = len(self.outcomes)
        if self.outcomes.count(-1) >= 0.29 * n:
            self.rate *= 0.9
        elif self.outcomes.count(1) >= 0.7 * n:
            self.rate *= 1.05
        self.outcomes = []

    def state_dict(self) -> dict[str, object]:
        """Returns the state, for a checkpoint."""
        return {"rate": self.rate, "outcomes": list(self.outcomes)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` returned."""
        rate, outcomes = state["rate"], state["outcomes"]
        assert isinstance(rate, float) and isinstance(outcomes, list)
        self.rate, self.outcomes = rate, outcomes


def outcome(values: Float[Tensor, " s"]) -> int:
    """Returns 1 if values fall at every step, else -1 if the last one is above the first, else 0."""
    if bool((values.diff() < 0).all()):
        return 1
    return 0 if bool(values[-1] <= values[0]) else -1
