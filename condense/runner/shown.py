"""How far units on other processes are, as who placed them shows it."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from condense.errors import Refused
from condense.reading import parse_json
from condense.resources import duration
from condense.runner.units import Unit
from condense.runner.worker import PROGRESS, Done


class Shown:
    """Shows how far units are: on a terminal by a bar for all and one for each that runs, else by lines.

    Attributes:
        terminal: Whether there are bars.
    """

    def __init__(self, units: Sequence[Unit]) -> None:
        self.terminal = sys.stderr.isatty()
        self._units = {unit.key: unit for unit in units}
        self._count = 0
        self._bars: dict[str, Any] = {}

    def __enter__(self) -> "Shown":
        total = len(self._units)
        self._all: Any = tqdm(total=total, desc="units", disable=not self.terminal, leave=False)
        return self

    def __exit__(self, *_: object) -> None:
        for bar in [*self._bars.values(), self._all]:
            bar.close()

    @property
    def place(self) -> str:
        """How far the units are, in words."""
        return f"after {self._count} of {len(self._units)} units"

    def ended(self, done: Done) -> None:
        """Shows that a unit has ended."""
        self._count += 1
        if (bar := self._bars.pop(done.key, None)) is not None:
            bar.close()
        self._all.update()
        told = "refused" if done.refused else f"{done.told}, {duration(done.seconds)}"
        line = f"{self._count}/{len(self._units)} {self._units[done.key].title}: {told}"
        self._all.write(line, file=sys.stderr)

    def refresh(self, spool: Path) -> None:
        """Shows what the units that run have told last."""
        if not self.terminal:
            return
        events = {path.stem: event for path in spool.glob(f"*{PROGRESS}") if (event := _event(path))}
        for key in [key for key in self._bars if key not in events]:
            self._bars.pop(key).close()
        for key, event in events.items():
            if key not in self._bars:
                self._bars[key] = tqdm(total=event["of"], leave=False)
            bar = self._bars[key]
            bar.total, bar.n = event["of"], event["step"]
            bar.set_description(f"{self._units[key].title}, {event['phase']}")


def _event(path: Path) -> dict[str, Any] | None:
    """Reads the last event of a unit; None if it has ended meanwhile."""
    with suppress(OSError, Refused):
        found: dict[str, Any] = parse_json(path.read_bytes(), str(path))
        return found
    return None
