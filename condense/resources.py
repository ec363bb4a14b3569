"""What a run costs and may cost: time budget, peak memory, and the machine it ran on."""

import ctypes
import platform
import resource
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from condense.errors import Refused, Stopped

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Budget:
    """A stretch of wall-clock time from now.

    Args:
        seconds: Its length; None is for ever.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    @classmethod
    def parse(cls, text: str | None) -> "Budget":
        """Reads ``90s``, ``9m`` or ``2h``; None is for ever.

        Raises:
            Refused: if the text is nothing of the kind.
        """
        if text is None:
            return cls()
        number, unit = text[:-1], text[-1:]
        try:
            seconds = float(number) * _UNITS[unit]
        except (KeyError, ValueError):
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise Refused(f"the budget {text!r} is no time: write 90s, 9m or 2h")
        return cls(seconds)

    def spent(self, now: float | None = None) -> bool:
        """Whether the time is over (``now`` on the monotonic clock)."""
        return self._end is not None and (time.monotonic() if now is None else now) >= self._end

    def left(self) -> float:
        """Seconds left; infinity without a limit."""
        return float("inf") if self._end is None else self._end - time.monotonic()

    def stop(self, where: str) -> Stopped:
        """The exception for stopping at a place."""
        return Stopped(
            f"the budget of {self.seconds:g} s is spent ({where}); the same command goes on from here"
        )


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
    """Peak memory in bytes from now on: allocated on a GPU, resident in this process on a CPU.

    On Linux the process's high-water mark is reset first, so that earlier work in the same process does not
    count; elsewhere it is the process's peak since its start.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._floor = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            try:
                Path("/proc/self/clear_refs").write_text("5")
            except OSError:
                pass

    def at_least(self, count: int) -> None:
        """Takes over the peak of an earlier part of the same work."""
        self._floor = max(self._floor, count)

    def peak(self) -> int:
        """The peak so far."""
        if self._device.type == "cuda":
            return max(self._floor, torch.cuda.max_memory_allocated(self._device))
        return max(self._floor, _resident_peak())


def _resident_peak() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def device_name(device: torch.device) -> str:
    """The device in words: the GPU's name, or the processor's architecture."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()})"


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    names = ("condense-bench", "torch", "torchvision", "numpy", "kornia", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
"""``M_TRIM_THRESHOLD``, ``M_TOP_PAD`` and ``M_MMAP_THRESHOLD`` of ``malloc.h``."""


@cache
def keep_freed_memory() -> bool:
    """Raises the limits, once a process; does nothing where the C library is not glibc.

    Returns:
        Whether the limits were taken.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    limits = {_MMAP_THRESHOLD: 32 << 20, _TRIM_THRESHOLD: (2 << 30) - 1, _TOP_PAD: 64 << 20}
    return all([mallopt(name, value) == 1 for name, value in limits.items()])
