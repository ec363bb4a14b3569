"""The words on fractions: computed from the records, with what two seeds cannot tell."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from condense.board.pruning import pruning_summary
from condense.board.tables import gather
from condense.protocols import PRUNE_SHORT_V1
from condense.records.frame import frame
from condense.records.record import Record, TrainingUsed

Make = Callable[..., Record]


def trained(made: Make, method: str, accuracies: tuple[float, ...]) -> Record:
    """A record of students on a tenth of the images."""
    record = made(method, protocol=PRUNE_SHORT_V1, accuracies=accuracies)
    read = TrainingUsed(images=100, bytes=1000, whole=False, steps=10, seconds=1.0)
    return replace(record, kind="training", set=None, fraction=0.1, training=read, ipc=0)


def test_the_words_follow_from_the_records(made: Make) -> None:
    scores = {
        "random_subset": (66.0, 66.1, 66.2), "random_subset+kd": (70.0, 70.1, 70.2),
        "rs2": (70.0, 66.0, 62.0), "forgetting": (34.0, 34.1, 34.2), "el2n": (30.0, 30.1, 30.2),
    }  # fmt: skip
    records = [trained(made, name, values) for name, values in scores.items()]
    told = pruning_summary(gather(frame(records)))
    place = "- 10 % of digits (prune-short-v1, convnet)"
    assert f"{place}: rs2 is not told apart (-0.1) from a fixed random part" in told
    assert "random_subset+kd is above a fixed random part (70.1 beside 66.1 %)" in told
    assert "the best score, forgetting, is below it (34.1 %)" in told
    assert "random images with a teacher are above the best score" in told


def test_the_words_are_those_of_the_whole_table(made: Make) -> None:
    close = {"random_subset": (66.0, 66.1, 66.2), "rs2": (66.4, 66.5, 66.6)}
    others = dict.fromkeys(("el2n", "rad", "forgetting"), (0.0, 50.0, 99.0))

    def words(scores: Mapping[str, tuple[float, ...]]) -> str:
        return pruning_summary(gather(frame([trained(made, name, one) for name, one in scores.items()])))

    assert "rs2 is above a fixed random part (66.5 beside 66.1 %)" in words(close)
    assert "rs2 is not told apart (+0.4) from a fixed random part" in words({**close, **others})


def test_without_random_images_there_are_no_words(made: Make) -> None:
    assert pruning_summary(gather(frame([trained(made, "rs2", (70.0, 71.0))]))) == ""
    assert pruning_summary(gather(frame([made()]))) == ""
