"""The engines that place units on other processes: those of this machine, and Ray.

Each yields what has ended, and None about twice a second, so that whoever asks can show how far the
work is, or close the iterator: the workers then stop after their next checkpoint.
"""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

import torch

from condense.crew import attend, cores
from condense.errors import Refused, Stopped, install
from condense.files import first_line
from condense.reading import whole_number
from condense.resources import available_memory
from condense.runner.units import Unit
from condense.runner.worker import TICK, Done, Site, failed, stored_files, work

RETRIES = 5
"""How often a unit is begun again whose process has died."""
START = "spawn"
"""How processes begin: anew, as threads of torch do not survive a fork."""
ANSWER = 10.0
"""Seconds in which a Ray cluster has to answer."""
GRACE = 60.0
"""Seconds that a unit has to come to a checkpoint when nobody waits for it any more."""
_LEFT = threading.Event()
"""Whether the process that placed this one's units is gone."""
NOTHING: Mapping[str, int] = MappingProxyType({})
"""The memory that units need, where no plan tells it."""
SILENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_DEDUP_LOGS": "0"}
"""What the environment holds before Ray is imported, unless it says otherwise."""


@dataclass(frozen=True)
class Where:
    """Where units are placed.

    Attributes:
        engine: ``local`` for processes of this machine, or ``ray``.
        processes: Number of processes of this machine.
        address: Address of a Ray cluster; None takes the running one that Ray finds, or else starts Ray here.
    """

    engine: str
    processes: int = 1
    address: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Where":
        """Reads ``local:N``, ``ray`` or ``ray:ADDRESS``; refuses other texts, and Ray if it is missing."""
        engine, colon, rest = text.partition(":")
        if engine == "local" and (processes := whole_number(rest)) and processes <= 1024:
            return cls("local", processes=processes)
        if engine != "ray" or (colon and not rest):
            raise Refused("units are placed on local:N, ray or ray:ADDRESS", setting="on", value=text)
        if find_spec("ray") is None:
            raise Refused(f"Ray is not installed: {install('ray')}", setting="on", value=text)
        return cls("ray", address=rest or None)

    @property
    def workers(self) -> int:
        """Number of units that are done at once on this machine; that of a cluster is unknown."""
        return self.processes if self.engine == "local" else cores()

    def threads(self) -> int:
        """Returns the threads of each unit: ``$OMP_NUM_THREADS``, else a fair share of this machine's cores.

        Units on Ray have one thread by default: there are mostly more units than cores.
        """
        if chosen := whole_number(os.environ.get("OMP_NUM_THREADS", "")):
            return chosen
        return max(1, cores() // self.processes) if self.engine == "local" else 1

    def place(
        self, units: Sequence[Unit], site: Site, memory: Mapping[str, int] = NOTHING
    ) -> Iterator[Done | None]:
        """Places units, each after those that it needs.

        Args:
            units: The units.
            site: Where and how they work.
            memory: Bytes of main memory that units will need, by their keys, as far as a plan tells.
        """
        if self.engine == "ray":
            return on_ray(units, site, self.address, memory)
        return on_processes(units, site, self.processes, memory)


def died(unit: Unit, why: str) -> Done:
    """Returns the end of a unit whose process has died too often."""
    return Done(key=unit.key, refused=Refused(f"{unit.title}: its process has died {why}"))


# Processes of this machine -------------------------------------------------------------------------------


class _Worker:
    """One process, in a pool of its own, so that its death is nobody else's."""

    def __init__(self, number: int, site: Site) -> None:
        gpus = torch.cuda.device_count() if site.device in ("auto", "cuda") else 0
        self._site = replace(site, device=f"cuda:{number % gpus}") if gpus > 1 else site
        self._begin()

    def _begin(self) -> None:
        self._pool = ProcessPoolExecutor(
            1, mp_context=multiprocessing.get_context(START), initializer=attend, initargs=(_leave,)
        )
        self._pid = self._pool.submit(os.getpid).result()

    def submit(self, unit: Unit, before: Sequence[Done]) -> Future[Done]:
        try:
            return self._pool.submit(_attended, work, unit, self._site, *before)
        except BrokenProcessPool:  # it has died between two units
            self.restart()
            return self._pool.submit(_attended, work, unit, self._site, *before)

    def restart(self) -> None:
        self._pool.shutdown()
        self._begin()

    def terminate(self) -> None:
        """Asks the process to stop after its next checkpoint."""
        with suppress(OSError):
            os.kill(self._pid, signal.SIGTERM)

    def end(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _leave() -> None:
    """Stops the unit at its next checkpoint and ends this process; nobody waits for it any more."""
    _LEFT.set()
    while True:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)


def _attended(work: Callable[..., Done], *arguments: Any) -> Done:
    """Does a unit; if nobody waits for it any more in the end, the process ends with it."""
    try:
        return work(*arguments)
    finally:
        if _LEFT.is_set():
            os._exit(1)


def on_processes(
    units: Sequence[Unit], site: Site, count: int, memory: Mapping[str, int] = NOTHING
) -> Iterator[Done | None]:
    """Places units on processes of this machine; on a machine with several GPUs each has one of them.

    A unit waits while those that are being done leave too little memory for it.

    Args:
        units: The units, each after those that it needs.
        site: Where and how they work.
        count: Number of processes.
        memory: See `Where.place`.
    """
    room = available_memory(torch.device("cpu"))
    waiting, done, deaths = {unit.key: unit for unit in units}, dict[str, Done](), Counter[str]()
    workers = [_Worker(number, site) for number in range(min(count, len(units)))]
    idle = [*workers]
    busy: dict[Future[Done], tuple[Unit, _Worker]] = {}
    try:
        while waiting or busy:
            ready = [unit for unit in waiting.values() if all(key in done for key in unit.needs)]
            for unit in ready:
                taken = sum(memory.get(other.key, 0) for other, _ in busy.values())
                if not idle or (busy and taken + memory.get(unit.key, 0) > room):
                    continue
                worker = idle.pop()
                future = worker.submit(waiting.pop(unit.key), [done[key] for key in unit.needs])
                busy[future] = unit, worker
            ended, _ = wait(busy, timeout=TICK, return_when=FIRST_COMPLETED)
            for future in ended:
                unit, worker = busy.pop(future)
                try:
                    found = future.result()
                except (BrokenProcessPool, Stopped) as error:
                    if isinstance(error, BrokenProcessPool):
                        worker.restart()
                    deaths[unit.key] += 1
                    if deaths[unit.key] <= RETRIES:
                        waiting = {unit.key: unit, **waiting}
                        idle.append(worker)
                        continue
                    found = died(unit, f"{deaths[unit.key]} times")
                except Exception as error:
                    found = failed(unit, error)
                idle.append(worker)
                done[unit.key] = found
                yield found
            if not ended:
                yield None
    finally:
        for _, worker in busy.values():
            worker.terminate()
        wait(busy)
        for worker in workers:
            worker.end()


# Ray -----------------------------------------------------------------------------------------------------


def on_ray(
    units: Sequence[Unit], site: Site, address: str | None, memory: Mapping[str, int] = NOTHING
) -> Iterator[Done | None]:
    """Places units as tasks of Ray: a task begins once those are done whose results it takes.

    A unit takes as many CPUs as it has threads, a GPU unless the device is another or there is none, and the
    memory that it is planned to need; where no machine has so much, it takes all of the largest one's. Ray
    begins a task again whose worker dies.

    Args:
        units: The units, each after those that it needs.
        site: Where and how they work.
        address: See `Where`.
        memory: See `Where.place`.
    """
    ray = _ray(address, site)
    try:
        nodes = [one for one in ray.nodes() if one["Alive"] and one["Resources"].get("CPU", 0) > 0]
        if nodes and site.threads > max(node["Resources"]["CPU"] for node in nodes):
            raise Refused(f"no machine of Ray has a CPU for each of the {site.threads} threads of a unit")
        site = replace(site, shared=_all_see(ray, [node["NodeID"] for node in nodes], site))
        gpu = site.device.startswith(("auto", "cuda")) and ray.cluster_resources().get("GPU", 0) > 0
        task, settings = ray.remote(work), dict[str, Any](num_cpus=site.threads, num_gpus=float(gpu))
        settings |= {"max_retries": RETRIES, "retry_exceptions": [Stopped]}
        most = max((int(node["Resources"].get("memory", 0)) for node in nodes), default=0)
        stored = {} if site.shared else _stored(ray, units, site)
        refs: dict[str, Any] = {}
        for unit in units:
            needs = [refs[key] for key in unit.needs]
            needs += [stored[name] for name in unit.reads if name in stored]
            room = min(memory.get(unit.key, 0), most)
            placed = task.options(name=unit.title, memory=room, **settings)
            refs[unit.key] = placed.remote(unit, site, *needs)
        yield from _ended(ray, {refs[unit.key]: unit for unit in units})
    finally:
        ray.shutdown()


def _ended(ray: Any, left: dict[Any, Unit]) -> Iterator[Done | None]:
    """Yields the results of tasks as they come; stops the tasks that are left if it is closed."""
    broken = (
        ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError, ray.exceptions.NodeDiedError,
        ray.exceptions.ObjectLostError, ray.exceptions.RaySystemError, Stopped,
    )  # fmt: skip
    try:
        while left:
            ended, _ = ray.wait([*left], timeout=TICK)
            for ref in ended:
                unit = left.pop(ref)
                try:
                    yield ray.get(ref)
                except broken as error:
                    why = "it was stopped" if isinstance(error, Stopped) else type(error).__name__
                    yield died(unit, f"again and again ({why})")
                except ray.exceptions.RayTaskError as error:
                    yield failed(unit, error.cause)
            if not ended:
                yield None
    finally:
        for ref in left:
            ray.cancel(ref)
        if left:
            ray.wait([*left], num_returns=len(left))


def _ray(address: str | None, site: Site) -> Any:
    """Connects to Ray, or starts it on this machine; the program's own handling of SIGTERM stays."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    import ray

    if (named := address or os.environ.get("RAY_ADDRESS")) is not None:
        _require_answer(named)
    before = signal.getsignal(signal.SIGTERM)
    own = {} if named else {"include_dashboard": False}
    ray.init(address=address, logging_level=logging.ERROR, log_to_driver=not site.quiet, **own)
    with suppress(ValueError):  # only the main thread has handlers
        signal.signal(signal.SIGTERM, before)
    return ray


def _require_answer(address: str) -> None:
    """Refuses the address of a cluster at which nothing answers; Ray would try for minutes."""
    host, _, text = address.removeprefix("ray://").rpartition(":")
    if not host or (port := whole_number(text)) is None:
        return
    try:
        socket.create_connection((host, port), timeout=ANSWER).close()
    except (OSError, OverflowError) as error:
        reason = f"no Ray cluster answers there ({first_line(error)})"
        raise Refused(reason, setting="on", value=f"ray:{address}") from error


def _all_see(ray: Any, nodes: Sequence[str], site: Site) -> bool:
    """Returns whether all nodes of the cluster see the spool; where there is none yet, none does."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    look = ray.remote(lambda path: os.path.isdir(path))  # goes as code: for it, no worker imports condense
    seen = []
    for node in nodes:
        there = NodeAffinitySchedulingStrategy(node, soft=False)
        seen.append(look.options(num_cpus=0, scheduling_strategy=there).remote(str(site.spool)))
    return bool(nodes) and all(ray.get(seen))


def _stored(ray: Any, units: Sequence[Unit], site: Site) -> dict[str, Any]:
    """Returns the stored sets that units read, as objects of Ray, by the names of their folders."""
    names = {name for unit in units for name in unit.reads}
    folders = [site.paths.out / name for name in sorted(names)]
    return {
        folder.name: ray.put(Done(key="", files=stored_files(folder)))
        for folder in folders
        if folder.exists()
    }
