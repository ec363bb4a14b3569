"""Ranks over datasets: against Demšar's table, scipy and hand-computed ranks."""

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import wilcoxon

from condense.board.datasets import gathered
from condense.board.plots import draw_plots
from condense.board.ranks import Block, Ranking, picture_name, rankings, ranks_text
from condense.board.tables import gather
from condense.protocol import Protocol
from condense.protocols import HARD_V1, SOFT_V1
from condense.records.frame import frame
from condense.records.record import Record
from tests.board.markdown import front

Make = Callable[..., Record]
LOW, MIDDLE, HIGH = "random_subset", "dm", "dsa"
IPCS = (1, 10)
DATASETS = ("digits", "mnist", "fashion-mnist")


def ranked(scores: list[list[float]]) -> Ranking:
    table = np.array(scores)
    names = tuple(f"m{number}" for number in range(table.shape[1]))
    return Ranking("hard-v1", names, tuple(Block("d", row) for row in range(len(table))), table)


@pytest.mark.parametrize(
    ("count", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (7, 2.949), (10, 3.164)]
)
def test_the_critical_difference_is_that_of_demsars_table(count: int, quantile: float) -> None:
    made = ranked(np.random.default_rng(0).random((14, count)).tolist())
    # The table is rounded twice: it holds quantiles of three decimals divided by the root of two.
    assert made.distance / math.sqrt(count * (count + 1) / (6 * 14)) == pytest.approx(quantile, abs=1e-3)


def test_ranks_are_counted_by_hand_and_ties_share_theirs() -> None:
    made = ranked([[90.0, 80.0, 70.0], [50.0, 60.0, 60.0]])
    np.testing.assert_allclose(made.ranks, [(1 + 3) / 2, (2 + 1.5) / 2, (3 + 1.5) / 2])


def test_friedmans_p_value_is_that_of_his_formula() -> None:
    scores = np.random.default_rng(1).random((9, 4))
    made = ranked(scores.tolist())
    n, k = scores.shape
    ranks = np.array([[1 + sum(other > one for other in row) for one in row] for row in scores]).mean(0)
    statistic = 12 * n / (k * (k + 1)) * ((ranks - (k + 1) / 2) ** 2).sum()
    # The survival function of chi-squared with three degrees of freedom.
    expected = math.erfc(math.sqrt(statistic / 2)) + math.sqrt(2 * statistic / math.pi) * math.exp(
        -statistic / 2
    )
    assert made.chance == pytest.approx(expected, rel=1e-9)


def test_runs_hold_exactly_the_pairs_that_are_nearer_than_the_critical_difference() -> None:
    scores = [[90.0 - 10 * place + (place == 1) * noise for place in range(5)] for noise in range(12)]
    made = ranked(scores)
    together = {pair for first, last in made.alike for pair in combinations(range(first, last + 1), 2)}
    near = {
        (a, b) for a, b in combinations(range(5), 2) if abs(made.ranks[a] - made.ranks[b]) < made.distance
    }
    assert made.chance < 0.05 and together == near and 0 < len(near) < 10


def test_without_a_difference_by_friedmans_test_all_methods_are_alike() -> None:
    equal = ranked([[50.0, 50.0, 50.0]] * 6)
    assert equal.chance == 1.0 and equal.alike == [(0, 2)]
    noisy = ranked(np.random.default_rng(3).random((6, 3)).tolist())
    assert noisy.chance > 0.05 and noisy.alike == [(0, 2)]
    assert wilcoxon(noisy.scores[:, 0], noisy.scores[:, 1]).pvalue > 0.05


def records(made: Make, protocol: Protocol = HARD_V1, datasets: Sequence[str] = DATASETS) -> list[Record]:
    """Records in which dsa is above dm and dm above random images on every dataset and at every IPC."""
    scores = {LOW: (30.0, 31.0), MIDDLE: (50.0, 51.0), HIGH: (60.0, 61.0)}
    return [
        made(method, dataset=dataset, ipc=ipc, protocol=protocol, accuracies=accuracies)
        for dataset in datasets
        for ipc in IPCS
        for method, accuracies in scores.items()
    ]


def test_methods_are_ranked_over_datasets_and_drawn(made: Make, tmp_path: Path) -> None:
    entries = frame(records(made))
    (found,) = rankings(gather(entries))
    assert found.methods == (HIGH, MIDDLE, LOW) and found.ranks.tolist() == [1.0, 2.0, 3.0]
    assert len(found.blocks) == 6 and found.chance == pytest.approx(math.exp(-6))
    assert tmp_path / picture_name(found) in draw_plots(gathered(entries), tmp_path)
    assert ">dsa: 1.00<" in (tmp_path / picture_name(found)).read_text()
    text = front(entries)
    assert ranks_text([found]) in text and "dsa 1.00, dm 2.00, random_subset 3.00" in text


def test_few_datasets_and_older_protocols_have_no_ranks(made: Make, tmp_path: Path) -> None:
    few = frame(records(made, datasets=DATASETS[:2]))
    assert rankings(gather(few)) == [] and "Ranks over datasets" not in front(few)
    assert rankings(gather(frame(records(made, protocol=SOFT_V1)))) == []


def test_of_several_settings_none_is_chosen_by_its_score(made: Make) -> None:
    chosen = records(made)
    other = [
        made(HIGH, dataset="digits", ipc=1, accuracies=(99.0, 98.0), config={"lr_images": value})
        for value in (0.5, 2.0)
    ]
    replaced = (HIGH, "digits", 1)
    without = [one for one in chosen if (one.method.name, one.dataset.name, one.ipc) != replaced]
    assert len(without) == len(chosen) - 1
    assert rankings(gather(frame(without + other))) == []
