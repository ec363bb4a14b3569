"""The outer gradient of a set against backpropagation through the solved inner problem; step sizes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from condense.data import ImageDataset, Images
from condense.distillation.kernel.implicit import StepSize, Task, outcome, shortened
from condense.distillation.kernel.linearised import InnerProblem, Linearised
from condense.distillation.kernel.prototypes import Prototypes
from condense.distillation.registry import build
from condense.networks import Network, build_network
from condense.training.parameters import cut
from tests.stand_ins import start

L2 = 0.02


@pytest.fixture
def network() -> Network:
    network = build_network("mlp", (1, 8, 8), 3, torch.Generator().manual_seed(3)).double()
    network.body = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 6), torch.nn.Softplus(beta=4)
    ).double()
    network.classifier = torch.nn.Linear(6, 3).double()
    with torch.no_grad():
        for place, parameter in enumerate(network.parameters()):
            draw = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(place))
            parameter.copy_(draw / parameter.shape[-1] ** 0.5)
    return network


@pytest.fixture
def real(toy: ImageDataset) -> Images:
    return toy.train.in_space(toy.space("normalized"))


def prototypes(toy: ImageDataset, cache: Path, flip: bool) -> Prototypes:
    """Two images of each class in float64, with labels that were moved a little."""
    train, run = start(build("rcig", "toy", 2)[0], toy, ipc=2, cache=cache)
    learned = Prototypes(train, run, flip=flip)
    draw = torch.randn(learned.values.shape, generator=torch.Generator().manual_seed(9))
    learned.syn.images = learned.syn.images.detach().double().requires_grad_()
    learned.values = (learned.values.detach() + 0.1 * draw).double().requires_grad_()
    return learned


def jacobian(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """Features, and the Jacobian of the outputs by all parameters but the last layer's weight, (n, k, p)."""
    at = dict(network.body.named_parameters())
    flat = torch.cat([parameter.detach().flatten() for parameter in at.values()])

    def features(x: Tensor) -> Tensor:
        found: Tensor = functional_call(network.body, cut(x, at), (images,)).flatten(1)
        return found

    def outputs(x: Tensor) -> Tensor:
        return features(x[:-3]) @ network.classifier.weight.detach().T + x[-3:]

    return features(flat), jacrev(outputs)(torch.cat([flat, torch.zeros(3).double()]))


def naive(
    network: Network, learned: Prototypes, real: Images, heat: Tensor, t: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The outer loss at t, or at the solution of the inner problem; and that t."""
    images, values = learned.all()
    f, j = jacobian(network, images)
    a = f @ f.T + L2 * torch.eye(len(f)).double()
    weighted = torch.einsum("nm,mkp->nkp", torch.linalg.inv(a), j).flatten(0, 1)
    if t is None:
        normal = torch.eye(j.shape[-1]).double() + j.flatten(0, 1).T @ weighted
        t = torch.linalg.solve(normal, weighted.T @ values.flatten())
    g, others = jacobian(network, real.images[:7].double())
    predicted = others @ t + g @ f.T @ torch.linalg.solve(a, values - j @ t)
    logs = (predicted * heat.exp()).log_softmax(1)
    loss = -logs[torch.arange(7), real.labels[:7]].mean()
    top = learned.values.sort(dim=1, descending=True).values
    gaps = torch.minimum(top[:, 0] - top[:, 1], torch.full((6,), 1 / 6, dtype=torch.float64))
    return loss - gaps.mean(), t.detach()


@pytest.mark.parametrize("flip", [False, True])
def test_direct_plus_implicit_gradient_is_that_of_the_whole_computation(
    toy: ImageDataset, tmp_path: Path, network: Network, real: Images, flip: bool
) -> None:
    learned = prototypes(toy, tmp_path, flip)
    heat = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss, t = naive(network, learned, real, heat)
    whole = torch.autograd.grad(loss, [*learned.leaves, heat])
    task = Task(Linearised(network), learned, L2)
    outer = task.outer(t, real.images[:7].double(), real.labels[:7], heat)
    torch.testing.assert_close(outer.loss, loss.detach())
    hessian = torch.stack([task.inner.hessian_times(row) for row in torch.eye(len(t)).double()])
    v = torch.linalg.solve(hessian, outer.by_t)
    for direct, implicit, both in zip(outer.direct, task.implicit(t, v), whole[:2], strict=True):
        torch.testing.assert_close(direct + implicit, both, rtol=1e-6, atol=1e-9)
        assert float(implicit.norm()) > 1e-3 * float(direct.norm())
    torch.testing.assert_close(outer.by_temperature, whole[2])


def test_the_gradient_by_t_is_that_of_the_outer_loss(
    toy: ImageDataset, tmp_path: Path, network: Network, real: Images
) -> None:
    learned, heat = prototypes(toy, tmp_path, False), torch.tensor(0.3).double().requires_grad_()
    t = naive(network, learned, real, heat)[1].mul(0.5).requires_grad_()
    (expected,) = torch.autograd.grad(naive(network, learned, real, heat, t)[0], t)
    task = Task(Linearised(network), learned, L2)
    found = task.outer(t.detach(), real.images[:7].double(), real.labels[:7], heat)
    torch.testing.assert_close(found.by_t, expected)


def test_steps_of_adam_come_near_the_inverse_hessian_times_the_gradient(
    toy: ImageDataset, tmp_path: Path, network: Network
) -> None:
    learned = prototypes(toy, tmp_path, False)
    task = Task(Linearised(network), learned, L2)
    goal = torch.randn(len(task.zeros()), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    v, values = task.inverse(task.inner.hessian_times(goal), 0.05, 1500)
    torch.testing.assert_close(v, goal, rtol=0, atol=0.1)
    assert outcome(values[:5]) == 1
    assert isinstance(task.inner, InnerProblem)


def test_an_implicit_gradient_is_cut_to_the_length_of_the_direct_one() -> None:
    direct, implicit = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[10.0, 0.0], [0.0, 0.0]])
    assert shortened(implicit, direct).tolist() == [[5.0, 0.0], [0.0, 0.0]]
    assert torch.equal(shortened(implicit / 100, direct), implicit / 100)
    assert torch.equal(shortened(torch.zeros(2, 2), direct), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("values", "expected"),
    [((3.0, 2.0, 1.0), 1), ((3.0, 3.5, 1.0), 0), ((3.0, 2.0, 3.1), -1), ((3.0, 3.0), 0)],
)
def test_a_descent_falls_at_every_step_or_ends_higher_or_neither(
    values: tuple[float, ...], expected: int
) -> None:
    assert outcome(torch.tensor(values)) == expected


def test_a_step_size_falls_after_failures_and_rises_after_falls() -> None:
    up, down, flat = (torch.tensor(values) for values in ((1.0, 2.0), (2.0, 1.0), (2.0, 3.0, 1.0)))
    for share, factor in ((29, 0.9), (28, 1.05), (20, 1.05)):
        size = StepSize(0.1)
        for place in range(100):
            size.note(up if place < share else down)
        size.adapt()
        assert size.rate == pytest.approx(0.1 * factor) and size.outcomes == []
    size = StepSize(0.1)
    for place in range(100):
        size.note(flat if place < 31 else down)
    size.adapt()
    assert size.rate == 0.1


def test_a_step_size_goes_on_from_its_state() -> None:
    size, again = StepSize(0.1), StepSize(0.7)
    size.note(torch.tensor([2.0, 1.0]))
    again.load_state_dict(size.state_dict())
    assert (again.rate, again.outcomes) == (0.1, [1])
