"""How long a protocol trains, at which learning rates, and on batches of which size."""

from dataclasses import replace
from fractions import Fraction

import pytest
import torch

from condense.distillation.matching.protocols import dc_evaluation, milestones
from condense.errors import Refused
from condense.protocol import Protocol, Stage, whole_epochs
from condense.protocols import HARD_V1, PRUNE_V1, REPLAY_V1


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.0), ("half-cosine", 0.5)])
def test_the_cosine_schedules_equal_torchs_and_end_as_named(schedule: str, last: float) -> None:
    protocol, epochs = replace(HARD_V1, schedule=schedule), 12
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    span = epochs if schedule == "cosine" else 2 * epochs
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, span)
    for epoch in range(epochs):
        assert protocol.factor(epoch, epochs) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert protocol.factor(0, epochs) == 1 and protocol.factor(epochs, epochs) == pytest.approx(last)


def test_a_warm_up_rises_from_a_hundredth_before_the_cosine_falls() -> None:
    # As torch has it: LinearLR(start_factor=0.01), then CosineAnnealingLR.
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    rise = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=5)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20 - 5)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], [5])
    protocol = replace(HARD_V1, schedule="cosine", warmup=5)
    for epoch in range(20):
        assert protocol.factor(epoch, 20) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()
    assert [replace(HARD_V1, warmup=2).factor(e, 4) for e in range(4)] == [0.01, 0.505, 1.0, 1.0]


def test_without_a_schedule_the_factor_is_exactly_1() -> None:
    assert {HARD_V1.factor(epoch, 1000) for epoch in range(1000)} == {1.0}


def test_a_protocol_without_stages_lasts_as_long_as_stored_labels() -> None:
    assert REPLAY_V1.lasting(100, 7) == (Stage(epochs=7),)
    assert HARD_V1.lasting(100, 7) == HARD_V1.lasting(100) == HARD_V1.stages
    with pytest.raises(Refused, match="replay-v1 lasts as long as a set's stored labels do: this set"):
        REPLAY_V1.lasting(100)


def test_a_small_set_is_cut_into_more_batches_where_the_protocol_says_so() -> None:
    cut = replace(HARD_V1, batch=128, batches=10, least_batch=8)
    sizes = {n: cut.batch_for(n) for n in (1, 7, 8, 79, 90, 99, 100, 1279, 1280, 50_000)}
    assert sizes == {1: 1, 7: 7, 8: 8, 79: 8, 90: 9, 99: 9, 100: 10, 1279: 127, 1280: 128, 50_000: 128}
    assert [replace(HARD_V1, batch=128).batch_for(n) for n in (100, 128, 1280)] == [100, 128, 128]
    assert replace(HARD_V1, batch=0).batch_for(1280) == 1280


def test_a_least_number_of_steps_lengthens_the_stages_of_small_sets_alone() -> None:
    least = replace(HARD_V1, batch=10, least_steps=3000, stages=(Stage(epochs=20), Stage(epochs=10)))
    assert least.lasting(1000) == least.stages and least.epochs_for(1000) == 30
    assert [stage.epochs for stage in least.lasting(990)] == [21, 11]
    assert [stage.epochs for stage in least.lasting(10)] == [2000, 1000]
    for n in (1, 9, 10, 11, 101, 505, 999):
        epochs, per_epoch = least.epochs_for(n), -(-n // 10)
        assert 3000 <= epochs * per_epoch < 3000 + 2 * per_epoch


@pytest.mark.parametrize(
    ("epochs", "at", "factor"),
    [
        (1000, (2 / 3, 5 / 6), 0.2),
        (60, (2 / 3, 5 / 6), 0.2),
        (2000, (0.2, 0.4, 0.6, 0.8), 0.5),
        (37, (0.2, 0.4, 0.6, 0.8), 0.5),
        (4, (2 / 3, 5 / 6), 0.2),
        (9, (), 0.2),
    ],
)
def test_milestones_give_the_learning_rates_of_torchs_scheduler(
    epochs: int, at: tuple[float, ...], factor: float
) -> None:
    protocol = milestones(epochs, at=at, factor=factor, augment="none")
    assert protocol.epochs == epochs and not protocol.reset and protocol.name == "published"
    found = [stage.scale for stage in protocol.stages for _ in range(stage.epochs)]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    whole = [int(Fraction(share).limit_denominator(100) * epochs) for share in at]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, whole, factor)
    for scale in found:
        assert scale == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_the_default_milestones_are_idcs_schedule() -> None:
    stages = milestones(1000, augment="none").stages
    assert [(stage.epochs, stage.scale) for stage in stages] == [(666, 1.0), (167, 0.2), (167, 0.04)]


def test_milestones_pass_all_other_settings_to_the_protocol() -> None:
    given = milestones(
        10,
        at=(),
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.01,
        batch=128,
        augment="dsa",
        cutmix=0.5,
        seeds=7,
    )
    assert given == Protocol(
        name="published", optimizer="adamw", lr=1e-3, weight_decay=0.01, batch=128,
        stages=(Stage(epochs=10),), augment="dsa", cutmix=0.5, seeds=7,
    )  # fmt: skip


def test_a_share_of_epochs_is_rounded_down_as_in_exact_arithmetic() -> None:
    for epochs in (1, 2, 7, 29, 60, 100, 999, 1000, 2000, 20000):
        for over in range(1, 101):
            for part in range(over + 1):
                assert whole_epochs(part / over, epochs) == part * epochs // over


@pytest.mark.parametrize(("epochs", "stages"), [(1000, [502, 499]), (300, [152, 149])])
def test_the_dc_evaluation_has_the_authors_off_by_one_errors(epochs: int, stages: list[int]) -> None:
    protocol = dc_evaluation(epochs, augment="none")
    assert [stage.epochs for stage in protocol.stages] == stages
    assert [stage.scale for stage in protocol.stages] == [1.0, 0.1]
    assert protocol.epochs == epochs + 1 and protocol.reset and protocol.name == "published"
    # The loop itself: epochs + 1 rounds, and a new optimiser after that of index epochs // 2 + 1.
    rates = [0.1 if index > epochs // 2 + 1 else 1.0 for index in range(epochs + 1)]
    assert [rates.count(1.0), rates.count(0.1)] == stages


def test_the_cosine_by_steps_equals_torchs_down_to_its_floor() -> None:
    steps, optimizer = 23, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PRUNE_V1.lr or 0.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-4)
    for step in range(steps):
        assert PRUNE_V1.rate(0.1, step, steps) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        cosine.step()
    assert PRUNE_V1.rate(0.1, steps, steps) == pytest.approx(1e-4) and PRUNE_V1.factor(7, 40) == 1.0


def test_a_cosine_by_steps_without_its_floor_is_refused() -> None:
    for changed in ({"floor": None}, {"schedule": None}, {"lr": None}):
        with pytest.raises(Refused, match="step-cosine goes with a floor, and falls from a learning rate"):
            replace(PRUNE_V1, **changed)  # type: ignore[arg-type]
