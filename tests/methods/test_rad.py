"""RAD: the closed form of its game against a linear program, its limits, and the rounds."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from condense.data import ImageDataset
from condense.distillation.registry import build, methods
from condense.distillation.robust_sampling import robust_distribution
from condense.errors import Refused
from condense.evaluation.kinds import kind_of
from condense.protocols import PRUNE_SHORT_V1
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import Job, resolve
from condense.teachers import fixed
from tests.trainings import sampling

drawn = import_module(methods()["rad"].__module__).drawn


def value(q: np.ndarray, gains: np.ndarray, wrong: int, penalised: bool) -> float:
    """What is left of the gains when an adversary makes the labels of the largest shares wrong."""
    shares = np.sort(q * gains)[::-1]
    return float(shares[wrong:].sum() - (shares[:wrong].sum() if penalised else 0.0))


def best(gains: np.ndarray, wrong: int, penalised: bool) -> float:
    """The value of the game as a linear program.

    The sum of the largest k of a_i is the least of k u + sum of v_i with v_i >= a_i - u and v_i >= 0.
    """
    solve: Any = import_module("scipy.optimize").linprog
    n, factor = len(gains), 2.0 if penalised else 1.0
    cost = np.concatenate([-gains, [factor * wrong], np.full(n, factor)])
    above = np.concatenate([np.diag(gains), np.full((n, 1), -1.0), -np.eye(n)], axis=1)
    total = np.concatenate([np.ones(n), np.zeros(n + 1)])[None]
    bounds = [(0, None)] * n + [(None, None)] + [(0, None)] * n
    found = solve(cost, A_ub=above, b_ub=np.zeros(n), A_eq=total, b_eq=[1.0], bounds=bounds, method="highs")
    assert found.status == 0
    return -float(found.fun)


def test_the_closed_form_has_the_value_of_the_linear_program() -> None:
    rng = np.random.RandomState(0)
    for case in range(200):
        n = int(rng.randint(2, 14))
        penalised = case % 2 == 1
        wrong = int(rng.randint(0, (n + 1) // 2 if penalised else n))
        gains = rng.uniform(0.01, 1.0, n)
        q = robust_distribution(torch.from_numpy(gains), wrong, penalised=penalised).numpy()
        assert q.min() >= 0 and q.sum() == pytest.approx(1, abs=1e-12)
        assert value(q, gains, wrong, penalised) == pytest.approx(best(gains, wrong, penalised), abs=1e-9)


def test_the_limits_are_the_largest_gain_and_all_points_alike() -> None:
    gains = torch.tensor([0.2, 0.9, 0.5, 0.4]).double()
    assert robust_distribution(gains, 0).tolist() == [0, 1, 0, 0]
    equal = robust_distribution(torch.full((5,), 0.3).double(), 2)
    assert torch.allclose(equal, torch.full((5,), 0.2).double())
    for wrong in (3, 4, 10):
        q = robust_distribution(gains, wrong)
        assert torch.allclose(q * gains, (q * gains).mean()) and bool((q > 0).all())


def test_points_without_gain_are_clipped_and_chosen_last() -> None:
    gains = torch.tensor([0.0, 0.5, 0.0, 0.6])
    q = robust_distribution(gains, 1)
    assert bool(q.isfinite().all()) and q[0] == q[2] == 0 and float(q.sum()) == pytest.approx(1)


def test_a_draw_takes_what_q_allows_and_then_the_largest_gains() -> None:
    q, gains = torch.tensor([0.0, 0.7, 0.3, 0.0, 0.0]).double(), torch.tensor([0.1, 0.9, 0.8, 0.3, 0.2])
    rng = torch.Generator().manual_seed(0)
    firsts = [int(drawn(q, gains, 1, rng)) for _ in range(2000)]
    assert set(firsts) == {1, 2} and firsts.count(1) / 2000 == pytest.approx(0.7, abs=0.04)
    assert sorted(drawn(q, gains, 3, rng).tolist()) == [1, 2, 3]


def test_the_chosen_images_have_the_teachers_probabilities(digits: ImageDataset, tmp_path: Path) -> None:
    quick = {"network": "mlp", "rounds": 2, "steps": 3}
    chosen = sampling("rad", digits, tmp_path, fraction=0.03, params=quick)
    assert chosen.soft is not None and chosen.soft.shape == (chosen.size, 10)
    assert torch.allclose(chosen.soft.sum(1), torch.ones(chosen.size), atol=1e-5)
    used = kind_of(digits).sampled(chosen, digits, torch.device("cpu")).used(PRUNE_SHORT_V1, 1.0)
    teacher = fixed("digits", digits.train.hash)
    assert (used.teacher, used.teacher_bytes) == (teacher.hash, teacher.nbytes)
    assert len(set(chosen.chosen(0).tolist())) == chosen.size
    warm = sampling("rad", digits, tmp_path, fraction=0.03, params=quick | {"warm": True})
    assert not torch.equal(warm.chosen(0), chosen.chosen(0))


def test_more_rounds_than_images_are_refused_before_any_work(tmp_path: Path) -> None:
    def job(**given: Any) -> Job:
        return resolve(CellSpec(method="rad", dataset="digits", **given), Paths(out=tmp_path), recorded=False)

    words = "after the first images, each of 20 rounds asks for one, and there are {}; rounds={} is the most"
    for given, images in (({"ipc": 1}, 10), ({"fraction": 0.003}, 4)):
        with pytest.raises(Refused) as refused:
            job(**given, params={"rounds": 20})
        assert words.format(images, images - 1) in str(refused.value)
        assert job(**given, params={"rounds": images - 1}).trains


@pytest.mark.parametrize("rounds", [0, 1, 3])
def test_each_round_asks_for_an_image_if_there_are_as_many(
    rounds: int, digits: ImageDataset, tmp_path: Path
) -> None:
    quick = {"network": "mlp", "rounds": rounds, "steps": 1}
    chosen = sampling("rad", digits, tmp_path, fraction=0.003, params=quick)
    assert chosen.size == 4 == len(set(chosen.chosen(0).tolist()))


def test_settings_of_no_meaning_are_refused() -> None:
    for params, reason in (
        ({"teacher": "trained"}, "rad takes the fixed teacher or one from a file"),
        ({"teacher_error": 1.5}, "a share is at most 1"),
        ({"clip": 0.0}, "the least gain is above 0"),
    ):
        with pytest.raises(Refused, match=reason):
            build("rad", "digits", 1, params)
