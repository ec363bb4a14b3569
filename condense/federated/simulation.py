"""A federation on one machine: the simulation of Flower, which runs clients in processes of Ray.

Flower is the extra ``federated``; nothing outside of this function and the modules that it imports needs it.
Its telemetry and Ray's are switched off unless the environment says otherwise.
"""

import importlib.util
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from condense.errors import Refused, install
from condense.federated.algorithms import Algorithm
from condense.federated.participant import Participant
from condense.federated.plan import Plan
from condense.resources import Machine
from condense.training.loop import Loop

if TYPE_CHECKING:
    from condense.federated.strategies import Rounds

SILENT = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""What the environment holds before Flower and Ray are imported, unless it says otherwise."""
INSTALL = install("federated")
PULL_SECONDS = 0.05
"""Seconds between two looks for answers."""
TEST_TRIES = 3
"""Simulations that may be started for the test of the last network."""


def require_flower() -> None:
    """Refuses to go on without Flower and its simulation."""
    missing = [name for name in ("flwr", "ray") if importlib.util.find_spec(name) is None]
    if missing:
        raise Refused(f"a federation runs on Flower, and {missing[0]} is not installed: {INSTALL}")


def federate(
    algorithm: Algorithm,
    plan: Plan,
    loop: Loop,
    participants: Callable[[int], Participant],
    machine: Machine,
) -> "Rounds":
    """Runs a federation to its end, from the loop's last checkpoint on.

    Args:
        algorithm: The algorithm.
        plan: What the federation is to do.
        loop: Keeps a checkpoint of each round.
        participants: Returns the client of a number; it is called in the clients' processes.
        machine: The device of the clients, and the time limit.

    Returns:
        The strategy with the last network and its accuracy on each client's test images.

    Raises:
        Refused: if no client answers in a round, or one cannot test the last network.
        Stopped: if the time is over; the same call goes on from the last round that was finished.
    """
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    from condense.federated.strategies import STRATEGIES, Restart

    strategy = STRATEGIES[type(algorithm)](algorithm, plan, loop)
    tries = 0
    while len(strategy.scores) < len(plan.names):
        tries += not strategy.left
        strategy.restarted()
        try:
            _simulation(strategy, participants, machine)
        except Restart:
            strategy.say("the process of a client has died; its place is taken by a new one")
        untested = [name for number, name in enumerate(plan.names) if number not in strategy.scores]
        if not strategy.left and untested and tries >= TEST_TRIES:
            raise Refused(f"{loop.title}: {untested[0]} could not test the last network")
    return strategy


def _simulation(strategy: "Rounds", participants: Callable[[int], Participant], machine: Machine) -> None:
    """Runs the rounds that are left, and the test, in one simulation."""
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    from condense.federated.messages import client_app

    server, clients = ServerApp(), len(strategy.plan.names)
    stop = threading.Event()

    def main(grid: Any, context: Any) -> None:
        strategy.finish(_Watched(grid, machine, stop, strategy.loop))

    server.main()(main)
    processes = max(1, min(clients, os.cpu_count() or 1))
    share = 1 / processes if machine.device.type == "cuda" else 0.0
    config: dict[str, Any] = {"client_resources": {"num_cpus": 1, "num_gpus": share}}
    with _ray(processes), _quiet():
        try:
            run_simulation(server, client_app(participants), clients, backend_config=config)
        finally:
            stop.set()


class _Watched:
    """A grid whose wait for answers ends when the time is over, or the simulation has been stopped."""

    def __init__(self, grid: Any, machine: Machine, stop: threading.Event, loop: Loop) -> None:
        self._grid, self._machine, self._stop, self._loop = grid, machine, stop, loop

    def get_node_ids(self) -> Iterable[int]:
        self._ask()
        found: Iterable[int] = self._grid.get_node_ids()
        return found

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        """Sends messages and returns the replies to all of them."""
        waiting, replies = set(self._grid.push_messages(messages)), list[Any]()
        while waiting:
            found = list(self._grid.pull_messages(waiting))
            replies += found
            waiting -= {one.metadata.reply_to_message_id for one in found}
            if not waiting:
                break
            self._ask()
            time.sleep(PULL_SECONDS)
        return replies

    def _ask(self) -> None:
        if self._stop.is_set() or self._machine.budget.spent():
            raise self._loop.stop("within a round")


@contextmanager
def _ray(processes: int) -> Iterator[None]:
    """Starts Ray with a number of processes; the program's own handling of SIGTERM stays."""
    import ray

    own = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    path = os.pathsep.join([*(one for one in sys.path if one), os.getcwd()])
    ray.init(
        address="local", num_cpus=processes, include_dashboard=False, logging_level=logging.CRITICAL,
        log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": path}}, configure_logging=True,
    )  # fmt: skip
    if own:
        signal.signal(signal.SIGTERM, before)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Flower from telling every message; what has to be told, the strategy says."""
    logger = logging.getLogger("flwr")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
