"""Kills of loops in the middle of each of their phases, for tests of resuming."""

from collections.abc import Iterator
from typing import Any

import pytest

from condense.training.loop import Loop


class Killed(Exception):
    """In place of a kill: nothing below the loop runs after it."""


def kill_once(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Kills each phase of all loops once, in its middle, and returns the names of those that were killed."""
    killed: set[str] = set()
    steps = Loop.steps

    def once(
        self: Loop, n: int, state: dict[str, object], phase: str = "distil", **named: Any
    ) -> Iterator[int]:
        self._every = 0.0
        for step in steps(self, n, state, phase, **named):
            if step == n // 2 and phase not in killed:
                killed.add(phase)
                raise Killed
            yield step

    monkeypatch.setattr(Loop, "steps", once)
    return killed
