"""Support thresholds and lists of labels, as Mirage's fields write them in text."""

import math
from collections.abc import Sequence
from fractions import Fraction

from condense.errors import Refused

AUTO = "auto"
"""The text for thresholds that follow from the number of itemsets that is asked for."""

Threshold = int | Fraction
"""A number of graphs, or a share of a class's graphs in (0, 1]."""


def parse_thresholds(text: str) -> list[Threshold] | None:
    """Reads thresholds from text.

    Args:
        text: ``auto``, or one threshold for all classes, or one for each class between commas. A threshold is
            a number of graphs (``440``) or a share of the class's graphs (``0.1`` or ``10%``).

    Returns:
        The thresholds; None for ``auto``.

    Raises:
        Refused: if a threshold is neither a number of graphs from 1 on nor a share of them.
    """
    return None if text == AUTO else [_threshold(part.strip(), text) for part in text.split(",")]


def _threshold(part: str, text: str) -> Threshold:
    try:
        if part.endswith("%"):
            value: Threshold = Fraction(part[:-1]) / 100
        else:
            value = Fraction(part) if "." in part else int(part)
    except (ValueError, ZeroDivisionError):
        value = 0
    if value <= 0 or (isinstance(value, Fraction) and value > 1):
        reason = f"{part!r} is neither a number of graphs from 1 on nor a share of them"
        raise Refused(reason, setting="params.thresholds", value=text)
    return value


def least_supports(thresholds: Sequence[Threshold], counts: Sequence[int]) -> list[int]:
    """Returns the smallest number of graphs that reaches each class's threshold, at least 1.

    Args:
        thresholds: One for all classes, or one for each.
        counts: Number of graphs of each class.

    Raises:
        Refused: if there is another number of thresholds.
    """
    if len(thresholds) not in (1, len(counts)):
        given = f"{len(thresholds)} thresholds are given for {len(counts)} classes"
        raise Refused(f"{given}: give one for all classes, or one for each", setting="params.thresholds")
    of_class = thresholds if len(thresholds) == len(counts) else [*thresholds] * len(counts)
    return [
        max(math.ceil(threshold * count), 1) if isinstance(threshold, Fraction) else threshold
        for threshold, count in zip(of_class, counts, strict=True)
    ]


def parse_labels(text: str) -> list[int]:
    """Reads node labels from text, which holds whole numbers between commas or nothing."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        reason = "it has to list whole numbers between commas"
        raise Refused(reason, setting="params.keep_labels", value=text) from None
