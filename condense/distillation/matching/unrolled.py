"""The unrolled student: SGD steps on synthetic batches that are differentiable in everything they depend on.

A student starts at theta_0 and takes n steps with learning rate alpha and momentum mu on batches (x_i, y_i).
With l_i the mean cross-entropy of batch i, and v_0 = 0:

    v_{i+1} = mu v_i + grad l_i(theta_i)
    theta_{i+1} = theta_i - alpha v_{i+1}                                            i = 0 .. n-1

The loss is L = sum_k L_k(theta_k). Trajectory matching has the one term k = n, the distance to an expert.
Backpropagation through all steps needs the graphs of all of them at once. The adjoint recursion needs the
graph of one step and the n + 1 vectors theta_i. Let lambda_i be the derivative of L with respect to theta_i,
c_n = 0 and lambda_n = grad L_n(theta_n). Then, backwards for i = n-1 .. 0:

    c_i = mu c_{i+1} + lambda_{i+1}                         momentum, backwards s_i(theta, x, y) = c_i .
    grad_theta l_i(theta; x, y)    the slope of l_i along c_i, where c_i is a constant dL/dx_i = -alpha
    ds_i/dx      dL/dalpha += -s_i dL/dy_i = -alpha ds_i/dy      dL/dmu += c_i . (theta_i - theta_{i-1})  for
    i > 0 lambda_i = lambda_{i+1} - alpha ds_i/dtheta + grad L_i(theta_i)

One backward pass of s_i at theta_i gives its three derivatives together, and every number equals that of full
backpropagation ("exact"). Without the Hessian-vector product ds_i/dtheta this is the gradient of Cui, Wang,
Si and Hsieh, Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023,
https://arxiv.org/abs/2211.10586 ("tesla"). It treats theta_i as independent of the batches before i, which is
true for one step and not for more. The authors' code (justincui03/tesla, ``distill.py``) halves the gradient
of the pixels, because its factor 2 of the squared distance multiplies a tuple; here the factor multiplies the
gradient.

Time: the adjoint computes the gradient of each step twice, "unrolled" once, which makes 12 and 9 passes
through the convolutions. On a CPU the adjoint is faster all the same, because it works on a few images at a
time, while backpropagation through all steps holds the graph of whole batches, many GiB
(``benchmarks/unrolled.py`` measures both). The slope is differentiated in reverse mode twice. Forward mode
over reverse mode (`torch.autograd.forward_ad`) saves one of the 12 passes but loses more in the framework's
tangent of the norm: it took 1.32 s for the slopes of 96 images, in place of 1.17 s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from condense.errors import unknown
from condense.networks import Network
from condense.training.parameters import cut
from condense.training.step import chunks

Vector = Float[Tensor, " p"]
"""All parameters of a network as one vector, in the order of ``parameters()``."""

Labels = Int64[Tensor, " b"] | Float[Tensor, "b k"]
"""Class ids, or a probability for each class of each image."""

Batch = Callable[[], tuple[Float[Tensor, "b c h w"], Labels]]
"""A function that returns the (augmented) images and the labels of a step, the same ones at each call."""

GRADIENTS = ("exact", "tesla", "unrolled")
"""The ways to differentiate: the adjoint, the adjoint without Hessians, and the graph of all steps."""


@dataclass(frozen=True, eq=False)
class Unrolled:
    """The result of a student's steps. The gradients are in ``.grad`` of the leaves.

    Attributes:
        loss: The sum of all losses, detached.
        end: The parameters after the last step.
        rejected: Whether the loss was rejected, so that there are no gradients.
    """

    loss: Float[Tensor, ""]
    end: Vector
    rejected: bool = False


def unroll(
    network: Network,
    start: Vector,
    batches: Sequence[Batch],
    lr: Float[Tensor, ""],
    losses: Mapping[int, Callable[[Vector], Float[Tensor, ""]]],
    *,
    momentum: float | Float[Tensor, ""] = 0.0,
    scale: float = 1.0,
    gradient: str = "exact",
    unless: Callable[[Float[Tensor, ""]], bool] | None = None,
) -> Unrolled:
    """Trains a student, and differentiates losses of its parameters with respect to what it was trained with.

    The derivatives are added to ``.grad`` of the leaves behind the batches, ``lr`` and ``momentum``, as
    `torch.Tensor.backward` adds them. An augmentation is never differentiated twice.

    Args:
        network: Gives the structure, and is put into training mode; its own parameters, statistics and
            gradients stay as they are.
        start: Initial parameters theta_0, a constant.
        batches: The n batches. Each is called once or twice; what it returns may depend on leaves.
        lr: Learning rate alpha, on the device of the start.
        losses: Losses L_k as functions of the parameters, by the number k of steps (1 .. n) after which they
            count.
        momentum: Momentum mu; a tensor if it is learned.
        scale: Factor of the cross-entropy in every step.
        gradient: One of `GRADIENTS`. "unrolled" needs memory in proportion to n.
        unless: Function that tells whether a loss is rejected, and not differentiated; None rejects none.

    Raises:
        Refused: if the gradient is unknown.
        ValueError: if there is no loss, or one after a step that is not taken.
    """
    if gradient not in GRADIENTS:
        raise unknown("gradient", gradient, GRADIENTS)
    if not losses or not all(1 <= step <= len(batches) for step in losses):
        raise ValueError(f"losses after steps {sorted(losses)} of {len(batches)}")
    student = _Student(network, scale)
    if gradient == "unrolled":
        return _whole_graph(student, start, batches, lr, losses, momentum, unless)

    alpha, mu = _constant(lr), _constant(momentum)
    theta, v = [start.detach()], torch.zeros_like(start)
    for batch in batches:
        with torch.no_grad():
            images, labels = batch()
        v = mu * v + student.gradient(theta[-1], images, labels)
        theta.append(theta[-1] - alpha * v)
    if unless is not None:
        with torch.no_grad():
            reached = torch.stack([losses[step](theta[step]) for step in sorted(losses)]).sum()
        if unless(reached):
            return Unrolled(reached, theta[-1], rejected=True)

    lam, c = torch.zeros_like(start), torch.zeros_like(start)
    total, of_lr, of_momentum = (start.new_zeros(()) for _ in range(3))
    for i in reversed(range(len(batches))):
        if i + 1 in losses:
            value, slope = _value_and_gradient(losses[i + 1], theta[i + 1])
            total, lam = total + value, lam + slope
        c = mu * c + lam
        images, labels = batches[i]()
        s = student.slope(c, theta[i], images, labels, hessian=gradient == "exact" and i > 0)
        _backward(images, s.of_images, -alpha)
        _backward(labels, s.of_labels, -alpha)
        of_lr -= s.value
        if i > 0:
            of_momentum += c @ (theta[i] - theta[i - 1])
        if s.of_theta is not None:
            lam = lam - alpha * s.of_theta
    _backward(lr, of_lr)
    _backward(momentum, of_momentum)
    return Unrolled(total, theta[-1])


@dataclass(frozen=True, eq=False)
class _Slope:
    """The slope s of a batch's loss and its derivatives; None for a derivative that was not asked for."""

    value: Float[Tensor, ""]
    of_theta: Vector | None
    of_images: Float[Tensor, "b c h w"] | None
    of_labels: Float[Tensor, "b k"] | None


class _Student:
    """A network in training mode, as a function of the vector of its parameters.

    Args:
        network: The network, which gives the structure.
        scale: Factor of its loss.
    """

    def __init__(self, network: Network, scale: float) -> None:
        self.network, self.scale = network.train(), scale
        self.parameters = dict(network.named_parameters())
        self.statistics = dict(network.named_buffers())

    def loss(self, theta: Vector, images: Tensor, labels: Tensor, batch: int) -> Float[Tensor, ""]:
        """Returns the scaled share of some images in the mean cross-entropy of a batch of a given size."""
        statistics = {name: buffer.clone() for name, buffer in self.statistics.items()}
        values = cut(theta, self.parameters) | statistics
        logits = functional_call(self.network, values, (images,), tie_weights=False)
        return self.scale / batch * cross_entropy(logits, labels, reduction="sum")

    def gradient(self, theta: Vector, images: Tensor, labels: Tensor) -> Vector:
        """Returns the gradient of a batch's loss with respect to theta."""
        theta = theta.detach().requires_grad_()
        for part in chunks(images, self.network):
            torch.autograd.backward(self.loss(theta, images[part], labels[part], len(images)))
        assert theta.grad is not None
        return theta.grad

    def slope(self, c: Vector, theta: Vector, images: Tensor, labels: Tensor, *, hessian: bool) -> _Slope:
        """Returns the slope of a batch's loss along c, ``c . gradient``, and its derivatives.

        Args:
            c: The direction, a constant.
            theta: The parameters at which the slope is taken.
            images: The images of the batch; the derivative does not go on behind them.
            labels: The labels of the batch, likewise.
            hessian: Whether to compute the derivative with respect to theta, the Hessian times c.
        """
        theta = theta.detach().requires_grad_()
        x = images.detach().requires_grad_(images.requires_grad)
        y = labels.detach().requires_grad_(labels.requires_grad)
        wanted = [leaf for leaf in (x, y) if leaf.requires_grad] + [theta] * hessian
        value = c.new_zeros(())
        for part in chunks(x, self.network):
            loss = self.loss(theta, x[part], y[part], len(x))
            (gradient,) = torch.autograd.grad(loss, theta, create_graph=bool(wanted))
            s = c @ gradient
            if wanted:
                torch.autograd.backward(s, inputs=wanted)
            value += s.detach()
        return _Slope(value, theta.grad, x.grad, y.grad)


def _value_and_gradient(loss: Callable[[Vector], Tensor], theta: Vector) -> tuple[Float[Tensor, ""], Vector]:
    """Returns a loss and its gradient at some parameters."""
    theta = theta.detach().requires_grad_()
    value = loss(theta)
    (gradient,) = torch.autograd.grad(value, theta)
    return value.detach(), gradient


def _backward(made: object, derivative: Tensor | None, factor: float | Tensor = 1.0) -> None:
    """Backpropagates a derivative from a tensor to the leaves that it was made of."""
    if isinstance(made, Tensor) and made.requires_grad and derivative is not None:
        # Batches share a part of the graph (the softmax of all labels), so it is kept for the others.
        torch.autograd.backward(made, factor * derivative, retain_graph=True)


def _constant(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value


def _whole_graph(
    student: _Student, start: Vector, batches: Sequence[Batch], lr: Tensor,
    losses: Mapping[int, Callable[[Vector], Tensor]], momentum: float | Tensor,
    unless: Callable[[Tensor], bool] | None,
) -> Unrolled:  # fmt: skip
    """Differentiates by plain backpropagation: all steps in one graph, whole batches, one backward pass."""
    theta = start.detach().requires_grad_()
    v, total = torch.zeros_like(start), start.new_zeros(())
    for i, batch in enumerate(batches):
        images, labels = batch()
        loss = student.loss(theta, images, labels, len(images))
        (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
        v = momentum * v + gradient
        theta = theta - lr * v
        if i + 1 in losses:
            total = total + losses[i + 1](theta)
    if unless is not None and unless(total.detach()):
        return Unrolled(total.detach(), theta.detach(), rejected=True)
    torch.autograd.backward(total)
    return Unrolled(total.detach(), theta.detach())
