"""Expert trajectories: networks trained on real images, with their parameters after each epoch.

They are in the cache (``experts/<key>/``), shared by all methods that ask for the same training on the same
images. A training that was stopped goes on where it stopped, and one that is asked for more epochs goes on
where it ended. If a file is damaged, this is said, and its expert is trained again.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import median
from time import monotonic

import torch
from jaxtyping import Float
from torch import Tensor

from condense.data import Images, ImageSpec
from condense.errors import Damaged, Refused
from condense.files import digest, in_bytes, locked, locked_if_free, tidy
from condense.resources import Budget, PeakMemory, duration
from condense.training.expert_files import (
    Expert,
    Rows,
    read_expert,
    stored_epochs,
    tensor_bytes,
    write_expert,
)
from condense.training.expert_steps import ExpertTraining, Stacked
from condense.training.loop import Loop, State
from condense.training.rehearsal import Rehearsal, Shared, under_way

__all__ = ["ExpertTraining", "Experts", "experts"]

_FIRST, _TIMED, _SECONDS = 2, 12, 2.0
"""Steps that are slower than those after them; steps of an estimate, fewer if they take two seconds."""
_DRIFT = 0.01
"""Relative change of an imagined expert's parameters in an epoch."""


@dataclass(frozen=True)
class Experts:
    """Trained experts, read snapshot by snapshot.

    Attributes:
        stored: The experts' files, which may hold more epochs than were asked for.
        epochs: Number of epochs that were asked for.
        device: The device that snapshots are put on.
    """

    stored: tuple[Expert, ...]
    epochs: int
    device: torch.device

    def __len__(self) -> int:
        """Returns the number of experts."""
        return len(self.stored)

    def at(self, expert: int, epoch: int) -> Float[Tensor, " p"]:
        """Returns an expert's parameters, in the order of ``parameters()``, after ``epoch`` epochs.

        Raises:
            IndexError: if there is no such expert, or the epoch was not asked for.
        """
        if not (0 <= expert < len(self) and 0 <= epoch <= self.epochs):
            raise IndexError(f"expert {expert}, epoch {epoch} of {len(self)} experts, {self.epochs} epochs")
        return self.stored[expert].snapshot(epoch).to(self.device)

    @property
    def hash(self) -> str:
        """SHA-256 of all snapshots that were asked for."""
        return digest([list(one.rows[: self.epochs + 1]) for one in self.stored])

    @property
    def seconds(self) -> float:
        """Time that the epochs took that were asked for, in whichever run."""
        return sum(one.seconds * self.epochs / one.epochs for one in self.stored)


def experts(
    training: ExpertTraining,
    count: int,
    epochs: int,
    train: Images,
    spec: ImageSpec,
    space: str,
    *,
    cache: Path,
    budget: Budget,
    say: Callable[[str], None],
) -> Experts:
    """Returns experts, which are read from the cache or else trained now.

    Expert e is drawn from the seed e, so that more experts or more epochs extend what is there.

    Args:
        training: How they are trained.
        count: Number of experts, at least one.
        epochs: Number of epochs of each expert, at least one.
        train: Training images in the pixel space ``space``, on the device to train on.
        spec: The dataset's specification.
        space: Name of the pixel space.
        cache: Folder for what is shared between runs.
        budget: The time limit; after it the next call goes on from there.
        say: Called with sentences: what is about to be trained at what cost, and which files are damaged.

    Raises:
        Refused: if the disk has no room for them, or a loss is not finite.
        Stopped: if the time limit is reached.
    """
    pixels = {"space": space, "mean": spec.mean, "std": spec.std}
    values = {"training": training.describe(), "train": train.hash, "pixels": pixels, "dsa": spec.dsa}
    folder = cache / "experts" / digest(values)[:32]
    job = _Job(training, epochs, train, spec, folder, budget)
    found = {expert: _found(folder, expert) for expert in range(count)}
    if _too_short(found, epochs):
        with locked(folder, what=f"trains experts ({job.what})", budget=budget):
            found = {expert: _found(folder, expert, say) for expert in range(count)}
            _remove_finished(folder)
            if missing := _too_short(found, epochs):
                if (rehearsal := under_way()) is not None:
                    return job.imagined(missing, count, rehearsal)
                at_once = job.announce(missing, say)
                for group in _groups(missing, at_once):
                    found |= job.train(group)
    else:
        tidy(folder)
        if any(folder.glob(_work("*"))):
            with locked_if_free(folder) as free:
                if free:
                    _remove_finished(folder)
    stored = tuple(one for one in found.values() if one is not None)
    return Experts(stored, epochs, train.images.device)


def _too_short(found: Mapping[int, Expert | None], epochs: int) -> dict[int, Expert | None]:
    """Returns the experts that are missing or were trained for fewer epochs."""
    return {expert: there for expert, there in found.items() if _epochs(there) < epochs}


@dataclass(frozen=True)
class ImaginedExperts(Experts):
    """What stands for experts in a rehearsal: parameters that drift from epoch to epoch.

    Attributes:
        count: Number of experts.
        parameters: The parameters of all of them before the first epoch.
    """

    count: int
    parameters: Float[Tensor, " p"]

    def __len__(self) -> int:
        return self.count

    def at(self, expert: int, epoch: int) -> Float[Tensor, " p"]:
        return self.parameters * (1 + _DRIFT * epoch)

    @property
    def hash(self) -> str:
        return digest(self.count)


@dataclass(frozen=True)
class _Job:
    """The training of the experts that are missing: see `experts` for the fields."""

    training: ExpertTraining
    epochs: int
    train_split: Images
    spec: ImageSpec
    folder: Path
    budget: Budget

    @property
    def what(self) -> str:
        """The training in words."""
        return f"{self.training.network} on {self.spec.name}, {self.epochs} epochs"

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-len(self.train_split) // self.training.batch)

    @property
    def device(self) -> torch.device:
        """The device to train on."""
        return self.train_split.images.device

    def announce(self, missing: Mapping[int, Expert | None], say: Callable[[str], None]) -> int:
        """Says what will be trained and at what cost, and returns how many experts are trained side by side.

        Raises:
            Refused: if the disk has no room for them.
        """
        memory = PeakMemory(self.device)
        idle = memory.peak()
        seconds, need, _ = self.cost(missing)
        free = shutil.disk_usage(next(p for p in (self.folder, *self.folder.parents) if p.exists())).free
        noun = "expert" if len(missing) == 1 else "experts"
        what = f"{len(missing)} {noun} ({self.what}) take"
        if free < need:
            raise Refused(
                f"{what} {in_bytes(need)} in {self.folder}, where {in_bytes(free)} are free: set "
                "CONDENSE_HOME to a roomier folder, or ask for fewer"
            )
        say(f"{what} about {duration(seconds)}, and {in_bytes(need)} in {self.folder}")
        return _at_once(self.device, memory.peak() - idle)

    def cost(self, missing: Mapping[int, Expert | None]) -> tuple[float, int, Stacked]:
        """Returns the seconds that the training of experts takes, their bytes, and one that took a few steps.

        The time is that of steps that are made here.
        """
        scratch = Stacked(self.training, self.spec, [0], self.device)
        scratch.begin(0, len(self.train_split))
        times = list[float]()
        while len(times) < _FIRST + 1 or (len(times) < _TIMED and sum(times) < _SECONDS):
            started = monotonic()
            float(scratch.step(self.train_split, 0, len(times) % self.steps))
            times.append(monotonic() - started)
        epochs = sum(self.epochs - _epochs(there) for there in missing.values())
        seconds = median(times[_FIRST:]) * self.steps * epochs
        return seconds, len(missing) * tensor_bytes(scratch.theta.shape[1], self.epochs), scratch

    def imagined(
        self, missing: Mapping[int, Expert | None], count: int, rehearsal: Rehearsal
    ) -> "ImaginedExperts":
        """Tells a rehearsal what the training of experts would cost, and returns what stands for them."""
        seconds, need, scratch = self.cost(missing)
        rehearsal.shared.append(Shared(self.folder.name, seconds, need))
        return ImaginedExperts((), self.epochs, self.device, count, scratch.theta[0])

    def train(self, group: Mapping[int, Expert | None]) -> dict[int, Expert]:
        """Trains experts with equally many stored epochs side by side to the last epoch, and stores them."""
        stacked = Stacked(self.training, self.spec, list(group), self.device)
        before = [_begun(stacked, place, there) for place, there in enumerate(group.values())]
        done, numbers = _epochs(next(iter(group.values()))), "-".join(map(str, group))
        work = self.folder / _work(numbers, done, self.epochs)
        with Rows(work, stacked.theta.shape) as rows:
            loop = Loop(
                work, torch.Generator(), device=self.device, budget=self.budget,
                title=f"expert {numbers} on {self.spec.name}", remedy="lower the experts' learning rate",
            )  # fmt: skip
            state: State = {"rows": rows, "experts": stacked}
            for step in loop.steps((self.epochs - done) * self.steps, state, phase="train"):
                epoch, batch = divmod(step, self.steps)
                if batch == 0:
                    stacked.begin(done + epoch, len(self.train_split))
                loop.log(loss=stacked.step(self.train_split, done + epoch, batch).mean())
                if batch == self.steps - 1:
                    rows.write(epoch, stacked.theta)
            after = rows.read()
        made = {}
        for place, (expert, there) in enumerate(group.items()):
            snapshots = torch.cat([before[place], after[:, place]])
            seconds = loop.seconds / len(group) + (there.seconds if there else 0.0)
            end = stacked.velocity[place], stacked.rngs[place].get_state()
            made[expert] = write_expert(_file(self.folder, expert), snapshots, *end, seconds)
        shutil.rmtree(work, ignore_errors=True)
        return made


def _begun(stacked: Stacked, place: int, there: Expert | None) -> Float[Tensor, "rows p"]:
    """Returns the snapshots so far, and puts one of the networks where the stored training ended."""
    if there is None:
        return stacked.theta[place : place + 1].cpu().clone()
    snapshots, velocity, rng = there.whole()
    stacked.theta[place] = snapshots[-1].to(stacked.theta.device)
    stacked.velocity[place] = velocity.to(stacked.theta.device)
    stacked.rngs[place].set_state(rng)
    return snapshots


def _groups(missing: Mapping[int, Expert | None], at_once: int) -> Iterator[dict[int, Expert | None]]:
    """Yields groups of experts to train side by side: in order, with equally many epochs done."""
    for _, alike in groupby(missing.items(), key=lambda item: _epochs(item[1])):
        items = list(alike)
        for first in range(0, len(items), at_once):
            yield dict(items[first : first + at_once])


def _at_once(device: torch.device, each: int) -> int:
    """Returns how many experts are trained side by side: on a GPU at most ten, in 60 % of its memory.

    Args:
        device: The device.
        each: Bytes that a step of one expert takes.
    """
    if device.type != "cuda":
        return 1
    total = torch.cuda.get_device_properties(device).total_memory
    return max(1, min(10, int(0.6 * total / max(each, 1))))


def _file(folder: Path, expert: int) -> Path:
    return folder / f"expert-{expert:04d}.safetensors"


def _work(numbers: str, done: int | str = "*", epochs: int | str = "*") -> str:
    """Returns the name of the folder of a training of some experts that goes on after `done` epochs."""
    return f"training-{numbers}-from-{done}-to-{epochs}"


def _remove_finished(folder: Path) -> None:
    """Removes trainings that nobody goes on with: an expert of theirs is longer now than where they began.

    A process that is killed after it has stored its experts leaves such a folder.
    """
    for work in folder.glob(_work("*")):
        _, *numbers, _, done, _, _ = work.name.split("-")
        if any(stored_epochs(_file(folder, int(number))) != int(done) for number in numbers):
            shutil.rmtree(work, ignore_errors=True)


def _found(folder: Path, expert: int, say: Callable[[str], None] | None = None) -> Expert | None:
    """Reads an expert; a damaged one is none. Who holds the lock says so and removes its file."""
    path = _file(folder, expert)
    try:
        return read_expert(path)
    except Damaged:
        if say is not None:
            say(f"{path} is damaged: expert {expert} is trained again")
            path.unlink(missing_ok=True)
        return None


def _epochs(there: Expert | None) -> int:
    return there.epochs if there else 0
