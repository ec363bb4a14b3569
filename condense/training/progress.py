"""What a long computation shows: a bar or lines, its events, and what it will cost."""

import sys
import time
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from condense.events import Teller
from condense.resources import device_name, duration

_EVENT_SECONDS = 1.0
_LINE_SECONDS = 10.0
_TIMED_STEPS, _LEAST_SECONDS, _TIMED_SECONDS = 5, 2.0, 10.0
"""A cost is estimated from five steps that take two seconds or more, or from what is done in ten seconds."""
LONG = 300.0
"""Seconds from which on a computation says what it costs."""
_TOLD: set[str] = set()
"""What has been estimated in this process, so that nothing is said again with each seed."""
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{rate_fmt}, {left} left{postfix}]"


class Cost(NamedTuple):
    """What is said of a long computation as soon as its speed is known.

    Attributes:
        what: What takes that long: "dm on cifar10", "each convnet under hard-v1".
        shorter: What makes it shorter, as a clause; empty if nothing does.
    """

    what: str
    shorter: str


class _Bar(tqdm):
    """A bar that writes the time that is left in words."""

    @property
    def format_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = super().format_dict
        done = found["n"] - found["initial"]
        left = found["elapsed"] / done * (found["total"] - found["n"]) if done > 0 else None
        return found | {"left": "?" if left is None else duration(left)}


class Progress:
    """Shows a bar on a terminal, or else a line every ten seconds; tells an event every second.

    Attributes:
        title: The task and the phase.
        start: Number of steps that were done before.
        n: Number of all steps.
        pace: Seconds of a step, as soon as a few have been timed; None until then.
    """

    def __init__(self, teller: Teller, phase: str, start: int, n: int) -> None:
        self.title, self.phase, self.n = f"{teller.task} {phase}", phase, n
        self._teller = teller
        self._terminal = sys.stderr.isatty()
        self._bar = _Bar(
            total=n, initial=start, desc=self.title, disable=not self._terminal, leave=False, bar_format=_BAR
        )
        self.start, self._begun = start, time.monotonic()
        self._first: float | None = None
        self.pace: float | None = None
        self._event_at = self._line_at = time.monotonic()
        self._shown = start

    def begin(self, seconds: float) -> None:
        """Tells that the phase begins or goes on."""
        self._teller.begin(self.phase, self.start, self.n, seconds=round(seconds, 3))

    def tell(self, step: int, values: dict[str, float], **costs: float) -> None:
        """Tells an event of a step."""
        self._teller.step(self.phase, step, self.n, values, **costs)

    def due(self, now: float) -> bool:
        """Returns whether a second has passed since the last report."""
        return now - self._event_at >= _EVENT_SECONDS

    def estimate(self, step: int, now: float, cost: Cost | None, device: torch.device) -> None:
        """Says once what the whole phase costs, if that is long, as soon as a few steps have been timed.

        The first step is not timed: it also prepares what all of them use.

        Args:
            step: Number of steps that are done.
            now: The time on the monotonic clock.
            cost: What is computed, and what makes it shorter; None says nothing.
            device: The device.
        """
        timed = step - self.start - 1
        if self._first is None:
            self._first = now
        if self.pace is not None or timed < 1:
            return
        passed = now - self._first
        if passed < (_LEAST_SECONDS if timed >= _TIMED_STEPS else _TIMED_SECONDS):
            return
        self.pace = passed / timed
        seconds = self.pace * (self.n - self.start)
        if cost is None or seconds < LONG or cost.what in _TOLD:
            return
        _TOLD.add(cost.what)
        threads = torch.get_num_threads()
        on = f"{threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else device_name(device)
        shorter = f"; {cost.shorter}" if cost.shorter else ""
        _Bar.write(f"about {duration(seconds)} for {cost.what}, on {on}{shorter}", file=sys.stderr)

    def show(
        self, step: int, values: dict[str, float], seconds: float, peak: int, printed: bool = True
    ) -> None:
        """Tells that ``step`` steps are done, unless this was told before, and prints it if asked to."""
        if step == self._shown:
            return
        self._shown = step
        now = self._event_at = time.monotonic()
        rate = (step - self.start) / max(now - self._begun, 1e-9)
        self.tell(step, values, seconds=round(seconds, 3), rate=round(rate, 4), peak_bytes=peak)
        if not printed:
            return
        if self._terminal:
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
            self._bar.update(step - self._bar.n)
        elif now - self._line_at >= _LINE_SECONDS or step == self.n:
            self._line_at = now
            left = (self.n - step) / rate if rate > 0 else 0.0
            told = "".join(f", {name} {value:.4g}" for name, value in values.items())
            print(
                f"{self.title}: {step}/{self.n}{told}, {rate:.3g}/s, {duration(left)} left", file=sys.stderr
            )

    def close(self) -> None:
        """Removes the bar from the terminal."""
        self._bar.close()
