"""The header of a teacher's file: one JSON object that describes the teacher."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from condense.errors import Refused

FORMAT = "condense-teacher"
VERSION = 1


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
        return {
            "format": FORMAT,
            "version": VERSION,
            "network": self.network,
            "dataset": self.dataset,
            "classes": list(self.classes),
            "shape": list(self.shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "train_hash": self.train_hash,
            "accuracy": self.accuracy,
            "training": dict(self.training),
        }

    @classmethod
    def parse(cls, text: str, file: Path) -> "Header":
        """Parses a header.

        Args:
            text: The JSON.
            file: The teacher's file, which refusals name.

        Raises:
            Refused: if the text is not a header, or one that this version cannot read.
        """
        try:
            values = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Refused(f"{file}: its header is not JSON: {error}") from error
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise Refused(f"{file}: its header is not that of a {FORMAT}")
        version = values.get("version")
        if type(version) is int and version > VERSION:
            raise Refused(
                f"{file}: this teacher is of version {version}; "
                f"this condense reads version {VERSION}: update condense"
            )
        if type(version) is not int or version != VERSION:
            raise Refused(
                f"{file}: {version!r} is no version of a {FORMAT}; this condense reads version {VERSION}"
            )
        fields = {name: value for name, value in values.items() if name not in ("format", "version")}
        if wrong := sorted(_FORMS.keys() ^ fields.keys()):
            state = "missing in" if wrong[0] in _FORMS else "unknown to"
            raise Refused(f"{file}: {wrong[0]!r} is {state} the header of a {FORMAT}")
        for name, value in fields.items():
            if not _FORMS[name](value):
                raise Refused(
                    f"{file}: {name} = {str(value)[:60]} makes no sense in the header of a {FORMAT}"
                )
        # Their types are checked, one by one.
        given: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in fields.items()}
        head = cls(**given)
        if not len(head.mean) == len(head.std) == head.shape[0]:
            raise Refused(f"{file}: mean and std do not hold one number a channel")
        return head


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _text_if_known(value: object) -> bool:
    return value is None or _text(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def _classes(value: object) -> bool:
    return isinstance(value, list) and len(value) > 1 and all(map(_text, value))


def _shape(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(v) is int and v > 0 for v in value)


def _numbers(value: object) -> bool:
    return isinstance(value, list) and all(map(_number, value))


def _scales(value: object) -> bool:
    return isinstance(value, list) and all(_number(v) and v > 0 for v in value)


def _percent(value: object) -> bool:
    return value is None or (_number(value) and 0 <= value <= 100)  # type: ignore[operator]


def _object(value: object) -> bool:
    return isinstance(value, dict)


_FORMS: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {
        "network": _text,
        "dataset": _text_if_known,
        "classes": _classes,
        "shape": _shape,
        "mean": _numbers,
        "std": _scales,
        "train_hash": _text_if_known,
        "accuracy": _percent,
        "training": _object,
    }
)
