"""The forms of JSON files: the bounded values that they hold, what is wrong with others, and JSON Schemas.

A form is a dataclass or a `TypedDict` whose fields have the types below, plain types, or forms. msgspec
checks a value against it. A key that a form does not name is no error here: `unknown_keys` finds it.
"""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, ValidationError

from condense.errors import Refused

if TYPE_CHECKING:
    from typing_extensions import ReadOnly as ReadOnly
else:

    class ReadOnly:
        """A key that a derived `TypedDict` may narrow; msgspec only needs to see the key's type."""

        def __class_getitem__(cls, form: object) -> object:
            return form


T = TypeVar("T")

LARGEST = 3.4e38
"""Bound of the numbers in a file; float32 holds about as much."""

Whole = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A whole number from 0 that 64 bits hold."""
Side = Annotated[int, Meta(ge=1, le=8192)]
"""A side of an image in pixels, or its number of channels."""
Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[float, Meta(ge=-LARGEST, le=LARGEST)]
"""A number; a whole one stays whole."""
Positive = Annotated[int, Meta(gt=0, le=2**63 - 1)] | Annotated[float, Meta(gt=0, le=LARGEST)]
"""A number above 0."""
Amount = Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[float, Meta(ge=0, le=LARGEST)]
"""A number from 0."""
Percent = Annotated[int, Meta(ge=0, le=100)] | Annotated[float, Meta(ge=0, le=100)]
"""A number from 0 to 100."""
Fraction = Annotated[float, Meta(gt=0, le=1)]
"""A number above 0, and at most 1."""
Correlation = Annotated[int, Meta(ge=-1, le=1)] | Annotated[float, Meta(ge=-1, le=1)]
"""A number from -1 to 1."""
Name = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$(?!\n)")]
"""A text of one line, as short as the name of a file."""
Sha256 = Annotated[str, Meta(min_length=64, max_length=64, pattern=r"^[0-9a-f]*$(?!\n)")]
"""A hash or a key: 64 hexadecimal digits."""
Text = Annotated[str, Meta(max_length=10_000, pattern=r"^[^\x00]*$")]
"""A longer text."""


def read_form(value: object, form: type[T], where: str) -> T:
    """Returns plain JSON values as a form, after checking them.

    Args:
        value: The values.
        form: A dataclass or a `TypedDict`.
        where: The start of the refusal: the file's name and a colon.

    Raises:
        Refused: naming the field and what is wrong with it.
    """
    try:
        return msgspec.convert(value, form)
    except ValidationError as error:
        raise Refused(f"{where} {_sentence(str(error), value, '')}") from error


def find_form_error(value: object, form: Any, where: str) -> str | None:
    """Says where a JSON value does not have a form, or returns None if it has; `where` names the value."""
    try:
        msgspec.convert(value, form)
    except ValidationError as error:
        return _sentence(str(error), value, where)
    return None


def unknown_keys(value: object, form: Any, place: str = "") -> list[str]:
    """Returns the places of all keys that a form does not name, in a value that has the form."""
    return extra_keys(value, msgspec.to_builtins(msgspec.convert(value, form)), place)


def extra_keys(value: object, known: object, place: str = "") -> list[str]:
    """Returns the places of all keys of a value that another value of the same form lacks."""
    if isinstance(value, dict) and isinstance(known, dict):
        found = [_joined(place, key) for key in value if key not in known]
        for key in value.keys() & known.keys():
            found += extra_keys(value[key], known[key], _joined(place, key))
        return sorted(found)
    if isinstance(value, list | tuple) and isinstance(known, list | tuple):
        pairs = enumerate(zip(value, known, strict=True))
        return [one for i, (inner, its) in pairs for one in extra_keys(inner, its, f"{place}[{i}]")]
    return []


def json_schema(*forms: Any) -> dict[str, Any]:
    """Returns the JSON Schema of values that have one of some forms."""
    any_value = {"description": "any value"}
    several, parts = msgspec.json.schema_components(forms, schema_hook=lambda _: any_value)
    for part in parts.values():
        part.pop("description", None)  # a docstring
    return {"anyOf": list(several), "$defs": parts}


def _joined(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


TYPES = {
    "str": "a text", "int": "a whole number", "float": "a number", "int | float": "a number",
    "bool": "true or false", "array": "a list", "object": "an object", "null": "null",
}  # fmt: skip
"""The types of JSON in words, by the names that msgspec gives them."""
BOUNDS = {
    r"of length <= (\d+)": r"of length \1 or less",
    r"of length >= (\d+)": r"of length \1 or more",
    r"matching regex '\^\[0-9a-f.*": "of hexadecimal digits",
    r"matching regex .*": "without control characters",
    r"<= (\S+)": r"of at most \1",
    r">= (\S+)": r"of at least \1",
    r"> (\S+)": r"above \1",
}
"""The bounds that msgspec names, in words."""


def _sentence(told: str, value: object, place: str) -> str:
    """Returns what msgspec tells of a value in words: ``content.ipc is "1", not a whole number``.

    Args:
        told: msgspec's message, such as ``Expected `int` >= 0 - at `$.ipc```.
        value: The value that was checked.
        place: Its name.
    """
    told, _, path = told.partition(" - at ")
    shown = path.count("[...]") == 0 and "`key`" not in path  # else the place has no single name
    for name, number in re.findall(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]", path):
        place = f"{place}[{number}]" if number else _joined(place, name)
        if shown:
            value = value[int(number)] if number else value[name]  # type: ignore[index]
    if missing := re.fullmatch(r"Object missing required field `(.*)`", told):
        return f"{_joined(place, missing[1])} is missing"
    found = re.fullmatch(r"Expected `(.*?)`(?:, got .*)?(.*)", told, flags=re.DOTALL)
    assert found is not None, told
    wanted = " or ".join(TYPES[one] for one in found[1].replace("int | float", "float").split(" | "))
    for pattern, words in BOUNDS.items():
        if bound := re.fullmatch(pattern, found[2].strip(), flags=re.DOTALL):
            wanted += " " + bound.expand(words)
            break
    text = json.dumps(value) if shown and not isinstance(value, dict | list) else ""
    was = f" is {text if len(text) < 60 else text[:60] + '...'}, not" if text else " is not"
    return f"{place}{was} {wanted}".strip()
