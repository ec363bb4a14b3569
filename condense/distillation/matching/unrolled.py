"""The unrolled student: SGD steps on synthetic batches, differentiable in all that the steps depend on.

A student starts at theta_0 and makes n heavy-ball steps with learning rate alpha and momentum mu on batches
(x_i, y_i); v_0 = 0, and l_i is the mean cross-entropy of batch i:

    v_{i+1} = mu v_i + grad l_i(theta_i)
    theta_{i+1} = theta_i - alpha v_{i+1}                                            i = 0 .. n-1

It is judged by L = sum_k L_k(theta_k): trajectory matching has the one term k = n, the distance to an expert.
Backpropagation through all of it needs the graphs of all steps at once. The adjoint of the recursion needs
those of one step, and the n + 1 vectors theta_i. With lambda_i the derivative of L with respect to theta_i,
and c_n = 0, lambda_n = grad L_n(theta_n), going backwards i = n-1 .. 0:

    c_i = mu c_{i+1} + lambda_{i+1}                         a heavy ball too, rolling back
    s_i(theta, x, y) = c_i . grad_theta l_i(theta; x, y)    the slope of the loss along c_i, held constant
    dL/dx_i = -alpha ds_i/dx      dL/dalpha += -s_i
    dL/dy_i = -alpha ds_i/dy      dL/dmu += c_i . (theta_i - theta_{i-1})  for i > 0
    lambda_i = lambda_{i+1} - alpha ds_i/dtheta + grad L_i(theta_i)

One backward pass of s_i at theta_i gives its three derivatives together, so every number is that of the full
backpropagation ("exact"). Without the Hessian's product ds_i/dtheta this is the gradient of Cui, Wang, Si and
Hsieh, Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023,
https://arxiv.org/abs/2211.10586 ("tesla"): it takes theta_i for independent of the batches before i, which
holds for one step and not for more. The authors' code (justincui03/tesla, ``distill.py``) halves its pixels'
part, as the factor 2 of the squared distance meets a tuple there; here the factor is where it belongs.

Time: the adjoint computes the gradient of each step twice, "unrolled" once: 12 and 9 passes through the
convolutions. Still it is the faster one on a CPU, where it works on a few images at a time and the published
way on the graph of whole batches and of all steps, many GiB (``benchmarks/unrolled.py`` measures both). The
slope is differentiated backwards over backwards. Forwards over backwards (`torch.autograd.forward_ad`) saves
one of the 12 passes and loses more by the framework's tangent of the norm: the slopes of 96 images took it
1.32 s in place of 1.17 s.
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
"""All parameters of a network one after the other, in the order of `parameters()`."""

Labels = Int64[Tensor, " b"] | Float[Tensor, "b k"]
"""Class ids, or a probability for each class."""

Batch = Callable[[], tuple[Float[Tensor, "b c h w"], Labels]]
"""Makes the images (augmented) and labels of a step: the very same ones at each call."""

GRADIENTS = ("exact", "tesla", "unrolled")
"""The ways to differentiate: the adjoint, the adjoint without Hessians, and the graph of all steps."""


@dataclass(frozen=True, eq=False)
class Unrolled:
    """What came of the steps; the gradients are where the batches, the rate and the momentum come from.

    Attributes:
        loss: The sum of all losses, without a graph.
        end: The parameters after the last step.
        rejected: Whether the loss was not wanted, and so not differentiated.
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
    """Trains a student and differentiates losses on its way with respect to what it was trained with.

    The derivatives are added to ``.grad`` of the leaves behind the batches, ``lr`` and ``momentum``, as
    `torch.Tensor.backward` adds them. An augmentation is never differentiated twice.

    Args:
        network: Gives the structure and is put into training mode; its own parameters, statistics and
            gradients stay as they are.
        start: theta_0, taken for constant.
        batches: The n batches. Each is called once or twice; what it returns may depend on leaves.
        lr: alpha, on the device of the start.
        losses: What is minimised: by the number of steps done (1 .. n), a function of the parameters there.
        momentum: mu; a tensor where it is learned.
        scale: A factor of the cross-entropy in every step.
        gradient: One of `GRADIENTS`. "unrolled" needs memory in proportion to n.
        unless: Rejects a loss, which is then not differentiated; None takes every one.

    Raises:
        Refused: if the gradient is unknown.
        ValueError: if there is no loss, or one after a step that is not made.
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
        _pull(images, s.of_images, -alpha)
        _pull(labels, s.of_labels, -alpha)
        of_lr -= s.value
        if i > 0:
            of_momentum += c @ (theta[i] - theta[i - 1])
        if s.of_theta is not None:
            lam = lam - alpha * s.of_theta
    _pull(lr, of_lr)
    _pull(momentum, of_momentum)
    return Unrolled(total, theta[-1])


@dataclass(frozen=True, eq=False)
class _Slope:
    """The slope s of a batch's loss, and its derivatives; None where none was asked for."""

    value: Float[Tensor, ""]
    of_theta: Vector | None
    of_images: Float[Tensor, "b c h w"] | None
    of_labels: Float[Tensor, "b k"] | None


class _Student:
    """A network in training mode, as a function of the vector of its parameters.

    Args:
        network: Gives the structure.
        scale: Of its loss.
    """

    def __init__(self, network: Network, scale: float) -> None:
        self.network, self.scale = network.train(), scale
        self.parameters = dict(network.named_parameters())
        self.statistics = dict(network.named_buffers())

    def loss(self, theta: Vector, images: Tensor, labels: Tensor, batch: int) -> Float[Tensor, ""]:
        """The part that some images have in the mean cross-entropy of a batch, scaled."""
        statistics = {name: buffer.clone() for name, buffer in self.statistics.items()}
        values = cut(theta, self.parameters) | statistics
        logits = functional_call(self.network, values, (images,), tie_weights=False)
        return self.scale / batch * cross_entropy(logits, labels, reduction="sum")

    def gradient(self, theta: Vector, images: Tensor, labels: Tensor) -> Vector:
        """Of a batch's loss, with respect to theta."""
        theta = theta.detach().requires_grad_()
        for part in chunks(images, self.network):
            torch.autograd.backward(self.loss(theta, images[part], labels[part], len(images)))
        assert theta.grad is not None
        return theta.grad

    def slope(self, c: Vector, theta: Vector, images: Tensor, labels: Tensor, *, hessian: bool) -> _Slope:
        """The slope of a batch's loss along c, ``c . gradient``, differentiated.

        Args:
            c: The direction, a constant.
            theta: Where.
            images: The batch, cut off from what is behind it.
            labels: Likewise.
            hessian: Whether the derivative with respect to theta is wanted: the Hessian times c.
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
    """A loss and its gradient at some parameters."""
    theta = theta.detach().requires_grad_()
    value = loss(theta)
    (gradient,) = torch.autograd.grad(value, theta)
    return value.detach(), gradient


def _pull(made: object, derivative: Tensor | None, factor: float | Tensor = 1.0) -> None:
    """Carries a derivative on to the leaves behind what was made of them."""
    if isinstance(made, Tensor) and made.requires_grad and derivative is not None:
        # What several batches share, a softmax of all labels, is passed again for each of them.
        torch.autograd.backward(made, factor * derivative, retain_graph=True)


def _constant(value: float | Tensor) -> float | Tensor:
    return value.detach() if isinstance(value, Tensor) else value


def _whole_graph(
    student: _Student, start: Vector, batches: Sequence[Batch], lr: Tensor,
    losses: Mapping[int, Callable[[Vector], Tensor]], momentum: float | Tensor,
    unless: Callable[[Tensor], bool] | None,
) -> Unrolled:  # fmt: skip
    """The plain way: all steps in one graph, whole batches, one backward pass."""
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
