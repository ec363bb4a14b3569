"""Units: what a cell's work consists of, in which order, and that it comes to what one process makes."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from condense import protocols
from condense.data import ImageDataset
from condense.errors import Refused
from condense.files import folder_name
from condense.resources import Machine
from condense.runner import federation as federations
from condense.runner import job
from condense.runner.cell import CellSpec, Paths
from condense.runner.units import Unit, arranged, in_shard, run_unit, units_of
from tests.runner.small_cells import cells, in_one_process, know_protocols, outcome, places


@pytest.fixture(autouse=True)
def small_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "PROTOCOLS", know_protocols())


@pytest.fixture
def queue(toy_file: Path) -> list[CellSpec]:
    """The cells that can be filled."""
    return [cell for cell in cells(toy_file) if cell.ipc != 99]


def all_of(queue: list[CellSpec], paths: Paths) -> list[Unit]:
    return arranged(unit for cell in queue for unit in units_of(cell, paths))


def test_a_queue_has_a_unit_for_each_set_and_student_and_what_sets_share(
    queue: list[CellSpec], tmp_path: Path
) -> None:
    units = all_of(queue, places(tmp_path))
    assert Counter(unit.stage for unit in units) == {
        "distil": 2 + 2, "student": 2 * 1 + 2 * 2, "reference": 2 + 1, "train": 2, "prepare": 1,
    }  # fmt: skip
    made = {unit.key: unit for unit in units if unit.stage == "distil"}
    for unit in units:
        if unit.stage == "student":
            (needed,) = unit.needs
            assert made[needed].group == unit.group and made[needed].reads == unit.reads
    (shared,) = [unit for unit in units if unit.stage == "prepare"]
    assert [unit.cell.method for unit in units if shared.key in unit.needs] == ["mtt", "mtt"]


def test_what_a_unit_needs_comes_before_it_and_no_unit_comes_twice(
    queue: list[CellSpec], tmp_path: Path
) -> None:
    again = [replace(cell, protocol="hard-v1") for cell in queue[:1]]  # the same sets, other students
    units = all_of([*queue, *again, *queue], places(tmp_path))
    seen = set[str]()
    for unit in units:
        assert set(unit.needs) <= seen and unit.key not in seen
        seen.add(unit.key)
    assert sum(unit.stage == "distil" for unit in units) == 4


def test_units_come_to_what_one_process_makes_and_a_second_time_changes_nothing(
    queue: list[CellSpec], tmp_path: Path
) -> None:
    expected = in_one_process(queue, tmp_path / "alone")
    paths = places(tmp_path / "units")
    units = all_of(queue, paths)
    for unit in [*units, *units]:
        run_unit(unit, paths, Machine())
    assert outcome(paths) == expected
    assert all_of(queue, paths) == []


def test_keys_depend_neither_on_folders_nor_on_what_is_done(queue: list[CellSpec], tmp_path: Path) -> None:
    units = all_of(queue, places(tmp_path / "a"))
    assert units == all_of(queue, places(tmp_path / "b"))
    by_key = {unit.key: unit for unit in units}
    for unit in units[:4]:
        run_unit(unit, places(tmp_path / "b"), Machine())
    left = all_of(queue, places(tmp_path / "b"))
    assert len(left) == len(units) - 4
    assert all(unit.group == by_key[unit.key].group for unit in left)


def test_a_preparation_trains_what_sets_share_and_makes_no_set(queue: list[CellSpec], tmp_path: Path) -> None:
    paths = places(tmp_path)
    (shared,) = [unit for unit in all_of(queue, paths) if unit.stage == "prepare"]
    assert run_unit(shared, paths, Machine()) == "ready"
    assert len(list((tmp_path / "home").glob("experts/*/expert-*.safetensors"))) == 2
    assert not list(paths.out.glob("*"))


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shards_are_disjoint_are_the_whole_and_keep_a_set_with_its_students(
    queue: list[CellSpec], tmp_path: Path, of: int
) -> None:
    units = [unit for cell in queue for unit in units_of(cell, places(tmp_path))]
    shards = [in_shard(units, number, of) for number in range(of)]
    keys = [unit.key for shard in shards for unit in shard]
    assert sorted(keys) == sorted(unit.key for unit in units)
    for shard in shards:
        there = {unit.key for unit in shard}
        assert all(set(unit.needs) <= there for unit in shard)


def test_baselines_have_units_where_a_run_fills_them(queue: list[CellSpec], tmp_path: Path) -> None:
    cell = queue[2]
    assert cell.method == "mtt"
    alone = units_of(cell, places(tmp_path))
    more = units_of(cell, places(tmp_path), with_baselines=True)
    assert {unit.cell.method for unit in alone} == {"mtt"}
    assert {unit.cell.method for unit in more} == {"mtt", "random_subset", "herding", "k_center"}


def test_a_cell_that_cannot_be_filled_has_no_units(toy_file: Path, tmp_path: Path) -> None:
    (bad,) = [cell for cell in cells(toy_file) if cell.ipc == 99]
    with pytest.raises(Refused, match="has 20 training images"):
        units_of(bad, places(tmp_path))


def test_a_federation_has_a_unit_for_each_client_and_one_for_its_rounds(
    toy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federations, "require_flower", lambda: None)
    cell = CellSpec(
        method="random_subset+fedavg", dataset=str(toy_file), clients="dirichlet:2:1", student="mlp",
        eval_seeds=1,
    )  # fmt: skip
    paths = places(tmp_path)
    *clients, rounds = units_of(cell, paths)
    job = federations.resolve_federation(cell, paths)
    assert [unit.stage for unit in clients] == ["client", "client"]
    assert rounds.stage == "federation" and rounds.needs == tuple(unit.key for unit in clients)
    assert len({unit.group for unit in (*clients, rounds)}) == 1
    run_unit(clients[1], paths, Machine())
    assert [path.name for path in paths.out.iterdir()] == [job.local(1).folder(0).name]
    assert [unit.key for unit in units_of(cell, paths)] == [clients[0].key, rounds.key]


def test_a_set_of_imagenet_has_a_folder_that_windows_allows(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "folder_name", partial(folder_name, windows=True))
    cell, subset = CellSpec(method="random_subset", dataset="digits"), "imagenet:n01440764"
    found = job.resolve(cell, Paths(out=tmp_path, results=tmp_path), dataset=digits)
    found = replace(found, dataset=replace(digits, spec=replace(digits.spec, name=subset)))
    assert found.folder(0).name.startswith("imagenet_n01440764-random_subset-ipc1-seed0-")
