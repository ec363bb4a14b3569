"""The run that a method is given, whatever kind of data it distils: its loop, its log and its cost."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from condense.data import DatasetSpec
from condense.errors import Refused
from condense.files import digest
from condense.protocol import Protocol as Evaluation
from condense.resources import Machine, device_name, versions
from condense.store.manifest import FORMAT, VERSION, ChainLinkPart
from condense.training.loop import Loop, State
from condense.training.progress import Cost
from condense.training.rehearsal import under_way

COUNTS = "counts"
"""The name under which `RunSettings.given` holds the samples of each class, if they are not `ipc` of each."""
FRACTION = "fraction"
"""The name under which it holds the fraction of the training samples in an epoch, in place of `ipc`."""

Spec = TypeVar("Spec", bound=DatasetSpec)

FAR = 100.0
"""Distance from the data's range, in standard deviations of the data, beyond which nothing is stored."""
_LARGE = 1e6
"""No learned value that means anything is larger, in whatever space it is."""
_LOOK_SECONDS = 10.0
"""Time between two looks at the learned values of a loop under way."""


@runtime_checkable
class Costly(Protocol):
    """A result that several runs share, such as a trained network."""

    @property
    def seconds(self) -> float:
        """The time that it took to make, in whichever run."""


Shared = TypeVar("Shared", bound=Costly)


def run_key(
    chain: Sequence[Mapping[str, object]],
    train_hash: str,
    ipc: int,
    seed: int,
    given: Mapping[str, object] | None = None,
) -> str:
    """Returns the name of a run: a hash of all that its result depends on except machine and versions.

    The arguments are those of the same names in `RunSettings`. Choices that were not given leave no trace in
    the hash.
    """
    links = cast(list[ChainLinkPart], list(chain))
    values = {"chain": links, "train": train_hash, "ipc": ipc, "seed": seed}
    return digest(values | ({"given": dict(given)} if given else {}))


def run_folder(key: str, cache: Path) -> Path:
    """Returns the folder of a run in the cache."""
    return cache / "runs" / key[:32]


@dataclass(frozen=True, kw_only=True)
class RunSettings(Generic[Spec]):
    """Everything that identifies a run, and what it may use.

    Attributes:
        title: Name of the method with its wrappers, such as ``dm+fyi``.
        chain: The method and its settings as JSON, one entry for each link.
        source: Where the settings are published; None if they are not.
        protocol: The evaluation protocol that the settings were published with, if any.
        network: Name of the network that the method works with; None if it works without.
        remedy: What the user can do when the loss is not finite.
        spec: Description of the dataset.
        train_hash: SHA-256 of the training split.
        ipc: Nominal samples per class.
        seed: Seed of the distillation.
        given: Choices about the data that a user may make and that enter the run key only where they are
            made, as JSON values by name; empty for almost all runs.
        machine: The device to compute on and the time limit.
        cache: Folder for checkpoints and for what is shared between runs.
        teachers: Files of teachers by the teachers' hashes.
        shorter: What makes the run shorter: see `condense.training.progress.Cost`.
    """

    title: str
    chain: Sequence[Mapping[str, object]]
    source: str | None
    protocol: Evaluation | None
    network: str | None
    remedy: str
    spec: Spec
    train_hash: str
    ipc: int
    seed: int
    machine: Machine
    cache: Path
    teachers: Mapping[str, Path]
    given: Mapping[str, object] = field(default_factory=dict)
    shorter: str = ""

    @property
    def key(self) -> str:
        """The name of the run: see `run_key`."""
        return run_key(self.chain, self.train_hash, self.ipc, self.seed, self.given)

    @property
    def counts(self) -> tuple[int, ...]:
        """Samples of each class to make: `ipc`, unless ``counts`` are given."""
        counts = cast(Sequence[int] | None, self.given.get(COUNTS))
        return (self.ipc,) * self.spec.num_classes if counts is None else tuple(counts)

    @property
    def folder(self) -> Path:
        """The run's own folder in the cache."""
        return run_folder(self.key, self.cache)


class Run(Generic[Spec]):
    """What a method is given beside the training samples. A run holds no test data.

    Attributes:
        spec: Description of the dataset.
        ipc: Nominal samples per class.
        counts: Samples of each class to make.
        fraction: Fraction of the training samples that an epoch takes, if that is given in place of `counts`.
        seed: Seed of the distillation, with which `rng` began.
        rng: The only source of randomness, a generator on the CPU; draws are moved to the device.
        device: The device to compute on.
        cache: Folder for what is shared between runs.
    """

    def __init__(self, settings: RunSettings[Spec]) -> None:
        self.spec, self.ipc, self.cache = settings.spec, settings.ipc, settings.cache
        self.counts, self.seed = settings.counts, settings.seed
        self.fraction = cast(float | None, settings.given.get(FRACTION))
        self.device, self._budget = settings.machine.device, settings.machine.budget
        self.rng = torch.Generator().manual_seed(settings.seed)
        self._settings = settings
        title = f"{settings.title} on {settings.spec.name}"
        self._loop = Loop(
            settings.folder, self.rng, device=self.device, budget=self._budget,
            title=title, remedy=settings.remedy, cost=Cost(title, settings.shorter),
        )  # fmt: skip

    def steps(
        self, n: int, state: State, phase: str = "distil", *, passing: Collection[str] = ()
    ) -> Iterator[int]:
        """Yields the steps of a method's loop: see `condense.training.loop.Loop.steps`.

        Raises:
            Refused: if what is learned has diverged; this is looked at every ten seconds.
        """
        looked = time.monotonic()
        for step in self._loop.steps(n, state, phase, passing=passing):
            yield step
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.requires_grad:
                        self._refuse_diverged(~(value.detach().abs() <= _LARGE), f"the {name}")

    def _refuse_diverged(self, outliers: Bool[Tensor, "*any"], what: str) -> None:
        """Refuses values some of which are not finite or far outside of the data's range.

        In a rehearsal images may hold whatever the memory held.
        """
        if (count := int(outliers.sum())) and under_way() is None:
            raise Refused(
                f"{what} have diverged: {count} of {outliers.numel()} values are not finite, or over {FAR:g} "
                f"standard deviations outside of the range of {self.spec.name}; {self._settings.remedy}"
            )

    def labels(self) -> Int64[Tensor, " n"]:
        """Returns the class ids of `counts` samples of each class, class after class, on the device."""
        counts = torch.tensor(self.counts, device=self.device)
        return torch.arange(len(counts), device=self.device).repeat_interleave(counts)

    @property
    def seconds(self) -> float:
        """Wall time so far, over all restarts, with that of shared results: see `Loop.seconds`."""
        return self._loop.seconds

    def log(self, **values: Tensor | float) -> None:
        """Records a step's loss and other values: see `condense.training.loop.Loop.log`."""
        self._loop.log(**values)

    def tell(self, sentence: str) -> None:
        """Prints what the run has found out to standard error."""
        print(sentence, file=sys.stderr, flush=True)

    def warn(self, sentence: str) -> None:
        """Prints a warning to standard error; the run goes on."""
        self.tell(f"warning: {sentence}")

    def done(self) -> None:
        """Removes the checkpoints; to be called once the set is on disk."""
        self._loop.done()

    def _charged(self, make: Callable[[], Shared]) -> Shared:
        """Makes a shared result, or reads it from the cache, and charges the run what it once cost."""
        before = self._loop.seconds
        self._loop.keep_peak()
        found = make()
        self._loop.charge(found.seconds, self._loop.seconds - before)
        return found

    def _content(self, labels: Tensor, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """Returns the parts of a set's manifest that do not depend on the kind of data.

        The classes are those of the data, unless others are given.
        """
        settings, spec = self._settings, self.spec
        classes = spec.classes if classes is None else classes
        counts = torch.bincount(labels.cpu(), minlength=len(classes)).tolist()
        return {
            "format": FORMAT,
            "version": VERSION,
            "kind": spec.kind,
            "key": settings.key,
            "dataset": {
                "name": spec.name,
                "classes": list(classes),
                "train_hash": settings.train_hash,
            },
            "ipc": self.ipc,
            "counts": {"stored": len(labels), "effective": len(labels), "per_class": counts}
            | ({"asked": list(self.counts)} if COUNTS in settings.given else {}),
            "label": {"kind": "hard", "temperature": 1.0, "teacher": None},
            "protocol": settings.protocol.to_json() if settings.protocol else None,
            "method": {"name": settings.title, "chain": list(settings.chain), "source": settings.source},
            "seed": settings.seed,
        }

    def _provenance(self) -> dict[str, object]:
        """Returns where and when the set was made, at what cost, and what was noted of its data."""
        notes = {"data_notes": list(self.spec.notes)} if self.spec.notes else {}
        return notes | {
            "versions": versions(),
            "device": device_name(self.device),
            "threads": torch.get_num_threads(),
            "seconds": round(self._loop.seconds, 3),
            "peak_bytes": self._loop.peak_bytes,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }
