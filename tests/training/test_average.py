"""The moving average against its formula, and as a state that survives a checkpoint."""

import torch

from condense.training.average import MovingAverage
from condense.training.checkpoint import decode_tree, encode_tree

STEPS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_average_weighs_each_step_by_the_decay_to_its_age() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    average = MovingAverage([x], 0.8)
    for value in STEPS:
        x.copy_(value)
        average.update()
    weights = torch.tensor([0.8**age for age in (5, 4, 3, 2, 1, 0)], dtype=torch.float64)
    naive = (weights[:, None] * STEPS).sum(0) / weights.sum()
    torch.testing.assert_close(average.values()[0], naive, rtol=1e-12, atol=1e-15)


def test_the_average_of_one_step_is_the_step_and_of_none_the_tensor() -> None:
    x = torch.tensor([1.0, -2.0])
    average = MovingAverage([x], 0.99)
    assert torch.equal(average.values()[0], x)
    average.update()
    torch.testing.assert_close(average.values()[0], x)


def test_the_averages_take_the_place_of_the_tensors() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    average = MovingAverage([x], 0.5)
    for value in STEPS[:2]:
        x.detach().copy_(value)
        average.update()
    average.install()
    torch.testing.assert_close(x.detach(), (STEPS[0] + 2 * STEPS[1]) / 3)


def test_a_restored_average_goes_on_with_the_same_bits() -> None:
    x = torch.zeros(3, dtype=torch.float64)
    average = MovingAverage([x], 0.9)
    for place, value in enumerate(STEPS):
        if place == 3:
            tensors: dict[str, torch.Tensor] = {}
            saved = decode_tree(encode_tree(average.state_dict(), tensors), tensors)
        x.copy_(value)
        average.update()
    again = MovingAverage([x], 0.9)
    again.load_state_dict(saved)  # type: ignore[arg-type] # the tree of an average
    for value in STEPS[3:]:
        x.copy_(value)
        again.update()
    assert torch.equal(again.values()[0], average.values()[0])
