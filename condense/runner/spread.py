"""The work of many cells at once: their units on many processes, or the part of them that is this one's."""

import platform
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from condense.data.load import remembering
from condense.errors import Refused, Stopped
from condense.files import digest, home, locked, locked_if_free, require_writable, safe_name
from condense.reading import whole_number
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.executors import Where
from condense.runner.faults import refusal
from condense.runner.plan import name_of, planned
from condense.runner.shown import Shown
from condense.runner.units import Unit, arranged, in_shard, shard_of, units_of
from condense.runner.worker import Done, Site, attempt, receive
from condense.termination import asking

SPOOL = ".workers-"
"""Beginning of the name of a spool: see `condense.runner.worker.Site`."""


@dataclass(frozen=True)
class Shard:
    """The part of a queue that one of several processes does.

    Attributes:
        number: Its number, from 0.
        of: Number of parts.
    """

    number: int = 0
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads ``1/4``, the first of four; refuses other texts."""
        first, _, second = text.partition("/")
        number, of = whole_number(first), whole_number(second)
        if number and of and number <= of:
            return cls(number - 1, of)
        raise Refused("a shard is I/N, from 1/N to N/N", setting="shard", value=text)


def do_units(
    cells: Sequence[CellSpec],
    paths: Paths,
    machine: Machine,
    *,
    where: Where | None = None,
    device: str = "auto",
    shard: Shard | None = None,
    with_baselines: bool | None = None,
    required: bool = True,
) -> dict[int, Refused]:
    """Does the units of cells that are not done yet.

    Args:
        cells: The cells.
        paths: The folders that are read and written.
        machine: The device of this process, and the time limit, which holds for all processes.
        where: Where units are placed; None does them in this process.
        device: Name of the workers' device.
        shard: The part of the units that is done; None does all.
        with_baselines: As for `condense.runner.run.run_cell`.
        required: As for `condense.runner.run.run_cell`.

    Returns:
        Why cells could not be filled, by their position; the others are, but for baselines of equal bytes and
        what is in other shards. A cell that cannot be filled at all is told of in one shard.

    Raises:
        Stopped: if the budget runs out; the workers have written checkpoints.
    """
    shard, refused = shard or Shard(), dict[int, Refused]()
    units, owners = list[Unit](), dict[str, list[int]]()
    for number, cell in enumerate(cells):
        try:
            found = units_of(cell, paths, with_baselines=with_baselines, required=required)
        except Stopped:
            raise
        except Exception as error:
            if shard_of(digest(repr(cell)), shard.of) == shard.number:
                refused[number] = refusal(error, cell)
            continue
        units += (mine := in_shard(found, shard.number, shard.of))
        for unit in mine:
            owners.setdefault(unit.key, []).append(number)
    units = arranged(units)
    stages = {unit.key: unit.stage for unit in units}
    # Flower spreads a federation over the machine by itself: this process runs it, after all others.
    placed = [unit for unit in units if where is not None and stages[unit.key] != "federation"]
    alone = [unit for unit in units if where is None or stages[unit.key] == "federation"]
    memory = memory_of(cells, machine) if placed else {}
    for done in _ends(placed, alone, paths, machine, where, device, memory):
        if done.refused is not None:
            for number in owners.get(done.key, ()):
                refused.setdefault(number, done.refused)
    return refused


def spread_cells(
    cells: Sequence[CellSpec],
    paths: Paths,
    machine: Machine,
    on: str,
    device: str,
    *,
    with_baselines: bool | None = None,
    required: bool = True,
) -> None:
    """Does the units of cells on many processes; the arguments are those of `do_units`.

    Raises:
        Refused: if one of them cannot be filled; the others are.
        Stopped: if the budget runs out.
    """
    with remembering():
        refused = do_units(
            cells, paths, machine, where=Where.parse(on), device=device, with_baselines=with_baselines,
            required=required,
        )  # fmt: skip
    for error in refused.values():
        raise error


def memory_of(cells: Sequence[CellSpec], machine: Machine) -> dict[str, int]:
    """Returns the bytes of main memory that units need by a plan for the same cells, by the units' keys."""
    made = planned(name_of(cells), machine) if machine.device.type == "cpu" else None
    return {} if made is None else {key: one.peak_bytes for key, one in made.estimates.items()}


def _ends(
    placed: Sequence[Unit], alone: Sequence[Unit], paths: Paths, machine: Machine, where: Where | None,
    device: str, memory: Mapping[str, int],
) -> Iterator[Done]:  # fmt: skip
    """Yields the ends of units as they come, those that are placed first, and shows them."""
    found = dict[str, Done]()
    with Shown([*placed, *alone]) as shown:
        if where is not None and placed:
            with _spool(paths) as spool:
                site = _site(paths, spool, machine, where, device, quiet=shown.terminal)
                ends = _until(where.place(placed, site, memory), len(placed), machine, shown, spool)
                for done in ends:
                    found[done.key] = done = _received(done, site)
                    shown.ended(done)
                    yield done
        for unit in alone:
            before = [found[key] for key in unit.needs]
            found[unit.key] = done = attempt(unit, paths, machine, before)
            if done.stopped:
                raise machine.budget.stop(f"in {unit.title}")
            shown.ended(done)
            yield done


def _until(
    placed: Iterator[Done | None], left: int, machine: Machine, shown: Shown, spool: Path
) -> Iterator[Done]:
    """Yields what ends until the time is over; the workers have then stopped at their checkpoints.

    Args:
        placed: The ends of units, with None about twice a second.
        left: Number of the units.
        machine: The time limit.
        shown: Shows how far the units are.
        spool: See `condense.runner.worker.Site`.
    """
    try:
        with asking():  # SIGTERM is looked for here, and ends no wait
            for done in placed:
                stopped = done is not None and done.stopped
                if done is not None and not stopped:
                    left -= 1
                    yield done
                if stopped or (left and machine.budget.spent()):
                    raise machine.budget.stop(shown.place)
                shown.refresh(spool)
    finally:
        placed.close()  # type: ignore[attr-defined]


def _received(done: Done, site: Site) -> Done:
    """Stores what a worker sent as bytes; a set or a record that cannot be stored refuses its unit."""
    try:
        receive(done.files, site.paths)
    except Refused as error:
        return replace(done, refused=error, files={})
    return replace(done, files={})


def _site(paths: Paths, spool: Path, machine: Machine, where: Where, device: str, *, quiet: bool) -> Site:
    left = machine.budget.left()
    data_dir = paths.data_dir and paths.data_dir.absolute()
    return Site(
        paths=Paths(out=paths.out.absolute(), results=paths.results.absolute(), data_dir=data_dir),
        folder=Path.cwd(), home=home().absolute(), spool=spool.absolute(), device=device,
        threads=where.threads(), ends=None if left is None else time.time() + left, quiet=quiet,
    )  # fmt: skip


@contextmanager
def _spool(paths: Paths) -> Iterator[Path]:
    """Makes a spool beside the records; removes it, and those that killed processes of this host have left.

    The process holds the lock on its spool. One that nobody locks is of a killed process. The numbers of
    processes would not say so, as two containers may have one host name. Spools of other hosts stay because
    some file systems know no locks between machines.

    Raises:
        Refused: if the folder cannot be written.
    """
    require_writable(paths.results)
    mine = f"{SPOOL}{safe_name(platform.node())}-"
    for left in paths.results.glob(f"{mine}{'[0-9a-f]' * 16}"):  # not those of a host NODE-1, too
        with locked_if_free(left) as free:
            if free:
                shutil.rmtree(left, ignore_errors=True)
    spool = paths.results / f"{mine}{secrets.token_hex(8)}"
    with locked(spool, what="makes the same spool"):
        spool.mkdir(parents=True)
        try:
            yield spool
        finally:
            shutil.rmtree(spool, ignore_errors=True)
