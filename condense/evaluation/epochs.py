"""The batches of a student's training, from which a loop can go on in the middle of an epoch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

B = TypeVar("B")


class Epochs(Generic[B]):
    """The batches of one epoch after the other; part of a loop's state.

    What an epoch draws is drawn ahead of its first batch. A loop that goes on in the middle of an epoch draws
    this again, from the generator as it was when the epoch began.

    Args:
        draw: Returns the batches of an epoch, given its number.
        per_epoch: Number of batches of an epoch.
        rng: The generator that `draw` draws from.
    """

    def __init__(self, draw: Callable[[int], Iterator[B]], per_epoch: int, rng: torch.Generator) -> None:
        self.per_epoch = per_epoch
        self._draw, self._rng = draw, rng
        self._begun = rng.get_state()
        self._batches: Iterator[B] | None = None

    def at(self, step: int) -> B:
        """Returns the batch of a step. Steps are asked for in order, from 0 or from the restored one on."""
        epoch, batch = divmod(step, self.per_epoch)
        if batch == 0:
            if self.per_epoch > 1:
                self._begun = self._rng.get_state()
            self._batches = self._draw(epoch)
        elif self._batches is None:
            now = self._rng.get_state()
            self._rng.set_state(self._begun)
            self._batches = self._draw(epoch)
            for _ in range(batch):
                next(self._batches)
            self._rng.set_state(now)
        return next(self._batches)

    def state_dict(self) -> dict[str, object]:
        """Returns the generator's state as it was when the present epoch began."""
        return {"begun": self._begun}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restores what `state_dict` returned."""
        begun = state["begun"]
        assert isinstance(begun, Tensor)
        self._begun, self._batches = begun, None
