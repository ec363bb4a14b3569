"""The dataclasses of a record as JSON; a key that is missing, unknown or of the wrong type is refused."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache, partial
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints, is_typeddict

from condense.errors import Refused

LEFT_OUT = {"teacher_bytes", "teacher_accuracy", "valid_bytes", "rollbacks", "dense_bytes", "auc", "notes"}
"""Fields without a key when they are None or empty. Older records lack them and are rewritten unchanged."""


def write_fields(part: Any) -> dict[str, Any]:
    """Returns a dataclass as plain JSON values."""
    return asdict(
        part,
        dict_factory=lambda pairs: {k: v for k, v in pairs if k not in LEFT_OUT or v not in (None, ())},
    )


def read_fields(forms: Mapping[str, Any], value: object, where: str) -> dict[str, Any]:
    """Returns the values of a JSON object that has exactly the given keys.

    Args:
        forms: The type of each key's value, as in the annotations of a dataclass.
        value: The parsed JSON.
        where: Name of the object, for error messages.

    Raises:
        Refused: if a key is missing, unknown, or of the wrong type.
    """
    if not isinstance(value, dict):
        raise Refused(f"{where} is not a JSON object")
    if missing := [key for key in forms if key not in value and key not in LEFT_OUT]:
        raise Refused(f"{where}: the key {missing[0]!r} is missing")
    if strange := value.keys() - forms.keys():
        raise Refused(f"{where}: the key {min(strange)!r} is unknown")
    return {key: _read(forms[key], value[key], f"{where}: {key}") for key in value}


forms_of: Callable[[Any], dict[str, Any]] = cache(partial(get_type_hints, include_extras=True))
"""Returns the types of a dataclass's fields by name."""


def _read(form: Any, value: Any, where: str) -> Any:
    outer, inner = get_origin(form), get_args(form)
    if outer is UnionType:
        return None if value is None else _read(inner[0], value, where)
    if outer is Annotated:
        return _read(inner[1], value, where)
    if is_dataclass(form) or is_typeddict(form):
        return form(**read_fields(forms_of(form), value, where))
    plain = outer or form
    kinds: Any = {tuple: (list, tuple), Mapping: dict, float: (int, float)}.get(plain, plain)
    is_flag = isinstance(value, bool) and form not in (bool, object)
    if not isinstance(value, kinds) or is_flag or (form is float and not math.isfinite(value)):
        raise Refused(f"{where} cannot be {value!r}")
    if outer is tuple:
        return tuple(_read(inner[0], one, where) for one in value)
    if outer is Mapping:
        return {key: _read(inner[1], one, f"{where}: {key}") for key, one in value.items()}
    return value
