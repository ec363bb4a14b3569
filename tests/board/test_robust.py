"""LRS and ARS: hand-computed values, bounds, what they are computed from, and that nothing is made up."""

import math
from collections.abc import Callable
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import stdtrit

from condense.board.robust import (
    Estimate,
    Robust,
    RobustScores,
    Term,
    augmentation_robust_score,
    estimated,
    label_robust_score,
    normalised,
)
from condense.board.tables import gather
from condense.protocols import HARD_PLAIN_V1, HARD_V1, LABEL_V1, SOFT_PLAIN_V2, SOFT_V2, WHOLE_V1
from condense.records.frame import frame
from condense.records.record import NO_DISTILLATION, Record
from tests.board.markdown import page, rows

Make = Callable[..., Record]
TAUGHT = {"teacher": "abcdef0123" * 6}


def test_the_scores_are_those_computed_by_hand() -> None:
    assert 100 * label_robust_score(ior=0.10, hlr=0.40) == pytest.approx(20.97, abs=0.005)
    assert 100 * augmentation_robust_score(0.0, 0.0) == pytest.approx(26.89, abs=0.005)
    assert 100 * augmentation_robust_score(0.10, 0.10) == pytest.approx(31.37, abs=0.005)
    assert label_robust_score(ior=0.3, hlr=0.9, weight=1.0) == normalised(0.3)
    assert augmentation_robust_score(0.2, 0.4, gamma=0.25) == pytest.approx(normalised(0.35))


@given(*[st.floats(0, 1)] * 4)
def test_the_scores_stay_between_0_and_1(any_: float, random: float, whole: float, hard: float) -> None:
    assert 0 <= label_robust_score(any_ - random, whole - hard) <= 1
    assert 0 <= augmentation_robust_score(any_ - random, hard - whole) <= 1


def test_the_scores_reach_0_and_1_and_rise_with_the_accuracy() -> None:
    assert (normalised(-1), normalised(1)) == pytest.approx((0, 1))
    gains = [normalised(gain / 10) for gain in range(-10, 11)]
    assert gains == sorted(gains) and len(set(gains)) == 21


def test_percent_are_refused() -> None:
    with pytest.raises(ValueError, match="fractions"):
        label_robust_score(ior=10.0, hlr=40.0)


def test_the_interval_of_a_difference_is_welchs() -> None:
    one, other = (70.0, 72.0, 71.5), (50.0, 54.0, 53.0, 52.0)
    found = estimated([Term(1.0, one), Term(-1.0, other)])
    theirs = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    half = (theirs.high - theirs.low) / 2
    gain = (fmean(one) - fmean(other)) / 100
    assert found.value == pytest.approx(100 * normalised(gain))
    assert found.half == pytest.approx(half * math.exp(gain) / (math.e - 1 / math.e))
    assert estimated([Term(1.0, one), Term(-1.0, (50.0,))]).half is None


def scores(*records: Record) -> dict[tuple[str, str], Robust]:
    """The scores of all rows at IPC 1 by protocol and method."""
    tables = gather(frame(records))
    board = RobustScores(tables)
    return {(t.key.protocol, row.method): board.of(t, row, 1) for t in tables for row in t.rows}


@pytest.fixture
def whole(made: Make) -> Record:
    return made("whole", ipc=0, kind="reference", protocol=WHOLE_V1, accuracies=(80.0, 81.0, 82.0))


def test_the_score_under_hard_labels_needs_the_same_table_alone(made: Make, whole: Record) -> None:
    drawn = made("random_subset", accuracies=(31.0, 29.0))
    found = scores(made(accuracies=(40.0, 42.0)), drawn, whole)
    lrs = found["hard-v1", "dm"].lrs
    assert lrs is not None and found["hard-v1", "dm"].ars is None
    assert lrs.value == pytest.approx(100 * label_robust_score(ior=0.41 - 0.30, hlr=0.81 - 0.41))
    # A student's accuracy counts with w + (1 - w) = 1 there.
    mine, theirs, all_ = stdev((40, 42)) ** 2 / 2, 0.25 * stdev((31, 29)) ** 2 / 2, 0.25 / 3
    var = mine + theirs + all_
    quantile = float(stdtrit(var**2 / (mine**2 + theirs**2 + all_**2 / 2), 0.975))
    slope = math.exp(0.5 * 0.11 - 0.5 * 0.40) / (math.e - 1 / math.e)
    assert lrs.half == pytest.approx(quantile * math.sqrt(var) * slope)
    own = found["hard-v1", "random_subset"].lrs
    assert own is not None and own.value == pytest.approx(100 * label_robust_score(0.0, 0.81 - 0.30))


def test_under_a_teacher_the_sets_are_looked_up_under_hard_labels(made: Make, whole: Record) -> None:
    soft = [
        made("rded", protocol=SOFT_V2, accuracies=(60.0, 62.0), **TAUGHT),
        made("random_subset", protocol=SOFT_V2, accuracies=(50.0, 52.0), **TAUGHT),
    ]
    hard = made("rded", accuracies=(20.0, 21.0))
    found = scores(*soft, hard, whole)
    lrs = found["soft-v2", "rded"].lrs
    assert lrs is not None
    assert lrs.value == pytest.approx(100 * label_robust_score(ior=0.10, hlr=0.81 - 0.205))
    assert found["soft-v2", "random_subset"].lrs is None, "its sets were not judged by hard labels"
    other = made("rded", accuracies=(20.0, 21.0), config={"pool": 5})
    assert scores(*soft, other, whole)["soft-v2", "rded"].lrs is None, "this is another set"


@pytest.mark.parametrize(("label", "told"), [("projected", True), ("replayed", True), ("features", False)])
def test_sets_whose_students_are_trained_on_class_ids_have_a_score(
    made: Make, whole: Record, label: str, told: bool
) -> None:
    drawn = made("random_subset", accuracies=(31.0, 29.0))
    found = scores(made("hello", label=label), drawn, whole)
    assert (found["hard-v1", "hello"].lrs is not None) == told


def test_a_row_that_was_judged_by_another_protocol_has_no_score(made: Make, whole: Record) -> None:
    records = [
        made(name, protocol=protocol, accuracies=values, **TAUGHT)
        for name, values in (("dm", (40.0, 42.0)), ("random_subset", (30.0, 32.0)))
        for protocol in (SOFT_V2, SOFT_PLAIN_V2)
    ]
    labels = made(NO_DISTILLATION, protocol=LABEL_V1, label="soft", accuracies=(35.0, 36.0))
    found = scores(*records, labels, whole)
    assert found[SOFT_V2.name, "dm"].ars is not None
    assert found[SOFT_V2.name, NO_DISTILLATION] == found[SOFT_PLAIN_V2.name, NO_DISTILLATION] == Robust()


@pytest.mark.parametrize("missing", ["random", "whole", "soft labels"])
def test_where_a_part_is_missing_there_is_no_score(made: Make, whole: Record, missing: str) -> None:
    drawn = [] if missing == "random" else [made("random_subset", accuracies=(31.0, 29.0))]
    reference = [] if missing == "whole" else [whole]
    label = "soft" if missing == "soft labels" else "hard"
    records = [made(label=label), *drawn, *reference]
    assert scores(*records)["hard-v1", "dm"] == Robust()
    found = rows(page(frame(records)))
    if "LRS" in found["method"]:
        assert found["dm"][found["method"].index("LRS")] == "-"


def test_the_augmentation_score_needs_both_protocols(made: Make) -> None:
    pairs = {(HARD_V1, HARD_PLAIN_V1): {}, (SOFT_V2, SOFT_PLAIN_V2): TAUGHT}
    for (usual, plain), taught in pairs.items():
        records = [
            made(name, protocol=protocol, accuracies=values, **taught)
            for name, protocol, values in (
                ("dm", usual, (40.0, 42.0)),
                ("random_subset", usual, (30.0, 32.0)),
                ("dm", plain, (35.0, 36.0)),
                ("random_subset", plain, (28.0, 29.0)),
            )
        ]
        ars = scores(*records)[usual.name, "dm"].ars
        assert ars is not None and ars.half is not None
        assert ars.value == pytest.approx(100 * augmentation_robust_score(0.10, 0.07))
        assert scores(*records)[usual.name, "random_subset"].ars == Estimate(100 * normalised(0.0), 0.0)
        for left in range(1, 4):
            some = scores(*(record for number, record in enumerate(records) if number != left))
            assert some[usual.name, "dm"].ars is None


def test_random_images_with_other_stored_labels_are_no_baseline(made: Make, whole: Record) -> None:
    drawn = made("random_subset", accuracies=(31.0, 29.0))
    again = made("random_subset", accuracies=(11.0, 12.0), config={"network": "b"})
    # Two kinds of random images in one table: which of them is meant is not known.
    assert scores(made(), drawn, again, whole)["hard-v1", "dm"].lrs is None


def test_the_board_shows_the_scores_by_ipc(made: Make, whole: Record) -> None:
    records = [made(ipc=ipc, accuracies=(40.0, 42.0)) for ipc in (1, 10)]
    records += [made("random_subset", ipc=1, accuracies=(31.0, 29.0)), whole]
    found = rows(page(frame(records)))
    column = found["method"].index("LRS")
    assert found["dm"][column] == "21.2 ± 2.2 / -"
    assert found["*herding*"][column] == found["whole training set"][column] == "-"
    assert "LRS" not in rows(page(frame(records[:2])))["method"]
