"""A student of whose weights the moving average is tested."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.evaluation import ImageStudent, WholeImages
from condense.networks import Network
from condense.protocol import Protocol, Stage
from condense.protocols import HARD_V1

module = import_module("condense.evaluation.student")


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The weights of every student as they are when they are tested."""
    seen: list[Tensor] = []

    def noted(network: Network, images: Tensor, labels: Tensor) -> float:
        seen.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
        return 0.0

    monkeypatch.setattr(module, "accuracy", noted)
    return seen


def train(toy: ImageDataset, epochs: int, ema: float | None = None) -> None:
    """Trains a student for as many steps as epochs."""
    normalized = toy.space("normalized")
    protocol: Protocol = replace(HARD_V1, batch=60, stages=(Stage(epochs=epochs),), lr=0.1, ema=ema)
    ImageStudent(
        source=WholeImages(toy.train.in_space(normalized)), test=toy.test.in_space(normalized), spec=toy.spec,
        protocol=protocol, network="mlp",
    ).outcome(0)  # fmt: skip


def test_each_step_counts_with_the_decay_to_its_age(toy: ImageDataset, tested: list[Tensor]) -> None:
    for steps in (1, 2, 3):
        train(toy, steps)
    train(toy, 3, ema=0.8)
    first, second, third, average = tested
    expected = (0.64 * first + 0.8 * second + third) / (0.64 + 0.8 + 1)
    torch.testing.assert_close(average, expected, rtol=1e-5, atol=1e-7)
    assert not torch.equal(first, third)


def test_without_a_decay_the_last_weights_are_tested(toy: ImageDataset, tested: list[Tensor]) -> None:
    train(toy, 2)
    train(toy, 2, ema=1e-9)
    torch.testing.assert_close(tested[0], tested[1], rtol=1e-5, atol=1e-7)
