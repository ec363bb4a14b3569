"""Errors that end the work on one cell: what is told, and that all other cells are filled."""

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from condense.errors import Failed, Refused, Stopped
from condense.resources import Machine
from condense.runner import executors, worker
from condense.runner.cell import CellSpec
from condense.runner.faults import less_memory, refusal
from condense.runner.units import Unit
from condense.runner.worker import Done, attempt
from tests.runner.small_cells import places

CELL = CellSpec(method="mtt+fyi", dataset="digits")


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as found:
        return found


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "it: out of memory (too large); a smaller syn_steps or a smaller batch_syn or "),
        (torch.OutOfMemoryError("CUDA out of memory"), "it: out of memory (CUDA out of memory); a smaller "),
        (RuntimeError("can't allocate memory: 9 bytes"), "it: out of memory (can't allocate memory: 9"),
        (OSError(28, "No space left", "file"), "it: cannot use file: No space left"),
        (IndexError("no such\nstep"), "it: IndexError: no such"),
        (AssertionError(), "it: AssertionError: AssertionError"),
    ],
)
def test_an_error_becomes_one_sentence_that_names_what_was_at_work(error: Exception, told: str) -> None:
    found = refusal(raised(error), CELL, stage="distil", title="it")
    assert str(found).startswith(told) and "\n" not in str(found)
    assert found.__traceback__ is None and found.__context__ is None, "it would keep the tensors of the work"
    if isinstance(error, IndexError | AssertionError):
        again = pickle.loads(pickle.dumps(found))
        assert isinstance(again, Failed) and "in raised" in again.trace and str(again) == str(found)
    assert refusal(Refused("no"), CELL).reason == "no"


def test_settings_that_take_less_memory_are_those_of_the_stage() -> None:
    assert less_memory(CELL, "distil") == "a smaller syn_steps or a smaller batch_syn or a narrower network"
    assert less_memory(CELL, "student") == less_memory(CellSpec(method="whole")) == "a smaller student"
    assert less_memory(CELL) == f"{less_memory(CELL, 'distil')} or a smaller student"


def unit(key: str, *needs: str) -> Unit:
    return Unit(stage="distil", key=key, cell=CELL, title=key, needs=needs, group=key)


def test_a_unit_that_fails_is_an_end_and_no_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise MemoryError

    monkeypatch.setattr(worker, "run_unit", fail)
    first = attempt(unit("a"), places(tmp_path), Machine())
    assert str(first.refused).startswith("a: out of memory")
    assert attempt(unit("b", "a"), places(tmp_path), Machine(), [first]).refused is first.refused


class TaskError(Exception):
    """What Ray raises for an exception of a task."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class StoppedTask(TaskError, Stopped):
    """What Ray raises for a task that was stopped too often: an error of both kinds."""


def test_a_task_of_ray_that_was_stopped_or_failed_ends_no_other() -> None:
    names = ("WorkerCrashedError", "OutOfMemoryError", "NodeDiedError", "ObjectLostError", "RaySystemError")
    broken: dict[str, Any] = {name: type(name, (Exception,), {}) for name in names}
    ends: dict[str, object] = {
        "stopped": StoppedTask(Stopped("SIGTERM")), "failed": TaskError(IndexError("no such step")),
        "died": broken["NodeDiedError"](), "fine": Done(key="fine"),
    }  # fmt: skip

    def get(ref: str) -> object:
        if isinstance(end := ends[ref], Exception):
            raise end
        return end

    ray = SimpleNamespace(
        exceptions=SimpleNamespace(RayTaskError=TaskError, **broken), get=get,
        wait=lambda refs, **_: (refs[:1], refs[1:]),
    )  # fmt: skip
    found = {done.key: done for done in executors._ended(ray, {ref: unit(ref) for ref in ends}) if done}
    assert {key: str(done.refused) for key, done in found.items()} == {
        "stopped": "stopped: its process has died again and again (it was stopped)",
        "failed": "failed: IndexError: no such step",
        "died": "died: its process has died again and again (NodeDiedError)",
        "fine": "None",
    }
