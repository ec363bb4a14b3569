"""The command in processes of their own, which start at once: for tests of many at a time and of kills.

Two more protocols are known there, under which students cost next to nothing: ``tiny`` and ``tiny-graph``.
"""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

PRELOADED = [
    "condense.cli.app", "condense.runner.run", "condense.runner.reevaluate", "condense.board.render",
    "condense.board.plots", "kornia", "sklearn.datasets", "sklearn.metrics", "torch._dynamo",
]  # fmt: skip
"""What the server, from which processes are forked, imports once."""


def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


SERVER = _server()


KILL_AT = "TESTS_KILL_AT"
"""The setting that lets a command kill itself at its n-th change of the disk, counted from 0."""
CHANGES = ("replace", "rename", "unlink", "rmdir", "fsync", "link")
"""The functions of `os` that count as changes of the disk."""


def _kill_at(number: int) -> None:
    """Lets the process kill itself ahead of its n-th change of the disk."""
    left = iter(range(number, -1, -1))

    def ahead_of(change: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: object, **named: object) -> object:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **named)

        return changed

    for name in CHANGES:
        setattr(os, name, ahead_of(getattr(os, name)))


def _command(arguments: list[str], folder: str, log: str, settings: dict[str, str]) -> None:
    """Runs the command in a folder; what it prints goes to a file."""
    os.environ.update(settings)
    os.chdir(folder)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = ["condense", *arguments]
    if KILL_AT in settings:
        _kill_at(int(settings[KILL_AT]))
    from dataclasses import replace

    from condense import protocols
    from condense.__main__ import main
    from condense.protocol import Protocol, Stage

    tiny = Protocol(name="tiny", stages=(Stage(epochs=2),), seeds=240)
    graphs = replace(protocols.GRAPH_V1, name="tiny-graph", steps=2, seeds=240)
    protocols.PROTOCOLS = {**protocols.PROTOCOLS, tiny.name: tiny, graphs.name: graphs}
    main()


class Place:
    """A folder with a home, records and sets of its own, in which commands run.

    Args:
        folder: The folder, which is made.
        settings: Environment variables of the commands.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder, self.home = folder, folder / "home"
        self.settings = {"CONDENSE_HOME": str(self.home), "OMP_NUM_THREADS": "1", **settings}
        self._started = 0
        folder.mkdir(parents=True)

    def start(self, *arguments: str, **settings: str) -> BaseProcess:
        """Starts a command, with settings of its own."""
        log = self.folder.with_name(f"{self.folder.name}-{self._started}.log")
        self._started += 1
        given = (list(arguments), str(self.folder), str(log), self.settings | settings)
        process = SERVER.Process(target=_command, args=given)
        process.start()
        return process

    def run(self, *arguments: str) -> None:
        """Runs a command to its end, which must be a good one."""
        self.end([self.start(*arguments)])

    def end(self, processes: list[BaseProcess]) -> None:
        """Waits for processes; all of them must end well."""
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(processes), self.told()

    def told(self) -> str:
        """What all commands have printed so far, one after the other."""
        logs = sorted(self.folder.parent.glob(f"{self.folder.name}-*.log"))
        return "\n".join(log.read_text() for log in logs)

    def tree(self) -> list[str]:
        """The paths of all files."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.folder).as_posix() for path in found)

    def results(self) -> dict[str, object]:
        """What is bound to be the same each time: the hashes of sets and the scores of all students."""
        found: dict[str, object] = {}
        for path in self.folder.glob("sets/*/set.json"):
            found[path.parent.name] = json.loads(path.read_text())["provenance"]["hash"]
        for path in self.folder.glob("results/*/*.json"):
            entries = json.loads(path.read_text())["entries"]
            found[path.name] = {one["seed"]: (one["accuracy"], one.get("auc")) for one in entries}
        return found
