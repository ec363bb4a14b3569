"""Which random subset is worth comparing with a set byte for byte, and how long its student would take.

One baseline serves all sets of about the same size. The sizes are powers of the square root of two, and a
set's size is rounded down to one: a baseline never has more bytes than what it is compared with. From 4 bytes
on, the size is less than 30 % below the set's. The baseline itself may lie below the size by nearly one more
sample, and if its samples are images by one more of each class, as all classes have equally many: beside a
small set it may have a third fewer bytes than the set, or even less.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isqrt

import pandas as pd

from condense.protocol import Protocol
from condense.records.record import Record

LONGEST = 3600.0
"""Seconds that the training of one student may take, as estimated; above it there is no baseline."""
ONE_STUDENT_ABOVE = 2000
"""Number of samples above which a baseline is one draw with one student."""
DRAWS = 5
"""Largest number of draws below."""


def rung(size: int) -> int:
    """Returns the largest power of the square root of two, rounded down, that is at most a size from 1 on."""
    # isqrt(2^k) <= size exactly if 2^k < (size + 1)^2
    return isqrt(2 ** (((size + 1) ** 2 - 1).bit_length() - 1))


def draws_worth(count: int, usual: int) -> int:
    """Returns how often a coreset that fills a number of bytes is drawn.

    Args:
        count: Number of samples that a student is trained on.
        usual: Number of draws of a coreset of its method (`condense.distillation.method.Method.draws`).
    """
    return 1 if count > ONE_STUDENT_ABOVE else min(DRAWS, usual)


def room_of(chain: Iterable[Mapping[str, object]]) -> int | None:
    """Returns the number of bytes that a method filled, as its chain tells; None if it filled none."""
    for link in chain:
        config = link["config"]
        if isinstance(config, Mapping) and isinstance(room := config.get("room"), int) and room > 0:
            return room
    return None


def needed_bytes(record: Record) -> int | None:
    """Returns the bytes that training on a set takes: all its parts, and the teacher that labels meanwhile.

    Returns:
        The bytes; None for a record without a set, and if the size of the teacher is unknown.
    """
    if record.set is None:
        return None
    size = sum(record.set.bytes.values()) + (record.valid_bytes or 0)
    if not record.protocol.online:
        return size
    if record.teacher_bytes is None:
        return None
    return size + max(0, record.teacher_bytes - record.set.bytes.get("teacher", 0))


def samples_seen(protocol: Protocol, count: int) -> int | None:
    """Returns how many samples a student sees on a set of `count` samples, all passes; None if unknown."""
    if protocol.steps is not None:
        return protocol.steps * protocol.batch_for(count)
    return protocol.epochs_for(count) * count if protocol.stages else None


@dataclass(frozen=True)
class Pace:
    """A training that was timed: how many samples a student saw, and in how many seconds."""

    seen: int
    seconds: float

    def estimate(self, seen: float) -> float:
        """Returns the seconds of a training that sees some samples, at the same pace."""
        return self.seconds * seen / self.seen


def pace_of(
    entries: pd.DataFrame, *, train_hash: str, student: str, protocol_hash: str, device: str
) -> Pace | None:
    """Returns the longest training on sets of some data that was timed on a device.

    Args:
        entries: Rows of `condense.records.frame.results`.
        train_hash: Hash of the training split.
        student: Name of the student network.
        protocol_hash: Hash of the protocol; if nothing was timed under it, any other one serves.
        device: Name of the device.

    Returns:
        The training that saw the most samples, at the mean time of the students of its record; None if there
        is none.
    """
    mine = entries[
        (entries["train_hash"] == train_hash)
        & (entries["student"] == student)
        & (entries["device"] == device)
        & entries["seen"].gt(0).fillna(False)
    ]
    under = mine[mine["protocol_hash"] == protocol_hash]
    timed = (mine if under.empty else under).groupby("record_key").agg({"seen": "first", "seconds": "mean"})
    if timed.empty:
        return None
    longest = timed.sort_values(["seen", "seconds"], ascending=[False, True]).iloc[0]
    return Pace(int(longest["seen"]), float(longest["seconds"]))
