"""What datasets of images and of graphs share: a specification, and splits of labelled samples."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.errors import Refused
from condense.files import digest

KIND_NAMES = ("images", "graphs")
"""The kinds of data."""

LONGEST = 800
"""Largest number of characters of a note before those that cannot be printed are escaped."""
LONGEST_NAME = 255
"""Largest number of characters of the name of a dataset or a class."""
UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
"""What no name holds: control characters, and bytes of a file's name that are no UTF-8."""


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """Specification of a dataset: everything that is known of it without its samples.

    Attributes:
        name: Short name of the dataset.
        kind: Kind of data, one of `KIND_NAMES`.
        classes: Names of the classes, in the order of the labels.
        protocol: Name of the evaluation protocol that is used by default.
        named: Whether it is one of the datasets that are known by name, and not a user's own.
        notes: Everything that the loader left out, changed, merged or chose, with its count: one sentence
            each, such as ``"3 of 90 files were left out: they cannot be read"``. They are in no hash.
    """

    name: str
    kind: str
    classes: tuple[str, ...]
    protocol: str
    named: bool = False
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Makes each note one line that can be stored, and refuses names that cannot be."""
        for name in (self.name, *self.classes):
            if len(name) > LONGEST_NAME or UNNAMEABLE.search(name):
                raise Refused(
                    f"{ascii(name[:60])} cannot be the name of a dataset or a class: a name is one line "
                    f"of text of at most {LONGEST_NAME} characters"
                )
        object.__setattr__(self, "notes", tuple(map(_printable, self.notes)))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @property
    def augmentation(self) -> str | None:
        """Strategy of differentiable augmentation; None if the samples are not augmented."""
        return None

    @property
    def given(self) -> dict[str, object]:
        """Choices about the data that enter the keys of runs and references, by name; empty for most data."""
        return {}


def _printable(text: str) -> str:
    """Returns a text as one line of `LONGEST` characters, with escapes for those that cannot be printed."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


class Samples(ABC):
    """Labelled samples, all on one device.

    Attributes:
        labels: Class ids, starting from 0.
        hash: SHA-256 of the samples as they were loaded; it does not depend on the device.
        num_classes: Number of classes of the dataset, including classes that do not occur here.
    """

    labels: Int64[Tensor, " n"]
    hash: str
    num_classes: int

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Returns the same samples on another device."""

    @abstractmethod
    def only(self, labels: Sequence[int]) -> Self:
        """Returns the samples of some classes, in their order here.

        Args:
            labels: Class ids, ascending. Their places in this list become the class ids of the result.
        """

    def _chosen(self, labels: Sequence[int]) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " m"]]:
        """Returns the positions of some classes' samples, and their class ids in the result of `only`."""
        places = torch.full((self.num_classes,), -1, device=self.labels.device)
        places[torch.tensor(labels)] = torch.arange(len(labels), device=self.labels.device)
        numbers = places[self.labels]
        (positions,) = torch.where(numbers >= 0)
        return positions, numbers[positions]

    @cached_property
    def _positions(self) -> tuple[Int64[Tensor, " _"], ...]:
        """Positions of each class's samples, on the CPU."""
        labels = self.labels.cpu()
        order = torch.argsort(labels, stable=True)
        return torch.split(order, torch.bincount(labels, minlength=self.num_classes).tolist())

    @cached_property
    def _positions_on_device(self) -> tuple[Int64[Tensor, " _"], ...]:
        return tuple(positions.to(self.labels.device) for positions in self._positions)

    def of_class(self, label: int) -> Int64[Tensor, " m"]:
        """Returns the positions of a class's samples, ascending, on the samples' device."""
        return self._positions_on_device[label]

    def counts(self) -> tuple[int, ...]:
        """Returns the number of samples of each class."""
        return tuple(len(positions) for positions in self._positions)


class Dataset:
    """A dataset.

    Attributes:
        spec: Specification of the dataset.
        train: Samples that a method distils.
        test: Samples that only a finished student is tested on.
    """

    spec: DatasetSpec
    train: Samples
    test: Samples

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the splits' hashes, in the order of the fields."""
        return digest([split.hash for split in self.splits().values()])

    def augmented(self, strategy: str) -> Self:
        """Returns the dataset with an augmentation that the user chose.

        The choice enters the run keys, and the result has a name of its own, such as ``digits~none``: it has
        no published settings and scores, and stands in tables of its own.

        Args:
            strategy: Operations of `condense.augment.dsa`, or ``none``.

        Raises:
            Refused: If the samples are not augmented, or an operation is unknown.
        """
        reason = f"{self.spec.name} holds {self.spec.kind}, which are not augmented"
        raise Refused(reason, setting="augment", value=strategy)

    def only(self, labels: Sequence[int]) -> Self:
        """Returns the dataset with some of its classes: see `Samples.only`. Its name stays."""
        raise NotImplementedError

    def splits(self) -> dict[str, Samples]:
        """Returns the splits by name, in the order of the fields."""
        return {name: split for name, split in vars(self).items() if isinstance(split, Samples)}
