"""SIGTERM, which Slurm, Kubernetes and ``kill`` send: it is treated like a spent time budget.

Only the command line installs the handler, by `sigterm_as_budget`. The handlers of a Python program that uses
condense stay as they are.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from condense.errors import Terminated


class _Sigterm:
    """What is known of SIGTERM in this process.

    Attributes:
        arrived: Whether it has arrived.
        loops: Number of loops under way that ask whether it has, again and again.
    """

    arrived = False
    loops = 0


def sigterm_arrived() -> bool:
    """Returns whether SIGTERM has arrived since `sigterm_as_budget` was entered."""
    return _Sigterm.arrived


@contextmanager
def sigterm_as_budget(
    also: Sequence[int] = (), attended: Callable[[], bool] = lambda: False
) -> Iterator[None]:
    """Treats SIGTERM like a spent budget inside the context; only in the main thread, others change nothing.

    A loop that writes checkpoints writes one and stops; all other work, waiting included, ends at once with
    `Terminated`. A second SIGTERM ends the process as it does by default, unless the process is attended: it
    then changes nothing.

    Args:
        also: Other signals that are treated in the same way.
        attended: Whether another process waits for the end of this one. Who sends SIGTERM to all processes
            of a group reaches this one twice, as the other one passes it on.
    """

    if threading.current_thread() is not threading.main_thread():  # which alone may install a handler
        yield
        return

    seen = set[int]()

    def arrive(number: int, _: object) -> None:
        again = number in seen
        seen.add(number)
        _Sigterm.arrived = True
        if not attended():
            signal.signal(number, signal.SIG_DFL)
            if again:  # it was attended when the first one arrived
                signal.raise_signal(number)
        if not again and _Sigterm.loops == 0:
            raise Terminated("SIGTERM ended the work; the same command goes on from the last checkpoint")

    before = {number: signal.signal(number, arrive) for number in (signal.SIGTERM, *also)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        _Sigterm.arrived = False


@contextmanager
def asking() -> Iterator[None]:
    """Marks a loop that asks its `condense.resources.Budget` in every step: SIGTERM does not cut it off."""
    _Sigterm.loops += 1
    try:
        yield
    finally:
        _Sigterm.loops -= 1
