"""KD in data pruning: its loss, its weights by kept fraction, and no teacher at weight 0."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from condense.data import ImageDataset
from condense.distillation.images.sampling import Taught
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.sampled import listening
from condense.protocol import Stage
from condense.protocols import PRUNE_V1
from condense.resources import Budget
from condense.store.targets import Hard
from condense.teachers import fixed
from condense.training.loop import Loop
from tests.trainings import sampling, student

SHORT = replace(PRUNE_V1, name="short", stages=(Stage(epochs=2),))


def weights(one: Any) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    loop = Loop(None, rng, device=one.device, budget=Budget(), title="one", remedy="none")
    return list(one.train(one.build(rng), loop).state_dict().values())


def test_the_loss_is_the_weighted_sum_of_the_formula(digits: ImageDataset) -> None:
    teacher, rng = fixed("digits", digits.train.hash), torch.Generator().manual_seed(0)
    images, labels = torch.randn(6, 1, 8, 8, generator=rng), torch.arange(6)
    logits = torch.randn(6, 10, generator=rng)
    loss = listening(Taught(teacher, 0.3, 4.0))(images, Hard(labels)).loss(logits)
    z = teacher.logits(images).double()
    divergence = kl_div((logits.double() / 4).log_softmax(1), (z / 4).softmax(1), reduction="batchmean")
    expected = 0.7 * cross_entropy(logits.double(), labels) + 0.3 * 16 * divergence
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_a_weight_of_0_is_training_without_a_teacher_to_the_bit(digits: ImageDataset, tmp_path: Path) -> None:
    plain = sampling("random_subset", digits, tmp_path, fraction=0.05)
    none = sampling("random_subset+kd", digits, tmp_path, fraction=0.05, params={"kd.weight": "0"})
    some = sampling("random_subset+kd", digits, tmp_path, fraction=0.05, params={"kd.weight": "0.5"})
    assert torch.equal(none.chosen(0), plain.chosen(0)) and torch.equal(some.chosen(0), plain.chosen(0))
    trained = [weights(student(one, digits, SHORT)) for one in (plain, none, some)]
    assert all(torch.equal(a, b) for a, b in zip(trained[0], trained[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(trained[0], trained[2], strict=True))


def test_the_weight_follows_its_table_along_straight_lines() -> None:
    method: Any = build("rs2+kd", "digits", 0, {"kd.weight": "0.1:1, 0.3:0.8, 1:0.1"})[0]
    for fraction, weight in ((0.01, 1.0), (0.1, 1.0), (0.2, 0.9), (0.3, 0.8), (0.65, 0.45), (1.0, 0.1)):
        assert method.weight_at(fraction) == pytest.approx(weight)
    single: Any = build("rs2+kd", "digits", 0, {"kd.weight": "0.50"})[0]
    assert single.weight == 0.5 == single.weight_at(0.2) == single.weight_at(1.0)
    assert single.chain() == build("rs2+kd", "digits", 0, {"kd.weight": 0.5})[0].chain()


def test_a_wrong_host_and_wrong_weights_are_refused() -> None:
    for name, params, reason in (
        ("dm+kd", {}, "kd wraps a method that trains students on real images, and dm makes sets only"),
        ("rs2+kd", {"kd.weight": "much"}, "weights and fractions are from 0 to 1"),
        ("rs2+kd", {"kd.weight": "1.5"}, "weights and fractions are from 0 to 1"),
        ("rs2+kd", {"kd.weight": "0.5:1,0.1:0"}, "the fractions are not ascending"),
        ("rs2+kd", {"kd.temperature": "0"}, "a temperature is above 0"),
        (
            "rs2+kd",
            {"kd.teacher": "trained"},
            "kd takes the fixed teacher or one from a file, and trains none",
        ),
    ):
        with pytest.raises(Refused, match=reason):
            build(name, "digits", 0, params)
