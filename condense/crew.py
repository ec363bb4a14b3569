"""Processes that take a part of the work, and end with the one that began them.

A `Crew` shares work of plain Python: thousands of records to read, dozens of plots to draw. The training of
networks is split into units instead (`condense.runner.executors`).
"""

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")
AnswerT = TypeVar("AnswerT")

START = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
"""How processes begin: from one without threads, as a fork of another could wait for a lock for ever."""
FEW = 3
"""Items for which processes are not worth the time and memory of their start."""


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_pool(size: int, modules: Iterable[str] = ()) -> ProcessPoolExecutor:
    """Returns a pool of processes that leave interrupts to this one, and end when this one is gone.

    Args:
        size: Number of processes.
        modules: Names of modules that all of them need, which are imported once.
    """
    context = multiprocessing.get_context(START)
    if START == "forkserver":
        context.set_forkserver_preload([*modules])
    return ProcessPoolExecutor(size, mp_context=context, initializer=attend, initargs=(_end,))


class Crew:
    """Processes that answer calls which do not depend on each other; a context manager.

    Args:
        size: Number of processes. With fewer than two there are none, and this process answers.
        modules: As for `process_pool`.
    """

    def __init__(self, size: int = 1, modules: Iterable[str] = ()) -> None:
        self._pool = process_pool(size, modules) if size > 1 else None
        self._begun = False

    def map(self, function: Callable[[ItemT], AnswerT], items: Iterable[ItemT]) -> Iterator[AnswerT]:
        """Calls a function for each item and yields the answers in the order of the items.

        Processes begin with the items at once. An answer that a process died over is worked out here, and so
        are those to `FEW` items as long as no process has begun.

        Args:
            function: A function that can be pickled.
            items: Its arguments, which can be pickled.

        Raises:
            Exception: what the function raises for the first item for which it does.
        """
        items = [*items]
        if self._pool is None or (len(items) <= FEW and not self._begun):
            return map(function, items)
        self._begun = True
        return _answers(function, [(item, _submitted(self._pool, function, item)) for item in items])

    def __enter__(self) -> "Crew":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _submitted(
    pool: ProcessPoolExecutor, function: Callable[[ItemT], AnswerT], item: ItemT
) -> Future[AnswerT] | None:
    try:
        return pool.submit(function, item)
    except BrokenProcessPool:
        return None


def _answers(
    function: Callable[[ItemT], AnswerT], begun: list[tuple[ItemT, Future[AnswerT] | None]]
) -> Iterator[AnswerT]:
    begun.reverse()
    while begun:  # an answer that was given is not kept
        item, future = begun.pop()
        try:
            answer = function(item) if future is None else future.result()
        except BrokenProcessPool:
            answer = function(item)
        yield answer


def attend(gone: Callable[[], None]) -> None:
    """Leaves interrupts to the process that began this one, and waits for its end beside the work.

    The collector of reference cycles never looks at what is there before the work: where it looks at objects,
    processes no longer share the memory that they lie in.

    Args:
        gone: What is called then, in a thread of its own.
    """
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_wait, args=(multiprocessing.parent_process(), gone), daemon=True).start()


def _wait(parent: Any, gone: Callable[[], None]) -> None:
    parent.join()
    gone()


def _end() -> None:
    os._exit(1)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keeps the collector of reference cycles away from a block that makes millions of objects to stay.

    The collector would look at all of them again and again, and find none to remove.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
