"""What tests of several packages need: an own home folder, a tiny dataset, and time that obeys."""

import os
from collections.abc import Callable
from pathlib import Path

# Tiny tensors gain nothing from threads, and on a busy machine two threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch

from condense.data import ImageDataset, load
from condense.resources import Budget

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CONDENSE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .npz file of three classes, 8 x 8 pixels: a bright row in noise; 20 to train and 10 to test each."""
    rng = np.random.RandomState(0)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", 20), ("test", 10)):
        labels = np.arange(3).repeat(count)
        images = rng.randint(0, 160, (3 * count, 8, 8))
        images[np.arange(len(labels)), 2 * labels + 1] += 80
        order = rng.permutation(len(labels))
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = images[order].astype(np.uint8), labels[order]
    path = tmp_path_factory.mktemp("toy") / "toy.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="session")
def toy(toy_file: Path) -> ImageDataset:
    """The dataset of `toy_file`."""
    return load(str(toy_file))


class Asked(Budget):
    """A budget that is spent once it has been asked a number of times."""

    def __init__(self, times: int) -> None:
        super().__init__(1e9)
        self.times = times

    def spent(self, now: float | None = None) -> bool:
        self.times -= 1
        return self.times < 0


@pytest.fixture
def spent_after() -> Callable[[int], Budget]:
    """The maker of budgets that are spent when they are asked for the n + 1-st time."""
    return Asked


class Clock:
    """A clock that goes on only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that loops and budgets go by in the test."""
    own = Clock()
    monkeypatch.setattr("condense.training.loop.time", own)
    monkeypatch.setattr("condense.resources.time", own)
    return own
