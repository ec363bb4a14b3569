from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.distillation import Rollback
from condense.errors import Refused
from condense.training.checkpoint import Checkpoints
from condense.training.loop import capture, copied, restore
from condense.training.rehearsal import rehearsing

NAN, INF = float("nan"), float("inf")


@dataclass(eq=False)
class Problem:
    """Two pixels and a learning rate under SGD with momentum, and a tensor that only follows."""

    most: int = 3
    images: Tensor = field(default_factory=lambda: torch.tensor([1.0, 2.0]).requires_grad_())
    lr: Tensor = field(default_factory=lambda: torch.tensor(0.5).requires_grad_())
    follower: Tensor = field(default_factory=lambda: torch.tensor([7.0]))

    def __post_init__(self) -> None:
        groups = [{"params": [self.images], "lr": 1.0}, {"params": [self.lr], "lr": 0.25}]
        self.optimizer = torch.optim.SGD(groups, momentum=0.5)
        learned = {"images": self.images, "lr": self.lr, "follower": self.follower}
        self.rollback = Rollback(
            learned, self.lr, self.optimizer, most=self.most, remedy="take a smaller one"
        )

    def step(
        self,
        of_lr: float = 0.1,
        *,
        loss: float = 1.0,
        of_images: float = 1.0,
        also: float = 0.0,
        number: int = 0,
    ) -> bool:
        """A step with given gradients, which the follower notices if it is taken."""
        self.images.grad = of_images * torch.tensor([1.0, -2.0])
        self.lr.grad = torch.tensor(of_lr)
        taken = self.rollback.step(number, torch.tensor(loss), [torch.tensor(also)])
        self.follower += taken
        return taken

    @property
    def state(self) -> dict[str, object]:
        return {
            "images": self.images,
            "lr": self.lr,
            "follower": self.follower,
            "optimizer": self.optimizer,
            "rollback": self.rollback,
        }

    def now(self) -> object:
        """All tensors, with the momentum."""
        tensors = {"images": self.images, "lr": self.lr, "follower": self.follower}
        return copied([tensors, self.optimizer.state_dict()["state"]])

    @property
    def rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]


def same(one: object, other: object) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_step_that_is_fine_is_that_of_the_optimiser() -> None:
    watched, plain = Problem(), Problem(most=0)
    for of_lr in (0.1, -0.2, 0.3):
        assert watched.step(of_lr) and plain.step(of_lr)
    same(watched.now(), plain.now())
    assert watched.rollback.count == 0 and watched.rates == [1.0, 0.25]


@pytest.mark.parametrize("of_lr", [2.0, 9.0])
def test_a_step_to_a_rate_of_zero_or_below_only_leaves_halved_rates(of_lr: float) -> None:
    problem = Problem()
    problem.step(0.0)
    before = problem.now()
    assert not problem.step(of_lr, of_images=3.0)
    same(problem.now(), before)
    assert problem.rates == [0.5, 0.125] and problem.rollback.count == 1
    images = problem.images.detach().clone()
    assert problem.step(0.0)
    # The momentum is that of the step before the one that was undone.
    gradient = torch.tensor([1.0, -2.0])
    same(problem.images.detach(), images - 0.5 * (0.5 * gradient + gradient))


def test_a_step_to_an_infinite_rate_is_undone() -> None:
    problem = Problem()
    problem.optimizer.param_groups[1]["lr"] = 4.0
    assert not problem.step(-3e38)
    assert problem.lr == 0.5 and problem.rollback.count == 1


def test_steps_that_were_all_undone_are_no_result() -> None:
    problem = Problem()
    assert not problem.step(9.0)
    with pytest.raises(Refused, match=r"all steps were undone \(1\): nothing was.*take a smaller"):
        problem.rollback.ended()
    problem.step(0.0)
    assert problem.rollback.ended() == 1
    problem.step(0.0, loss=NAN)  # the step that was taken is undone
    restored = Problem()
    restored.rollback.load_state_dict(problem.rollback.state_dict())
    for one in (problem, restored):
        with pytest.raises(Refused, match="undone"):
            one.rollback.ended()
    assert Problem(most=0).rollback.ended() == 0


def test_a_first_step_that_is_undone_leaves_no_momentum() -> None:
    problem = Problem()
    assert not problem.step(9.0, of_images=3.0)
    assert problem.images.tolist() == [1.0, 2.0] and problem.lr == 0.5
    problem.step(0.0)
    assert problem.images.tolist() == [0.5, 3.0]


@pytest.mark.parametrize(
    "bad", [{"loss": NAN}, {"loss": INF}, {"of_images": NAN}, {"of_lr": INF}, {"also": -INF}], ids=str
)
def test_what_is_not_finite_undoes_the_step_that_led_there(bad: dict[str, float]) -> None:
    problem = Problem()
    problem.step()
    before = problem.now()
    problem.step(-0.3, of_images=5.0)
    assert not problem.step(**bad)  # type: ignore[arg-type]
    same(problem.now(), before)
    assert problem.rates == [0.5, 0.125] and problem.rollback.count == 1
    assert not problem.step(**bad)  # type: ignore[arg-type]
    same(problem.now(), before)
    assert problem.rates == [0.25, 0.0625] and problem.rollback.count == 2


def test_the_next_step_after_one_that_was_undone_can_be_undone_alone() -> None:
    problem = Problem()
    problem.step()
    problem.step(9.0)
    problem.step(0.2)
    before = problem.now()
    problem.step(0.1)
    problem.step(loss=NAN)
    same(problem.now(), before)


def test_each_undone_step_is_reported_and_one_too_many_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    problem = Problem(most=2)
    problem.step(number=0)
    problem.step(9.0, number=4)
    problem.step(loss=NAN, number=5)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and said[0].startswith("the learned learning rate would become -")
    assert said[0].endswith(
        "at step 4: its last step is undone, and the next ones are half as long (1 of at most 2)"
    )
    assert said[1].startswith("the loss is not finite at step 5") and said[1].endswith("(2 of at most 2)")
    with pytest.raises(Refused, match="at step 6, although 2 steps were undone; take a smaller one"):
        problem.step(99.0, number=6)


def test_a_loss_that_is_infinite_at_the_first_step_is_refused() -> None:
    with pytest.raises(Refused, match="not finite at step 0, before any step was taken; take a smaller one"):
        Problem().step(loss=NAN)


def test_a_rehearsal_undoes_as_many_steps_as_it_has_to_and_refuses_nothing() -> None:
    problem = Problem(most=1)
    with rehearsing():
        assert not problem.step(loss=NAN, of_images=NAN), "there is nothing to go back to"
        assert not any(problem.step(99.0, number=number) for number in range(1, 6))
        assert problem.rollback.ended() == 6
        assert problem.images.tolist() == [1.0, 2.0] and problem.lr == 0.5
        assert problem.step(0.1)
    problem = Problem(most=1)
    assert not problem.step(99.0)
    with pytest.raises(Refused, match="although 1 steps were undone"):
        problem.step(99.0)


def test_with_none_allowed_nothing_is_watched() -> None:
    problem = Problem(most=0)
    assert problem.step(9.0) and problem.lr < 0
    assert problem.step(loss=NAN, of_images=NAN) and problem.images.isnan().all()
    assert problem.rates == [1.0, 0.25] and problem.rollback.count == 0


@pytest.mark.parametrize("steps", [0, 1, 2, 4], ids=["new", "after a step", "after an undone one", "later"])
def test_a_run_that_goes_on_from_a_checkpoint_undoes_what_the_other_undoes(
    steps: int, tmp_path: Path
) -> None:
    script = [{"of_lr": 0.1}, {"of_lr": 9.0}, {"of_lr": -0.2}, {"of_images": 2.0}, {"loss": NAN}, {}]
    whole, stopped, resumed = Problem(), Problem(), Problem()
    for number, bad in enumerate(script):
        whole.step(**bad, number=number)
        if number < steps:
            stopped.step(**bad, number=number)
    Checkpoints(tmp_path).write(capture(stopped.state))
    tree = Checkpoints(tmp_path).read()
    assert tree is not None
    restore(resumed.state, tree)
    for number, bad in enumerate(script[steps:], start=steps):
        resumed.step(**bad, number=number)
    same(resumed.now(), whole.now())
    assert resumed.rates == whole.rates == [0.25, 0.0625] and resumed.rollback.count == 2
