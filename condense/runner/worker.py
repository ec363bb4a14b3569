"""One unit of work in a process of its own, which may be on another machine.

A worker writes to the folders of who placed the unit, if it sees them. Otherwise it works in a folder of its
own: what a unit needs comes as bytes, and what it has made goes back as bytes.
"""

import contextlib
import io
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from condense.data.load import Loaded, remembering
from condense.errors import Refused, Stopped, Terminated
from condense.events import Event, hearing
from condense.files import canonical, home, locked, write_atomic
from condense.reading import parse_json
from condense.records.record import Record
from condense.resources import Budget, Machine
from condense.runner.cell import Paths, machine_named
from condense.runner.faults import refusal
from condense.runner.units import Unit, run_unit
from condense.store import load
from condense.termination import sigterm_as_budget

PROGRESS = ".progress"
"""Ending of the files that say how far units are, in the spool."""
TICK = 0.5
"""Seconds after which who placed the units looks at these files; none is written again sooner."""
SETS, RECORDS = "sets", "results"
"""The folders of files that are sent as bytes."""
_LOADED: Loaded = {}
"""The datasets that this process has loaded."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where and how workers work.

    Attributes:
        paths: The folders that are read and written, as absolute paths.
        folder: The folder that relative paths of cells start from.
        home: The home folder of condense: see `condense.files.home`.
        spool: A folder beside the records, made for this run: workers that find it share the folders, and
            say there how far they are.
        shared: Whether all workers find it.
        device: Name of the device: see `condense.runner.cell.machine_named`.
        threads: Number of threads of a unit.
        ends: When the time is over, in seconds since the epoch; None if there is no limit.
        quiet: Whether what units print is dropped, as who placed them shows how far they are.
    """

    paths: Paths
    folder: Path
    home: Path
    spool: Path
    shared: bool = True
    device: str = "auto"
    threads: int = 1
    ends: float | None = None
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Done:
    """What is known of a unit that has ended.

    Attributes:
        key: Key of the unit.
        told: Its result in a few words.
        seconds: Wall time.
        refused: Why it cannot be done, if it cannot; so a unit ends that needs a refused one.
        stopped: Whether it was stopped before its end.
        files: What it made, by path below `SETS` or `RECORDS`, if the folders are not shared.
    """

    key: str
    told: str = ""
    seconds: float = 0.0
    refused: Refused | None = None
    stopped: bool = False
    files: Mapping[str, bytes] = field(default_factory=dict)


def attempt(unit: Unit, paths: Paths, machine: Machine, before: Sequence[Done] = ()) -> Done:
    """Does a unit, unless one that it needs has failed; a refusal, a stop and a fault are results too."""
    for one in before:
        if one.refused is not None or one.stopped:
            return Done(key=unit.key, refused=one.refused, stopped=one.stopped)
    if machine.budget.spent():
        return Done(key=unit.key, stopped=True)
    started = time.monotonic()
    try:
        told = run_unit(unit, paths, machine)
    except Stopped:
        return Done(key=unit.key, stopped=True)
    except Exception as error:
        return failed(unit, error)
    return Done(key=unit.key, told=told, seconds=time.monotonic() - started)


def failed(unit: Unit, error: Exception) -> Done:
    """Returns the end of a unit that an error has ended, which ends no other unit but those that need it."""
    found = refusal(error, unit.cell, stage=unit.stage, title=unit.title)
    if unit.stage == "prepare":  # each set that needs it says so itself
        return Done(key=unit.key, told=found.reason)
    return Done(key=unit.key, refused=found)


def work(unit: Unit, site: Site, *before: Done) -> Done:
    """Does a unit in this process, which is used for nothing else.

    Args:
        unit: The unit.
        site: Where and how.
        *before: The units that it needs.

    Raises:
        Stopped: if SIGTERM or SIGINT arrives before the time is over: the unit then writes a checkpoint.
    """
    torch.set_num_threads(site.threads)
    if site.shared:
        os.environ["CONDENSE_HOME"] = str(site.home)
    if site.folder.is_dir():
        os.chdir(site.folder)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sigterm_as_budget(also=[signal.SIGINT], attended=_attended))
            stack.enter_context(remembering(_LOADED))
            if site.quiet:
                stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
            budget = Budget(None if site.ends is None else site.ends - time.time())
            machine = Machine(machine_named(site.device).device, budget)
            if not site.shared:
                done = _elsewhere(unit, site, machine, before)
            elif site.spool.is_dir():
                heard = stack.enter_context(_telling(site.spool / f"{unit.key}{PROGRESS}"))
                stack.enter_context(hearing(heard))
                done = attempt(unit, site.paths, machine, before)
            else:
                raise Refused(f"this worker does not see {site.spool.parent}, as others do")
        except Refused as error:
            return Done(key=unit.key, refused=error)
        except (Terminated, KeyboardInterrupt) as error:
            raise Stopped(f"{unit.title} was stopped") from error
    if done.stopped and not (site.ends is not None and time.time() >= site.ends):
        raise Stopped(f"{unit.title} was stopped")
    return done


def _attended() -> bool:
    """Returns whether the process that began this one for its units is still there."""
    parent = multiprocessing.parent_process()
    return parent is not None and parent.is_alive()


@contextlib.contextmanager
def _telling(file: Path) -> Iterator[Callable[[Event], None]]:
    """Yields a hearer that keeps one event of every `TICK` in a file, which is removed in the end."""
    due = 0.0

    def hear(event: Event) -> None:
        nonlocal due
        if (now := time.monotonic()) < due:
            return
        due = now + TICK
        with contextlib.suppress(Refused):  # who placed the unit may be gone, and the folder with it
            write_atomic(file, canonical(event))

    try:
        yield hear
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


# Without a shared folder ---------------------------------------------------------------------------------


def _elsewhere(unit: Unit, site: Site, machine: Machine, before: Sequence[Done]) -> Done:
    """Does a unit in a folder of its own, which takes what it needs from bytes and is removed in the end.

    What a preparation has made stays on its machine, in the cache.
    """
    root = home() / "elsewhere" / unit.key[:32]
    paths = Paths(out=root / SETS, results=root / RECORDS, data_dir=site.paths.data_dir)
    given = {name: data for one in before for name, data in one.files.items()}
    receive(given, paths)
    done = attempt(unit, paths, machine, before)
    found = {
        path.relative_to(root).as_posix(): path
        for path in root.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    }
    made = {name: path.read_bytes() for name, path in found.items() if name not in given}
    shutil.rmtree(root, ignore_errors=True)
    return done if unit.stage == "prepare" else replace(done, files=made)


def stored_files(folder: Path) -> dict[str, bytes]:
    """Returns the files of a stored set as `receive` takes them."""
    return {f"{SETS}/{folder.name}/{path.name}": path.read_bytes() for path in sorted(folder.iterdir())}


def receive(files: Mapping[str, bytes], paths: Paths) -> None:
    """Stores sets and adds to records what was sent as bytes; a set that is there stays.

    Args:
        files: The files by their paths, below `SETS` or `RECORDS`.
        paths: The folders that are written.

    Raises:
        Refused: if a set is damaged, or a record holds students of another set.
    """
    sets: dict[str, dict[str, bytes]] = {}
    for path, data in files.items():
        top, _, rest = path.partition("/")
        folder, _, name = rest.partition("/")
        if top == SETS:
            sets.setdefault(folder, {})[name] = data
    for folder, parts in sets.items():
        _store(paths.out / folder, parts)
    for path, data in files.items():
        if path.startswith(f"{RECORDS}/"):
            Record.from_json(parse_json(data, path), path).write(paths.results)


def _store(folder: Path, parts: Mapping[str, bytes]) -> None:
    """Writes the files of a set, whose folder appears as a whole."""
    with locked(folder, what=f"stores {folder}"):
        if folder.exists():
            return
        part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        try:
            for name, data in parts.items():
                write_atomic(part / "new" / name, data)
            load(part / "new")
            (part / "new").rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
