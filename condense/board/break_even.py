"""After how many trainings a set has paid for its distillation, from the curves of students alone.

The accuracy that counts is the one that students on the set have in the end, on validation images. A training
on real images (the whole training set, or one without a set) is stopped once it is as accurate. Times are
compared only between entries of one device with as many threads.
"""

import json
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from condense.board.cells import TableCell

Curve = Sequence[tuple[int, float, float]]
"""The step, the seconds until then and the accuracy in percent at points of a training, in order."""


def seconds_to(curve: Curve, accuracy: float) -> float | None:
    """Returns the seconds until a training is first as accurate; None if it never is."""
    return next((seconds for _, seconds, reached in curve if reached >= accuracy), None)


def trainings_until_paid(distil: float, mine: float, other: float) -> int | None:
    """Returns the smallest number n of trainings with ``distil + n mine <= n other``; None if none is."""
    return max(1, math.ceil(distil / (other - mine))) if other > mine else None


def break_even(cell: TableCell, references: Sequence[TableCell]) -> tuple[int | None] | None:
    """Returns after how many trainings the sets of a cell have paid for themselves.

    Args:
        cell: The cell of a set.
        references: Cells of trainings on real images; the fastest to the set's accuracy is compared.

    Returns:
        The number, or None in its place if the sets never pay; None alone if a curve, the time of the
        distillation or an equal device is missing.
    """
    mine = [entry for entry in cell.entries if entry.curve]
    places = {(entry.device, entry.threads) for entry in mine}
    if not mine or len(places) > 1 or cell.seconds is None:
        return None
    if {record.distil_device for record in cell.records} != {mine[0].device}:
        return None
    target = fmean(_points(entry)[-1][2] for entry in mine)
    own = fmean(_points(entry)[-1][1] for entry in mine)
    times = [_fastest(reference, target, places) for reference in references]
    known = [time for time in times if time is not None]
    return (trainings_until_paid(cell.seconds, own, min(known)),) if known else None


def _fastest(cell: TableCell, target: float, places: set[tuple[str, int]]) -> float | None:
    """Returns the mean seconds of a cell's entries to an accuracy; infinite if one never reaches it."""
    mine = [entry for entry in cell.entries if entry.curve and (entry.device, entry.threads) in places]
    times = [seconds_to(_points(entry), target) for entry in mine]
    if not times:
        return None
    return fmean(math.inf if time is None else time for time in times)


def _points(entry: Any) -> Curve:
    return [(step, seconds, accuracy) for step, seconds, accuracy in json.loads(entry.curve)]
