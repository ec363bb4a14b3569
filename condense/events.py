"""What runs tell while they work: events in a file for each task, and to whoever listens.

docs/events.md describes the files. Events are no part of any result: no key and no hash depends on them.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from condense.files import home, short_name, write_atomic

Event = dict[str, Any]
"""One event: see docs/events.md for its parts."""
Hearer = Callable[[Event], object]
"""Takes each event; an exception that it raises ends the work."""

_hearers: ContextVar[tuple[Hearer, ...]] = ContextVar("hearers", default=())
_run: ContextVar[tuple[str, Path | None] | None] = ContextVar("run", default=None)


def events_folder() -> Path:
    """Returns the folder for the files of runs, ``events`` in `condense.files.home`."""
    return home() / "events"


@contextmanager
def hearing(hearer: Hearer | None) -> Iterator[None]:
    """Lets a function hear the events of all work that starts within the block; None hears nothing."""
    token = _hearers.set(_hearers.get() + (() if hearer is None else (hearer,)))
    try:
        yield
    finally:
        _hearers.reset(token)


@contextmanager
def telling(run: str, folder: Path | None) -> Iterator[None]:
    """Names the run that the work within the block belongs to.

    Args:
        run: Name of the run.
        folder: Folder for the files of runs; the run has a folder of its own in it. None writes no files.
            Whoever gives a folder holds a lock that keeps other processes from the same tasks.
    """
    token = _run.set((run, folder))
    try:
        yield
    finally:
        _run.reset(token)


class Teller:
    """Tells the events of one task: writes its file and calls the hearers.

    The run, its folder and the hearers are those of the place where the teller is made.

    Args:
        task: Name of the task, such as ``convnet 0``.
    """

    def __init__(self, task: str) -> None:
        run, folder = _run.get() or (task, None)
        self.run, self.task = run, task
        self.file = folder and folder / short_name(run) / short_name(task, ".jsonl")
        self._hearers = _hearers.get()

    def begin(self, phase: str, step: int, of: int, **costs: float) -> None:
        """Tells that a phase begins, or goes on after a number of steps.

        What the file says of later steps of the phase was lost with the work, and is dropped; so is a line
        that a killed process has left unfinished.
        """
        if self.file is not None and self.file.exists():
            lines = self.file.read_bytes().splitlines(keepends=True)
            kept = [line for line in lines if _stays(line, phase, step)]
            if kept != lines:
                write_atomic(self.file, b"".join(kept))
        self._tell("begin", phase, step, of, {}, costs)

    def step(self, phase: str, step: int, of: int, values: Mapping[str, float], **costs: float) -> None:
        """Tells the values that belong to a step; those that are not finite are left out.

        Args:
            phase: Name of the phase.
            step: Number of steps that are done.
            of: Number of steps of the phase.
            values: The values by name, such as the loss.
            **costs: Seconds, steps in a second and peak memory.
        """
        self._tell("step", phase, step, of, values, costs)

    def _tell(
        self, event: str, phase: str, step: int, of: int, values: Mapping[str, float],
        costs: Mapping[str, float],
    ) -> None:  # fmt: skip
        told: Event = {
            "event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "run": self.run,
            "task": self.task, "phase": phase, "step": step, "of": of,
            "values": {name: value for name, value in values.items() if math.isfinite(value)}, **costs,
        }  # fmt: skip
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
        for hearer in self._hearers:
            hearer({**told, "values": {**told["values"]}})


def _stays(line: bytes, phase: str, start: int) -> bool:
    """Returns whether a line is whole, and not about what a phase that goes on from a step tells again."""
    try:
        event = json.loads(line)
        same = event["phase"] == phase
        return line.endswith(b"\n") and not (same and (start == 0 or event["step"] > start))
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
