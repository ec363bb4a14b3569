"""After how many trainings a set has paid for its distillation, from the curves of students alone.

The accuracy that counts is the one that students on the set have in the end, on validation images. A training
on real images (the whole training set, or one without a set) is stopped once it is as accurate. Times are
compared only between entries of one device with as many threads.
"""

import json
import math
from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from condense.board.cells import TableCell

Curve = Sequence[tuple[int, float, float]]
"""The step, the seconds until then and the accuracy in percent at points of a training, in order."""


def seconds_to(curve: Curve, accuracy: float) -> float | None:
    """Returns the seconds until a training is first as accurate; None if it never is."""
    return next((seconds for _, seconds, reached in curve if reached >= accuracy), None)


def trainings_until_paid(distil: float, mine: float, other: float, select: float = 0.0) -> int | None:
    """Returns the smallest n with ``distil + n mine <= select + n other``; None if there is none."""
    if distil + mine <= select + other:
        return 1
    return math.ceil((distil - select) / (other - mine)) if other > mine else None


class BreakEven(NamedTuple):
    """What sets cost beside real images, up to the accuracy of students on the sets.

    Attributes:
        first: Seconds of the distillation and one training on a set.
        real: Seconds of a selection of real images, if there is one, and of a training on them until it is as
            accurate; infinite if it never is.
        trainings: Number of trainings after which the sets have paid for themselves; None if they never do.
    """

    first: float
    real: float
    trainings: int | None


def break_even(cell: TableCell, references: Sequence[TableCell]) -> BreakEven | None:
    """Returns what the sets of a cell cost beside real images.

    Args:
        cell: The cell of a set.
        references: Cells of trainings on real images; the fastest to the set's accuracy is compared.

    Returns:
        The times and the number of trainings; None if a curve, the time of the distillation or an equal
        device is missing, or the curves were measured on images that the sets may hold.
    """
    mine = [entry for entry in cell.entries if entry.curve and _apart(entry)]
    places = {(entry.device, entry.threads) for entry in mine}
    if not mine or len(places) > 1 or cell.seconds is None:
        return None
    if {record.distil_device for record in cell.records} != {mine[0].device}:
        return None
    target = fmean(_points(entry)[-1][2] for entry in mine)
    own = fmean(_points(entry)[-1][1] for entry in mine)
    times = [(_fastest(one, target, places), one.seconds or 0.0) for one in references]
    known = [(time, select) for time, select in times if time is not None]
    if not known:
        return None
    time, select = min(known, key=sum)
    return BreakEven(cell.seconds + own, select + time, trainings_until_paid(cell.seconds, own, time, select))


def _fastest(cell: TableCell, target: float, places: set[tuple[str, int]]) -> float | None:
    """Returns the mean seconds of a cell's entries to an accuracy; infinite if one never reaches it."""
    mine = [entry for entry in cell.entries if entry.curve and (entry.device, entry.threads) in places]
    times = [seconds_to(_points(entry), target) for entry in mine]
    if not times:
        return None
    return fmean(math.inf if time is None else time for time in times)


def _apart(entry: Any) -> bool:
    """Returns whether a set was not drawn from the images that its students were measured on.

    Seed 0 begins with the first validation part, on which students of sets were measured once.
    """
    return entry.curve_part is not None or entry.seed > 0


def _points(entry: Any) -> Curve:
    return [(step, seconds, accuracy) for step, seconds, accuracy in json.loads(entry.curve)]
