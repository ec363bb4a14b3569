"""The work of many cells: parts of it, refusals and stops on the way, and workers without a shared disk."""

import os
import pickle
import platform
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from condense import protocols
from condense.errors import Refused, Stopped
from condense.files import home as home_folder
from condense.resources import Budget, Machine
from condense.runner import executors, spread
from condense.runner.cell import CellSpec
from condense.runner.executors import Where
from condense.runner.shown import Shown
from condense.runner.spread import Shard, do_units
from condense.runner.units import arranged, units_of
from condense.runner.worker import Done, Site, receive, stored_files, work
from condense.store import load
from tests.commands import SERVER
from tests.runner.small_cells import cells, in_one_process, know_protocols, outcome, places


@pytest.fixture(autouse=True)
def small_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "PROTOCOLS", know_protocols())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture
def queue(toy_file: Path) -> list[CellSpec]:
    return cells(toy_file)


def fillable(queue: list[CellSpec]) -> list[CellSpec]:
    return [cell for cell in queue if cell.ipc != 99]


def test_all_shards_fill_a_queue_and_one_tells_what_cannot_be_filled(
    queue: list[CellSpec], tmp_path: Path
) -> None:
    expected = in_one_process(fillable(queue), tmp_path / "alone")
    paths = places(tmp_path / "shards")
    refused = [do_units(queue, paths, Machine(), shard=Shard.parse(f"{n}/3")) for n in (1, 2, 3)]
    assert outcome(paths) == expected
    assert [(number, error.value) for one in refused for number, error in one.items()] == [(2, 99)]


@pytest.mark.parametrize(
    "text", ["", "1", "0/3", "4/3", "1/3/5", "-1/3", "a/b", pytest.param("1/" + "9" * 5000, id="digits")]
)
def test_a_shard_that_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="a shard is I/N, from 1/N to N/N"):
        Shard.parse(text)


def test_a_set_that_is_refused_on_the_way_takes_its_students_along_and_nothing_else(
    queue: list[CellSpec], tmp_path: Path
) -> None:
    diverging = {"iterations": 3, "batch_real": 4, "network": "mlp", "lr_images": 1e30}
    bad = replace(queue[0], method="dm", params=diverging, seeds=(0,))
    paths = places(tmp_path)
    refused = do_units([bad, queue[0]], paths, Machine())
    assert [*refused] == [0] and "dm" not in str([*paths.results.rglob("*.json")])
    assert units_of(queue[0], paths) == []
    # The whole of the refusal comes back from another process.
    again = pickle.loads(pickle.dumps(refused[0]))
    assert (again.reason, again.setting, again.remedies) == (
        refused[0].reason, refused[0].setting, refused[0].remedies,
    )  # fmt: skip


def test_a_spent_budget_stops_the_units_that_are_left(queue: list[CellSpec], tmp_path: Path) -> None:
    budget = Budget(1e9)
    paths = places(tmp_path)
    stops = iter([False, False, True])
    budget.spent = lambda now=None: next(stops, True)  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="the same command goes on from here"):
        do_units(fillable(queue), paths, Machine(budget=budget))
    assert units_of(queue[0], paths)


@pytest.mark.parametrize(("spent_at", "ends"), [(2, 2), (3, 3)])
def test_a_spent_budget_stops_units_that_end_one_right_after_the_other(
    spent_at: int, ends: int, queue: list[CellSpec], tmp_path: Path
) -> None:
    units, budget = units_of(queue[0], places(tmp_path))[:3], Budget(1e9)
    found, closed = list[str](), list[bool]()
    budget.spent = lambda now=None: len(found) >= spent_at  # type: ignore[method-assign]

    def placed() -> Iterator[Done]:
        try:
            yield from (Done(key=unit.key) for unit in units)
        finally:
            closed.append(True)

    try:
        with Shown(units) as shown:
            for done in spread._until(placed(), len(units), Machine(budget=budget), shown, tmp_path):
                found.append(done.key)
    except Stopped:
        assert spent_at < len(units)
    else:
        assert spent_at == len(units), "nothing was left"
    assert len(found) == ends and closed


def hold_spool(folder: Path) -> None:
    """Holds a spool as a process of another container does, whose number means nothing here."""
    number, os.getpid = os.getpid, lambda: 2**22 + 1
    spool = spread._spool(places(folder))
    place = spool.__enter__()
    os.getpid = number
    (folder / "held").write_text(str(place))
    while (folder / "held").exists():
        time.sleep(0.01)
    spool.__exit__(None, None, None)


def test_a_spool_goes_only_if_no_process_holds_it(tmp_path: Path) -> None:
    paths = places(tmp_path)
    end = "0123456789abcdef"
    left = paths.results / f"{spread.SPOOL}{platform.node()}-{end}"
    far = {paths.results / f"{spread.SPOOL}{name}-{end}" for name in ("far", f"{platform.node()}-1")}
    for folder in (left, *far):
        (folder / "unit.progress").mkdir(parents=True)
    process = SERVER.Process(target=hold_spool, args=(tmp_path,))
    process.start()
    while not (tmp_path / "held").exists() and process.is_alive():
        time.sleep(0.01)
    theirs = Path((tmp_path / "held").read_text())
    try:
        with spread._spool(paths) as mine:
            assert {*paths.results.glob(f"{spread.SPOOL}*")} == {theirs, mine, *far}
    finally:
        (tmp_path / "held").unlink()
        process.join(timeout=60)
    assert {*paths.results.iterdir()} == far


# Without a shared disk -----------------------------------------------------------------------------------


def apart(paths_of: Path, folder: Path) -> Site:
    """A worker's site on a machine that sees nothing of who places units."""
    return Site(paths=places(paths_of), folder=folder, home=folder, spool=folder / "none", shared=False)


def test_workers_without_a_shared_disk_send_what_they_make_as_bytes(
    queue: list[CellSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = in_one_process(fillable(queue), tmp_path / "alone")
    paths, done = places(tmp_path / "driver"), dict[str, Done]()
    units = arranged(unit for cell in fillable(queue) for unit in units_of(cell, paths))
    monkeypatch.chdir(tmp_path)
    for number, unit in enumerate(units):
        away = tmp_path / f"machine-{number % 2}"
        monkeypatch.setenv("CONDENSE_HOME", str(away))
        found = work(unit, apart(tmp_path / "driver", away), *(done[key] for key in unit.needs))
        assert found.refused is None
        done[unit.key] = found
        receive(found.files, paths)
        assert not list((home_folder() / "elsewhere").glob("*/*"))
    assert outcome(paths) == expected


def test_a_stored_set_goes_to_a_worker_whose_student_lacks_it(
    queue: list[CellSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = places(tmp_path / "driver")
    first, second = (unit for unit in units_of(queue[0], paths) if unit.cell.seeds == (0,))
    assert (first.stage, second.stage) == ("distil", "student")
    monkeypatch.chdir(tmp_path)
    site = apart(tmp_path / "driver", tmp_path / "away")
    receive(work(first, site).files, paths)
    (folder,) = paths.out.iterdir()
    assert folder.name in second.reads and load(folder).verify()
    found = work(second, site, Done(key="", files=stored_files(folder)))
    assert all(name.startswith("results/") for name in found.files) and len(found.files) == 1
    receive(found.files, paths)
    receive(found.files, paths)  # twice without harm
    assert units_of(replace(queue[0], seeds=(0,)), paths) == []


def test_a_damaged_set_is_not_stored(queue: list[CellSpec], tmp_path: Path) -> None:
    paths = places(tmp_path)
    do_units([replace(queue[0], seeds=(0,))], paths, Machine())
    (folder,) = paths.out.iterdir()
    files = stored_files(folder)
    files[f"sets/{folder.name}/data.safetensors"] = b"\0" * 100
    elsewhere = places(tmp_path / "elsewhere")
    elsewhere.out.mkdir(parents=True)
    with pytest.raises(Refused):
        receive(files, elsewhere)
    assert not list(elsewhere.out.iterdir())


def test_a_worker_that_does_not_see_what_others_see_says_so(queue: list[CellSpec], tmp_path: Path) -> None:
    unit, *_ = units_of(queue[0], places(tmp_path))
    site = replace(apart(tmp_path, tmp_path), shared=True, spool=tmp_path / "results" / "gone")
    done = work(unit, site)
    assert "does not see" in str(done.refused)


# Where ---------------------------------------------------------------------------------------------------


def test_places_are_read_from_text() -> None:
    assert Where.parse("local:3") == Where("local", processes=3)
    for wrong in ("", "local", "local:0", "local:x", "ray:", "slurm", "local:" + "9" * 5000):
        with pytest.raises(Refused, match="local:N, ray or ray:ADDRESS"):
            Where.parse(wrong)


def test_an_address_at_which_no_cluster_answers_is_refused_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        executors._require_answer(f"127.0.0.1:{port}")
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "127.0.0.1:99999"):
        with pytest.raises(Refused, match=r"on='ray:.*': no Ray cluster answers there"):
            executors._require_answer(address)


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    with pytest.raises(Refused, match=r"Ray is not installed: pip install -e '\.\[ray\]'"):
        Where.parse("ray")


def test_processes_share_the_cores_unless_the_environment_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executors, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [Where("local", processes=count).threads() for count in (1, 3, 8, 20)] == [8, 2, 1, 1]
    assert Where("ray").threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 5000)
    assert Where("local", processes=4).threads() == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert Where("local", processes=8).threads() == Where("ray").threads() == 4
