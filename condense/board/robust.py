"""Scores that take out what labels and augmentation do: LRS and ARS of DD-Ranking, from records alone.

Li et al.: DD-Ranking: Rethinking the Evaluation of Dataset Distillation, https://arxiv.org/abs/2505.13300.
All accuracies are fractions, as the paper defines them; the package ``ddranking`` 0.2.0 inserts percent.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from scipy.special import stdtrit

from condense.board.cells import TableCell, variance
from condense.board.tables import Key, Row, Table
from condense.protocols import HARD_V1, WHOLE_V1, WITHOUT_AUGMENTATION
from condense.records.record import WHOLE

WEIGHT = 0.5
"""The paper's w: weight of the improvement over random images beside that of the hard labels."""
GAMMA = 0.5
"""The paper's gamma: weight of the training with augmentation beside that without."""
RANDOM = "random_subset"
CLASS_IDS = ("hard", "replayed", "projected")
"""Kinds of labels of the sets whose students are trained on class ids if no teacher labels."""


class Estimate(NamedTuple):
    """A score in percent with half its 95 % interval, None if a part of it has a single value."""

    value: float
    half: float | None


class Robust(NamedTuple):
    """Both scores of a cell; None where a part is missing."""

    lrs: Estimate | None = None
    ars: Estimate | None = None


class Term(NamedTuple):
    """A weight and the independent accuracies in percent that it multiplies the mean of."""

    weight: float
    values: Sequence[float]


def normalised(gain: float) -> float:
    """Maps a gain in [-1, 1] to [0, 1]: ``(e^x - 1/e) / (e - 1/e)``.

    Raises:
        ValueError: if the gain is not made of accuracies that are fractions.
    """
    if not -1 <= gain <= 1:
        raise ValueError(f"accuracies are fractions here, and {gain} is no difference of fractions")
    return (math.exp(gain) - math.exp(-1)) / (math.e - math.exp(-1))


def label_robust_score(ior: float, hlr: float, weight: float = WEIGHT) -> float:
    """Returns LRS in [0, 1].

    Args:
        ior: Improvement over random: accuracy minus that of random images trained on in the same way.
        hlr: Hard label recovery: accuracy of the whole training set minus that of the images with class ids.
        weight: The paper's w.
    """
    return normalised(weight * ior - (1 - weight) * hlr)


def augmentation_robust_score(gain: float, plain_gain: float, gamma: float = GAMMA) -> float:
    """Returns ARS in [0, 1].

    Args:
        gain: Accuracy minus that of random images, both with augmentation.
        plain_gain: The same difference without any augmentation.
        gamma: The paper's gamma.
    """
    return normalised(gamma * gain + (1 - gamma) * plain_gain)


def estimated(terms: Iterable[Term]) -> Estimate:
    """Returns the normalised sum of weighted mean accuracies with its interval.

    The interval is that of Welch and Satterthwaite for the sum, carried over by the slope of `normalised`.
    """
    terms = [Term(weight / 100, values) for weight, values in terms if weight]
    gain = sum(weight * fmean(values) for weight, values in terms)
    score, half = 100 * normalised(gain), None
    if all(len(values) > 1 for _, values in terms):
        parts = [(w * w * variance(values) / len(values), len(values) - 1) for w, values in terms]
        total = sum(part for part, _ in parts)
        spread = sum(part * part / freedom for part, freedom in parts)
        quantile = float(stdtrit(total * total / spread, 0.975)) if spread > 0 else 0.0
        half = 100 * quantile * math.sqrt(total) * math.exp(gain) / (math.e - math.exp(-1))
    return Estimate(score, half)


@dataclass(frozen=True)
class RobustScores:
    """The scores of all cells of images.

    Attributes:
        tables: All tables of a board.
    """

    tables: Sequence[Table]
    _by_key: Mapping[Key, Table] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_key", {table.key: table for table in self.tables})

    def of(self, table: Table, row: Row, ipc: int) -> Robust:
        """Returns the scores of a row at an IPC; none for references, graphs and rows of other protocols."""
        cell = row.cells.get(ipc)
        if table.layout.across != "ipc" or table.key.filled or row.reference or cell is None:
            return Robust()
        if cell.entries[0].protocol_hash != table.key.protocol_hash:
            return Robust()
        mine, drawn = cell.units, _random(table, row, ipc)
        return Robust(self._lrs(table, cell, mine, drawn), self._ars(table, row, ipc, mine, drawn))

    def _lrs(
        self, table: Table, cell: TableCell, mine: Sequence[float], drawn: Sequence[float] | None
    ) -> Estimate | None:
        whole = next((row.cells[0].units for row in table.by_method.get(WHOLE, ()) if _is_whole(row)), None)
        if drawn is None or whole is None:
            return None
        hard = _under_class_ids(self._by_key.get(_twin(table.key, HARD_V1.name, HARD_V1.hash)), cell)
        if hard is None:
            return None
        terms = [Term(1 - WEIGHT, hard), Term(WEIGHT - 1, whole)]
        if drawn is not mine:
            terms += [Term(WEIGHT, mine), Term(-WEIGHT, drawn)]
        return estimated(_merged(terms))

    def _ars(
        self, table: Table, row: Row, ipc: int, mine: Sequence[float], drawn: Sequence[float] | None
    ) -> Estimate | None:
        """Returns ARS; the row of random images itself has a gain of 0 by definition."""
        plain = WITHOUT_AUGMENTATION.get(table.key.protocol)
        other = None if plain is None else self._by_key.get(_twin(table.key, plain.name, plain.hash))
        if other is None or drawn is None:
            return None
        again = _same_sets(other, row.cells[ipc])
        beside = _random(other, row, ipc)
        if again is None or beside is None:
            return None
        if drawn is mine:
            return Estimate(100 * normalised(0.0), 0.0)
        gains = [(GAMMA, mine), (-GAMMA, drawn), (1 - GAMMA, again.units), (GAMMA - 1, beside)]
        return estimated(Term(*term) for term in gains)


def _twin(key: Key, protocol: str, protocol_hash: str) -> Key:
    """Returns the key of the table under another protocol, with the same teacher unless it needs none."""
    teacher = "" if protocol == HARD_V1.name else key.teacher
    return key._replace(protocol=protocol, protocol_hash=protocol_hash, teacher=teacher)


def _is_whole(row: Row) -> bool:
    """Returns whether a row of the whole training set is of the protocol that the score is defined with."""
    return 0 in row.cells and row.cells[0].entries[0].protocol_hash == WHOLE_V1.hash


def _random(table: Table, row: Row, ipc: int) -> Sequence[float] | None:
    """Returns the accuracies of random images at an IPC, labelled and wrapped as those of a row.

    For the row of random images itself these are the very values of its cell.
    """
    wanted = row.method.partition("+")[2] if table.stored else ""
    name = f"{RANDOM}+{wanted}" if wanted else RANDOM
    if row.method == name:
        return row.cells[ipc].units if ipc in row.cells else None
    found = [other for other in table.by_method.get(name, ()) if ipc in other.cells]
    return found[0].cells[ipc].units if len(found) == 1 else None


def _under_class_ids(table: Table | None, cell: TableCell) -> Sequence[float] | None:
    """Returns the accuracies of a cell's sets in a table of students that are trained on class ids."""
    found = None if table is None else _same_sets(table, cell)
    return found.units if found and all(one.label in CLASS_IDS for one in found.records) else None


def _same_sets(table: Table, cell: TableCell) -> TableCell | None:
    """Returns the results in a table of the very sets of a cell; None if there are none."""
    runs = {record.run_key for record in cell.records}
    numbers = sorted(number for run in runs for number in table.by_run.get(run, ()))
    return TableCell(tuple(table.entries[number] for number in numbers)) if numbers else None


def _merged(terms: Iterable[Term]) -> list[Term]:
    """Adds up the weights of terms of the same values: they vary together."""
    merged: dict[tuple[float, ...], float] = {}
    for weight, values in terms:
        merged[tuple(values)] = merged.get(tuple(values), 0.0) + weight
    return [Term(weight, values) for values, weight in merged.items()]
