"""Cells whose students are trained on other data after a set, from their names to the board."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from condense import protocols
from condense.board.render import table_for
from condense.board.tables import gather
from condense.errors import Refused
from condense.protocol import Part, Stage
from condense.protocols import TRANSFER_V1
from condense.records.folder import read_records
from condense.records.frame import frame, results
from condense.records.record import Record, read_record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.queue import read_queue
from condense.runner.run import run_cell
from tests.board.markdown import page

TINY = replace(
    TRANSFER_V1, name="tiny-transfer", seeds=2, stages=(Stage(epochs=2),),
    regress=Part(epochs=2, lr=0.05, augment="none"),
    tune=Part(steps=3, batch=16, augment="none"),
)  # fmt: skip
Run = Callable[..., list[Record]]


@pytest.fixture(autouse=True)
def tiny_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "tiny-transfer": TINY})


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def other(tmp_path: Path) -> str:
    """A file of images in colours, of two classes and another size."""
    rng, path = np.random.RandomState(1), tmp_path / "other.npz"
    arrays: dict[str, Any] = {}
    for part, count in (("train", 12), ("test", 6)):
        arrays[f"{part}_images"] = rng.randint(0, 256, (count, 10, 10, 3)).astype(np.uint8)
        arrays[f"{part}_labels"] = np.arange(count) % 2
    np.savez(path, **arrays)
    return str(path)


@pytest.fixture
def run(toy_file: Path, places: Paths) -> Run:
    def make(**given: Any) -> list[Record]:
        usual: dict[str, Any] = {
            "method": "dm",
            "dataset": str(toy_file),
            "student": "convnet-w32",
            "seeds": (0,),
        }
        usual |= {"protocol": "tiny-transfer", "params": {"iterations": "2", "batch_real": "4"}}
        return run_cell(CellSpec(**(usual | given)), places, Machine())

    return make


def test_each_target_has_records_with_the_baselines_beside_them(
    run: Run, places: Paths, toy_file: Path, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    records = run(targets=(str(toy_file), other))
    assert [record.target.name for record in records if record.target] == ["toy", "other"]
    assert "were brought to 1 x 8 x 8" in capsys.readouterr().err
    everything = read_records(places.results)
    found = {(record.method.name, record.kind, record.seed, record.target and record.target.name): record
             for record in everything}  # fmt: skip
    expected = {
        (name, kind, seed, target)
        for name, kind, seeds in (
            ("dm", "transfer", (0,)),
            ("random_subset", "transfer", (0, 1)),
            ("no_pretraining", "reference", (0,)),
        )
        for seed in seeds for target in ("toy", "other")
    }  # fmt: skip
    assert set(found) == expected
    for record in records:
        path = record.path(places.results)
        assert read_record(path) == record and f"-to-{record.target and record.target.name}-" in path.name
        assert len(record.entries) == 2
    assert len({record.evaluation_key() for record in everything}) == len(everything)
    run(targets=(str(toy_file), other))
    assert capsys.readouterr().err.count("up to date") == 6 + 2


def test_the_set_is_the_one_that_every_protocol_judges(run: Run, places: Paths, toy_file: Path) -> None:
    (record,) = run(targets=(str(toy_file),))
    assert len(list(places.out.glob("*-dm-*"))) == 1 and record.set is not None
    (plain,) = run(protocol="hard-v1", eval_seeds=1, params={"iterations": "2", "batch_real": "4"})
    assert plain.set == record.set and plain.key == record.key and plain.target is None


def test_without_a_target_students_are_trained_on_the_sets_own_data(run: Run) -> None:
    (record,) = run()
    assert record.target is not None and record.target.train_hash == record.dataset.train_hash


def test_the_board_has_a_table_for_each_target(run: Run, places: Paths, toy_file: Path, other: str) -> None:
    run(targets=(str(toy_file), other))
    entries = results(places.results)
    tables = gather(entries)
    assert sorted(table.key.target.partition(" ")[0] for table in tables) == ["other", "toy"]
    for table in tables:
        assert [row.name for row in table.rows][-1] == "no pretraining"
        assert {row.method for row in table.rows} == {"dm", "random_subset", "no_pretraining"}
    text = page(entries)
    _, _, shown = text.partition("## toy")
    assert "then trained and tested on other (" in shown and "then trained and tested on toy (" in shown
    shown, _, _ = shown.partition("How to read these tables")
    assert all(absent not in shown for absent in ("whole training set", "herding", "random, equal bytes"))
    told = table_for(entries, "toy", "tiny-transfer", "convnet-w32", "normalized")
    assert told.count("no pretraining") == 2


def test_targets_go_only_with_protocols_that_train_on_them(run: Run, toy_file: Path, other: str) -> None:
    with pytest.raises(Refused, match="hard-v1 tests students on the data that the set was made of") as error:
        run(protocol="hard-v1", targets=(other,))
    assert error.value.setting == "targets"
    with pytest.raises(Refused, match="this target is named twice"):
        run(targets=(other, other))
    with pytest.raises(Refused, match="unknown dataset; nearest: mnist") as error:
        run(targets=("mnits",))
    assert error.value.setting == "targets"
    with pytest.raises(Refused, match="mutag holds graphs, and toy images"):
        run(targets=("mutag",))
    with pytest.raises(Refused, match="no_pretraining is judged by transfer-v1, .*, not by hard-v1"):
        run(method="no_pretraining", protocol="hard-v1")


def test_a_queue_names_targets_as_a_list_or_as_text(tmp_path: Path) -> None:
    queue = tmp_path / "queue.toml"
    head = '[[cell]]\nmethod = "dm"\nprotocol = "transfer-v1"\n'
    queue.write_text(f'{head}targets = ["mnist", "digits"]\n{head}targets = "mnist, digits"\n')
    assert [cell.targets for cell in read_queue(queue)] == [["mnist", "digits"], ("mnist", "digits")]


def test_records_with_another_kind_than_they_hold_are_refused(run: Run, places: Paths) -> None:
    (record,) = run()
    values = record.to_json()
    for kind in ("set", "training", "reference"):
        with pytest.raises(Refused, match="does not fit its set and training, or its target"):
            Record.from_json({**values, "kind": kind})
    assert "target" not in replace(record, kind="set", target=None).to_json()
    assert frame([record])["target"].tolist() == ["toy", "toy"]
