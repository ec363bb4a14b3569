"""Plans: what units would take, on one worker or on many."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from condense.files import in_bytes
from condense.resources import Machine, available_memory
from condense.runner import rehearse
from condense.runner.cell import CellSpec, Paths
from condense.runner.plan import Plan, above_memory, compared, makespan, name_of, plan, planned
from condense.runner.rehearse import Estimate
from condense.runner.run import run_cell
from condense.runner.units import Stage, Unit
from condense.training import progress
from tests.runner.test_run import contents

Graph = tuple[list[Unit], dict[str, float]]


def unit(key: str, needs: tuple[str, ...] = (), stage: Stage = "distil") -> Unit:
    cell = CellSpec(method="dm", dataset="digits")
    return Unit(stage=stage, key=key, cell=cell, title=key, needs=needs, group=key)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Units each of which needs some of those before it, and their whole seconds."""
    count = draw(st.integers(1, 8))
    units = []
    for number in range(count):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        units.append(unit(f"u{number}", tuple(f"u{need}" for need in sorted(needs))))
    return units, {one.key: float(draw(st.integers(1, 9))) for one in units}


@given(graphs())
def test_one_worker_takes_the_sum_and_many_the_longest_chain(graph: Graph) -> None:
    units, seconds = graph
    ends: dict[str, float] = {}
    for one in units:
        ends[one.key] = seconds[one.key] + max((ends[need] for need in one.needs), default=0.0)
    assert makespan(units, seconds, 1) == sum(seconds.values())
    assert makespan(units, seconds, len(units)) == max(ends.values())


@given(graphs(), st.integers(1, 4))
def test_workers_are_never_idle_beside_a_unit_that_is_ready(graph: Graph, workers: int) -> None:
    units, seconds = graph
    waiting, running, now = list(units), dict[str, float](), 0.0
    while waiting or running:  # second by second
        running = {key: end for key, end in running.items() if end > now}
        open_ = {one.key for one in waiting} | set(running)
        for one in [one for one in waiting if not set(one.needs) & open_]:
            if len(running) < workers:
                running[one.key] = now + seconds[one.key]
                waiting.remove(one)
        now += 1
    assert makespan(units, seconds, workers) == now - 1


def test_of_units_that_end_at_once_all_make_others_ready_before_any_begins() -> None:
    units = [unit("a"), unit("b"), unit("c", ("a", "b")), unit("d", ("a", "b")), unit("e")]
    assert makespan(units, {"a": 1, "b": 1, "c": 1, "d": 3, "e": 1}, 2) == 4


def test_a_worker_begins_the_first_unit_that_is_ready() -> None:
    units = [unit("a"), unit("b"), unit("c"), unit("d", ("b",))]
    assert makespan(units, {"a": 3, "b": 1, "c": 2, "d": 4}, 2) == 7
    assert makespan([], {}, 3) == 0


def test_what_needs_more_memory_than_there_is_is_named_with_its_settings() -> None:
    room = available_memory(torch.device("cpu"))
    assert 10**6 < room < 10**14
    large, small = Estimate(1.0, 2 * room, 0), Estimate(1.0, room // 2, 0)
    units = [unit("a"), unit("b"), unit("c", stage="student")]
    made = Plan(units, {"a": large, "b": small, "c": large}, {}, (), "CPU", 1)
    first, second = above_memory(made, Machine())
    assert (
        first.startswith("distil of dm digits ipc 1 needs ") and "a smaller batch_real or a narrower" in first
    )
    assert second.startswith("student of dm") and second.endswith("; a smaller student takes less")


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1.27e9, "1.27 GB"), (6.4e8, "640 MB")]
)
def test_bytes_are_told_with_three_figures(count: float, text: str) -> None:
    assert in_bytes(count) == text


@pytest.fixture
def cells(toy_file: Path, monkeypatch: pytest.MonkeyPatch) -> list[CellSpec]:
    """Two sets and their students, and a cell that cannot be filled; a pace is known at once."""
    monkeypatch.setattr(progress, "_LEAST_SECONDS", 0.0)
    shared: Mapping[str, object] = {"dataset": str(toy_file), "student": "convnet-w32", "eval_seeds": 2}
    dm = CellSpec(method="dm", seeds=(0, 1), params={"iterations": "40", "network": "convnet-w32"}, **shared)  # type: ignore[arg-type]
    return [dm, replace(dm, method="herding", ipc=10_000, params={})]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> list[Unit]:
    """The units that were rehearsed, in this process instead of a new one."""
    done: list[Unit] = []

    def in_process(one: Unit, scratch: rehearse.Scratch, machine: Machine) -> Estimate | str:
        done.append(one)
        with monkeypatch.context() as patch:
            patch.setenv("CONDENSE_HOME", str(scratch.home))
            return rehearse._rehearse(one, scratch, machine.device, torch.get_num_threads())

    monkeypatch.setattr(rehearse, "_in_process", in_process)
    return done


def test_a_plan_rehearses_one_unit_of_each_kind_and_leaves_nothing(
    cells: list[CellSpec], here: list[Unit], tmp_path: Path
) -> None:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    before = contents(tmp_path)
    made = plan(cells, paths, Machine())
    assert contents(tmp_path) == before
    assert [one.stage for one in here] == ["distil", "student"]
    assert len(made.units) == 6 == len(made.estimates) and not made.unknown
    ((title, why),) = made.refused
    assert title.startswith("herding") and "10000" in str(why)
    assert made.seconds == pytest.approx(sum(one.seconds for one in made.estimates.values()))
    assert made.critical_seconds < made.with_workers(2) < made.seconds
    assert made.peak_bytes > 10**7 and made.disk_bytes > 0


def test_what_is_done_is_not_planned(cells: list[CellSpec], here: list[Unit], tmp_path: Path) -> None:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    short = replace(cells[0], seeds=(0,), eval_seeds=1, params={"iterations": "1"})
    run_cell(short, paths, Machine())
    assert plan([short], paths, Machine()).units == []
    (one,) = plan([replace(short, eval_seeds=2)], paths, Machine()).units
    assert one.stage == "student" and [other.key for other in here] == [one.key]


def test_a_run_says_what_was_planned_and_how_right_that_was(
    cells: list[CellSpec], here: list[Unit], tmp_path: Path
) -> None:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    short = replace(cells[0], seeds=(0,), eval_seeds=1, params={"iterations": "1"})
    said: list[str] = []
    with compared([short], paths, Machine(), said.append):
        pass
    assert said == [] and planned(name_of([short]), Machine()) is None
    file = plan([short], paths, Machine()).save(name_of([short]))
    with compared([short], paths, Machine(), said.append):
        run_cell(short, paths, Machine())
    first, second = said
    assert first.startswith("planned: 2 units in about ")
    assert second.startswith("planned ") and " for 2 units, took " in second and second.endswith(" as long")
    with compared([short], paths, Machine(), said.append):
        pass
    assert len(said) == 2, "nothing is left"
    file.write_text("{")
    assert planned(name_of([short]), Machine()) is None


def test_a_unit_whose_rehearsal_fails_is_unknown(
    cells: list[CellSpec], here: list[Unit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise IndexError("no such step")

    monkeypatch.setattr(rehearse, "run_unit", fail)
    made = plan(cells[:1], Paths(out=tmp_path / "s", results=tmp_path / "r"), Machine())
    assert set(made.unknown.values()) == {"its rehearsal ended with IndexError: no such step"}
    assert not made.estimates and made.seconds == 0


def test_a_rehearsal_has_a_process_of_its_own(cells: list[CellSpec], tmp_path: Path) -> None:
    made = plan([replace(cells[0], seeds=(0,), eval_seeds=1)], Paths(out=tmp_path / "s"), Machine())
    assert not made.unknown and len(made.estimates) == 2
