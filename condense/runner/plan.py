"""What units of work would take on this machine: seconds, memory and disk, from a few steps of each.

Every unit, or one of those that differ by their seeds alone, is rehearsed: see `condense.runner.rehearse`.
"""

import heapq
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from condense.data.load import remembering
from condense.errors import Refused, Stopped
from condense.files import digest, home, in_bytes, write_atomic
from condense.resources import Machine, available_memory, device_name, duration
from condense.runner.cell import CellSpec, Paths
from condense.runner.faults import less_memory, refusal
from condense.runner.rehearse import Estimate, kind_of_cost, measured, scratch_folders
from condense.runner.units import Unit, arranged, units_of


@dataclass(frozen=True)
class Plan:
    """What units would take on this machine.

    Attributes:
        units: The units, each after those that it needs.
        estimates: What each unit would take, by its key; the others are unknown.
        unknown: Why the cost of a unit is unknown, by its key.
        refused: The titles of cells that cannot be filled, and why; two of them may have one title.
        device: Name of the device.
        threads: Threads that each unit would have.
    """

    units: Sequence[Unit]
    estimates: Mapping[str, Estimate]
    unknown: Mapping[str, str]
    refused: Sequence[tuple[str, Refused]]
    device: str
    threads: int

    @property
    def seconds(self) -> float:
        """Wall time of all units one after the other."""
        return self.with_workers(1)

    @property
    def peak_bytes(self) -> int:
        """Peak memory of the largest unit."""
        return max((one.peak_bytes for one in self.estimates.values()), default=0)

    @property
    def disk_bytes(self) -> int:
        """Size of what all units leave on disk."""
        return sum(one.disk_bytes for one in self.estimates.values())

    def with_workers(self, count: int) -> float:
        """Returns the wall time with a number of workers, each of which is as fast as one alone.

        A worker that is free begins the first unit of the list whose needs are done.
        """
        times = {key: one.seconds for key, one in self.estimates.items()}
        return makespan(self.units, times, count)

    @property
    def critical_seconds(self) -> float:
        """Wall time with as many workers as there are units: that of the longest chain of needs."""
        return self.with_workers(max(1, len(self.units)))

    def save(self, name: str) -> Path:
        """Keeps the plan in the cache, for the run that follows it: see `planned`."""
        path = _path(name)
        values = {key: asdict(one) for key, one in self.estimates.items()}
        write_atomic(path, json.dumps({"device": self.device, "threads": self.threads, "units": values}))
        return path


def makespan(units: Sequence[Unit], seconds: Mapping[str, float], workers: int) -> float:
    """Returns the wall time of units on a number of workers that take the first unit that is ready.

    Args:
        units: The units, each after those that it needs.
        seconds: Wall time of each unit by its key; others take none.
        workers: Number of workers.
    """
    missing = {unit.key: set(unit.needs) for unit in units}
    order = {unit.key: place for place, unit in enumerate(units)}
    keys = [unit.key for unit in units]
    known = set(keys)
    ready = [order[key] for key in keys if not missing[key] & known]
    heapq.heapify(ready)
    users: dict[str, list[str]] = {}
    for unit in units:
        for need in set(unit.needs) & known:
            users.setdefault(need, []).append(unit.key)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            place = heapq.heappop(ready)
            heapq.heappush(running, (now + seconds.get(keys[place], 0.0), place))
        now = running[0][0]
        while running and running[0][0] == now:  # whatever ends at once comes before anything begins
            _, place = heapq.heappop(running)
            for user in users.get(keys[place], ()):
                missing[user].discard(keys[place])
                if not missing[user] & known:
                    heapq.heappush(ready, order[user])
    return now


def plan(
    cells: Sequence[CellSpec],
    paths: Paths,
    machine: Machine,
    *,
    with_baselines: bool | None = None,
    required: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Rehearses the units of cells that are not done yet.

    Args:
        cells: The cells.
        paths: The folders of stored sets and records, by which it is known what is done; none is written.
        machine: The device.
        with_baselines: As for `condense.runner.run.run_cell`.
        required: As for `condense.runner.run.run_cell`.
        tell: Is told what is rehearsed next.
    """
    units, refused = _unfinished(cells, paths, with_baselines, required)
    estimates, unknown = {}, {}
    with scratch_folders(paths) as scratch:
        known: dict[str, Estimate | str] = {}
        for number, unit in enumerate(units, 1):
            kind = kind_of_cost(unit, scratch)
            if kind not in known:
                tell(f"rehearses {number} of {len(units)}: {unit.title}")
                known[kind] = measured(unit, scratch, machine)
                scratch.rehearsed[kind] = unit
            elif unit.stage == "distil":
                scratch.stand_in(unit, scratch.rehearsed[kind])
            if isinstance(result := known[kind], str):
                unknown[unit.key] = result
            else:
                estimates[unit.key] = result
    return Plan(units, estimates, unknown, refused, device_name(machine.device), torch.get_num_threads())


def name_of(cells: Sequence[CellSpec]) -> str:
    """Returns the name under which the plan of cells is kept."""
    return digest([repr(cell) for cell in cells])


def above_memory(plan: Plan, machine: Machine) -> list[str]:
    """Says which work needs more memory than is available, and which settings make it less."""
    room, lines = available_memory(machine.device), {}
    for unit in plan.units:
        cost = plan.estimates.get(unit.key)
        if cost is not None and cost.peak_bytes > room:
            what = f"{unit.stage} of {unit.cell.title}"
            need = f"needs {in_bytes(cost.peak_bytes)} of memory, and {in_bytes(room)} are available"
            lines[what] = f"{what} {need}; {less_memory(unit.cell, unit.stage)} takes less"
    return list(lines.values())


@contextmanager
def compared(
    cells: Sequence[CellSpec],
    paths: Paths,
    machine: Machine,
    tell: Callable[[str], None],
    *,
    workers: int = 1,
    with_baselines: bool | None = None,
) -> Iterator[None]:
    """Says ahead of the block what is left of a plan for cells, and at its end how right the plan was.

    Nothing is said if no plan for these cells was made on this device with as many threads.

    Args:
        cells: The cells that the block fills.
        paths: The folders that are read and written.
        machine: The device.
        tell: Is told the sentences.
        workers: Number of units that are done at once.
        with_baselines: As for `plan`.
    """
    made = planned(name_of(cells), machine)
    if made is None:
        yield
        return
    before, _ = _unfinished(cells, paths, with_baselines)
    made = replace(made, units=before)
    if count := sum(unit.key in made.estimates for unit in before):
        tell(f"planned: {count} units in about {duration(made.with_workers(workers))}")
        for line in above_memory(made, machine):
            tell(line)
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    left = {unit.key for unit in _unfinished(cells, paths, with_baselines)[0]}
    done = replace(made, units=[unit for unit in before if unit.key not in left])
    if (expected := done.with_workers(workers)) > 0:
        tell(
            f"planned {duration(expected)} for {len(done.units)} units, took {duration(took)}: "
            f"{took / expected:.2f} times as long"
        )


def _unfinished(
    cells: Sequence[CellSpec], paths: Paths, with_baselines: bool | None, required: bool = False
) -> tuple[list[Unit], list[tuple[str, Refused]]]:
    """Returns the units of cells that are not done yet, and the titles of other cells with the reason."""
    found, refused = list[Unit](), list[tuple[str, Refused]]()
    with remembering():
        for cell in cells:
            try:
                found += units_of(cell, paths, with_baselines=with_baselines, required=required)
            except Stopped:
                raise
            except Exception as error:
                refused.append((cell.title, refusal(error, cell)))
    return arranged(found), refused


def planned(name: str, machine: Machine) -> Plan | None:
    """Returns the estimates of a plan that was kept, without units; None if there is none for this device."""
    device, threads = device_name(machine.device), torch.get_num_threads()
    try:
        values = json.loads(_path(name).read_text())
        if (values["device"], values["threads"]) != (device, threads):
            return None
        estimates = {key: Estimate(**one) for key, one in values["units"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Plan((), estimates, {}, (), device, threads)


def _path(name: str) -> Path:
    return home() / "plans" / f"{name[:32]}.json"
