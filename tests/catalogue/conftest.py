"""A working directory with a catalogue of toy sets, and no other place that sets could come from."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from condense.catalogue.form import CATALOGUE, Catalogue, SetEntry, order
from condense.catalogue.known import entry_of
from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.store import DistilledSet

MakeSet = Callable[..., DistilledSet]
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def toy_sets(toy: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> MakeSet:
    """A function that returns random images of a seed and IPC, each set made once."""
    made: dict[tuple[int, int], DistilledSet] = {}

    def make(seed: int = 0, ipc: int = 1) -> DistilledSet:
        if (seed, ipc) not in made:
            method, _ = build("random_subset", "toy", ipc)
            cache = tmp_path_factory.mktemp("cache")
            made[seed, ipc] = distill(method, toy, ipc=ipc, seed=seed, cache=cache)[0]
        return made[seed, ipc]

    return make


@pytest.fixture
def here(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a home folder, a package and a source tree that hold nothing."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr("condense.catalogue.known.PACKAGE", tmp_path / "source" / "condense")
    return folder


def listed(made: DistilledSet, folder: str | None = None) -> SetEntry:
    """The entry of a set."""
    return replace(entry_of(made.content, made.hash), folder=folder)


def write(sets: Path, entries: Sequence[SetEntry], url: str | None = None, name: str = CATALOGUE) -> Path:
    """Writes a catalogue to a folder of sets."""
    sets.mkdir(parents=True, exist_ok=True)
    (sets / name).write_text(Catalogue(sets=tuple(sorted(entries, key=order)), url=url).text())
    return sets / name
