"""RS2: which images each epoch takes, with and without replacement, by fraction and by class."""

from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation.images.sampling import Rounds, Sampling
from condense.distillation.registry import build
from condense.training.validation import without_validation
from tests.trainings import left, sampling

ALL = torch.arange(60)


def rounds(counts: int = 12, replacement: bool = False, seed: int = 3) -> Rounds:
    return Rounds([ALL], [counts], replacement, seed)


def test_without_replacement_every_image_comes_once_in_the_rounds_that_take_all() -> None:
    drawn = rounds()
    for first in (0, 5, 10):
        epochs = [drawn(epoch) for epoch in range(first, first + 5)]
        assert torch.equal(torch.cat(epochs).sort().values, ALL)
    assert not torch.equal(
        torch.cat([drawn(e) for e in range(5)]), torch.cat([drawn(e) for e in range(5, 10)])
    )


@pytest.mark.parametrize("size", [7, 18, 45, 59])
def test_without_replacement_what_is_left_of_an_order_is_carried_over(size: int) -> None:
    drawn = rounds(size)
    stream = torch.cat([drawn(epoch) for epoch in range(60)])  # as many epochs as images: `size` orders
    assert stream.shape == (60 * size,)
    for order in torch.split(stream, 60):
        assert torch.equal(order.sort().values, ALL)


def test_with_replacement_a_round_repeats_no_image_and_rounds_are_independent() -> None:
    drawn = rounds(30, replacement=True)
    epochs = torch.stack([drawn(epoch) for epoch in range(400)])
    assert all(len(set(epoch.tolist())) == 30 for epoch in epochs)
    # An image is in a round with probability 1/2, whatever the round before held.
    held = torch.zeros(400, 60).scatter_(1, epochs, 1.0)
    assert float((held.mean(0) - 0.5).abs().max()) < 0.12
    assert float((held[1:] * held[:-1]).mean()) == pytest.approx(0.25, abs=0.01)


def test_epochs_may_be_asked_for_in_any_order_and_seeds_differ() -> None:
    for replacement in (False, True):
        drawn = rounds(7, replacement)
        later = drawn(20)
        assert torch.equal(rounds(7, replacement)(20), later)
        assert not torch.equal(rounds(7, replacement, seed=4)(20), later)


def test_groups_are_drawn_from_by_themselves() -> None:
    drawn = Rounds([torch.arange(20), torch.arange(20, 50), torch.tensor([55])], [4, 3, 1], False, 0)
    for epoch in range(10):
        one = drawn(epoch)
        assert [int((one < 20).sum()), int(((one >= 20) & (one < 50)).sum())] == [4, 3] and 55 in one
    assert len(set(torch.cat([drawn(epoch) for epoch in range(5)]).tolist())) == 20 + 15 + 1


def test_a_fraction_is_of_all_images_whatever_their_class(toy: ImageDataset, tmp_path: Path) -> None:
    n = left(toy)
    chosen = sampling("rs2", toy, tmp_path, fraction=1 / 3)
    epochs = [chosen.chosen(epoch) for epoch in range(3)]
    assert chosen.size == n // 3 == 19 and torch.equal(torch.cat(epochs).sort().values, torch.arange(n))
    kept = sampling("rs2", toy, tmp_path, fraction=1 / 3, params={"stratified": True})
    assert kept.size == 3 * round(19 / 3)


def test_by_ipc_each_epoch_has_so_many_fresh_images_of_each_class(toy: ImageDataset, tmp_path: Path) -> None:
    chosen = sampling("rs2", toy, tmp_path, ipc=2)
    labels = without_validation(toy.train).labels
    epochs = [chosen.chosen(epoch) for epoch in range(30)]
    assert all(torch.bincount(labels[epoch]).tolist() == [2, 2, 2] for epoch in epochs)
    assert len({tuple(epoch.sort().values.tolist()) for epoch in epochs}) > 25


def test_what_is_touched_is_counted_over_the_epochs() -> None:
    assert Sampling(12, rounds()).touched(3, 60) == 36 and Sampling(12, rounds()).touched(5, 60) == 60
    fixed = Sampling.of(torch.tensor([7, 3, 5]))
    assert fixed.touched(100, 60) == 3 and fixed.chosen(0).tolist() == [3, 5, 7]


def test_the_recipes_of_the_comparison_take_a_subset_as_one_batch() -> None:
    for ipc in (1, 10, 50):
        _, recipe = build("rs2", "cifar10", ipc)
        assert recipe is not None and recipe.protocol is not None
        assert recipe.protocol.batch_for(10 * ipc) == 10 * ipc and recipe.protocol.epochs == 1000
