"""What the loader of a dataset noted is told once and kept with everything that is made of the data."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condense import protocols
from condense.data.base import DatasetSpec
from condense.protocol import Protocol, Stage
from condense.records.folder import read_records
from condense.records.record import Record, read_record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.run import distil_cell, run_cell
from condense.store import load

CONVERTED = "of 10 images, converted to RGB: 3 grey"


@pytest.fixture(autouse=True)
def tiny_protocol(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol of one epoch, by name, and a home of the test's own."""
    tiny = Protocol(name="tiny", stages=(Stage(epochs=1),), seeds=2)
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "tiny": tiny})


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A folder of ten pictures of 8 x 8 pixels, three of which are grey."""
    rng = np.random.RandomState(0)
    for number in range(10):
        file = tmp_path / "pets" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (8, 8, 3)[: 2 + (number > 2)], np.uint8)).save(file)
    return tmp_path / "pets"


def test_notes_are_told_once_and_kept_in_the_set_the_card_and_the_record(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell = CellSpec(method="random_subset", dataset=str(pets), protocol="tiny", seeds=(0, 1), eval_seeds=1)
    places = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    run_cell(cell, places, Machine(), with_baselines=True)
    assert capsys.readouterr().err.count(f"pets: {CONVERTED}\n") == 1
    for record in read_records(places.results):
        assert CONVERTED in record.dataset.notes
    for folder in places.out.iterdir():
        made = load(folder)
        notes = made.provenance["data_notes"]
        assert isinstance(notes, list) and CONVERTED in notes
        assert f"| Data note | {CONVERTED} |" in made.card()
        bare = replace(made, provenance={})
        assert bare.hash == made.hash and "Data note" not in bare.card()


def test_cells_of_the_same_data_tell_its_notes_once(
    pets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: set[str] = set()
    places = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    for ipc in (1, 2):
        cell = CellSpec(
            method="random_subset", dataset=str(pets), ipc=ipc, protocol="tiny", seeds=(0,), eval_seeds=1
        )
        run_cell(cell, places, Machine(), told=told)
    assert capsys.readouterr().err.count(CONVERTED) == 1
    list(distil_cell(cell, places, Machine()))
    assert capsys.readouterr().err.count(CONVERTED) == 1


def test_a_record_without_notes_has_no_key_for_them(made: Callable[..., Record], tmp_path: Path) -> None:
    plain = made()
    data = plain.to_json()["dataset"]
    assert isinstance(data, dict) and "notes" not in data
    noted = replace(plain, dataset=replace(plain.dataset, notes=("one", "two")))
    assert read_record(noted.write(tmp_path)) == noted
    assert read_record(plain.write(tmp_path)) == plain


def test_a_note_is_one_line_that_can_be_stored_whatever_files_are_called() -> None:
    spec = DatasetSpec(
        name="x",
        kind="images",
        classes=("a", "b"),
        protocol="hard-v1",
        notes=("left out: \udcff\nb\x1b.png",),
    )
    (note,) = spec.notes
    assert note == r"left out: \udcff b\x1b.png"
    (cut,) = replace(spec, notes=("a" * 20_000,)).notes
    assert len(cut) == 800 and cut.endswith("aaa...")
