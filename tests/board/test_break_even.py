"""Break-even: times to an accuracy, the number of trainings, and that unlike machines are not compared."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from condense.board.break_even import seconds_to, trainings_until_paid
from condense.protocols import WHOLE_V1
from condense.records.frame import frame
from condense.records.parts import CurvePoint
from condense.records.record import Record, TrainingUsed
from tests.board.markdown import page, rows

Make = Callable[..., Record]


def with_curve(
    record: Record, points: list[tuple[float, float]], device: str = "cpu", part: int | None = None
) -> Record:
    curve = tuple(CurvePoint(step=n, seconds=s, accuracy=a) for n, (s, a) in enumerate(points))
    part = (2 if record.set else None) if part is None else part or None
    entries = [replace(one, curve=curve, curve_part=part, device=device) for one in record.entries]
    return replace(record, entries=tuple(entries))


def test_the_time_is_that_of_the_first_point_that_is_as_accurate() -> None:
    curve = [(1, 5.0, 40.0), (2, 10.0, 60.0), (3, 15.0, 55.0)]
    assert seconds_to(curve, 60.0) == 10.0 and seconds_to(curve, 41.0) == 10.0
    assert seconds_to(curve, 60.1) is None


def test_a_set_has_paid_once_all_its_trainings_with_it_took_no_longer() -> None:
    for distil, mine, other in ((100.0, 2.0, 12.0), (101.0, 2.0, 12.0), (0.0, 1.0, 2.0)):
        count = trainings_until_paid(distil, mine, other)
        assert count is not None and distil + count * mine <= count * other
        assert count == 1 or distil + (count - 1) * mine > (count - 1) * other
    assert trainings_until_paid(10.0, 5.0, 5.0) is None
    for select in (3.0, 90.0, 95.0, 99.0):
        count = trainings_until_paid(100.0, 2.0, 12.0, select)
        assert count is not None and 100.0 + count * 2.0 <= select + count * 12.0
        assert count == 1 or 100.0 + (count - 1) * 2.0 > select + (count - 1) * 12.0
    assert trainings_until_paid(10.0, 5.0, 4.0, select=11.0) == 1


@pytest.mark.parametrize(
    ("points", "times"),
    [([(1.0, 60.0), (2.5, 80.0)], "4.0 vs 2.5"), ([(1.0, 60.0), (2.5, 69.0)], "4.0 vs never")],
)
def test_the_board_tells_the_seconds_to_the_accuracy(
    made: Make, points: list[tuple[float, float]], times: str
) -> None:
    mine = with_curve(made(), [(1.0, 50.0), (2.0, 70.0)])  # distilled in 2 s
    plain = made("whole", ipc=0, kind="reference", protocol=WHOLE_V1)
    found = rows(page(frame([mine, with_curve(plain, points)])))
    assert found["dm"][found["method"].index("s to its accuracy: set, real")] == times


def test_the_board_tells_the_number_of_trainings(made: Make) -> None:
    def told(*records: Record) -> str | None:
        found = rows(page(frame(list(records))))
        head = "pays after trainings"
        return found["dm"][found["method"].index(head)] if head in found["method"] else None

    mine = with_curve(made(), [(1.0, 50.0), (2.0, 70.0)])  # distilled in 2 s
    plain = made("whole", ipc=0, kind="reference", protocol=WHOLE_V1)
    assert told(mine, with_curve(plain, [(1.0, 60.0), (2.5, 80.0)])) == "4"  # 2 s over a gain of 0.5 s
    assert told(mine, with_curve(plain, [(1.0, 60.0), (1.5, 80.0)])) == "never"
    assert told(mine, with_curve(plain, [(1.0, 60.0), (2.5, 69.0)])) == "1", "the whole set never gets there"
    for others in (plain, with_curve(plain, [(2.5, 80.0)], device="gpu")):
        assert told(mine, others) is None
    assert told(made(), with_curve(plain, [(2.5, 80.0)])) is None


def test_a_curve_on_images_that_the_set_may_hold_does_not_count(made: Make) -> None:
    plain = with_curve(made("whole", ipc=0, kind="reference", protocol=WHOLE_V1), [(1.0, 60.0), (2.5, 80.0)])
    for seed, part, counts in ((0, 0, False), (1, 0, True), (0, 2, True)):
        mine = with_curve(made(seed=seed), [(1.0, 50.0), (2.0, 70.0)], part=part)
        heads = rows(page(frame([mine, plain])))["method"]
        assert ("s to its accuracy: set, real" in heads) == counts


def test_a_selection_of_real_images_is_charged_once(made: Make) -> None:
    read = TrainingUsed(images=10, bytes=640, whole=False, steps=100, seconds=8.0)
    drawn = replace(made("rad"), kind="training", set=None, training=read)
    drawn = with_curve(drawn, [(1.0, 60.0), (3.0, 80.0)])
    mine = with_curve(made(), [(1.0, 50.0), (2.0, 70.0)])  # distilled in 2 s
    found = rows(page(frame([mine, drawn])))
    heads = [found["method"].index(head) for head in ("s to its accuracy: set, real", "pays after trainings")]
    assert [found["dm"][place] for place in heads] == ["4.0 vs 11", "1"]
