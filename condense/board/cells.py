"""The statistics of a table's cell: the results of one method at one IPC with one student network."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any

from scipy.special import stdtrit

from condense.files import canonical
from condense.records.record import Paper


def half_width(values: Sequence[float], level: float = 0.95) -> float | None:
    """Returns half the width of Student's t interval of the mean, ``t * s / sqrt(n)``.

    Args:
        values: n independent values.
        level: Coverage of the interval.

    Returns:
        The half-width; None for fewer than two values, which have no standard deviation.
    """
    if len(values) < 2:
        return None
    return _quantile(len(values) - 1, (1 + level) / 2) * math.sqrt(variance(values) / len(values))


def variance(values: Sequence[float]) -> float:
    """Returns the sample variance of two or more values, without the fractions of `statistics.variance`."""
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


@cache
def _quantile(freedom: int, chance: float) -> float:
    return float(stdtrit(freedom, chance))


@dataclass(frozen=True)
class TableCell:
    """The results of one method at one IPC with one student network.

    Attributes:
        entries: Rows of `condense.records.frame.results` as named tuples, at least one, from one or more
            distillation seeds. What is missing is None.
    """

    entries: tuple[Any, ...]

    @cached_property
    def records(self) -> list[Any]:
        return [entries[0] for entries in self._by_record.values()]

    @cached_property
    def _by_record(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = defaultdict(list)
        for entry in self.entries:
            found[entry.record_key].append(entry)
        return found

    def _units(self, column: str) -> tuple[float, ...]:
        sets = [[getattr(entry, column) for entry in entries] for entries in self._by_record.values()]
        return tuple(sets[0]) if len(sets) == 1 else tuple(fmean(values) for values in sets)

    @cached_property
    def units(self) -> tuple[float, ...]:
        """The independent scores: each set's mean over its students; with one set, each student's score."""
        return self._units("score")

    @cached_property
    def mean(self) -> float:
        return fmean(self.units)

    @property
    def accuracy(self) -> float | None:
        """Mean accuracy in percent; None if the accuracy is the score."""
        scored = any(entry.auc is not None for entry in self.entries)
        return fmean(self._units("accuracy")) if scored else None

    @property
    def size_correlation(self) -> float | None:
        """Mean correlation of the students' scores with the numbers of nodes; None if none is known."""
        known = [entry.size_correlation for entry in self.entries if entry.size_correlation is not None]
        return fmean(known) if known else None

    @cached_property
    def half(self) -> float | None:
        return half_width(self.units)

    @property
    def students(self) -> tuple[int, ...]:
        return tuple(len(entries) for entries in self._by_record.values())

    @property
    def papers(self) -> tuple[Paper, ...]:
        papers = [
            Paper(
                value=record.paper, error=record.paper_error, source=record.paper_source,
                verified=record.paper_verified, protocol=record.paper_protocol,
            )
            for record in self.records if record.paper is not None
        ]  # fmt: skip
        distinct = {canonical([p.value, p.source, p.protocol, p.error, p.verified]): p for p in papers}
        return tuple(distinct[text] for text in sorted(distinct))

    @property
    def counts(self) -> list[tuple[int, int]]:
        """The distinct numbers of samples stored and trained on, ascending; none for a reference."""
        return sorted({(record.stored, record.effective) for record in self.records if record.set_hash})

    @cached_property
    def bytes(self) -> dict[str, int]:
        """The size of the largest set by part; empty for a reference."""
        parts = _byte_columns(self.entries[0]._fields)
        sizes = {part: self.largest(name) for part, name in parts.items()}
        return {part: size for part, size in sizes.items() if size is not None}

    def largest(self, column: str) -> Any:
        """Returns the largest value of a column over the sets; None if none is known."""
        values = [value for record in self.records if (value := getattr(record, column)) is not None]
        return max(values, default=None)

    @property
    def seconds(self) -> float | None:
        """Mean time of the distillations in seconds; None if none is known."""
        known = [record.distil_seconds for record in self.records if record.distil_seconds is not None]
        return fmean(known) if known else None


@cache
def _byte_columns(columns: tuple[str, ...]) -> dict[str, str]:
    """Returns the columns that tell the size of a part of a set, by part."""
    return {name.removeprefix("bytes_"): name for name in columns if name.startswith("bytes_")}
