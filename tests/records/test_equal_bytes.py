"""The sizes that baselines of equal bytes share, what a row needs, and how long a student would take."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from condense.protocols import GRAPH_V2, HARD_V1, REPLAY_V1, SOFT_V2
from condense.records.equal_bytes import Pace, needed_bytes, pace_of, room_of, rung, samples_seen
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def test_a_size_is_rounded_down_to_a_power_of_the_root_of_two() -> None:
    ladder = [math.isqrt(2**power) for power in range(60)]
    for size in [*range(1, 5000), 10**6, 2**20 - 1, 2**20, 2**20 + 1, 123_456_789]:
        assert rung(size) == max(one for one in ladder if one <= size)
        assert size / math.sqrt(2) - 1 < rung(size) <= size


def test_a_row_needs_all_its_parts_and_the_teacher_that_labels_meanwhile(made: Make) -> None:
    assert needed_bytes(made(replay=1000)) == 640 + 10 + 1000
    taught = {"teacher": "ab" * 32, "protocol": SOFT_V2}
    assert needed_bytes(made(teacher_bytes=5000, **taught)) == 650 + 5000
    assert needed_bytes(made(**taught)) is None, "the size of the teacher is unknown"
    own = made(teacher_bytes=5000, **taught)
    assert own.set is not None
    counted = replace(own, set=replace(own.set, bytes={**own.set.bytes, "teacher": 5000}))
    assert needed_bytes(counted) == 650 + 5000, "a teacher that the set counts already counts once"
    stored = made(teacher="ab" * 32, teacher_bytes=5000, protocol=REPLAY_V1, replay=70)
    assert needed_bytes(stored) == 720, "stored labels need no teacher"
    assert needed_bytes(replace(made(), valid_bytes=33)) == 683
    assert needed_bytes(made("whole", ipc=0, kind="reference")) is None


def test_the_samples_that_a_student_sees_count_every_pass() -> None:
    assert samples_seen(HARD_V1, 100) == 1000 * 100
    assert samples_seen(SOFT_V2, 100) == 300 * 100  # ten batches of ten images are 3000 steps
    assert samples_seen(SOFT_V2, 10) == 3000 * 10
    assert samples_seen(GRAPH_V2, 20) == 500 * 20 and samples_seen(GRAPH_V2, 10_000) == 500 * 512
    assert samples_seen(REPLAY_V1, 100) is None


def test_the_columns_tell_room_needs_and_passes(made: Make) -> None:
    found = frame([made(config={"room": 4096}), made(config={"room": 0}, seed=1)])
    assert found["room"].isna().tolist() == [False] * 3 + [True] * 3 and found["room"][0] == 4096
    assert set(found["needed"]) == {650} and set(found["seen"]) == {10_000}
    assert room_of([]) is None


def test_the_pace_is_that_of_the_longest_training_on_the_device(made: Make) -> None:
    records = [made(ipc=ipc, seed=ipc, accuracies=(50.0,)) for ipc in (1, 10)]
    slow = made(ipc=50, protocol=SOFT_V2, teacher="ab" * 32, accuracies=(50.0,))
    given = {"train_hash": "1" * 64, "student": "convnet", "device": "cpu", "protocol_hash": HARD_V1.hash}
    assert pace_of(frame([*records, slow]), **given) == Pace(100_000, 12.5)
    assert pace_of(frame([slow]), **given) == Pace(300 * 500, 12.5)
    for name in ("train_hash", "student", "device"):
        assert pace_of(frame(records), **{**given, name: "other"}) is None
    assert pace_of(frame([made("whole", ipc=0, kind="reference")]), **given) is None
    assert Pace(100_000, 12.5).estimate(250_000) == pytest.approx(31.25)
