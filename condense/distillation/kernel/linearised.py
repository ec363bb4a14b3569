"""A network that is linear in its parameters, its last layer in closed form, and what it learns from a set.

At the parameters theta0 of a network f with features phi, a change t of the parameters changes the outputs by
J t, where J is the Jacobian at theta0 (the finite-width neural tangent kernel is J J^T). The last layer's
weights are no part of t: they are solved for. From n images with features F (n, d) and values Y (n, k),
images with the features G and the changes c_G = J_G t are given the values

    c_G + G F^T A^-1 (Y - c_F),    A = F F^T + l2 I.

Of the images themselves, half the squared error plus l2 / 2 times the squares of all weights is

    l2 / 2 (tr(R^T A^-1 R) + |t|^2),    R = Y - J t,

divided by n k: a quadratic function of t whose Hessian is l2 / (n k) (I + J^T A^-1 J).

Loo, Hasani, Lechner and Rus: Dataset Distillation with Convexified Implicit Gradients, ICML 2023,
https://arxiv.org/abs/2302.06755.
"""

import warnings
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, jacrev, jvp, vjp, vmap
from torch.nn.functional import linear

from condense.networks import CHUNK, Network
from condense.training.parameters import cut

Vector = Float[Tensor, " p"]
"""A change of the body's parameters, followed by one of the last layer's bias."""


DENSE = 2**27
"""Largest Jacobian that is built, in numbers; products with a larger one go through the network.

A descent takes dozens of products with the Jacobian of the same few images. With ten images of 28 x 28 pixels
and a ConvNet of width 32 on a CPU, it takes as long to build as about five products through the network.
"""


class Linearised:
    """A network, linearised at its present parameters; it is in evaluation mode from then on.

    Args:
        network: The network, whose parameters must not change while this is used.
    """

    def __init__(self, network: Network) -> None:
        self._body = network.eval().body
        self._at = {name: parameter.detach() for name, parameter in self._body.named_parameters()}
        self._weight = network.classifier.weight.detach()

    def zeros(self) -> Vector:
        """Returns the change of nothing."""
        length = sum(parameter.numel() for parameter in self._at.values()) + len(self._weight)
        return self._weight.new_zeros(length)

    def push(
        self, images: Float[Tensor, "n c h w"], t: Vector
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"]]:
        """Returns features and J t of some images, differentiable with respect to the images and t."""
        body, bias = t[: -len(self._weight)], t[-len(self._weight) :]
        tangents = cut(body, self._at)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch's own, about its use of TorchScript
            pieces = [
                jvp(lambda at, x=part: self._features(at, x), (self._at,), (tangents,))
                for part in torch.split(images, self._piece(images))
            ]
        features, changes = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        return features, linear(changes, self._weight, bias)

    def pull(self, images: Float[Tensor, "n c h w"]) -> Callable[[Float[Tensor, "n k"]], Vector]:
        """Returns the function that multiplies J^T with a matrix, for some images."""
        calls = [
            vjp(lambda at, x=part: self._features(at, x), self._at)[1]
            for part in torch.split(images.detach(), self._piece(images))
        ]

        def product(u: Float[Tensor, "n k"]) -> Vector:
            total = torch.zeros_like(self.zeros()[: -len(self._weight)])
            for call, part in zip(calls, torch.split(u @ self._weight, self._piece(images)), strict=True):
                (found,) = call(part)
                total += torch.cat([found[name].flatten() for name in self._at])
            return torch.cat([total, u.sum(0)])

        return product

    def jacobian(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "nk p"]:
        """Returns J for some images: a row for each class of each image, image after image."""

        def outputs(at: dict[str, Tensor], image: Float[Tensor, "c h w"]) -> Float[Tensor, " k"]:
            return (self._features(at, image[None]) @ self._weight.T)[0]

        rows = vmap(jacrev(outputs), (None, 0), chunk_size=self._piece(images))(self._at, images.detach())
        by_bias = torch.eye(len(self._weight), device=images.device, dtype=images.dtype)
        parts = [rows[name].flatten(2).flatten(0, 1) for name in self._at]
        return torch.cat([*parts, by_bias.repeat(len(images), 1)], 1)

    def _features(self, at: dict[str, Tensor], images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        features: Tensor = functional_call(self._body, at, (images,)).flatten(1)
        return features

    @staticmethod
    def _piece(images: Tensor) -> int:
        return CHUNK if images.device.type == "cpu" else max(len(images), 1)


class InnerProblem:
    """What a linearised network learns from some images: the quadratic function of t above.

    Args:
        model: The linearised network.
        images: The n images.
        values: Their values.
        l2: Weight of the squares of all weights.
    """

    def __init__(
        self, model: Linearised, images: Float[Tensor, "n c h w"], values: Float[Tensor, "n k"], l2: float
    ) -> None:
        self._model = model
        self._images, self._values = images.detach(), values.detach()
        with torch.no_grad():
            features, _ = model.push(self._images, model.zeros())
            wide = features.double()
            eye = torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
            inverse = torch.linalg.inv_ex(wide @ wide.T + l2 * eye)[0]
        self._inverse: Float[Tensor, "n n"] = inverse.to(features.dtype)
        self._jacobian: Tensor | None = None
        if values.numel() * len(model.zeros()) <= DENSE:
            self._jacobian = model.jacobian(self._images)
        else:
            self._pull = model.pull(self._images)
        self._factor = l2 / values.numel()

    def push(self, t: Vector) -> Float[Tensor, "n k"]:
        """Returns J t."""
        if self._jacobian is None:
            return self._model.push(self._images, t)[1]
        return (self._jacobian @ t).view_as(self._values)

    def pull(self, u: Float[Tensor, "n k"]) -> Vector:
        """Returns J^T u."""
        return self._pull(u) if self._jacobian is None else u.flatten() @ self._jacobian

    @torch.no_grad()
    def value_and_gradient(self, t: Vector) -> tuple[Float[Tensor, ""], Vector]:
        """Returns the loss at t, and its gradient."""
        error = self._values - self.push(t)
        weighted = self._inverse @ error
        value = 0.5 * self._factor * ((error * weighted).sum() + t @ t)
        return value, self._factor * (t - self.pull(weighted))

    @torch.no_grad()
    def hessian_times(self, v: Vector) -> Vector:
        """Returns the Hessian times v; it is the same at all t."""
        return self._factor * (v + self.pull(self._inverse @ self.push(v)))


def dual_weights(
    features: Float[Tensor, "n d"], values: Float[Tensor, "n k"], changes: Float[Tensor, "n k"], l2: float
) -> Float[Tensor, "n k"]:
    """Returns A^-1 (Y - J t), computed in float64, in the type of the features."""
    wide = features.double()
    regular = wide @ wide.T + l2 * torch.eye(len(wide), dtype=wide.dtype, device=wide.device)
    found: Tensor = torch.linalg.solve_ex(regular, (values - changes).double())[0]
    return found.to(features.dtype)


def slope(
    model: Linearised,
    images: Float[Tensor, "n c h w"],
    values: Float[Tensor, "n k"],
    l2: float,
    t: Vector,
    v: Vector,
) -> Float[Tensor, ""]:
    """Returns the derivative of `InnerProblem`'s loss at t in the direction v, differentiable by the set.

    If t is where the loss is least and v is H^-1 times the gradient of an outer loss by t, then minus the
    gradient of this by images and values is what the outer loss changes through t (the implicit function
    theorem).
    """
    features, changes = model.push(images, t)
    weighted = dual_weights(features, values, changes, l2)
    return l2 / values.numel() * (t @ v - (weighted * model.push(images, v)[1]).sum())


def descend(
    start: Vector,
    value_and_gradient: Callable[[Vector], tuple[Float[Tensor, ""], Vector]],
    lr: float,
    steps: int,
) -> tuple[Vector, Float[Tensor, " s"]]:
    """Minimises a function by Adam; returns where it ends, and the function's value before each step."""
    x = start.clone().requires_grad_()
    optimizer, seen = torch.optim.Adam([x], lr=lr), []
    for _ in range(steps):
        value, x.grad = value_and_gradient(x.detach())
        seen.append(value)
        optimizer.step()
    return x.detach(), torch.stack(seen)
