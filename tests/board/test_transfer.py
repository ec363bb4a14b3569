"""The summary of sets on other data, computed from the records."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from condense.board.tables import gather
from condense.board.transfer import transfer_summary
from condense.protocols import TRANSFER_SHORT_V1
from condense.records.frame import frame
from condense.records.record import Record, TargetUsed

Make = Callable[..., Record]


@pytest.fixture
def sent(made: Make) -> Make:
    """Makes records of students that go on to other data."""

    def record(
        method: str, accuracies: tuple[float, ...], label: str = "features", **given: object
    ) -> Record:
        plain = made(method, accuracies=accuracies, protocol=TRANSFER_SHORT_V1, **given)
        target = TargetUsed(name="mnist", train_hash="7" * 64, test_hash="8" * 64)
        if plain.set is None:
            return replace(plain, target=target)
        return replace(plain, kind="transfer", target=target, set=replace(plain.set, label=label))

    return record


def test_the_summary_is_empty_without_krr_st_on_other_data(made: Make, sent: Make) -> None:
    assert transfer_summary(gather(frame([]))) == transfer_summary(gather(frame([made("krr_st")]))) == ""
    assert transfer_summary(gather(frame([sent("dm", (50.0, 51.0), "hard")]))) == ""


def test_a_cell_is_compared_with_what_stands_in_its_own_table(sent: Make) -> None:
    learned = sent("krr_st", (70.0, 70.2, 70.4))
    assert "Nothing was run beside it" in transfer_summary(gather(frame([learned])))
    records = [
        learned,
        sent("random_taught", (60.0, 60.2, 60.4)),
        sent("dm", (80.0, 80.2, 80.4), "hard"),
        sent("random_subset", (40.0, 40.2, 40.4), "hard"),
        sent("krr_st", (90.0, 91.0), ipc=10),
    ]
    told = transfer_summary(gather(frame(records)))
    assert "KRR-ST in 2 cells" in told
    assert "above in 1 and below in 0 of 1 cells beside random images with a teacher's vectors" in told
    assert "above in 0 and below in 1 of 1 cells beside the best set with classes" in told
    assert "no pretraining;" not in told and "80.2 ± 0.5 (dm)" in told
    assert "| digits | mnist" in told and "| 10  | 90.5 (2 of 3)" in told


def test_students_without_a_set_are_compared_at_every_ipc(sent: Make) -> None:
    none = replace(sent("no_pretraining", (70.0, 70.2, 70.4)), kind="reference", set=None, ipc=0)
    told = transfer_summary(
        gather(frame([none, sent("krr_st", (70.1, 70.2, 70.3)), sent("krr_st", (60.1, 60.2, 60.3), ipc=10)]))
    )
    assert "above in 0 and below in 1 of 2 cells beside no pretraining" in told
