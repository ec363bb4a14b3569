"""Claims of papers: which hold, which do not, and which the records do not tell."""

from collections.abc import Callable

from condense.board.claims import claims_text
from condense.board.datasets import gathered
from condense.protocols import SOFT_V2
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def scores(mean: float) -> tuple[float, ...]:
    return tuple(mean + shift for shift in (-1.0, -0.5, 0.0, 0.5, 1.0))


def told(*records: Record) -> str:
    (one,) = gathered(frame(list(records))).datasets
    return " ".join(claims_text(one).split())


def test_a_claim_holds_does_not_hold_or_is_not_told_apart(made: Make) -> None:
    text = told(
        made("dc", accuracies=scores(60)), made("dsa", accuracies=scores(70)),
        made("dm", accuracies=scores(65)), made("datadam", accuracies=scores(65.2)),
        made("dc", ipc=10, accuracies=scores(70)), made("dsa", ipc=10, accuracies=scores(60)),
    )  # fmt: skip
    assert "IPC 1 holds (70.0 beside 60.0), IPC 10 does not hold (60.0 beside 70.0)." in text
    assert "DM above DSA (arXiv 2110.04181): IPC 1 does not hold (65.0 beside 70.0)." in text
    assert "DataDAM above DM (arXiv 2310.00093): IPC 1 not told apart (65.2 beside 65.0)." in text
    assert "Not run: Herding above random images; IDC above DSA (arXiv 2205.14959); MTT above DSA" in text


def test_the_best_of_several_methods_is_named(made: Make) -> None:
    text = told(
        made("mtt", accuracies=scores(60)), made("ftd", accuracies=scores(75)),
        made("dm", accuracies=scores(65)), made("datadam", accuracies=scores(70)),
    )  # fmt: skip
    assert "Trajectory above distribution matching: IPC 1 holds (ftd 75.0 beside datadam 70.0)." in text


def test_any_method_of_a_family_may_be_the_one_above(made: Make) -> None:
    spread = (50.0, 62.0, 74.0, 86.0, 98.0)
    others = made("dm", accuracies=scores(65)), made("dsa", accuracies=scores(50))
    text = told(made("mtt", accuracies=scores(72)), made("ftd", accuracies=spread), *others)
    assert "distribution matching: IPC 1 holds (mtt 72.0 beside dm 65.0)." in text
    text = told(made("mtt", accuracies=scores(65)), made("ftd", accuracies=spread), *others)
    assert "distribution matching: IPC 1 not told apart (ftd 74.0 beside dm 65.0)." in text
    text = told(made("mtt", accuracies=scores(60)), made("ftd", accuracies=scores(55)), *others)
    assert "distribution matching: IPC 1 does not hold (mtt 60.0 beside dm 65.0)." in text


def test_a_claim_tells_how_many_settings_its_scores_are_the_best_of(made: Make) -> None:
    several = [made("mtt", accuracies=scores(70 + step), config={"steps": step}) for step in (1, 2, 3)]
    few = made("mtt", accuracies=scores(70)[:2], config={"steps": 4})
    text = told(*several, few, *(made(name, accuracies=scores(60)) for name in ("dsa", "dc", "dm")))
    assert "IPC 1 holds (73.0 beside 60.0; the best of 3 settings beside the only setting)." in text


def test_a_wrapper_is_compared_with_its_host_at_the_same_settings(made: Make) -> None:
    own = made("dm", accuracies=scores(60), config={"steps": 1})
    other = made("dm", accuracies=scores(80), config={"steps": 2})
    wrapper = made("dm+fyi", accuracies=scores(70))
    chain = ({**own.method.chain[0]}, {"name": "fyi", "version": 1, "config": {}})
    object.__setattr__(wrapper.method, "chain", chain)
    text = told(own, other, wrapper, made("dsa", accuracies=scores(50)), made("dc", accuracies=scores(50)))
    assert "FYI above its host (arXiv 2407.08113): IPC 1 dm (a) holds (70.0 beside 60.0)." in text


def test_labels_of_a_teacher_are_judged_in_their_own_table(made: Make) -> None:
    taught = {"protocol": SOFT_V2, "teacher": "f" * 64}
    draws = [made("random_subset", seed=seed, accuracies=(70 + seed / 10,), **taught) for seed in range(10)]
    hard = [made(name, accuracies=scores(60)) for name in ("dm", "dsa", "dc", "mtt")]
    text = told(*hard, *draws, made("rded", accuracies=(60.0, 60.5, 61.0), **taught))
    assert "IPC 1 does not hold (rded 60.5 beside random_subset 70.5)." in text


def test_a_table_of_few_methods_has_no_list(made: Make) -> None:
    assert told(made("dm"), made("dsa"), made("dc")) == ""
