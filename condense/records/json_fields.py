"""A strict reader of JSON objects that refuses keys that are missing, unknown or of the wrong type."""

import math

from condense.errors import Refused


class Fields:
    """A JSON object whose keys are read one by one; `close` refuses those that nobody asked for.

    Every reader raises `Refused` if the key is missing or its value has the wrong type.
    """

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, dict):
            raise Refused(f"{where} is not a JSON object")
        self.left = dict(values)
        self.where = where

    def _take(self, key: str, *kinds: type) -> object:
        if key not in self.left:
            raise Refused(f"{self.where}: the key {key!r} is missing")
        value = self.left.pop(key)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise Refused(f"{self.where}: {key} cannot be {value!r}")
        return value

    def given(self, key: str) -> bool:
        """Returns whether a key holds a value; a key that holds null counts as read."""
        if key in self.left and self.left[key] is None:
            del self.left[key]
            return False
        return True

    def text(self, key: str) -> str:
        """Reads a string."""
        value = self._take(key, str)
        assert isinstance(value, str)
        return value

    def whole(self, key: str) -> int:
        """Reads an integer."""
        value = self._take(key, int)
        assert isinstance(value, int)
        return value

    def number(self, key: str) -> float:
        """Reads a finite number."""
        value = self._take(key, int, float)
        assert isinstance(value, int | float)
        if not math.isfinite(value):
            raise Refused(f"{self.where}: {key} cannot be {value!r}")
        return value

    def flag(self, key: str) -> bool:
        """Reads a boolean."""
        return bool(self._take(key, bool))

    def mapping(self, key: str) -> dict[str, object]:
        """Reads an object without checking its keys."""
        value = self._take(key, dict)
        assert isinstance(value, dict)
        return value

    def part(self, key: str) -> "Fields":
        """Reads an object whose keys are checked."""
        return Fields(self.mapping(key), f"{self.where}: {key}")

    def listed(self, key: str) -> list[object]:
        """Reads a list."""
        value = self._take(key, list, tuple)
        assert isinstance(value, list | tuple)
        return list(value)

    def parts(self, key: str) -> "list[Fields]":
        """Reads a list of objects whose keys are checked."""
        return [Fields(one, f"{self.where}: {key}") for one in self.listed(key)]

    def close(self) -> None:
        """Refuses keys that were not read."""
        if self.left:
            raise Refused(f"{self.where}: the key {min(self.left)!r} is unknown")
