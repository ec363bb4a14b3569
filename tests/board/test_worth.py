"""The words on bytes: which sets stand beside random images that take as many bytes, and what is counted."""

from collections.abc import Callable

from condense.board.tables import gather
from condense.board.worth import worth_summary
from condense.protocol import Protocol
from condense.protocols import HARD_V1, SOFT_V1, SOFT_V2
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]
Draw = Callable[..., list[Record]]
LOW, HIGH = ((20.1, 20.2, 20.3, 20.2, 20.1), (60.1, 60.2, 60.3, 60.2, 60.1))
"""The scores of as many students as hard-v1 asks for. Draws of random images have scores between these."""


def told(*records: Record) -> str:
    return worth_summary(gather(frame(list(records))))


def test_sets_without_random_images_of_their_bytes_say_nothing(made: Make, drawn: Draw) -> None:
    alone = made(accuracies=LOW)
    assert told() == told(alone) == told(alone, *drawn(5792, 40.0)) == ""
    assert told(alone, *drawn(512, 40.0, draws=4)) == "", "a draw is missing"
    assert told(made(accuracies=LOW[:4]), *drawn(512, 40.0)) == "", "a student is missing"


def test_methods_are_counted_with_their_best_set_and_the_best_method_apart(made: Make, drawn: Draw) -> None:
    text = told(
        made("dm", accuracies=LOW),
        made("dm", accuracies=(19.0, 20.0, 20.0, 20.0, 20.0), config={"lr_img": 2.0}),
        made("dsa", accuracies=HIGH),
        made("dc", accuracies=(40.0, 41.0, 42.0, 43.0, 44.1)),
        made("dm", accuracies=LOW, ipc=10),
        *drawn(512, 40.0),
        *drawn(5792, 30.0),
    )
    line = (
        "Beside sets under hard-v1, random images are above in 2 and below in 1 of 4 cells; beside the most "
        "accurate method alone, in 1 and below in 1 of 2 cells."
    )
    assert line in text
    assert "| digits  | convnet | 1   | dsa      | 60.2 ± 0.1 | 650 B     | 42.0 ± 2.0 | 10     |" in text
    assert "| digits  | convnet | 10  | dm       | 20.2 ± 0.1 | 6.5 kB    | 32.0 ± 2.0 | 10     |" in text


def test_selections_of_real_images_are_no_sets_to_beat(made: Make, drawn: Draw) -> None:
    names = ("random_subset", "random_subset+expert", "herding", "el2n", "forgetting+fkd")
    selected = [made(name, accuracies=LOW * 2) for name in names]
    assert told(*selected, *drawn(512, 40.0)) == ""


def test_each_protocol_counts_the_bytes_of_its_labels(made: Make, drawn: Draw) -> None:
    def taught(protocol: Protocol) -> Record:
        return made("rded", accuracies=HIGH, protocol=protocol, teacher="3" * 64, teacher_bytes=4000)

    assert told(taught(SOFT_V2), *drawn(512, 40.0)) == ""
    text = told(taught(SOFT_V1), taught(SOFT_V2), made(accuracies=LOW), *drawn(4096, 50.0), *drawn(512, 40.0))
    assert "under soft-v2, random images are above in 0 and below in 1 of 1 cells" in text
    assert "soft-v1" not in text, "a later version of a protocol replaces it"
    assert text.count("| digits") == 1, "the table is of the default protocol"
    assert f"students are trained by {HARD_V1.name}" in text
