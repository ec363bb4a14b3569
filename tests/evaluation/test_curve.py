"""The curve of a student: measured on validation images, without any effect on the student, and resumed."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation.coreset import picked, uniform
from condense.distillation.engine import distill
from condense.distillation.registry import build
from condense.errors import Stopped
from condense.evaluation import ImageStudent
from condense.evaluation.curve import Curve, measured_at
from condense.evaluation.evaluate import evaluate_reference, evaluate_set
from condense.evaluation.kinds import Setup
from condense.protocol import Protocol, Stage
from condense.protocols import HARD_V1, PRUNE_V1, WHOLE_CURVE_V1, WHOLE_V1
from condense.resources import Budget, Machine
from condense.training.image_training import divided
from condense.training.loop import Loop
from condense.training.validation import OF_SETS, VALIDATION, parted, validation
from tests.trainings import sampling, student

SHORT = replace(PRUNE_V1, name="short", batch=16, stages=(Stage(epochs=30),))


@pytest.fixture
def measured(toy: ImageDataset, tmp_path: Path) -> ImageStudent:
    """A student that is measured on the way; it has batch norm."""
    images = validation(toy.train, VALIDATION).in_space(toy.space("normalized"))
    chosen = sampling("rs2", toy, tmp_path, fraction=0.5)
    return replace(student(chosen, toy, SHORT), network="convnet-w32-bn", validation=images)


def test_points_are_even_and_few_and_cost_little() -> None:
    assert measured_at(1000, 10**6, 1000) == tuple(range(50, 1001, 50))
    assert measured_at(7, 10**6, 10) == (1, 2, 3, 4, 5, 6, 7)
    assert measured_at(1000, 100_000, 1000) == (167, 334, 500, 667, 834, 1000)
    assert measured_at(1000, 10_000, 1000) == () == measured_at(1000, 10_000, 0)
    for seen in (10**4, 10**5, 10**6, 10**7):
        points = measured_at(1000, seen, 700)
        assert len(points) <= 20 and len(points) * 700 / 3 <= 0.02 * seen


def test_measuring_changes_no_bit_of_a_student(measured: ImageStudent) -> None:
    def end(one: ImageStudent) -> list[torch.Tensor]:
        rng = torch.Generator().manual_seed(0)
        loop = Loop(None, rng, device=one.device, budget=Budget(), title="one", remedy="none")
        network = one.train(one.build(rng), loop, one.curve(loop))
        assert network.training
        return [*network.state_dict().values(), rng.get_state()]

    plain = end(replace(measured, validation=None))
    assert all(torch.equal(a, b) for a, b in zip(plain, end(measured), strict=True))
    assert len(measured.outcome(0).curve) == 16 and replace(measured, validation=None).outcome(0).curve == ()


def test_a_curve_that_is_cut_short_ends_the_same(
    measured: ImageStudent, tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    whole = [(point.step, point.accuracy) for point in measured.outcome(1).curve]
    for steps in (5, 20, 44):
        folder = tmp_path / f"{steps}"
        with pytest.raises(Stopped):
            replace(measured, budget=spent_after(steps)).outcome(1, folder)
        curve = measured.outcome(1, folder).curve
        assert [(point.step, point.accuracy) for point in curve] == whole
        assert [point.seconds for point in curve] == sorted(point.seconds for point in curve)


def test_a_curve_never_depends_on_test_images(measured: ImageStudent) -> None:
    curve = [point.accuracy for point in measured.outcome(0).curve]
    other = replace(measured.test, images=-measured.test.images, labels=measured.test.labels.flip(0))
    assert [point.accuracy for point in replace(measured, test=other).outcome(0).curve] == curve


def test_records_of_sets_and_of_the_whole_without_validation_have_curves(
    toy: ImageDataset, tmp_path: Path
) -> None:
    def whole(protocol: Protocol) -> bool:
        short = replace(protocol, stages=(Stage(epochs=5),))
        entry = evaluate_reference("whole", Setup(toy, short, "mlp"), [0], tmp_path, Machine()).entries[0]
        assert entry.curve_part is None, "the first part"
        return bool(entry.curve)

    assert whole(WHOLE_CURVE_V1) and not whole(WHOLE_V1)
    made, _ = distill(build("random_subset", "toy", 2)[0], toy, ipc=2, cache=tmp_path)
    protocol = replace(HARD_V1, stages=(Stage(epochs=60),))
    record = evaluate_set(made, Setup(toy, protocol, "mlp"), [0], tmp_path, Machine())
    assert record.entries[0].curve[-1].step == 60 and record.entries[0].curve_part == OF_SETS


def test_the_validation_part_lies_in_what_fixed_teachers_hold_out(digits: ImageDataset) -> None:
    _, out = parted(digits.train)
    _, held_out = divided(digits.train, 0.05, 0)
    assert 0 < len(out) <= 1000 and set(out.tolist()) <= set(held_out.tolist())


def test_students_of_sets_are_measured_on_images_that_no_draw_begins_with(digits: ImageDataset) -> None:
    train = digits.train
    first, mine = (set(parted(train, number)[1].tolist()) for number in (VALIDATION, OF_SETS))
    assert len(first) == len(mine) and not first & mine
    for seed in range(3):
        rng = torch.Generator().manual_seed(seed)
        drawn = set(picked(train, [50] * train.num_classes, uniform(rng)).tolist())
        assert (first <= drawn) == (seed == 0), "the first part is the beginning of a draw"
        assert seed or not drawn & mine
    rng = torch.Generator().manual_seed(0)
    whole = set(picked(train, [max(train.counts())] * train.num_classes, uniform(rng)).tolist())
    assert mine <= whole == set(range(len(train)))


def test_points_of_another_part_are_forgotten(measured: ImageStudent) -> None:
    loop = Loop(None, torch.Generator(), device=measured.device, budget=Budget(), title="one", remedy="none")
    images = measured.validation
    assert images is not None
    first, second = Curve(images, VALIDATION, loop), Curve(images, OF_SETS, loop)
    first.measure(measured.build(torch.Generator().manual_seed(0)), 3)
    old = {name: value for name, value in first.state_dict().items() if name != "part"}
    for state in (first.state_dict(), old):  # older ones tell no part
        for curve, count in ((first, 1), (second, 0)):
            curve.load_state_dict(state)
            assert len(curve.points) == count
