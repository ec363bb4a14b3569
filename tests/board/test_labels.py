"""The words on labels: computed from the records of one dataset, student and IPC under several protocols."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from condense.board.labels import labels_summary
from condense.board.tables import gather
from condense.protocol import Protocol
from condense.protocols import LABEL_V1, PROJECTED_V1, SOFT_V2
from condense.records.frame import frame
from condense.records.record import Record, TrainingUsed

Make = Callable[..., Record]
LOW, MIDDLE, HIGH = (
    tuple(mean + 0.1 * (number % 3 - 1) for number in range(10)) for mean in (20.1, 30.1, 40.1)
)
"""The scores of as many students as any row asks for."""


def told(*records: Record) -> str:
    return labels_summary(gather(frame(list(records))))


def test_random_images_alone_say_nothing_about_labels(made: Make) -> None:
    plain = (made("random_subset"), made("random_subset", protocol=LABEL_V1))
    assert told() == told(*plain) == told(made("dm", protocol=SOFT_V2, teacher="3" * 64)) == ""


def test_each_kind_of_label_is_compared_at_its_own_ipc(made: Make) -> None:
    text = told(
        made("random_subset", accuracies=LOW, protocol=LABEL_V1),
        made("random_subset+expert", accuracies=MIDDLE, protocol=LABEL_V1),
        made("random_subset", accuracies=HIGH, protocol=SOFT_V2, teacher="3" * 64),
        made("rded", accuracies=LOW, protocol=SOFT_V2, teacher="3" * 64),
        made("random_subset", accuracies=HIGH, ipc=10, protocol=LABEL_V1),
        made("random_subset", accuracies=(39.0, 43.0) * 5, ipc=10, protocol=SOFT_V2, teacher="3" * 64),
    )
    assert "a teacher's labels of every view are above class ids in 1 and below in 0 of 2 cells" in text
    assert "one stored label each is above class ids in 1 and below in 0 of 1 cells" in text
    assert "every view are above one label each in 1 and below in 0 of 1 cells" in text
    assert "RDED is above random images in 0 and below in 1 of 1 cells" in text
    assert "HeLlO:" not in text and "RS2" not in text
    assert "| digits  | convnet | 1   | 20.1 ± 0.1 " in text


def test_results_that_lack_students_are_marked_and_not_compared(made: Make) -> None:
    few = made("random_subset+expert", accuracies=MIDDLE[:9], protocol=LABEL_V1)
    taught = made("random_subset", accuracies=HIGH, protocol=SOFT_V2, teacher="3" * 64)
    text = told(made("random_subset", accuracies=LOW, protocol=LABEL_V1), few, taught)
    assert text.count(" of 1 cells") == 1 and "one stored label each" not in text
    assert "| 30.1 (9 of 10) " in text


def test_results_under_two_teachers_are_never_compared(made: Make) -> None:
    text = told(
        made("random_subset", accuracies=LOW, protocol=LABEL_V1),
        made("random_subset", accuracies=HIGH, protocol=SOFT_V2, teacher="3" * 64),
        made("rded", accuracies=LOW, protocol=SOFT_V2, teacher="4" * 64),
        made("random_subset+expert", accuracies=MIDDLE, protocol=LABEL_V1),
    )
    assert "every view are above class ids in 1 and below in 0 of 1 cells" in text and "RDED is" not in text
    assert "one stored label each is above class ids in 1 and below in 0 of 1 cells" in text  # not in 2 of 2
    for teacher in ("33333333", "44444444"):
        assert f"| digits (teacher {teacher}) | convnet | 1 " in text


def test_stored_labels_are_held_against_the_teacher_on_the_same_images(made: Make) -> None:
    mine = made("hello", accuracies=LOW, protocol=PROJECTED_V1, label="projected")
    taught = made("hello", accuracies=HIGH, protocol=SOFT_V2, teacher="3" * 64)
    assert taught.set is not None
    other = replace(taught, key="4" * 64, set=replace(taught.set, hash="5" * 64))
    assert "on the same images, in 0 and below in 1 of 1 cells" in told(mine, taught)
    assert "on the same images" not in told(mine, other)
    assert "| 40.1 ± 0.1     | -                          | 20.1 ± 0.1 " in told(mine, taught)


def test_what_the_loss_of_stored_labels_is_worth_is_told_apart_from_the_labels(made: Make) -> None:
    def hello(accuracies: Sequence[float], protocol: Protocol, **config: object) -> Record:
        return made("hello", accuracies=accuracies, protocol=protocol, teacher="3" * 64, config=config)

    bare = hello(HIGH, PROJECTED_V1, rank=0, head="low-rank", head_rank=0)
    text = told(hello(MIDDLE, PROJECTED_V1, rank=4), bare, hello(LOW, SOFT_V2, rank=4))
    assert "are above the teacher's in that of soft-v2, on the same images, in 1" in text
    assert "are above those of the teacher without adapters in 0 and below in 1" in text
    assert "the teacher's labels in its loss are above the same in that of soft-v2 in 1" in text
    row = next(line for line in text.splitlines() if line.startswith("| digits"))
    shown = [cell.strip() for cell in row.split("|")[8:-1]]
    assert shown == ["20.1 ± 0.1", "40.1 ± 0.1", "30.1 ± 0.1", "-", "-", "10 B"]
    for stored in ({"rank": 1}, {"head_rank": 1}, {"head": "whole"}):
        plain = {"rank": 0, "head": "low-rank", "head_rank": 0}
        adapted = hello(MIDDLE, PROJECTED_V1, **(plain | stored))
        assert "| 40.1 ± 0.1                 | 30.1 ± 0.1 " in told(adapted, bare)


def test_a_weak_teachers_labels_on_random_images_stand_beside_those_of_the_adapters(made: Make) -> None:
    def hello(accuracies: Sequence[float], of: str, **config: object) -> Record:
        drawn = {"pool": 1, "crops": 1, "update_steps": 0, "head": "low-rank", **config}
        return made("hello", accuracies=accuracies, protocol=PROJECTED_V1, teacher=of * 64, config=drawn)

    taught = made("random_subset", accuracies=LOW, protocol=SOFT_V2, teacher="3" * 64)
    lent = hello(MIDDLE, "3", rank=4, head_rank=0)
    weak = hello(HIGH, "4", rank=0, head_rank=0, teacher="trained", teacher_epochs=10)
    text = told(taught, lent, weak)
    assert (
        "a weak teacher's labels, in HeLlO's loss, are above the teacher's in 1 and below in 0 of 1" in text
    )
    assert "HeLlO's stored labels are above those of the weak teacher in 0 and below in 1 of 1" in text
    assert text.count("| digits ") == 1 and "| 30.1 ± 0.1             | 40.1 ± 0.1 " in text
    strong = hello(HIGH, "4", rank=0, head_rank=0, teacher="trained", teacher_epochs=11)
    assert "weak teacher's labels" not in told(taught, lent, strong)


def test_stored_labels_of_images_that_the_teacher_labelled_too_come_first(made: Make) -> None:
    taught = made("hello", accuracies=LOW, protocol=SOFT_V2, teacher="3" * 64, config={"rank": 4})
    mine = made("hello", accuracies=MIDDLE, protocol=PROJECTED_V1, teacher="3" * 64, config={"rank": 4})
    best = made("hello", accuracies=HIGH, protocol=PROJECTED_V1, teacher="3" * 64, config={"rank": 8})
    assert best.set is not None
    best = replace(best, set=replace(best.set, hash="5" * 64))
    assert "| 20.1 ± 0.1     | -                          | 30.1 ± 0.1 " in told(taught, mine, best)


def test_fresh_images_in_each_epoch_are_held_against_those_chosen_once(made: Make) -> None:
    read = TrainingUsed(images=100, bytes=1000, whole=True, steps=10, seconds=1.0)
    drawn = replace(made("rs2", accuracies=HIGH), kind="training", set=None, training=read)
    others = made("random_subset", accuracies=MIDDLE), made("herding", accuracies=LOW)
    text = told(drawn, *others)
    assert "chosen once in 1 and below in 0 of 1 cells (the best are random ones in 1)." in text
    assert "|" not in text
    text = told(drawn, others[0], made("herding", accuracies=HIGH))
    assert "chosen once in 0 and below in 0 of 1 cells." in text


def test_class_ids_under_another_training_are_not_held_against_labels(made: Make) -> None:
    taught = made("random_subset", accuracies=HIGH, protocol=SOFT_V2, teacher="3" * 64)
    expert = made("random_subset+expert", accuracies=MIDDLE, protocol=LABEL_V1)
    text = told(made("random_subset", accuracies=LOW), taught, expert)
    assert "above one label each" in text and "above class ids" not in text
