"""Baselines of equal bytes beside a cell: what is made, how many draws, and what is left out."""

from dataclasses import replace
from pathlib import Path

import pytest

from condense import protocols
from condense.protocol import Stage
from condense.protocols import HARD_V1
from condense.records.equal_bytes import rung
from condense.records.folder import read_records
from condense.records.record import Record
from condense.resources import Machine
from condense.runner import baselines
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.run import run_cell

TINY = replace(HARD_V1, stages=(Stage(epochs=1),))


@pytest.fixture
def places(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "hard-v1": TINY})
    monkeypatch.setattr("condense.runner.run.beside", lambda *_: [])  # those of equal number
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def cell(toy_file: Path) -> CellSpec:
    return CellSpec(
        method="dm", dataset=str(toy_file), student="mlp", eval_seeds=1,
        params={"iterations": "1", "batch_real": "2", "network": "mlp"}, ipc=2,
    )  # fmt: skip


def filled(places: Paths) -> list[Record]:
    """The records of baselines of equal bytes."""
    found = read_records(places.results)
    return [one for one in found if one.method.chain[0]["config"].get("room")]


def test_a_cell_has_random_images_of_its_bytes_beside_it(cell: CellSpec, places: Paths) -> None:
    (record,) = run_cell(cell, places, Machine(), with_baselines=True)
    assert record.set is not None
    room = rung(sum(record.set.bytes.values()))
    draws = filled(places)
    assert [one.seed for one in draws] == [0, 1, 2, 3, 4] and {len(one.entries) for one in draws} == {1}
    for one in draws:
        assert one.method.name == "random_subset" and one.ipc == 1 and one.set is not None
        assert one.method.chain[0]["config"]["room"] == room
        assert one.method.chain[0]["config"]["encode"] == "best"
        assert sum(one.set.bytes.values()) <= room and one.set.label == "hard"
        assert len(set(one.set.counts.per_class)) == 1
    # Another row of about the same size shares them, and nothing is made again.
    times = [path.stat().st_mtime_ns for path in sorted(places.results.glob("*/*random*"))]
    run_cell(cell, places, Machine(), with_baselines=True)
    assert [path.stat().st_mtime_ns for path in sorted(places.results.glob("*/*random*"))] == times
    run_cell(replace(cell, method="random_subset", params={}, seeds=(0,)), places, Machine())
    assert len(filled(places)) == 5


def test_many_samples_have_one_draw_and_long_trainings_none(
    cell: CellSpec, places: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = run_cell(cell, places, Machine())
    (job,) = baselines.of_equal_bytes(resolve(cell, places), records)
    assert baselines.draws_of(job, 10, Machine()).seeds == (0, 1, 2, 3, 4)  # type: ignore[union-attr]
    assert baselines.draws_of(job, 2001, Machine()).seeds == (0,)  # type: ignore[union-attr]
    monkeypatch.setattr(baselines, "LONGEST", 0.0)
    run_cell(cell, places, Machine(), with_baselines=True)
    assert filled(places) == []
    assert "left out, as one mlp on" in capsys.readouterr().err


def test_a_size_without_room_is_told_and_left_out(
    cell: CellSpec, places: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(baselines, "rung", lambda size: 20)
    run_cell(cell, places, Machine(), with_baselines=True)
    assert filled(places) == []
    assert "left out: there is no room for an image of each class of toy" in capsys.readouterr().err


def test_a_coreset_itself_and_a_reference_have_none(cell: CellSpec, places: Paths) -> None:
    records = run_cell(cell, places, Machine())
    assert len(baselines.of_equal_bytes(resolve(cell, places), records)) == 1
    coreset = resolve(replace(cell, method="random_subset", params={}), places)
    assert baselines.of_equal_bytes(coreset, records) == []
    assert baselines.of_equal_bytes(resolve(cell, places), []) == []
