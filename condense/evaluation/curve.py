"""The accuracy of a student on the way, measured on validation images: see `condense.training.validation`."""

from collections.abc import Mapping

import torch
from torch import Tensor

from condense.data import Images
from condense.networks import Network
from condense.records.record import CurvePoint
from condense.training.loop import Loop
from condense.training.step import accuracy
from condense.training.validation import VALIDATION

POINTS = 20
"""Largest number of points of a curve."""
COST = 0.02
"""Largest share of a training's passes through the network that the measuring may add."""
PASSES = 3
"""Passes through a network that a step takes for an image, where a measurement takes one."""


def measured_at(steps: int, seen: int, validation: int) -> tuple[int, ...]:
    """Returns the numbers of steps after which a student is measured: evenly, the last step included.

    There are at most `POINTS`, and as many as `COST` allows; where these are fewer than two there are none.

    Args:
        steps: Number of steps of the training.
        seen: Number of images that the student sees in all of them.
        validation: Number of validation images.
    """
    count = min(POINTS, steps, int(COST * PASSES * seen / validation)) if validation else 0
    return tuple(-(-steps * place // count) for place in range(1, count + 1)) if count > 1 else ()


class Curve:
    """The curve of one student; part of a loop's state.

    Measuring changes nothing in the student: it draws nothing, and batch norms keep their statistics. Its
    time is not counted.

    Args:
        validation: The validation images in the evaluation space, on the device.
        part: The number of these images.
        loop: The loop of the training.
    """

    def __init__(self, validation: Images, part: int, loop: Loop) -> None:
        self.validation, self.part, self._loop = validation, part, loop
        self.points: list[CurvePoint] = []

    def measure(self, network: Network, step: int) -> None:
        """Adds the accuracy of a network in training mode, after a number of steps."""
        seconds = self._loop.seconds
        value = accuracy(network, self.validation.images, self.validation.labels)
        network.train()
        self.points.append(CurvePoint(step=step, seconds=round(seconds, 3), accuracy=value))
        self._loop.measured(step, validation_accuracy=value)
        self._loop.charge(0.0, self._loop.seconds - seconds)

    def state_dict(self) -> dict[str, object]:
        """Returns the points so far."""
        rows = [[point.step, point.seconds, point.accuracy] for point in self.points]
        return {"points": torch.tensor(rows, dtype=torch.float64).view(-1, 3), "part": self.part}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restores what `state_dict` returned, without points that were measured on another part."""
        points = state["points"]
        assert isinstance(points, Tensor)
        self.points = [
            CurvePoint(step=int(step), seconds=seconds, accuracy=value)
            for step, seconds, value in points.tolist()
            if state.get("part", VALIDATION) == self.part
        ]
