"""The resources of a run: the device, the time limit, the memory, and the versions of what it ran on."""

import ctypes
import platform
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil
import torch

from condense.errors import Refused, Stopped
from condense.termination import sigterm_arrived

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""``M_TRIM_THRESHOLD``, ``M_TOP_PAD`` and ``M_MMAP_THRESHOLD`` of ``malloc.h``."""


def duration(seconds: float) -> str:
    """Returns a time in words: ``45 s``, ``12 min``, ``1 h 23 min``, ``2 d 3 h``."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def available_memory(device: torch.device) -> int:
    """Returns the bytes that are free on a GPU, or that a process may still take of the machine's memory.

    Where a container limits the memory (cgroup version 2), its limit counts.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)  # type: ignore[no-untyped-call]
    with suppress(OSError, ValueError):  # there is no limit: no file, or the word max
        group = Path("/sys/fs/cgroup")
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free


class Budget:
    """A limit on wall-clock time, which starts to run when it is made.

    Args:
        seconds: Length of the limit; None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    @classmethod
    def parse(cls, text: str | None) -> "Budget":
        """Parses ``90s``, ``9m`` or ``2h``, and refuses other texts; None means no limit."""
        if text is None:
            return cls()
        number, unit = text[:-1], text[-1:]
        try:
            seconds = float(number) * {"s": 1.0, "m": 60.0, "h": 3600.0}[unit]
        except (KeyError, ValueError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise Refused(f"the budget {text!r} is no time: write 90s, 9m or 2h")
        return cls(seconds)

    def spent(self, now: float | None = None) -> bool:
        """Returns whether the time is over, at ``now`` on the monotonic clock, or SIGTERM has arrived."""
        if sigterm_arrived():
            return True
        return self._end is not None and (time.monotonic() if now is None else now) >= self._end

    def left(self) -> float | None:
        """Returns the seconds that are left; None if there is no limit."""
        return None if self._end is None else self._end - time.monotonic()

    def stop(self, where: str, *, kept: bool = True) -> Stopped:
        """Returns the exception that stops work.

        Args:
            where: The place in words.
            kept: Whether what was done is kept.
        """
        why = "SIGTERM ended the work"
        if not sigterm_arrived():
            why = f"the budget of {self.seconds:g} s is spent"
        then = "goes on from here" if kept else "begins it again, as no checkpoint of it could be kept"
        return Stopped(f"{why} ({where}); the same command {then}")


@dataclass(frozen=True)
class Machine:
    """Where work is done, and for how long it may go on.

    Attributes:
        device: The device to compute on.
        budget: The time limit; by default there is none.
    """

    device: torch.device = torch.device("cpu")
    budget: Budget = field(default_factory=Budget)


class PeakMemory:
    """Measures the peak memory from now on: memory allocated on a GPU, or resident memory of the process.

    On Linux the peak of the process is reset first, so that earlier work in the same process does not count.
    On Windows the peak is that since the start of the process. On other systems, macOS among them, it is the
    largest memory at the times at which it was asked for, about once a second.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._floor = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def at_least(self, count: int) -> None:
        """Sets a lower bound in bytes: the peak of an earlier part of the same work."""
        self._floor = max(self._floor, count)

    def peak(self) -> int:
        """Returns the peak so far, in bytes."""
        if self._device.type == "cuda":
            return max(self._floor, torch.cuda.max_memory_allocated(self._device))
        self._floor = max(self._floor, _resident_peak())
        return self._floor


def _resident_peak() -> int:
    """Returns the peak of the process's resident memory in bytes, or what it is now where none is known."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()  # type: ignore[no-untyped-call]
    return int(getattr(memory, "peak_wset", memory.rss))


@cache
def keep_freed_memory() -> bool:
    """Makes the C library keep memory that is freed, for later tensors; returns whether it does.

    By default glibc returns large blocks to the kernel, and the kernel clears every page of the next one. The
    activations of a network are such blocks. With this setting a matching step at 28 x 28 pixels took 1.34 s
    of processor time instead of 2.35 s, with the same result.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    limits = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: (2 << 30) - 1, _TOP_PAD: 64 << 20}
    return all([mallopt(name, value) == 1 for name, value in limits.items()])


def device_name(device: torch.device) -> str:
    """Returns the name of the GPU, or the architecture of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()})"


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result may depend on."""
    names = ("condense-bench", "torch", "torchvision", "numpy", "kornia", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
