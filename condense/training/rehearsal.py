"""Rehearsals: of each long computation only the first steps are made, to learn what all of them would take.

While a rehearsal is under way, a `condense.training.loop.Loop` ends as soon as its steps have been timed.
Whatever follows goes on with what there is by then: sets of the right shapes, but of no worth. A rehearsal
must therefore keep its files in folders of its own.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from condense.resources import PeakMemory
from condense.training.progress import Progress


@dataclass(frozen=True)
class Shared:
    """A computation whose result all runs share that need it, and of which a rehearsal makes no step.

    Attributes:
        name: Names the result.
        seconds: Wall time that it would take.
        disk: Bytes that it would leave on disk.
    """

    name: str
    seconds: float
    disk: int


@dataclass
class Rehearsal:
    """What a rehearsal has learned so far.

    Attributes:
        shared: Computations that are to be made once, for this run and others.
        peak_bytes: Largest peak memory of all computations: see `condense.resources.PeakMemory`.
    """

    shared: list[Shared] = field(default_factory=list)
    peak_bytes: int = 0
    _started: float = field(default_factory=time.monotonic)
    _left_out: float = 0.0
    _paces: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Wall time that everything since the start would take, without what is shared."""
        return time.monotonic() - self._started + self._left_out

    @contextmanager
    def computation(self, steps: Progress, memory: PeakMemory) -> Iterator[Callable[[], bool]]:
        """Measures a computation, and yields a function that tells after each step whether that was enough.

        Computations that differ in numbers of their titles alone, such as the batches of images of a set, are
        timed once; one step of each of the others is made.
        """
        kind = (re.sub(r"\d+", "#", steps.title), steps.n)
        known = self._paces.get(kind)
        made = 0

        def enough() -> bool:
            nonlocal made
            made += 1
            return known is not None or steps.pace is not None

        yield enough
        pace = steps.pace if known is None else known
        if pace is not None:
            self._paces[kind] = pace
            self._left_out += pace * (steps.n - steps.start - made)
        self.peak_bytes = max(self.peak_bytes, memory.peak())


_UNDER_WAY: ContextVar[Rehearsal | None] = ContextVar("rehearsal", default=None)


def under_way() -> Rehearsal | None:
    """Returns the rehearsal that is under way; None if work is done for its results."""
    return _UNDER_WAY.get()


@contextmanager
def rehearsing(rehearsal: Rehearsal | None = None) -> Iterator[Rehearsal]:
    """Makes the block a rehearsal, of a kind of its own if one is given, and yields what it learns."""
    found = rehearsal or Rehearsal()
    token = _UNDER_WAY.set(found)
    try:
        yield found
    finally:
        _UNDER_WAY.reset(token)


@contextmanager
def rehearsed(steps: Progress, memory: PeakMemory) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells after each step whether a rehearsal needs no more of them."""
    if (rehearsal := under_way()) is None:
        yield lambda: False
        return
    with rehearsal.computation(steps, memory) as enough:
        yield enough
