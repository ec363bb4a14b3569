import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
import torch
from torch import Tensor

from condense.errors import Refused, Stopped
from condense.events import Event, hearing, telling
from condense.resources import Budget
from condense.training.checkpoint import Checkpoints
from condense.training.loop import Loop, State, checkpoint_seconds

CPU = torch.device("cpu")
STEPS = 6
"""Of each of the two phases of `work`."""


class Clock(Protocol):
    now: float


class Killed(Exception):
    """In place of a kill: nothing of the loop runs after it."""


def make_loop(folder: Path, budget: Budget | None = None, every: float = 0.0, seed: int = 7) -> Loop:
    rng = torch.Generator().manual_seed(seed)
    return Loop(
        folder,
        rng,
        device=CPU,
        budget=budget or Budget(),
        title="toy",
        remedy="lower lr",
        every_seconds=every,
    )


def nothing(step: int) -> None:
    """What happens in a step of undisturbed work."""


def work(loop: Loop, during: Callable[[int], None] = nothing) -> list[Tensor]:
    """Two phases that share a tensor, an optimiser and a number; ``during`` is called in every step's middle.

    Between the phases something is computed and drawn that the second depends on and that no state holds.
    """
    x = torch.randn(4, generator=loop.rng).requires_grad_()
    sgd = torch.optim.SGD([x], lr=0.1, momentum=0.9)
    state: State = {"x": x, "sgd": sgd, "count": 0, "best": float("inf")}
    for step in loop.steps(STEPS, state, "one"):
        loss = (x - torch.randn(4, generator=loop.rng)).square().sum()
        descend(sgd, loss)
        during(step)
        state["count"] = number(state["count"]) + int(torch.randint(10, (), generator=loop.rng))
        state["best"] = min(number(state["best"]), float(loss.detach()))
        loop.log(loss=loss)
    middle = x.detach().clone() + torch.randn(4, generator=loop.rng)
    y = torch.randn(4, generator=loop.rng).requires_grad_()
    adam = torch.optim.Adam([x, y], lr=0.1)
    more: State = {"x": x, "y": y, "sgd": sgd, "adam": adam, "count": state["count"]}
    for step in loop.steps(STEPS, more, "two"):
        loss = (x * y - middle * number(more["count"])).square().sum()
        descend(adam, loss)
        during(STEPS + step)
        descend(sgd, (x + torch.randn(4, generator=loop.rng)).square().sum())
        more["count"] = number(more["count"]) + 1
        loop.log(loss=loss)
    numbers = torch.tensor([number(more["count"]), number(state["best"])])
    return [x.detach(), y.detach(), middle, numbers, torch.rand(3, generator=loop.rng)]


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def number(value: object) -> float:
    assert isinstance(value, int | float)
    return value


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.fixture
def whole(tmp_path: Path) -> list[Tensor]:
    """What uninterrupted work gives."""
    return work(make_loop(tmp_path / "whole"))


@pytest.mark.parametrize("every", [0.0, 2.5])
@pytest.mark.parametrize("seed", range(4))
def test_work_killed_at_random_steps_ends_in_the_same_bits(
    tmp_path: Path, clock: Clock, whole: list[Tensor], seed: int, every: float
) -> None:
    draw = random.Random(seed)
    kills = 0
    while True:
        loop = make_loop(tmp_path / "killed", every=every)
        try:
            ended = work(loop, dying(clock, draw.randrange(4, 10)))
            break
        except Killed:
            kills += 1
    assert kills > 0 and same(ended, whole)


def dying(clock: Clock, steps: int) -> Callable[[int], None]:
    """Kills after a number of steps of a second each."""
    end = clock.now + steps

    def during(step: int) -> None:
        clock.now += 1
        if clock.now > end:
            raise Killed

    return during


@pytest.mark.parametrize("place", range(2 * STEPS))
def test_work_killed_at_any_step_goes_on_from_that_step(
    tmp_path: Path, clock: Clock, whole: list[Tensor], place: int
) -> None:
    steps: list[int] = []
    with pytest.raises(Killed):
        work(make_loop(tmp_path / "killed"), killing(clock, place))

    def during(step: int) -> None:
        clock.now += 1
        steps.append(step)

    assert same(work(make_loop(tmp_path / "killed"), during), whole)
    assert steps == list(range(place, 2 * STEPS))


def killing(clock: Clock, place: int) -> Callable[[int], None]:
    """Kills in the middle of a step; until then every step takes a second."""

    def during(step: int) -> None:
        clock.now += 1
        if step == place:
            raise Killed

    return during


def test_a_finished_phase_yields_nothing_and_restores_its_end_state(tmp_path: Path) -> None:
    for run in range(3):
        loop = make_loop(tmp_path)
        x = torch.zeros(2)
        state: State = {"x": x, "count": 0}
        steps = []
        for step in loop.steps(3, state, "one"):
            steps.append(step)
            x += torch.rand(2, generator=loop.rng)
            state["count"] = step + 1
        drawn = torch.rand(1, generator=loop.rng)
        assert steps == ([] if run else [0, 1, 2])
        if run == 0:
            end, after = x.clone(), drawn
        assert torch.equal(x, end) and torch.equal(drawn, after) and state["count"] == 3


def test_a_finished_phase_restores_its_own_end_state(tmp_path: Path, clock: Clock) -> None:
    def ends(lives: int) -> tuple[Tensor, Tensor]:
        """x and its momentum after the first phase; killed in the second after some steps."""
        loop = make_loop(tmp_path)
        x = torch.ones(2, requires_grad=True)
        sgd = torch.optim.SGD([x], lr=0.1, momentum=0.9)
        seen: tuple[Tensor, Tensor] | None = None
        for phase in ("one", "two"):
            for _ in loop.steps(4, {"x": x, "sgd": sgd}, phase):
                clock.now += 1
                descend(sgd, x.square().sum())
                if phase == "two" and (lives := lives - 1) < 0:
                    break
            momentum = sgd.state[x]["momentum_buffer"]
            seen = seen or (x.detach().clone(), momentum.clone())
        assert seen is not None
        return seen

    first = ends(0)  # killed before the second phase's first checkpoint
    for lives in (2, 1, 9):
        assert same(list(ends(lives)), list(first))


@pytest.mark.parametrize("damage", ["empty", "header", "half", "one byte short", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, clock: Clock, whole: list[Tensor], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        work(make_loop(folder), killing(clock, STEPS + 4))
    newest = sorted(folder.glob("checkpoint-*"))[-1]
    data = newest.read_bytes()
    lengths = {"empty": 0, "header": 8, "half": len(data) // 2, "one byte short": len(data) - 1}
    newest.write_bytes(data[: lengths.get(damage, len(data) - 5)] + b"?" * (5 * (damage == "flipped")))
    capsys.readouterr()
    steps: list[int] = []
    assert same(work(make_loop(folder), steps.append), whole)
    assert steps[0] == STEPS + 3
    assert f"{newest.name} is damaged; going on from the one before it" in capsys.readouterr().err


def test_with_every_checkpoint_damaged_the_work_starts_over_and_says_so(
    tmp_path: Path, clock: Clock, whole: list[Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        work(make_loop(folder), killing(clock, 5))
    for path in folder.glob("checkpoint-*"):
        path.write_bytes(b"")
    capsys.readouterr()
    assert same(work(make_loop(folder)), whole)
    assert capsys.readouterr().err.count("is damaged; starting over") == 2


def test_a_loop_stopped_by_its_budget_goes_on_to_the_same_bits(
    tmp_path: Path, whole: list[Tensor], spent_after: Callable[[int], Budget]
) -> None:
    steps: list[int] = []
    for times in (0, 3, 4):
        with pytest.raises(Stopped, match="the same command goes on from here"):
            # An hour between checkpoints: only the stop itself writes one.
            work(make_loop(tmp_path / "stopped", spent_after(times), every=3600), steps.append)
    assert same(work(make_loop(tmp_path / "stopped"), steps.append), whole)
    assert steps == list(range(2 * STEPS))


def test_a_budget_that_is_spent_in_the_last_step_does_not_stop_the_phase(
    tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    loop = make_loop(tmp_path, spent_after(2))
    assert list(loop.steps(3, {})) == [0, 1, 2]
    assert list(make_loop(tmp_path).steps(3, {})) == []


@pytest.mark.parametrize("bad", [torch.tensor(torch.nan), torch.tensor([1.0, -torch.inf]), float("nan")])
@pytest.mark.parametrize("every", [0.0, 3600.0])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(
    tmp_path: Path, clock: Clock, bad: Tensor | float, every: float
) -> None:
    def run(poison: bool) -> list[int]:
        loop = make_loop(tmp_path, every=every)
        x = torch.zeros(1)
        steps = []
        for step in loop.steps(6, {"x": x}):
            clock.now += 0.1
            steps.append(step)
            assert x == step or step > 3
            x += torch.nan if poison and step == 3 else 1
            loop.log(loss=bad if poison and step == 3 else x.sum(), lr=0.1)
        return steps

    good = 3 if every == 0 else 0
    place = "the loss is not finite at step 3 of phase distil"
    sentence = f"{place}; the last good state is that of step {good}; lower lr"
    for start in (0, good):
        with pytest.raises(Refused) as refusal:
            run(poison=True)
        assert str(refusal.value) == sentence
        tree = Checkpoints(tmp_path).read()
        assert (tree is None) == (good == 0), start
    assert run(poison=False) == list(range(good, 6))


def test_seconds_add_up_over_restarts_and_what_a_kill_undid_is_not_counted(
    tmp_path: Path, clock: Clock
) -> None:
    loop = make_loop(tmp_path)
    for step in loop.steps(10, {}):
        clock.now += 1
        if step == 4:
            break  # four checkpoints, the last after four seconds
    clock.now += 1000
    loop = make_loop(tmp_path)
    assert loop.seconds == 4
    for _ in loop.steps(10, {}):
        clock.now += 2
    assert loop.seconds == 4 + 6 * 2
    clock.now += 1000
    assert make_loop(tmp_path).seconds == 4 + 6 * 2


def test_charged_work_counts_once_at_what_it_cost(tmp_path: Path, clock: Clock) -> None:
    for took, steps in ((30.0, 3), (0.5, 3), (0.5, 4)):
        loop = make_loop(tmp_path)
        before = loop.seconds
        clock.now += took
        loop.charge(100.0, took)
        assert loop.seconds == before + 100
        for step in loop.steps(10, {}):
            clock.now += 1
            if step == steps * 3:
                break
    assert list(make_loop(tmp_path).steps(10, {})) == []
    assert make_loop(tmp_path).seconds == 10


def test_the_peak_of_memory_survives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("condense.resources._resident_peak", lambda: 2**50)
        assert list(make_loop(tmp_path).steps(2, {})) == [0, 1]
    assert make_loop(tmp_path).peak_bytes == 2**50
    assert 0 < make_loop(tmp_path / "other").peak_bytes < 2**50


def test_every_line_of_the_events_is_json_with_step_loss_rate_and_peak(tmp_path: Path, clock: Clock) -> None:
    for stop in (5, 99):
        with telling("one", tmp_path / "events"):
            loop = make_loop(tmp_path)
        for step in loop.steps(8, {}, "warm"):
            clock.now += 2
            loop.log(loss=torch.tensor(step / 4), lr=0.1)
            if step == stop:
                break
    file = tmp_path / "events" / "one" / "toy.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [event["values"]["loss"] for event in steps] == [n / 4 for n in range(8)]
    for event in steps:
        assert event["of"] == 8 and event["rate"] == 0.5 and event["values"]["lr"] == 0.1
        assert (event["run"], event["task"], event["phase"]) == ("one", "toy", "warm")
        assert event["peak_bytes"] > 2**20 and event["seconds"] == 2 * event["step"]
    begun, resumed = [event for event in events if event["event"] == "begin"]
    assert begun["step"] == 0 and resumed["step"] == 5 and resumed["seconds"] == 10


def test_an_event_is_noted_once_a_second_at_most(tmp_path: Path, clock: Clock) -> None:
    heard: list[Event] = []
    with hearing(heard.append):
        loop = make_loop(tmp_path, every=3600)
    for _ in loop.steps(1000, {}):
        clock.now += 0.01
    assert 10 <= len(heard) <= 12
    assert heard[-1]["step"] == 1000


@pytest.mark.parametrize(("every", "cost", "gap"), [(2.0, 0.0, 2.0), (2.0, 0.5, 10.0), (30.0, 0.5, 30.0)])
def test_checkpoints_are_no_more_frequent_than_the_clock_allows(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, every: float, cost: float, gap: float
) -> None:
    writes: list[tuple[float, float]] = []

    def write(self: Checkpoints, tree: object) -> None:
        begun = clock.now
        clock.now += cost
        writes.append((begun, clock.now))

    monkeypatch.setattr(Checkpoints, "write", write)
    for _ in make_loop(tmp_path, every=every).steps(400, {}):
        clock.now += 0.5
    *timed, _ = writes  # the last is that of the finished phase
    gaps = [begun - ended for (_, ended), (begun, _) in zip(timed, timed[1:], strict=False)]
    assert len(gaps) >= 4
    assert all(gap < found <= gap + 0.5 for found in gaps)


def test_the_environment_sets_the_time_between_checkpoints(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CONDENSE_CHECKPOINT_SECONDS", raising=False)
    assert checkpoint_seconds() == 10
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "2.5")
    loop = Loop(tmp_path, torch.Generator(), device=CPU, budget=Budget(), title="toy", remedy="")
    for step in loop.steps(9, {}):
        clock.now += 1
        assert bool(list(tmp_path.glob("checkpoint-*"))) == (step >= 3)
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", text)
        with pytest.raises(Refused, match=f"CONDENSE_CHECKPOINT_SECONDS={text} is no number of seconds"):
            checkpoint_seconds()


def test_done_removes_the_checkpoints_and_their_folder(tmp_path: Path) -> None:
    loop = make_loop(tmp_path / "run")
    assert list(loop.steps(2, {})) == [0, 1]
    assert list(tmp_path.glob("run/checkpoint-*"))
    loop.done()
    assert list(tmp_path.iterdir()) == []


def test_a_phase_without_steps_is_finished_at_once(tmp_path: Path) -> None:
    assert list(make_loop(tmp_path).steps(0, {})) == []


def test_a_phase_can_be_run_only_once(tmp_path: Path) -> None:
    loop = make_loop(tmp_path)
    assert list(loop.steps(1, {}, "one")) == [0]
    with pytest.raises(AssertionError, match="the phase 'one' was already run"):
        next(loop.steps(1, {}, "one"))
