"""Units on Ray: the same results, workers that die, machines without a shared disk, an interrupt."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest
from psutil import Error, Process

from condense.resources import Machine
from condense.runner import executors, spread
from condense.runner.cell import CellSpec
from condense.runner.executors import Where
from condense.runner.spread import do_units
from tests.runner.small_cells import in_one_process, outcome, places

pytest.importorskip("ray", reason="Ray is an extra", exc_type=ImportError)
pytestmark = pytest.mark.ray

PRUNED = {"fraction": 0.1, "protocol": "prune-short-v1", "student": "mlp"}
DM = {"iterations": 200, "batch_real": 16, "network": "mlp"}
CELLS = [
    CellSpec(method="random_subset", student="mlp", seeds=(0, 1)),
    CellSpec(method="dm", student="mlp", eval_seeds=2, params=DM),
    CellSpec(method="rs2", **PRUNED),  # type: ignore[arg-type]
    CellSpec(method="majority"),
]
"""Cells of the bundled digits, under protocols that every process knows."""


@pytest.fixture(autouse=True)
def one_thread(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("alone")
    before = os.environ.get("CONDENSE_HOME")
    os.environ["CONDENSE_HOME"] = str(folder / "home")
    yield in_one_process(CELLS, folder)
    os.environ.pop("CONDENSE_HOME")
    os.environ |= {} if before is None else {"CONDENSE_HOME": before}


def test_ray_comes_to_what_one_process_comes_to_and_skips_what_is_refused(
    expected: dict[str, object], tmp_path: Path
) -> None:
    bad = CellSpec(method="dm", student="mlp", params=DM | {"lr_images": 1e30})
    refused = do_units([bad, *CELLS], places(tmp_path), Machine(), where=Where("ray"))
    assert [*refused] == [0] and "dm" in str(refused[0]) or "finite" in str(refused[0])
    assert outcome(places(tmp_path)) == expected


def test_a_unit_that_needs_more_memory_than_any_machine_has_takes_all_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "memory_of", lambda cells, machine: Everything())
    paths = places(tmp_path)
    assert do_units(CELLS[3:], paths, Machine(), where=Where("ray")) == {}
    assert len(outcome(paths)) == 1


class Everything(dict[str, int]):
    """Each unit needs an exabyte."""

    def get(self, key: str, default: int = 0) -> int:  # type: ignore[override]
        return 10**18


def test_without_a_shared_disk_sets_and_records_come_back_as_bytes(
    expected: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = places(tmp_path)
    do_units(CELLS[:1], paths, Machine())  # one set is stored, and its record is gone: a student lacks it
    next(paths.results.glob("*/*.json")).unlink()
    monkeypatch.setattr(executors, "_all_see", lambda ray, nodes, site: False)
    assert do_units(CELLS, paths, Machine(), where=Where("ray")) == {}
    assert outcome(paths) == expected


def command(folder: Path, *more: str) -> subprocess.Popen[str]:
    """Starts a bench of the digits in a folder, on Ray."""
    (folder / "queue.toml").write_text(
        '[[cell]]\nmethod = "dm"\nstudent = "mlp"\neval_seeds = 2\n'
        "params = { iterations = 3000, batch_real = 64, network = 'mlp' }\n"
    )
    words = [sys.executable, "-m", "condense", "bench", "queue.toml", "--on", "ray", *more]
    settings = {**os.environ, "CONDENSE_HOME": str(folder / "home"), "CONDENSE_CHECKPOINT_SECONDS": "0"}
    return subprocess.Popen(words, cwd=folder, env=settings, stderr=subprocess.PIPE, text=True)


def at_work(running: subprocess.Popen[str], title: str) -> Any:
    """Waits for the process of Ray that is at a unit, which has the unit's title as its name."""
    ends, placing = time.monotonic() + 120, cast(Any, Process)(running.pid)
    while time.monotonic() < ends:
        for process in placing.children(recursive=True):
            with suppress(Error):
                if process.cmdline()[:1] == [f"ray::{title}"]:
                    return process
        time.sleep(0.1)
    raise AssertionError(f"no process of Ray came to {title}")


def steps_begun(folder: Path, times: int) -> list[int]:
    """Waits until the distillation was begun so many times and has gone on; returns where it was begun."""
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        lines = [
            line for file in (folder / "home").glob("events/digits-dm-*/dm*.jsonl") for line in file.open()
        ]
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        begun = [event["step"] for event in events if event["event"] == "begin"]
        if len(begun) >= times and events[-1]["event"] == "step":
            return begun
        time.sleep(0.1)
    raise AssertionError(f"not begun {times} times: {begun}")


def test_a_killed_worker_is_replaced_and_sigterm_leaves_a_checkpoint(tmp_path: Path) -> None:
    running = command(tmp_path)
    first = at_work(running, "dm digits ipc 1 seed 0")
    begun = steps_begun(tmp_path, 1)
    first.kill()
    first.wait(60)
    second = at_work(running, "dm digits ipc 1 seed 0")
    assert second.pid != first.pid
    begun = steps_begun(tmp_path, 2)
    assert begun[0] == 0 < begun[1], "the second process goes on from a checkpoint of the first"
    running.send_signal(signal.SIGTERM)
    _, told = running.communicate(timeout=120)
    assert running.returncode == 3 and "SIGTERM ended the work (after 0 of 3 units)" in told
    again = command(tmp_path)
    _, told = again.communicate(timeout=240)
    assert again.returncode == 0
    assert steps_begun(tmp_path, 3)[2] > begun[1], "and the third one from that of the second"
    paths = places(tmp_path)
    ((name, entries),) = [(name, value) for name, value in outcome(paths).items() if name.endswith(".json")]
    assert [seed for seed, _ in entries] == [0, 1] and "dm" in name  # type: ignore[attr-defined]
