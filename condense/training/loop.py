"""The resumable loop of every long computation, with phases, progress, a time limit, checkpoints and events.

A loop that is killed at any instant and started again ends with the same bits as one that is not killed, on
the same machine with the same number of threads and the same versions. This holds because a checkpoint
contains everything that the loop body depends on: the state that the caller names, the random generator, and
the end states of finished phases.
"""

import math
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from condense.errors import Damaged, Refused, Stopped
from condense.events import Teller
from condense.resources import Budget, PeakMemory
from condense.termination import asking
from condense.training.checkpoint import Checkpoints, Tree
from condense.training.progress import Cost, Progress
from condense.training.rehearsal import rehearsed

State = dict[str, object]
"""The objects that a loop body changes, by name: tensors, numbers, or objects with ``state_dict``."""


def checkpoint_seconds() -> float:
    """Returns the least time between two checkpoints: ``$CONDENSE_CHECKPOINT_SECONDS``, else ten seconds."""
    text = os.environ.get("CONDENSE_CHECKPOINT_SECONDS") or "10"
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise Refused(f"CONDENSE_CHECKPOINT_SECONDS={text} is no number of seconds")
    return seconds


def capture(state: State) -> dict[str, object]:
    """Returns the values of a state as a tree that a checkpoint can hold."""
    return {
        name: value.state_dict() if hasattr(value, "state_dict") else value for name, value in state.items()
    }


def copied(tree: object) -> object:
    """Returns a copy of a tree that shares no memory with it, so that later steps cannot change the copy."""
    if isinstance(tree, Tensor):
        return tree.detach().clone()
    if isinstance(tree, Mapping):
        return {key: copied(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [copied(value) for value in tree]
    return tree


def restore(state: State, saved: dict[str | int, Tree], without: Collection[str] = ()) -> None:
    """Restores saved values, but not those named in `without`: objects in place, numbers in the mapping.

    Raises:
        Damaged: if a value is missing, or a file that an object keeps beside the checkpoint is not the one
            that was written. Nothing is restored then. Such an object has a method ``verify_files``, which
            takes its saved state.
    """
    for name, value in state.items():
        if name in without:
            continue
        if name not in saved:
            raise Damaged(f"the checkpoint of another version holds no {name}")
        if hasattr(value, "verify_files"):
            value.verify_files(saved[name])
    for name, value in state.items():
        if name in without:
            continue
        old = saved[name]
        if isinstance(value, Tensor):
            assert isinstance(old, Tensor)
            with torch.no_grad():
                value.copy_(old)
        elif hasattr(value, "load_state_dict"):
            value.load_state_dict(copied(old))  # an optimiser would keep the very tensors
        else:
            state[name] = old


class Loop:
    """Runs steps that survive a kill, keep to a time limit and report their progress.

    Args:
        folder: Folder for the checkpoints; None keeps none.
        rng: The generator that the body draws from; it is saved and restored with the state.
        device: The device that the body computes on, whose peak memory is measured.
        budget: The time limit.
        title: Shown in front of the progress; the task of the events: see `condense.events`.
        remedy: What the user can do when the loss is not finite.
        every_seconds: Least time between two checkpoints; None for `checkpoint_seconds`. It is at least
            twenty times the time that it takes to write a checkpoint.
        cost: What is said ahead of a long computation; None says nothing.
        kept: Whether the folder stays when the work is stopped.
    """

    def __init__(
        self,
        folder: Path | None,
        rng: torch.Generator,
        *,
        device: torch.device,
        budget: Budget,
        title: str,
        remedy: str,
        every_seconds: float | None = None,
        cost: Cost | None = None,
        kept: bool = True,
    ) -> None:
        self.rng, self.title, self.remedy = rng, title, remedy
        self._teller = Teller(title)
        self._checkpoints = None if folder is None else Checkpoints(folder)
        self._budget, self._kept = budget, kept and folder is not None
        self._memory = PeakMemory(device)
        self._device, self._cost = device, cost
        self._every = checkpoint_seconds() if every_seconds is None else every_seconds
        self._finished: dict[str, object] = {}
        self._current: tuple[str, dict[str | int, Tree]] | None = None
        self._phases: set[str] = set()
        self._before = 0.0
        self._started = time.monotonic()
        self._extra = 0.0
        self._values: dict[str, Tensor | float] = {}
        self._step: int | None = None
        self._progress: Progress | None = None
        self._bad = torch.tensor(-1, device=device)
        self._good_step = 0
        self._read()

    # The caller's side -----------------------------------------------------------------------------------

    def steps(
        self,
        n: int,
        state: State,
        phase: str = "distil",
        *,
        passing: Collection[str] = (),
        last: bool = False,
        always: bool = False,
    ) -> Iterator[int]:
        """Yields the numbers of the steps that are still to be done, from the last checkpoint on.

        The body of a step runs between two yields. If the phase is already finished, its end state is
        restored and nothing is yielded.

        Args:
            n: Total number of steps.
            state: The objects that the body changes; they are restored in place when the loop is resumed.
            phase: Name of the phase; a run uses each name once.
            passing: Names of the objects that the end state of the phase leaves out.
            last: Whether the caller stores and prints the result at once, so that the end of the phase is
                neither saved nor printed.
            always: Whether a checkpoint is written after every step, however long that takes.

        Raises:
            Stopped: if the time limit is reached; a checkpoint is written first if there is a folder for it.
            Refused: if a logged value is not finite.
        """
        assert phase not in self._phases, f"the phase {phase!r} was already run"
        self._phases.add(phase)
        start = 0
        try:
            if phase in self._finished:
                self._resume(state, self._finished[phase], passing)
                return
            if (current := self._current) is not None and current[0] == phase:
                start = self._resume(state, current[1])
        except Damaged as error:
            print(f"{error}; {self.title} starts over with phase {phase}", file=sys.stderr, flush=True)
            earlier = self._phases - {phase}
            self._finished = {name: end for name, end in self._finished.items() if name in earlier}
            self._current = None
        written, cost = time.monotonic(), 0.0
        self._good_step = start
        progress = self._progress = Progress(self._teller, phase, start, n)
        try:
            progress.begin(self.seconds)
            with asking(), rehearsed(progress, self._memory) as enough:
                for step in range(start, n):
                    self._step = step
                    yield step
                    now = time.monotonic()
                    progress.estimate(step + 1, now, self._cost, self._device)
                    if progress.due(now):
                        self._check_finite(phase)
                        progress.show(step + 1, self._numbers(), self.seconds, self._memory.peak())
                    out = self._budget.spent(now)
                    if out or always or now - written > max(self._every, 20 * cost):
                        self._write(phase, step + 1, state)
                        written = time.monotonic()
                        cost = written - now
                    if out and step + 1 < n:
                        raise self.stop(f"phase {phase}, step {step + 1} of {n}")
                    if enough():
                        break
            self._check_finite(phase)
            progress.show(n, self._numbers(), self.seconds, self._memory.peak(), printed=not last)
        finally:
            self._progress = None
            progress.close()
        if last:
            return
        kept: State = {name: value for name, value in state.items() if name not in passing}
        self._finished[phase] = copied(self._snapshot(n, kept))
        self._current = None
        self._save()

    def log(self, **values: Tensor | float) -> None:
        """Records a step's values, such as its loss; they are read off the device only when they are shown.

        A value that is not finite stops the run with the number of the first step at which it was not.
        """
        self._values = {k: v.detach() if isinstance(v, Tensor) else v for k, v in values.items()}
        if self._step is None:
            return
        for value in self._values.values():
            if isinstance(value, float) and math.isfinite(value):
                continue
            fine = torch.isfinite(value).all() if isinstance(value, Tensor) else False
            self._bad = torch.where((self._bad >= 0) | fine, self._bad, self._step)

    def stop(self, where: str) -> Stopped:
        """Returns the exception that stops the work at a place, and says whether a checkpoint is kept."""
        return self._budget.stop(f"{self.title}, {where}", kept=self._kept)

    def measured(self, step: int, **values: float) -> None:
        """Tells at once what was measured after a number of steps of the phase under way."""
        if self._progress is not None:
            self._progress.tell(step, values)

    def charge(self, seconds: float, elapsed: float) -> None:
        """Charges the seconds that shared work took when it was done, in place of those that elapsed now."""
        self._extra += seconds
        self._started += elapsed

    @property
    def seconds(self) -> float:
        """Seconds spent so far, over all restarts, including what was charged."""
        return self._before + time.monotonic() - self._started + self._extra

    @property
    def peak_bytes(self) -> int:
        """Peak memory so far, over all restarts: see `condense.resources.PeakMemory`."""
        return self._memory.peak()

    def keep_peak(self) -> None:
        """Keeps the peak memory so far, before work inside this loop measures its own."""
        self._memory.at_least(self._memory.peak())

    def done(self) -> None:
        """Removes the checkpoints."""
        if self._checkpoints is not None:
            self._checkpoints.remove()

    # Checkpoints -----------------------------------------------------------------------------------------

    def _read(self) -> None:
        if self._checkpoints is None:
            return
        tree = self._checkpoints.read()
        then = "starting over" if tree is None else "going on from the one before it"
        for path in self._checkpoints.damaged:
            print(f"{path.name} is damaged; {then}", file=sys.stderr)
        if tree is None:
            return
        seconds, peak, finished = tree["seconds"], tree["peak_bytes"], tree["finished"]
        assert isinstance(seconds, float) and isinstance(peak, int) and isinstance(finished, dict)
        self._before = seconds
        self._memory.at_least(peak)
        self._finished = {str(name): value for name, value in finished.items()}
        if isinstance(current := tree["current"], dict):
            snapshot = current["snapshot"]
            assert isinstance(snapshot, dict)
            self._current = (str(current["phase"]), snapshot)

    def _snapshot(self, step: int, state: State) -> dict[str, object]:
        return {"step": step, "state": capture(state), "rng": self.rng.get_state()}

    def _resume(self, state: State, snapshot: object, without: Collection[str] = ()) -> int:
        assert isinstance(snapshot, dict) and isinstance(snapshot["step"], int)
        restore(state, snapshot["state"], without)
        self.rng.set_state(snapshot["rng"])
        return snapshot["step"]

    def _write(self, phase: str, step: int, state: State) -> None:
        self._check_finite(phase)
        self._good_step = step
        self._save({"phase": phase, "snapshot": self._snapshot(step, state)})

    def _save(self, current: dict[str, object] | None = None) -> None:
        if self._checkpoints is None:
            return
        # What was charged is charged again by the code that reruns, so it is not saved.
        cost = {"seconds": self.seconds - self._extra, "peak_bytes": self._memory.peak()}
        self._checkpoints.write({**cost, "finished": self._finished, "current": current})

    # Reports ---------------------------------------------------------------------------------------------

    def _numbers(self) -> dict[str, float]:
        return {name: float(value) for name, value in self._values.items()}

    def _check_finite(self, phase: str) -> None:
        if (step := int(self._bad)) >= 0:
            good = f"the last good state is that of step {self._good_step}"
            raise Refused(f"the loss is not finite at step {step} of phase {phase}; {good}; {self.remedy}")
