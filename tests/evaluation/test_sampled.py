"""Students without a set: the whole set as a fraction, resumed trainings, and what a training reads."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation import Sampling
from condense.errors import Stopped
from condense.evaluation import ImageStudent, WholeImages
from condense.evaluation.kinds import kind_of
from condense.networks import Network
from condense.protocol import Stage
from condense.protocols import PRUNE_V1
from condense.resources import Budget
from condense.training.loop import Loop
from condense.training.validation import parted, without_validation
from tests.trainings import left, sampling, student

SHORT = replace(PRUNE_V1, name="short", batch=16, stages=(Stage(epochs=5),))


def trained(one: ImageStudent, budget: Budget | None = None, folder: Path | None = None) -> Network:
    rng = torch.Generator().manual_seed(0)
    loop = Loop(folder, rng, device=one.device, budget=budget or Budget(), title="one", remedy="none")
    return one.train(one.build(rng), loop)


def same(one: Network, other: Network) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_the_whole_as_a_fraction_equals_the_training_on_all_images(toy: ImageDataset, tmp_path: Path) -> None:
    chosen = sampling("random_subset", toy, tmp_path, fraction=1.0)
    assert torch.equal(chosen.chosen(0), torch.arange(left(toy)))
    one = student(chosen, toy, SHORT)
    images = without_validation(toy.train).in_space(toy.space("normalized"))
    assert same(trained(one), trained(replace(one, source=WholeImages(images))))


@pytest.mark.parametrize("name", ["rs2", "random_subset"])
def test_a_training_that_is_cut_short_ends_with_the_same_bits(
    name: str, toy: ImageDataset, tmp_path: Path, spent_after: Callable[[int], Budget]
) -> None:
    one = student(sampling(name, toy, tmp_path, fraction=0.6), toy, SHORT)
    whole = trained(one)
    for steps in (1, 4, 6):
        folder = tmp_path / f"{steps}"
        with pytest.raises(Stopped):
            trained(one, spent_after(steps), folder)
        assert same(trained(one, folder=folder), whole)


def test_the_rate_falls_at_every_step_to_its_floor(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    groups: list[bool] = []
    step = torch.optim.SGD.step

    def noted(self: torch.optim.SGD, *given: object) -> object:
        rates.append(self.param_groups[0]["lr"])
        groups.append(self.param_groups[0]["nesterov"])
        return step(self, *given)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    chosen = sampling("rs2", toy, tmp_path, fraction=0.5)
    trained(student(chosen, toy, SHORT))
    steps = 5 * -(-chosen.size // 16)
    assert len(rates) == steps and all(groups) and rates == sorted(rates, reverse=True)
    assert rates[0] == 0.1 and rates[-1] == pytest.approx(SHORT.rate(0.1, steps - 1, steps))


def test_a_training_reads_the_bytes_of_the_images_that_it_sees(toy: ImageDataset, tmp_path: Path) -> None:
    def used(chosen: Sampling) -> tuple[int, int, bool, int]:
        source = kind_of(toy).sampled(chosen, toy, torch.device("cpu"))
        read = source.used(SHORT, seconds=2.0)
        return read.bytes, read.images, read.whole, read.steps

    n = left(toy)
    chosen = sampling("rs2", toy, tmp_path, fraction=1 / 3)
    assert used(chosen) == (n * (64 + 1), n, True, 5 * 2)
    fixed = sampling("random_subset", toy, tmp_path, fraction=1 / 3)
    assert used(fixed) == (18 * (64 + 1), 18, False, 5 * 2)


def test_no_student_sees_the_validation_part(toy: ImageDataset) -> None:
    kept, out = parted(toy.train)
    assert torch.equal(torch.cat([kept, out]).sort().values, torch.arange(60)) and len(out) == 3
    chosen = Sampling.of(torch.arange(len(kept)))
    images = kind_of(toy).sampled(chosen, toy, torch.device("cpu")).train
    assert torch.equal(images.labels, toy.train.labels[kept])
