"""A cell of the board as a user names it, and the folders that it is read from and written to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from condense.errors import Refused, unknown
from condense.evaluation.kinds import KINDS, data_for, method_for
from condense.federated.algorithms import is_federated
from condense.records.record import NO_PRETRAINING, WHOLE
from condense.resources import Budget, Machine

REFERENCES = tuple(
    dict.fromkeys([WHOLE, NO_PRETRAINING, *(name for kind in KINDS.values() for name in kind.references)])
)
"""The names of all rows without a set."""

KEEP_ALL = "keep"
"""The value of `CellSpec.imbalanced` that takes all samples of a class that has too few."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """The folders that are read and written.

    Attributes:
        out: Folder for sets.
        results: Folder for records; the board lies beside it.
        data_dir: Folder with the datasets' files; None takes the default.
    """

    out: Path = Path("sets")
    results: Path = Path("results")
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        if self.data_dir is not None and not self.data_dir.is_dir():
            raise Refused("there is no such folder", setting="data_dir", value=str(self.data_dir))


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """What to distil and how to evaluate it, as a user or a queue names it.

    Attributes:
        method: Name of the method, or of a reference row such as ``whole`` or ``majority``; left empty, it is
            ``dm``, or ``mirage`` for a dataset of graphs.
        dataset: Name or path; None takes ``digits``, or ``mutag`` for a method that distils graphs.
        ipc: Samples per class; 1 unless a fraction is given, and 0 then.
        fraction: Fraction of the training samples that students are trained on in each epoch, without a set.
            The validation part does not count: 0.1 of CIFAR-10 are 4900 images.
        ipc_per_class: Samples of some classes by the classes' names, or a CSV file of them with the head
            ``class,count``; all other classes have ``ipc``.
        imbalanced: ``keep`` takes all samples of the classes that have fewer than they should give; None
            refuses them.
        protocol: Name; None takes the dataset's default, ``published`` that of the published settings.
        student: Name of the student network; None takes the default of the kind: convnet, or six for graphs.
        size: Side in pixels to which the images are resized.
        skip_unreadable: Whether to leave out images that cannot be read.
        undirected: Whether edges of graphs that seem to have directions may lose them.
        classes: Names of the classes to take, as a list or as text with commas between them; None takes all.
        augment: Augmentation of the images (operations of `condense.augment.dsa`, or ``none``); None takes
            the usual one of the data.
        seeds: Distillation seeds; None takes one for each set of the method's row.
        eval_seeds: Number of students for each set; None takes the protocol's number, or one student if the
            method's row has several sets.
        clients: The clients of a federation: see `condense.federated.splits.federation`; None takes five with
            other shares of the classes if the method is a federated algorithm, else there are none.
        params: Fields of the method, as text or as Python values.
        teacher: File of the teacher that the method takes instead of the one that its settings name.
        targets: Names or paths of the datasets, as a list or as text with commas between them, that students
            are trained and tested on after the set, under a protocol that does so; None takes the dataset.
    """

    method: str = ""
    dataset: str | Path | None = None
    ipc: int = None  # type: ignore[assignment]
    fraction: float | None = None
    ipc_per_class: Mapping[str, int] | str | Path | None = None
    imbalanced: str | None = None
    protocol: str | None = None
    student: str | None = None
    size: int | None = None
    skip_unreadable: bool = False
    undirected: bool = False
    classes: Sequence[str] | None = None
    augment: str | None = None
    seeds: tuple[int, ...] | None = None
    eval_seeds: int | None = None
    clients: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    teacher: str | Path | None = None
    targets: Sequence[str] | None = None

    def __post_init__(self) -> None:
        """Names the method that the dataset is distilled with, if none is named, and splits the classes.

        Raises:
            Refused: if the number of samples is given in two ways, or a fraction is none.
        """
        if self.fraction is not None:
            _require_fraction(self.fraction, self.ipc, self.ipc_per_class, self.imbalanced)
            object.__setattr__(self, "fraction", float(self.fraction))  # keys tell 1 from 1.0
        if self.ipc is None:
            object.__setattr__(self, "ipc", 1 if self.fraction is None else 0)
        if self.imbalanced not in (None, KEEP_ALL):
            raise unknown("treatment of small classes", self.imbalanced, [KEEP_ALL], setting="imbalanced")
        for field_name in ("classes", "targets"):
            if isinstance(text := getattr(self, field_name), str):
                object.__setattr__(self, field_name, tuple(name.strip() for name in text.split(",")))
        if not self.method:
            object.__setattr__(
                self, "method", method_for(None if self.dataset is None else str(self.dataset))
            )

    @property
    def title(self) -> str:
        by_class = " (by class)" if self.ipc_per_class is not None or self.imbalanced else ""
        size = f"ipc {self.ipc}{by_class}" if self.fraction is None else f"{100 * self.fraction:g} %"
        more = "".join(f", {name}" for name in (self.clients, self.protocol, self.student) if name)
        classes = "" if self.classes is None else f"[{','.join(self.classes)}]"
        augment = "" if self.augment is None else f"~{self.augment}"
        to = "" if self.targets is None else f" to {', '.join(self.targets)}"
        return f"{self.method} {self.data}{classes}{augment}{'' if self.reference else f' {size}'}{to}{more}"

    @property
    def reference(self) -> bool:
        return self.method in REFERENCES

    @property
    def federated(self) -> bool:
        """Whether clients with data of their own train one network together."""
        return self.clients is not None or is_federated(self.method)

    @property
    def data(self) -> str:
        return data_for(self.method) if self.dataset is None else str(self.dataset)


def _require_fraction(fraction: float, *others: object) -> None:
    """Refuses what is no fraction, and one beside another number of samples."""
    if type(fraction) not in (int, float) or not 0 < fraction <= 1:
        raise Refused("a fraction is above 0 and at most 1", setting="fraction", value=fraction)
    if any(other not in (None, 0) for other in others):
        raise Refused(
            "the number of samples is given by a fraction or for each class, not by both",
            setting="fraction",
            value=fraction,
        )


def machine_named(device: str, budget: str | None = None) -> Machine:
    """Finds the device and reads the time limit that a user names.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``..., ``mps`` (GPUs of Apple, which have no float64: what needs it
            fails there), or ``auto``: ``cuda`` if there is one, else ``cpu``.
        budget: A time such as ``90s``, ``9m`` or ``2h``; None for no limit.

    Raises:
        Refused: if there is no such device, or the text is not a time.
    """
    name = device
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "mps" and not torch.backends.mps.is_available():
        raise Refused("this torch finds no GPU of Apple; write cpu or auto", setting="device", value=name)
    try:
        found = torch.device(name)
        torch.zeros((), device=found).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = "there is no such device here; write cpu, cuda, cuda:1 or auto"
        raise Refused(reason, setting="device", value=name) from error
    return Machine(found, Budget.parse(budget))
