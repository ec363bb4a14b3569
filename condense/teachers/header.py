"""The header of a teacher's file: one JSON object that describes the teacher."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from condense.errors import Refused
from condense.reading import parse_json, require_version

FORMAT = "condense-teacher"
HASH = "hash"
"""The key, beside the fields of a header, that holds the teacher's hash: damage is found by it."""
VERSION = 1
MAX_SIDE = 2048
"""Largest side of the images of a teacher, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What is known about a teacher besides its tensors.

    Attributes:
        network: Name of its network.
        dataset: Name of the dataset that it was trained on; None if unknown.
        classes: Class names, in the order of its logits.
        shape: Shape (c, h, w) of the images that it takes.
        mean: Mean of each channel, by which the images are normalised.
        std: Standard deviation of each channel, by which the images are normalised.
        train_hash: SHA-256 of the training split that it was trained on; None if unknown.
        accuracy: Percent of held-out training images that it classified correctly before its weights were
            rounded; None if unknown.
        training: How it was trained, as far as that is known.
    """

    network: str
    dataset: str | None
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    train_hash: str | None
    accuracy: float | None
    training: Mapping[str, object]

    def to_json(self) -> dict[str, object]:
        """Returns the header as JSON."""
        plain = {
            name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()
        }
        return {"format": FORMAT, "version": VERSION, **plain, "training": dict(self.training)}

    @classmethod
    def parse(cls, text: str, file: Path) -> "tuple[Header, str | None]":
        """Parses a header, and the hash of the teacher beside it, which files of older versions do not have.

        Args:
            text: The JSON.
            file: The teacher's file, which refusals name.

        Raises:
            Refused: if the text is not a header, or one that this version cannot read.
        """
        values = parse_json(text, f"{file}: its header")
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise Refused(f"{file}: its header is not that of a {FORMAT}")
        sealed = values.pop(HASH, None)
        require_version(values.get("version"), VERSION, file, FORMAT, "teacher")
        fields = {name: value for name, value in values.items() if name not in ("format", "version")}
        if wrong := sorted(_FORMS.keys() ^ fields.keys()):
            state = "missing in" if wrong[0] in _FORMS else "unknown to"
            raise Refused(f"{file}: {wrong[0]!r} is {state} the header of a {FORMAT}")
        for name, value in fields.items():
            if not _FORMS[name](value):
                raise Refused(
                    f"{file}: {name} = {str(value)[:60]} makes no sense in the header of a {FORMAT}"
                )
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        head = cls(**given)
        if not len(head.mean) == len(head.std) == head.shape[0]:
            raise Refused(f"{file}: mean and std do not hold one number a channel")
        return head, None if sealed is None else str(sealed)


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 10_000


def _number(value: object, above: float = -math.inf) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and above < value < math.inf


def _side(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_SIDE


def _list(value: object, fits: Callable[[object], bool]) -> bool:
    return isinstance(value, list) and all(map(fits, value))


_FORMS: Mapping[str, Callable[[Any], bool]] = {
    "network": _text,
    "dataset": lambda value: value is None or _text(value),
    "classes": lambda value: _list(value, _text) and len(value) > 1,
    "shape": lambda value: _list(value, _side) and len(value) == 3,
    "mean": lambda value: _list(value, _number),
    "std": lambda value: _list(value, lambda scale: _number(scale, above=0)),
    "train_hash": lambda value: value is None or _text(value),
    "accuracy": lambda value: value is None or (_number(value) and 0 <= value <= 100),
    "training": lambda value: isinstance(value, dict),
}
"""The check of each entry of a header."""
