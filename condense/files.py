"""Canonical JSON, content hashes, atomic writes, locks, and the folders that files are kept in."""

import errno
import glob
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from condense.errors import Refused

if TYPE_CHECKING:  # the command line looks names up in files without waiting for torch
    import torch

_SAID_AFTER = 0.5
"""Seconds after which a process that waits for another one says so."""
_POLLS = 0.01, 0.25
"""Seconds between the first two attempts to get a lock, and the longest time between two."""
_VANISHED = 20
"""Attempts after which a folder that is not there cannot be made; another process may remove it meanwhile."""

LONGEST_NAME = 240
"""Bytes of the longest name: file systems allow 255, and a file that is being written has a longer name."""

ASIDE = "old"
"""Name, within a temporary folder, of the older folder that the new one is about to replace."""
_COMPACT = json.JSONEncoder(sort_keys=True, allow_nan=False, separators=(",", ":"))


def unit_for(size: float) -> tuple[int, str]:
    """Returns the number of bytes in the unit that fits a size, and its name: kB, MB and GB are decimal."""
    units = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
    return next((one for one in units if size >= one[0]), (1, "B"))


def in_bytes(count: float) -> str:
    """Returns a number of bytes with three figures: ``1.27 GB``, ``640 MB``."""
    scale, unit = unit_for(count)
    return f"{count / scale:.3g} {unit}"


def canonical(value: object, *, indent: int | None = None) -> str:
    """Returns a value as JSON with sorted keys and without NaN, so that equal values give equal texts."""
    if indent is None:
        return _COMPACT.encode(value)
    separators = (",", ": ")
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent, separators=separators)


def digest(value: object) -> str:
    """Returns the SHA-256 of a JSON value's canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def hash_tensors(tensors: Mapping[str, "torch.Tensor"], prefix: str = "") -> str:
    """Returns the SHA-256 of a text and each tensor's name, dtype, shape and bytes, in order of name."""
    import torch

    total = hashlib.sha256(prefix.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        total.update(canonical([name, dtype, list(tensor.shape)]).encode())
        if tensor.numel() < 2:  # such a tensor counts as contiguous whatever its strides are
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # without a copy
    return total.hexdigest()


def raw_bytes(tensor: "torch.Tensor") -> bytes:
    """Returns the memory of a contiguous CPU tensor of any dtype."""
    import torch

    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a file, and missing folders, such that a reader sees the old or the new content as a whole.

    Raises:
        Refused: If the file cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error


def safe_name(name: str) -> str:
    """Returns a name that is safe in a path: all but letters, digits and ``@ + - . _`` becomes ``_``."""
    return re.sub(r"[^\w.@+-]", "_", name)


def short_name(name: str, ending: str = "") -> str:
    """Returns a safe name with an ending; one that is too long is cut off, and gets a hash of the whole."""
    if len((whole := safe_name(name) + ending).encode()) <= LONGEST_NAME:
        return whole
    tag = f"-{digest(name)[:8]}{ending}"
    return safe_name(name).encode()[: LONGEST_NAME - len(tag.encode())].decode(errors="ignore") + tag


def folder_name(name: str, windows: bool = os.name == "nt") -> str:
    """Returns a name as this system allows it: on Windows some characters, such as ``:``, become ``_``."""
    return re.sub(r'[<>:"/\\|?*]', "_", name) if windows else name


@runtime_checkable
class Limit(Protocol):
    """A limit on time: see `condense.resources.Budget`."""

    def spent(self) -> bool:
        """Returns whether the time is over."""

    def stop(self, where: str) -> Exception:
        """Returns the exception that stops work at a place, which is described in words."""


@contextmanager
def locked(path: Path, *, what: str, budget: Limit | None = None) -> Iterator[None]:
    """Keeps other processes from a file or folder that several of them may write.

    Whoever makes something that others may make too holds the lock on it from the last look whether it is
    there until it is written: the others wait, and then find it. Whatever a killed process has left half
    written of it is removed.

    The lock is a hidden file beside the path (``.NAME.lock``), so that processes with different home folders
    meet at it. A link to a folder has the folder's lock. A link to a file has a lock of its own, as
    `write_atomic` replaces the link and not the file. The holder removes the lock at the end. One that a
    killed process has left locks nothing: the system gives its lock free, and the next holder removes the
    file. A thread that holds a lock may take it again.

    Args:
        path: The file or folder, which need not exist.
        what: What the holder does, for the line that those who wait print: "distils dm on digits".
        budget: The time limit, which ends a wait.

    Raises:
        Refused: if the folder of the path cannot be written.
        Stopped: if the time limit is reached while another process holds the lock.
    """
    with _Lock(path) as lock:
        started, pause, said = time.monotonic(), _POLLS[0], False
        while not lock.got():
            if budget is not None and budget.spent():
                raise budget.stop(f"while another process {what}")
            if not said and time.monotonic() - started > _SAID_AFTER:
                said = True
                print(f"waiting for another process that {what}", file=sys.stderr, flush=True)
            time.sleep(pause)
            pause = min(2 * pause, _POLLS[1])
        yield


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Takes the lock that `locked` takes if nobody holds it, and yields whether it was taken."""
    with _Lock(path) as lock:
        try:
            free = lock.got()
        except Refused:  # where nothing can be written, nothing is left half written
            free = False
        yield free


def tidy(path: Path) -> None:
    """Removes what killed processes have left of a finished file or folder, which nobody locks any more."""
    with suppress(OSError):
        if any(path.parent.glob(f".{glob.escape(path.name)}.*")):
            with locked_if_free(path):
                pass


class _Orphaned(Exception):
    """A lock file was removed by its holder between its opening and its locking: it locks nothing."""


class _Held(threading.local):
    def __init__(self) -> None:
        self.places: set[Path] = set()


_HELD = _Held()


def _place(path: Path) -> Path:
    """Returns the path by which processes name a file or folder whatever links lead to it: see `locked`."""
    if path.is_symlink() and not path.is_dir():
        return Path(os.path.realpath(path.parent)) / path.name
    return Path(os.path.realpath(path))


class _Lock:
    """The lock on a path, which is given free at the end of the block."""

    def __init__(self, path: Path) -> None:
        self._path, self._place = path, _place(path)
        self._file = self._place.with_name(f".{self._place.name}.lock")
        self._lock: BaseFileLock = (
            SoftFileLock(self._file)
            if issubclass(FileLock, SoftFileLock)  # where the system knows no locks at all
            else FileLock(self._file, on_acquired=self._require_named)
        )
        self._mine = False
        self._made: list[Path] = []
        self._vanished = 0

    def __enter__(self) -> "_Lock":
        return self

    def got(self) -> bool:
        """Tries once to get the lock; removes what killed processes have left if this succeeds."""
        if self._place in _HELD.places:
            return True
        try:
            self._made += [folder for folder in self._place.parents if not folder.exists()]
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(blocking=False)
        except (Timeout, _Orphaned):
            return False
        except OSError as error:
            self._vanished += isinstance(error, FileNotFoundError)
            if isinstance(error, FileNotFoundError) and self._vanished < _VANISHED:
                return False  # a process that has ended has removed the folder
            if error.errno != errno.ENOSYS or isinstance(self._lock, SoftFileLock):
                raise Refused(f"cannot write {self._path}: {error.strerror or error}") from error
            self._lock = SoftFileLock(self._file)  # the file system knows no locks: the file is the lock
            return False
        self._mine = True
        _HELD.places.add(self._place)
        _sweep(self._place)
        return True

    def __exit__(self, *_: object) -> None:
        if self._mine:
            _HELD.places.discard(self._place)
            if not isinstance(self._lock, SoftFileLock):
                with suppress(OSError):
                    self._file.unlink(missing_ok=True)
            self._lock.release()
        with suppress(OSError):  # unless something was written to the folders that were made for the lock
            for folder in self._made:
                folder.rmdir()

    def _require_named(self, handle: int) -> None:
        try:
            if os.path.samestat(os.fstat(handle), os.stat(self._file)):
                return
        except FileNotFoundError:
            pass
        raise _Orphaned


def _sweep(path: Path) -> None:
    """Removes what killed processes have left half written of a path, beside it and, in a folder, below it.

    A folder that was moved aside for a new one gets its name back if the new one never came. Lock files of
    things that are named after the path, ``.NAME.*.lock``, go if nobody holds them.
    """
    left = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.part")
    parts: list[Path] = []
    with suppress(OSError):
        parts += [one for one in path.parent.iterdir() if left.fullmatch(one.name)]
        parts += path.rglob(".*.part") if path.is_dir() else []
    for part in parts:
        with suppress(OSError):
            if (part / ASIDE).is_dir() and not path.exists():
                (part / ASIDE).rename(path)
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink()
    with suppress(OSError):
        for lock in list(path.parent.glob(f".{glob.escape(path.name)}.*.lock")):
            with locked_if_free(lock.with_name(lock.name.removeprefix(".").removesuffix(".lock"))):
                pass


def require_writable(folder: Path) -> None:
    """Checks, before long work starts, that a folder can be created and written to; creates nothing.

    Raises:
        Refused: If it cannot.
    """
    try:
        os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:  # a name that is too long, links in a circle, or no name at all
        raise Refused(f"cannot write to {folder}: {getattr(error, 'strerror', None) or error}") from error
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise Refused(f"cannot write to {folder}: {existing} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror or error}") from error


def home() -> Path:
    """Returns the folder for downloads, trained networks and checkpoints.

    It is ``$CONDENSE_HOME`` if that is set, and otherwise ``condense`` in the user's cache folder.
    """
    if chosen := os.environ.get("CONDENSE_HOME"):
        return Path(chosen)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "condense"
    try:
        return Path.home() / ".cache" / "condense"
    except RuntimeError as error:
        raise Refused(
            "nobody knows the home folder of this user: let CONDENSE_HOME name a folder for downloads, "
            "trained networks and checkpoints"
        ) from error


def state_of(files: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Returns the path, the time of the last change in ns and the size of files; without those not there."""
    found = []
    for file in files:
        with suppress(OSError):
            about = os.stat(file)
            found.append((str(file), about.st_mtime_ns, about.st_size))
    return found


def data_folder(chosen: Path | None) -> Path:
    """Returns the folder of named datasets: the chosen one, ``$CONDENSE_DATA``, or ``data`` in `home`."""
    return chosen or Path(os.environ.get("CONDENSE_DATA") or home() / "data")


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, cut off if it is long, or else the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
