"""Fixtures that tests of several packages share: a home folder, a tiny dataset, records, and a clock."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# Tiny tensors gain nothing from threads, and on a busy machine two threads wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jaxtyping
import numpy as np
import pytest
import shape_checks  # before all of condense: it decorates what is imported later
import torch

from condense.data import GraphDataset, ImageDataset, load_graphs, load_images
from condense.files import digest
from condense.protocol import Protocol
from condense.protocols import GRAPH_V2, HARD_V1
from condense.records.record import DataUsed, Entry, MethodUsed, Paper, Record, SampleCounts, SetUsed
from condense.resources import Budget
from condense.store.manifest import ChainLinkPart

Make = Callable[..., Record]
Draw = Callable[..., list[Record]]

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# Thousands of waits for the disk take their time, and no test cuts the power.
os.fsync = lambda fd: None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadgroup``, the groups are those of `tests.scheduling`."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from tests.scheduling import Grouped

    return Grouped(config, log)


def pytest_collection_finish() -> None:
    """Lets the collector of reference cycles look less often, and never at what has been imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000)


def pytest_runtest_setup() -> None:
    shape_checks.begin_test()


@pytest.fixture
def unchecked_shapes() -> Iterator[None]:
    """Leaves signatures unchecked, for a test of what the code itself says about wrong input."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CONDENSE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def digits() -> ImageDataset:
    """The bundled images."""
    return load_images("digits")


@pytest.fixture(scope="session")
def mutag() -> GraphDataset:
    """The bundled graphs."""
    return load_graphs("mutag")


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
    return load_images(str(toy_file))


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
    monkeypatch.setattr("condense.training.progress.time", own)
    monkeypatch.setattr("condense.resources.time", own)
    return own


def make_entry(seed: int, accuracy: float) -> Entry:
    return Entry(
        seed=seed,
        accuracy=accuracy,
        seconds=12.5,
        device="cpu",
        threads=2,
        versions={"torch": "2.6.0"},
        time="2026-01-01T00:00:00+00:00",
    )


def make_record(
    method: str = "dm",
    *,
    ipc: int = 1,
    seed: int = 0,
    accuracies: Sequence[float] = (70.0, 71.0, 72.0),
    seeds: Sequence[int] | None = None,
    dataset: str = "digits",
    train_hash: str = "1" * 64,
    protocol: Protocol = HARD_V1,
    student: str = "convnet",
    space: str = "normalized",
    teacher: str | None = None,
    teacher_bytes: int | None = None,
    teacher_accuracy: float | None = None,
    label: str = "hard",
    replay: int = 0,
    config: Mapping[str, object] | None = None,
    paper: Paper | None = None,
    kind: str = "set",
    copies: int = 1,
) -> Record:
    chain: tuple[ChainLinkPart, ...] = (
        {"name": method, "version": 1, "config": dict(config or {"lr_img": 1.0})},
    )
    images = 10 * ipc
    used = SetUsed(
        hash=digest([method, ipc, seed]),
        bytes={"images": 64 * images, "labels": images, "replay": replay},
        counts=SampleCounts(stored=images, effective=copies * images, per_class=(ipc,) * 10),
        label=label,
        seconds=2.0 * ipc,
        peak_bytes=100 * 2**20,
        device="cpu",
    )
    numbers = range(len(accuracies)) if seeds is None else seeds
    return Record(
        kind=kind,
        key=digest([chain, train_hash, ipc, seed]),
        dataset=DataUsed(name=dataset, kind="images", train_hash=train_hash, test_hash="2" * 64),
        method=MethodUsed(name=method, chain=chain, source=None),
        ipc=ipc,
        seed=seed,
        set=used if kind == "set" else None,
        space=space,
        protocol=protocol,
        student=student,
        teacher=teacher,
        teacher_bytes=teacher_bytes,
        teacher_accuracy=teacher_accuracy,
        paper=paper,
        entries=tuple(make_entry(s, a) for s, a in zip(numbers, accuracies, strict=True)),
    )


@pytest.fixture(scope="session")
def made() -> Make:
    """A function that makes a record."""
    return make_record


@pytest.fixture(scope="session")
def entry() -> Callable[[int, float], Entry]:
    """A function that makes an entry of a seed and an accuracy."""
    return make_entry


@pytest.fixture
def drawn(made: Make) -> Draw:
    """A maker of baselines: draws of random images that fill a room; a student on them takes some seconds."""

    def make(
        room: int, score: float, seconds: float = 10.0, encode: str = "best", draws: int = 5, **given: Any
    ) -> list[Record]:
        found = []
        for seed in range(draws):
            config = {"room": room, "encode": encode}
            record = made("random_subset", config=config, seed=seed, accuracies=(score + seed,), **given)
            entries = tuple(replace(entry, seconds=seconds) for entry in record.entries)
            found.append(replace(record, entries=entries))
        return found

    return make


@pytest.fixture
def graphs(made: Make) -> Make:
    """A function that makes a record of graphs: AUC, and accuracy ten below it."""

    def make(method: str = "mirage", aucs: Sequence[float] = (70.0, 72.0), **given: Any) -> Record:
        plain = {"student": "gcn-sum", "protocol": GRAPH_V2, "space": "multi-hot"}
        record = made(method, accuracies=[auc - 10 for auc in aucs], **(plain | given))
        used = record.set and replace(
            record.set, bytes={"graphs": 300 * record.ipc, "labels": 4}, dense_bytes=2000 * record.ipc
        )
        entries = tuple(replace(entry, auc=auc) for entry, auc in zip(record.entries, aucs, strict=True))
        data = DataUsed(name="mutag", kind="graphs", train_hash="1" * 64, test_hash="2" * 64)
        return replace(record, dataset=data, set=used, entries=entries)

    return make
