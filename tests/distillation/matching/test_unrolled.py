"""The unrolled student against plain backpropagation through all of its steps, in double precision."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import log_softmax, one_hot

from condense.augment import dsa
from condense.distillation.matching.unrolled import GRADIENTS, Unrolled, unroll
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.training.parameters import as_parameters, flatten

CLASSES, SHAPE = 3, (2, 16, 16)


def close(a: object, b: object) -> None:
    """Asserts that two values are equal up to rounding in double precision."""
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name: str = "convnet-w32", seed: int = 1) -> Network:
    """Two blocks on 16 x 16 pixels."""
    return build_network(name, SHAPE, CLASSES, torch.Generator().manual_seed(seed)).double()


def leaf(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64).clone().requires_grad_()


@dataclass(eq=False)
class Problem:
    """Six images, and steps on batches in which some of them come several times."""

    strategy: str = "none"
    soft: bool = False
    batches: Sequence[Sequence[int]] = ((0, 1, 2, 3), (3, 4, 5, 0), (2, 2, 5), (1, 4, 0, 5, 3))
    at: Sequence[int] = (4,)
    scale: float = 1.0
    net: Network = field(default_factory=network)
    images: Tensor = field(default_factory=lambda: leaf(drawn(6, *SHAPE)))
    logits: Tensor = field(default_factory=lambda: leaf(drawn(6, CLASSES, seed=1)))
    lr: Tensor = field(default_factory=lambda: leaf(0.3))
    momentum: float | Tensor = 0.0

    def __post_init__(self) -> None:
        self.start = flatten(self.net)
        rng = torch.Generator().manual_seed(3)
        self.draws = [dsa.draw_ops(self.strategy, SHAPE[1:], rng, per_group=len(b)) for b in self.batches]

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        chosen = torch.tensor(self.batches[number])
        images = self.draws[number](self.images[chosen][None])[0]
        return images, self.logits.softmax(1)[chosen] if self.soft else chosen % CLASSES

    def losses(self) -> dict[int, Callable[[Tensor], Tensor]]:
        """The share of the way to a point that is left, for each step; the weights differ."""

        def loss(step: int) -> Callable[[Tensor], Tensor]:
            goal = self.start + 0.05 * drawn(len(self.start), seed=10 + step)
            return lambda theta: step * (theta - goal).square().sum() / (self.start - goal).square().sum()

        return {step: loss(step) for step in self.at}

    @property
    def leaves(self) -> list[Tensor]:
        momentum = [self.momentum] if isinstance(self.momentum, Tensor) else []
        return [self.images, self.lr, *momentum, *[self.logits] * self.soft]

    def unroll(self, gradient: str = "exact") -> list[Tensor]:
        """The gradients with respect to the leaves, then the loss and the end."""
        for each in self.leaves:
            each.grad = None
        made = unroll(
            self.net,
            self.start,
            [partial(self.batch, number) for number in range(len(self.batches))],
            self.lr,
            self.losses(),
            momentum=self.momentum,
            scale=self.scale,
            gradient=gradient,
        )
        assert not made.loss.requires_grad and not made.end.requires_grad
        return [*(each.grad.clone() for each in self.leaves if each.grad is not None), made.loss, made.end]

    def naive(self) -> list[Tensor]:
        """Returns the same by plain backpropagation through all steps, from the definitions."""
        theta = self.start.clone().requires_grad_()
        velocity, total = torch.zeros_like(theta), torch.zeros((), dtype=torch.float64)
        for number in range(len(self.batches)):
            (gradient,) = torch.autograd.grad(self.cross(theta, number), theta, create_graph=True)
            velocity = self.momentum * velocity + gradient
            theta = theta - self.lr * velocity
            if number + 1 in self.at:
                total = total + self.losses()[number + 1](theta)
        return [*torch.autograd.grad(total, self.leaves), total.detach(), theta.detach()]

    def cross(self, theta: Tensor, number: int) -> Tensor:
        """The loss of a step."""
        images, labels = self.batch(number)
        parameters = dict(self.net.named_parameters())
        pieces = torch.split(theta, [p.numel() for p in parameters.values()])
        weights = {
            name: piece.reshape(p.shape) for (name, p), piece in zip(parameters.items(), pieces, strict=True)
        }
        p = labels if self.soft else one_hot(labels, CLASSES)
        return -self.scale * (p * log_softmax(functional_call(self.net, weights, (images,)), 1)).sum(1).mean()


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "class ids": Problem,
    "one step": lambda: Problem(batches=[(0, 1, 2, 5)], at=[1]),
    "soft labels": lambda: Problem(soft=True),
    "momentum": lambda: Problem(momentum=0.9),
    "learned momentum": lambda: Problem(momentum=leaf(0.7)),
    "losses on the way": lambda: Problem(at=(1, 3, 4)),
    "no loss at the end": lambda: Problem(at=(2,)),
    "a scaled loss": lambda: Problem(scale=1.7),
    "everything": lambda: Problem(
        "color_crop_cutout_flip_scale_rotate", soft=True, at=(1, 2, 4), scale=0.6, momentum=leaf(0.8)
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("gradient", ["exact", "unrolled"])
def test_loss_end_and_all_gradients_are_those_of_full_backpropagation(name: str, gradient: str) -> None:
    problem = PROBLEMS[name]()
    torch.testing.assert_close(problem.unroll(gradient), problem.naive())


@pytest.mark.parametrize("op", ["color", "crop", "cutout", "flip", "scale", "rotate"])
def test_pixels_are_reached_through_each_augmentation(op: str) -> None:
    problem = Problem(op, soft=True)
    close(problem.unroll(), problem.naive())


@pytest.mark.parametrize("gradient", ["exact", "tesla"])
def test_batches_in_pieces_give_what_whole_batches_give(
    monkeypatch: pytest.MonkeyPatch, gradient: str
) -> None:
    problem = Problem(soft=True, momentum=leaf(0.5), at=(2, 4))
    whole = problem.unroll(gradient)
    monkeypatch.setattr("condense.training.step.CHUNK", 2)
    close(problem.unroll(gradient), whole)


def test_a_network_that_mixes_samples_takes_its_batches_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condense.training.step.CHUNK", 2)
    problem = Problem(soft=True, net=network("convnet-w32-bn"))
    close(problem.unroll(), problem.naive())


def test_tesla_takes_every_step_for_independent_of_those_before_it() -> None:
    problem = Problem("rotate", soft=True)
    images, lr, logits, _, end = problem.unroll("tesla")
    theta = [problem.start]
    naive = [torch.zeros_like(problem.images), torch.zeros_like(problem.logits)]
    # lambda_n, which "tesla" uses for all steps, and the sum G of the gradients
    point = end.clone().requires_grad_()
    (adjoint,) = torch.autograd.grad(problem.losses()[4](point), point)
    total = torch.zeros_like(problem.start)
    for number in range(4):
        point = theta[-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(problem.cross(point, number), point, create_graph=True)
        for part, value in zip(
            naive,
            torch.autograd.grad(adjoint @ gradient, [problem.images, problem.logits], retain_graph=True),
            strict=True,
        ):
            part -= problem.lr.detach() * value
        total += gradient.detach()
        theta.append(theta[-1] - problem.lr.detach() * gradient.detach())
    close(end, theta[-1])
    close([images, logits], naive)
    close(lr, -adjoint @ total)


def test_tesla_is_exact_for_one_step_and_for_the_last_one_only() -> None:
    alone = Problem(batches=[(0, 1, 2, 5)], at=[1])
    close(alone.unroll("tesla"), alone.unroll("exact"))
    apart = Problem(batches=[(0,), (1,), (2,)], at=[3])
    tesla, exact = (apart.unroll(gradient)[0] for gradient in ("tesla", "exact"))
    close(tesla[2], exact[2])
    assert all(cosine(tesla[image], exact[image]) < 0.99 for image in (0, 1))
    many = Problem()
    truncated, true = many.unroll("tesla"), many.unroll("exact")
    assert 0 < cosine(truncated[0], true[0]) < 0.99 and abs(truncated[1] / true[1] - 1) > 0.01


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_student_ends_where_sgd_takes_the_network(gradient: str, momentum: float) -> None:
    problem, net = Problem("scale", momentum=momentum), network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3, momentum=momentum)
    for number in range(4):
        images, labels = problem.batch(number)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    close(problem.unroll(gradient)[-1], flatten(net))


def test_a_student_of_rate_zero_stays_and_still_has_a_gradient_of_the_rate() -> None:
    problem = Problem(lr=leaf(0.0))
    images, of_lr, loss, end = problem.unroll()
    assert torch.equal(end, problem.start) and loss == 4 and not images.any()
    close(of_lr, problem.naive()[1])
    assert of_lr != 0


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_loss_that_is_rejected_is_told_and_not_differentiated(gradient: str) -> None:
    problem = Problem()
    seen: list[Tensor] = []
    made: list[int] = []

    def batch(number: int) -> tuple[Tensor, Tensor]:
        made.append(number)
        return problem.batch(number)

    def run(rejects: bool) -> Unrolled:
        def unless(loss: Tensor) -> bool:
            seen.append(loss)
            return rejects

        made.clear()
        return unroll(
            problem.net, problem.start, [partial(batch, number) for number in range(4)], problem.lr,
            problem.losses(), gradient=gradient, unless=unless,
        )  # fmt: skip

    told = run(rejects=True)
    assert told.rejected and made == [0, 1, 2, 3]
    assert problem.images.grad is None and problem.lr.grad is None
    taken = run(rejects=False)
    assert not taken.rejected and problem.images.grad is not None
    close(told.loss, taken.loss)
    close(seen[0], taken.loss)
    close(told.end, taken.end)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_gradients_flow_through_what_the_rate_and_the_labels_are_made_of(gradient: str) -> None:
    problem = Problem(soft=True)
    of_lr, of_logits = problem.unroll(gradient)[1:3]
    rate = leaf(problem.lr.detach().log())
    shared = problem.logits.softmax(1)
    batches = [
        lambda number=number: (problem.batch(number)[0], shared[list(problem.batches[number])])
        for number in range(4)
    ]
    problem.logits.grad = None
    unroll(problem.net, problem.start, batches, rate.exp(), problem.losses(), gradient=gradient)
    close(rate.grad, 0.3 * of_lr)
    close(problem.logits.grad, of_logits)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_what_needs_no_gradient_gets_none_and_changes_nothing_for_the_rest(gradient: str) -> None:
    problem = Problem(soft=True, momentum=0.5)
    of_lr = problem.unroll(gradient)[1]
    for fixed in (problem.images, problem.logits):
        fixed.grad = None
        fixed.requires_grad_(False)
    found = problem.unroll(gradient)
    assert problem.images.grad is None and problem.logits.grad is None
    close(found[0], of_lr)


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_same_batches_give_the_same_bits_and_gradients_add_up(gradient: str) -> None:
    problem = Problem("scale", soft=True)
    first, second = problem.unroll(gradient), problem.unroll(gradient)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    batches = [partial(problem.batch, number) for number in range(4)]
    unroll(problem.net, problem.start, batches, problem.lr, problem.losses(), gradient=gradient)
    assert problem.images.grad is not None
    close(problem.images.grad, 2 * first[0])


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_the_network_gives_its_structure_only_and_stays_as_it_is(gradient: str) -> None:
    problem, net = Problem(net=network("convnet-w32-bn")), network("convnet-w32-bn", seed=2)
    found = problem.unroll(gradient)
    problem.net = net.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert all(torch.equal(a, b) for a, b in zip(problem.unroll(gradient), found, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_only_the_whole_graph_keeps_more_for_more_steps(gradient: str) -> None:
    few, many = (kept_at_once(gradient, steps) for steps in (2, 6))
    assert few > 0
    assert many > 2.5 * few if gradient == "unrolled" else many == few


def kept_at_once(gradient: str, steps: int) -> int:
    """The most tensors that autograd kept for backward passes at any one time."""
    problem = Problem("rotate", batches=[(0, 1)] * steps, at=[steps])
    alive = most = 0

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal alive, most
            self.tensor = tensor
            alive += 1
            most = max(most, alive)
            weakref.finalize(self, gone)

    def gone() -> None:
        nonlocal alive
        alive -= 1

    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        problem.unroll(gradient)
    return most


def test_views_of_a_parameter_vector_are_in_order_and_differentiable() -> None:
    net = network()
    flat = flatten(net)
    torch.testing.assert_close(
        flat, torch.nn.utils.parameters_to_vector(net.parameters()).detach(), rtol=0, atol=0
    )
    views = as_parameters(net, flat)
    assert all(torch.equal(views[name], parameter) for name, parameter in net.named_parameters())
    assert not flat.requires_grad and views["body.0.weight"].data_ptr() == flat.data_ptr()
    flat.requires_grad_()
    (gradient,) = torch.autograd.grad(as_parameters(net, flat)["classifier.bias"].sum(), flat)
    assert gradient.nonzero().flatten().tolist() == list(range(len(flat) - CLASSES, len(flat)))


def test_an_unknown_gradient_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="'exat'; nearest: exact"):
        Problem().unroll("exat")


@pytest.mark.parametrize("at", [(), (0,), (5,)])
def test_a_loss_must_follow_a_step_that_is_made(at: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="of 4"):
        Problem(at=at).unroll()
