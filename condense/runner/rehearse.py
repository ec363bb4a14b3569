"""Rehearsals of units of work: each in a process of its own, with its files in folders that are removed.

See `condense.training.rehearsal` for what a rehearsal does.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from condense.crew import process_pool
from condense.data.load import remembering
from condense.errors import Refused
from condense.files import data_folder, digest, home
from condense.resources import Machine, PeakMemory
from condense.runner.cell import Paths
from condense.runner.units import Unit, run_unit
from condense.store import load
from condense.training.rehearsal import rehearsing

READ = ("downloads", "experts", "teachers", "trained", "zca")
"""Folders of the cache that hold finished things which units read."""
UNFINISHED = (".", "checkpoint-", "training-")
"""Beginnings of the names of locks, of files that are being written, and of work that can be resumed."""
PRELOADED = ("kornia", "matplotlib.figure", "PIL.Image", "sklearn.metrics", "torch._dynamo")
"""What units import when they first need it, which a process does once for many of them."""
SMALL_LABELS = ("hard", "soft")
"""Kinds of labels that make no difference to the cost of a student."""


@dataclass(frozen=True)
class Estimate:
    """What a unit would take.

    Attributes:
        seconds: Wall time.
        peak_bytes: Peak memory: of the device on a GPU, else of the process.
        disk_bytes: Size of what it leaves on disk, without records.
    """

    seconds: float
    peak_bytes: int
    disk_bytes: int


@dataclass(frozen=True)
class Scratch:
    """Where rehearsals keep their files.

    Attributes:
        paths: The folders of sets and records.
        home: The cache. Its finished files are links to those of the user's cache, its folders are its own.
        stored: The folder of the sets that are stored already.
        rehearsed: The units that were rehearsed, by what `kind_of_cost` returns.
    """

    paths: Paths
    home: Path
    stored: Path
    rehearsed: dict[str, Unit] = field(default_factory=dict)

    def stand_in(self, unit: Unit, other: Unit) -> None:
        """Lets the set of another unit stand for a unit's own, for its students."""
        (name,), (there,) = unit.reads, other.reads
        if (self.paths.out / there).exists():
            _link(self.paths.out / there, self.paths.out / name)

    def size(self) -> int:
        """Returns the bytes of all files that were written, without records."""
        folders = (self.paths.out, self.home)
        files = [file for folder in folders for file in folder.rglob("*") if not file.is_symlink()]
        return sum(file.stat().st_size for file in files if file.is_file())


@contextmanager
def scratch_folders(paths: Paths) -> Iterator[Scratch]:
    """Makes the folders of rehearsals, and removes them."""
    with tempfile.TemporaryDirectory(prefix="condense-plan-") as name:
        folder, user = Path(name), home().absolute()
        (folder / "home").mkdir()
        for part in READ:
            _mirror(user / part, folder / "home" / part)
        (folder / "sets").mkdir()
        data = data_folder(paths.data_dir).absolute()
        own = Paths(out=folder / "sets", results=folder / "results", data_dir=data if data.is_dir() else None)
        yield Scratch(own, folder / "home", paths.out.absolute())


def _mirror(folder: Path, copy: Path) -> None:
    """Makes a folder like another one, with links to its finished files.

    Writers replace a link by a file of their own, and take locks beside it: see `condense.files.locked`. So
    nothing that works in the new folder changes the other one.
    """
    seen = set[str]()
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(UNFINISHED)]
        if (place := os.path.realpath(root)) in seen:
            folders.clear()  # a link to a folder above itself
            continue
        seen.add(place)
        own = copy / Path(root).relative_to(folder)
        own.mkdir(parents=True, exist_ok=True)
        for name in files:
            if not name.startswith(UNFINISHED):
                with suppress(FileNotFoundError):  # another process has just removed it
                    _link(Path(root, name), own / name)


def _link(there: Path, place: Path) -> None:
    """Lets a place stand for a file or a folder that is only read; copies it where links are not allowed."""
    with suppress(OSError):  # on Windows not everyone may make symbolic links
        return place.symlink_to(there)
    if there.is_dir():
        shutil.copytree(there, place)
        return None
    with suppress(OSError):  # another disk, or one without links
        return place.hardlink_to(there)
    shutil.copyfile(there, place)


def kind_of_cost(unit: Unit, scratch: Scratch) -> str:
    """Returns the name that units share which cost the same: they differ by their seeds.

    Students of sets with as many samples and labels of the same kind are one, whatever the method.
    """
    cell = replace(unit.cell, seeds=None)
    if unit.stage == "prepare":
        return unit.key
    if unit.stage == "student":
        try:
            content = load(_folder(unit, scratch)).content
        except Refused:
            return digest([unit.stage, repr(cell)])
        if content["label"]["kind"] in SMALL_LABELS:
            cell = replace(cell, method="dm", params={}, teacher=None)
        sizes = [content["counts"]["effective"], content["label"]["kind"]]
        return digest([unit.stage, repr(cell), sizes])
    number = unit.number if unit.stage == "client" else 0
    return digest([unit.stage, repr(cell), number])


def _folder(unit: Unit, scratch: Scratch) -> Path:
    """Returns the folder of a student's set: the one that is stored, or else that of the rehearsal."""
    (name,) = unit.reads
    own = scratch.paths.out / name
    if not own.exists() and (scratch.stored / name).exists():
        _link(scratch.stored / name, own)
    return own


def measured(unit: Unit, scratch: Scratch, machine: Machine) -> Estimate | str:
    """Rehearses a unit and counts the bytes that it writes, or returns why this does not work."""
    before = scratch.size()
    done = _in_process(unit, scratch, machine)
    if isinstance(done, str):
        return done
    return replace(done, disk_bytes=done.disk_bytes + max(0, scratch.size() - before))


def _in_process(unit: Unit, scratch: Scratch, machine: Machine) -> Estimate | str:
    """Rehearses a unit in a new process, whose memory is its own."""
    threads = torch.get_num_threads()
    with process_pool(1, [__name__, *PRELOADED]) as pool:
        try:
            return pool.submit(_rehearse, unit, scratch, machine.device, threads).result()
        except BrokenProcessPool:
            return "its process was killed, which happens where memory is short"


def _rehearse(unit: Unit, scratch: Scratch, device: torch.device, threads: int) -> Estimate | str:
    """Rehearses a unit in this process, and returns what it would take, or why it is unknown."""
    os.environ["CONDENSE_HOME"] = str(scratch.home)
    torch.set_num_threads(threads)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere), remembering():
        try:
            memory = PeakMemory(device)
            with rehearsing() as rehearsal:
                run_unit(unit, scratch.paths, Machine(device))
        except Refused as error:
            return str(error)
        except Exception as error:  # what stands for a result may be of no use to what follows
            return f"its rehearsal ended with {type(error).__name__}: {error}"
    seconds, disk = rehearsal.seconds, 0
    alone = not unit.needs or unit.stage == "prepare"
    if alone:  # else the unit that it needs trains what is shared
        seconds += sum(one.seconds for one in rehearsal.shared)
        disk = sum(one.disk for one in rehearsal.shared)
    return Estimate(seconds, max(rehearsal.peak_bytes, memory.peak()), disk)
