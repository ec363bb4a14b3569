"""Samples of each class: read from a file, recorded, and apart on the board."""

from dataclasses import replace
from pathlib import Path

import pytest

from condense import protocols
from condense.board.tables import gather
from condense.data import ImageDataset
from condense.errors import Refused
from condense.protocol import Protocol, Stage
from condense.records.folder import read_records
from condense.records.frame import results
from condense.resources import Machine
from condense.runner.baselines import baselines
from condense.runner.cell import CellSpec, Paths
from condense.runner.counts import counts_of
from condense.runner.queue import read_queue
from condense.runner.run import run_cell
from condense.store import load
from tests.board.markdown import page


@pytest.fixture(autouse=True)
def tiny_protocol(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol of two epochs and two students, and a home of the test's own."""
    tiny = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=2)
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, "tiny": tiny})


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


def cell(file: Path, **given: object) -> CellSpec:
    usual: dict[str, object] = {"method": "random_subset", "dataset": str(file), "protocol": "tiny"}
    usual |= {"student": "mlp", "seeds": (0,), "eval_seeds": 1}
    return CellSpec(**(usual | given))  # type: ignore[arg-type]


@pytest.fixture
def small(toy: ImageDataset) -> ImageDataset:
    """The toy dataset with three images of its second class."""
    kept = [index for label in range(3) for index in toy.train.of_class(label)[: 3 if label == 1 else None]]
    train = replace(toy.train, images=toy.train.images[kept], labels=toy.train.labels[kept])
    return ImageDataset(toy.spec, train, toy.test)


def test_counts_come_from_a_table_or_a_file_and_all_other_classes_have_ipc(
    toy: ImageDataset, toy_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "counts.csv"
    path.write_text("class,count\n2,7\n\n0, 3\n")
    assert counts_of(cell(toy_file, ipc=5, ipc_per_class=path), toy) == (3, 5, 7)
    assert counts_of(cell(toy_file, ipc=5, ipc_per_class={"1": 2}), toy) == (5, 2, 5)
    assert counts_of(cell(toy_file, ipc=5, ipc_per_class={"1": 5}), toy) is None
    assert counts_of(cell(toy_file, ipc=5), toy) is None


def test_small_classes_give_all_they_have_where_they_are_kept(toy_file: Path, small: ImageDataset) -> None:
    assert counts_of(cell(toy_file, ipc=5, imbalanced="keep"), small) == (5, 3, 5)
    assert counts_of(cell(toy_file, ipc=3, imbalanced="keep"), small) is None
    told = {"1": 9, "0": 2}
    assert counts_of(cell(toy_file, ipc=4, ipc_per_class=told, imbalanced="keep"), small) == (2, 3, 4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("count,class\n", "does not begin with the line class,count"),
        ("", "does not begin with the line class,count"),
        ("class,count\n1\n", "'1' is not a class and a whole number"),
        ("class,count\n1,-2\n", "'1,-2' is not a class and a whole number"),
        ("class,count\n1,2.5\n", "'1,2.5' is not a class and a whole number"),
        ("class,count\n1,2\n1,2\n", "names the class '1' twice"),
        ("class,count\n1,99999999999\n", "99999999999 samples of the class '1' are too many"),
        ("class,count\n1,0\n", "at least one sample of a class is needed, not '1': 0"),
        ("class,count\n9,1\n", "unknown class of toy in ipc_per_class: '9'; known: 0, 1, 2"),
        (b"class,count\n\xff,1\n", "cannot read"),
    ],
)
def test_a_file_that_is_no_list_of_counts_is_refused_in_a_sentence(
    text: str | bytes, sentence: str, toy: ImageDataset, toy_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "counts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Refused) as refused:
        counts_of(cell(toy_file, ipc_per_class=path), toy)
    assert sentence in str(refused.value)
    with pytest.raises(Refused, match="there is no such file"):
        counts_of(cell(toy_file, ipc_per_class=tmp_path), toy)
    with pytest.raises(Refused, match="imbalanced='drop': unknown treatment of small classes; known: keep"):
        cell(toy_file, imbalanced="drop")


def test_more_samples_than_a_class_has_are_refused_with_the_way_out(toy_file: Path, paths: Paths) -> None:
    for given in ({"ipc": 21}, {"ipc_per_class": {"2": 21}}):
        with pytest.raises(Refused, match="has 20 training images.*imbalanced='keep' takes all samples"):
            run_cell(cell(toy_file, **given), paths, Machine())


def test_sets_with_counts_are_named_so_recorded_so_and_stand_apart(toy_file: Path, paths: Paths) -> None:
    told = {"2": 4}
    for given in ({}, {"ipc_per_class": told}, {"method": "whole", "protocol": None}):
        run_cell(cell(toy_file, ipc=2, **given), paths, Machine())
    plain, counted = sorted(paths.out.iterdir(), key=lambda path: "by-class" in path.name)
    assert counted.name.startswith("toy-random_subset-ipc2-by-class-seed0-")
    made = load(counted)
    assert made.content["counts"]["per_class"] == made.content["counts"]["asked"] == [2, 2, 4]
    assert "2 (by class: 2 to 4), 8 stored" in made.card() and "ipc 2 (by class: 2 to 4)" in repr(made)
    assert "asked" not in load(plain).content["counts"]
    records = read_records(paths.results)
    asked = {record.asked: record for record in records if record.set}
    assert set(asked) == {(), (2, 2, 4)} and asked[2, 2, 4].ipc == 2
    assert "asked" not in asked[()].to_json() and asked[2, 2, 4].to_json()["asked"] == [2, 2, 4]
    assert "-ipc2-by-class-seed0-" in asked[2, 2, 4].path(paths.results).name
    tables = gather(results(paths.results))
    assert [table.key.asked for table in tables] == ["", "[2,2,4]"]
    assert all(any(row.reference for row in table.rows) for table in tables)
    assert ", IPC by class from 2 to 4 (" in page(results(paths.results))
    # a second run finds both records and trains nothing
    assert run_cell(cell(toy_file, ipc=2, ipc_per_class=told), paths, Machine())[0] == asked[2, 2, 4]
    assert asked[2, 2, 4].key != asked[()].key


def test_the_baselines_of_a_cell_have_its_counts_and_its_classes(toy_file: Path) -> None:
    given = {"ipc_per_class": {"1": 3}, "imbalanced": "keep", "classes": "0,1", "method": "dm"}
    for row in baselines(cell(toy_file, **given)):
        assert (row.ipc_per_class, row.imbalanced, row.classes) == ({"1": 3}, "keep", ("0", "1"))


def test_a_queue_names_classes_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "queue.toml"
    path.write_text(
        '[[cell]]\ndataset = "x"\nclasses = ["a", "b,c"]\nipc_per_class = {a = 3}\nimbalanced = "keep"\n'
        '[[cell]]\ndataset = "x"\nclasses = "a,b"\nipc_per_class = "counts.csv"\n'
    )
    first, second = read_queue(path)
    assert first.classes == ["a", "b,c"] and first.ipc_per_class == {"a": 3} and first.imbalanced == "keep"
    assert second.classes == ("a", "b") and second.ipc_per_class == "counts.csv"
