"""What every method may ask of its surroundings, whatever kind of data it distils: loop, log and cost."""

import sys
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

from condense.distillation.method import Method, Recipe
from condense.files import digest
from condense.resources import Budget, device_name, versions
from condense.store.manifest import Link, MethodPart
from condense.training.loop import Loop, State


class Costly(Protocol):
    """Work that runs share, with what it once cost."""

    @property
    def seconds(self) -> float:
        """The time that it took, whoever did it."""


Shared = TypeVar("Shared", bound=Costly)


class Run:
    """A method's surroundings, but for its data. It holds no test data.

    Attributes:
        ipc: Samples per class to make.
        rng: The one source of randomness, on the CPU; draws are moved to the device.
        device: Where to compute.
        cache: Folder for what is shared between runs.
    """

    def __init__(
        self,
        method: Method,
        *,
        dataset: str,
        train_hash: str,
        ipc: int,
        seed: int,
        recipe: Recipe | None,
        device: torch.device,
        budget: Budget,
        cache: Path,
    ) -> None:
        self.ipc, self.device, self.cache = ipc, device, cache
        self.rng = torch.Generator().manual_seed(seed)
        self._method, self._recipe, self._seed = method, recipe, seed
        self._train_hash, self._budget = train_hash, budget
        self._key = run_key(method, train_hash, ipc, seed)
        self._folder = cache / "runs" / self._key[:32]
        self._loop = Loop(
            self._folder,
            self.rng,
            device=device,
            budget=budget,
            title=f"{method.title} on {dataset}",
            remedy=method.remedy,
        )

    def steps(
        self, n: int, state: State, phase: str = "distil", *, passing: Collection[str] = ()
    ) -> Iterator[int]:
        """The loop of a method: see `condense.training.loop.Loop.steps`."""
        return self._loop.steps(n, state, phase, passing=passing)

    def log(self, **values: Tensor | float) -> None:
        """Notes a step's loss and the like: see `condense.training.loop.Loop.log`."""
        self._loop.log(**values)

    def warn(self, sentence: str) -> None:
        """Says something on standard error that does not keep the run from going on."""
        print(f"warning: {sentence}", file=sys.stderr, flush=True)

    def done(self) -> None:
        """Removes the checkpoints, once the set is on disk."""
        self._loop.done()

    def _charged(self, make: Callable[[], Shared]) -> Shared:
        """What runs share, made or taken from the cache, at the time that it once cost."""
        before = self._loop.seconds
        self._loop.keep_peak()
        found = make()
        self._loop.charge(found.seconds, self._loop.seconds - before)
        return found

    def _described(self) -> MethodPart:
        """The method and where its settings come from, for the set's manifest."""
        return {
            "name": self._method.title,
            "chain": cast(list[Link], self._method.chain()),
            "source": self._recipe.cited_by(self._method) if self._recipe else None,
        }

    def _protocol(self) -> dict[str, object] | None:
        """The evaluation that the settings were published with, for the set's manifest."""
        protocol = self._recipe.protocol if self._recipe else None
        return protocol.to_json() if protocol else None

    def _provenance(self) -> dict[str, object]:
        return {
            "versions": versions(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(self._loop.seconds, 3),
            "peak_bytes": self._loop.peak_bytes,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def run_key(method: Method, train_hash: str, ipc: int, seed: int) -> str:
    """The name of a run by all that its result depends on, but for machine and versions."""
    return digest({"chain": cast(list[Link], method.chain()), "train": train_hash, "ipc": ipc, "seed": seed})
