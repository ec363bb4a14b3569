"""Units on processes of this machine: the same results, deaths, stops."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from condense import protocols
from condense.errors import Stopped
from condense.resources import Budget, Machine, device_name
from condense.runner import executors, worker
from condense.runner.cell import CellSpec, machine_named
from condense.runner.executors import RETRIES, Where, on_processes
from condense.runner.plan import Plan, name_of
from condense.runner.rehearse import Estimate
from condense.runner.spread import do_units, memory_of
from condense.runner.units import Unit, units_of
from condense.runner.worker import TICK, Done, Site
from condense.termination import asking
from tests.commands import SERVER
from tests.runner.small_cells import cells, in_one_process, know_protocols, outcome, places, small_work


@pytest.fixture(autouse=True)
def quick_processes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets processes be forked from one that has imported everything, and know the small protocols."""
    assert SERVER.get_start_method() == "forkserver"
    monkeypatch.setattr(executors, "START", "forkserver")
    monkeypatch.setattr(executors, "work", small_work)
    monkeypatch.setattr(protocols, "PROTOCOLS", know_protocols())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def unit(key: str, *needs: str) -> Unit:
    return Unit(stage="distil", key=key, cell=CellSpec(), title=key, needs=needs, group=key)


def site(folder: Path) -> Site:
    return Site(paths=places(folder), folder=folder, home=folder, spool=folder)


def placed(units: list[Unit], folder: Path, count: int = 2) -> Iterator[Done]:
    return (done for done in on_processes(units, site(folder), count) if done is not None)


def test_how_far_a_unit_is_is_written_as_often_as_somebody_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, file, seen = 100.0, tmp_path / "unit.progress", []
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with worker._telling(file) as hear:
        for number in range(20):
            hear({"step": number})
            seen.append(json.loads(file.read_text())["step"])
            now += TICK / 4
    assert seen == [number // 4 * 4 for number in range(20)] and not file.exists()


def test_two_processes_come_to_what_one_comes_to(
    toy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _, bad, *_, pruned, _ = cells(toy_file)
    queue = [first, pruned, bad]
    good = [cell for cell in queue if cell.ipc != 99]
    expected = in_one_process(good, tmp_path / "alone")
    paths = places(tmp_path / "two")
    capsys.readouterr()
    refused = do_units(queue, paths, Machine(), where=Where.parse("local:2"))
    assert outcome(paths) == expected and [*refused] == [2]
    assert not [unit for cell in good for unit in units_of(cell, paths)]
    assert [path.name for path in paths.results.iterdir() if path.name.startswith(".")] == []
    told = capsys.readouterr().err
    assert "6/6 " in told and "1, tiny seed 1: set " in told


def dies_until(unit: Unit, site: Site, *before: Done) -> Done:
    """Dies as often as the unit's key says, and counts its beginnings."""
    begun = site.folder / unit.key
    with begun.open("a") as file:
        file.write("x")
    if begun.stat().st_size <= int(unit.key.partition("-")[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return Done(key=unit.key, told=",".join(one.key for one in before))


def test_a_unit_whose_process_dies_is_begun_again_and_given_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "work", dies_until)
    units = [unit("often-99"), unit("twice-2"), unit("after-0", "twice-2"), unit("last-0", "often-99")]
    found = {done.key: done for done in placed(units, tmp_path)}
    assert found["after-0"].told == "twice-2" and found["twice-2"].refused is None
    assert (tmp_path / "twice-2").stat().st_size == 3
    assert (tmp_path / "often-99").stat().st_size == RETRIES + 1
    assert str(found["often-99"].refused) == f"often-99: its process has died {RETRIES + 1} times"


def sees_others(unit: Unit, site: Site, *before: Done) -> Done:
    """Tells which other units it has seen at work, until it has seen one or a second is over."""
    mine, ends = site.folder / f"{unit.key}-works", time.monotonic() + 1
    mine.touch()
    seen = set[str]()
    while not seen and time.monotonic() < ends:
        seen = {path.name for path in site.folder.glob("*-works")} - {mine.name}
        time.sleep(0.01)
    time.sleep(0.2)  # the other one is to see this one, too
    mine.unlink()
    return Done(key=unit.key, told=",".join(seen))


@pytest.mark.parametrize(("needed", "together"), [(50, True), (51, False), (1000, False)])
def test_units_are_done_at_once_only_if_the_memory_suffices_for_both(
    needed: int, together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "work", sees_others)
    monkeypatch.setattr(executors, "available_memory", lambda device: 100)
    units, memory = [unit("a"), unit("b")], {"a": needed, "b": needed}
    found = [done for done in on_processes(units, site(tmp_path), 2, memory) if done is not None]
    assert len(found) == 2 and all(bool(done.told) == together for done in found)


def test_the_memory_of_units_is_that_of_a_plan_for_the_same_cells(home: Path) -> None:
    cells = [CellSpec(method="random_subset")]
    assert memory_of(cells, Machine()) == {}
    estimates = {"a": Estimate(1.0, 123, 0)}
    Plan((), estimates, {}, (), device_name(Machine().device), torch.get_num_threads()).save(name_of(cells))
    assert memory_of(cells, Machine()) == {"a": 123} and memory_of(cells[:0], Machine()) == {}


def waits(unit: Unit, site: Site, *before: Done) -> Done:
    """Does nothing until SIGTERM comes, which it tells in a file."""
    signal.signal(signal.SIGTERM, lambda *_: (site.folder / f"{unit.key}-stopped").touch())
    (site.folder / unit.key).touch()
    while not (site.folder / f"{unit.key}-stopped").exists():
        time.sleep(0.01)
    return Done(key=unit.key)


def test_closing_stops_what_runs_and_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "work", waits)
    running = on_processes([unit("a"), unit("b"), unit("c")], site(tmp_path), 2)
    while not ((tmp_path / "a").exists() and (tmp_path / "b").exists()):
        assert next(running) is None
    running.close()  # type: ignore[attr-defined]
    assert (tmp_path / "a-stopped").exists() and (tmp_path / "b-stopped").exists()
    assert not (tmp_path / "c").exists()


def place_and_die(folder: Path) -> None:
    """Places two units that wait, and is killed while they do so."""
    executors.START = "fork"  # this process has no threads, and ends at once
    setattr(executors, "work", waits)  # noqa: B010
    for _ in on_processes([unit("a"), unit("b")], site(folder), 2):
        if (folder / "a").exists() and (folder / "b").exists():
            for child in multiprocessing.active_children():
                (folder / f"{child.pid}.pid").touch()
            os.kill(os.getpid(), signal.SIGKILL)


def test_workers_stop_and_end_when_the_process_that_placed_their_units_is_killed(tmp_path: Path) -> None:
    placing = SERVER.Process(target=place_and_die, args=(tmp_path,))
    placing.start()
    placing.join()
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    ends = time.monotonic() + 30
    while any(map(running, pids)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert len(pids) >= 2 and not any(map(running, pids))
    assert (tmp_path / "a-stopped").exists() and (tmp_path / "b-stopped").exists()


def running(pid: int) -> bool:
    with suppress(psutil.Error):
        process: Any = psutil.Process(pid)  # type: ignore[no-untyped-call]
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def stopped_once(unit: Unit, site: Site, *before: Done) -> Done:
    """Is stopped from outside the first time, as a process of a cluster is that is evicted."""
    if not (site.folder / unit.key).exists():
        (site.folder / unit.key).touch()
        raise Stopped("SIGTERM")
    return Done(key=unit.key)


def test_a_unit_that_is_stopped_from_outside_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "work", stopped_once)
    assert [done.key for done in placed([unit("a")], tmp_path)] == ["a"]


def signalled_twice(unit: Unit, site: Site, *before: Done) -> Done:
    """Gets SIGTERM with all processes of its group, and from who placed the unit; then is begun again."""
    begun = site.folder / unit.key
    with begun.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if len(begun.read_text().split()) > 1:
        return Done(key=unit.key)

    def at_work(*_: object) -> Done:
        with asking():
            for _again in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
        return Done(key=unit.key, stopped=True)

    setattr(worker, "attempt", at_work)  # noqa: B010
    return worker.work(unit, site)


def test_a_worker_survives_a_stop_that_reaches_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "work", signalled_twice)
    assert [done.key for done in placed([unit("a")], tmp_path, 1)] == ["a"]
    first, second = (tmp_path / "a").read_text().split()
    assert first == second, "the process was not replaced"


def test_a_budget_holds_for_the_workers_and_the_same_call_goes_on(toy_file: Path, tmp_path: Path) -> None:
    params = {"iterations": 10**6, "batch_real": 4, "network": "mlp"}
    cell = CellSpec(method="dm", dataset=str(toy_file), protocol="tiny", student="mlp", params=params)
    for seconds in (3, 6, 12, 24, 48):  # a worker on a busy machine takes a while to begin
        machine = Machine(machine_named("cpu").device, Budget(seconds))
        with pytest.raises(Stopped, match=rf"the budget of {seconds} s is spent \(after 0 of 3 units\)"):
            do_units([cell], places(tmp_path), machine, where=Where("local", processes=1))
        if kept := list((tmp_path / "home").rglob("checkpoint-*")):
            break
    assert kept
