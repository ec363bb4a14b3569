"""A pool of networks that are trained on the synthetic set while the set is learned.

Each network is trained for some steps whenever a method visits it, and starts over after a number of steps,
so that the set is learned for networks of all ages. With all weights, optimisers and ages in its state, a run
that was killed goes on with the same bits.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from condense.networks import Network, initialise_

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes the optimiser of a network's parameters."""


class ModelPool:
    """Networks with an optimiser and an age each; it goes into the state of `Run.steps` as it is.

    Args:
        networks: The networks, freshly drawn, all of the same form.
        optimizer: Makes the optimiser of each network.
        lifetime: Number of steps after which a network is to start over.
        ages: Number of steps that each network counts as having made; None for 0. Different ages at the start
            renew the networks at different times.
        initialise: Draws a network's parameters anew from a generator, in place.

    Attributes:
        networks: The networks, in training mode.
        optimizers: Their optimisers.
        ages: Number of steps that each network has made since it was drawn.
        lifetime: As given.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        optimizer: MakeOptimizer,
        *,
        lifetime: int,
        ages: Sequence[int] | None = None,
        initialise: Callable[[Network, torch.Generator], None] = initialise_,
    ) -> None:
        self.networks = tuple(networks)
        self.optimizers = tuple(optimizer(network.parameters()) for network in networks)
        self.ages = list(ages or [0] * len(networks))
        self.lifetime = lifetime
        self._initialise = initialise

    def __len__(self) -> int:
        """Returns the number of networks."""
        return len(self.networks)

    def draw(self, generator: torch.Generator) -> int:
        """Returns the place of one of the networks, uniformly."""
        return int(torch.randint(len(self), (), generator=generator))

    def train(self, place: int, step: Callable[[Network, Optimizer], object], steps: int = 1) -> None:
        """Trains a network for some steps, and counts them.

        Args:
            place: The network's place.
            step: Makes one step of a network with its optimiser.
            steps: Number of steps.
        """
        for _ in range(steps):
            step(self.networks[place], self.optimizers[place])
        self.ages[place] += steps

    def visit(
        self, place: int, step: Callable[[Network, Optimizer], object], generator: torch.Generator
    ) -> None:
        """Trains a network for one step, or renews it in place of that once it is as old as `lifetime`."""
        if self.ages[place] >= self.lifetime:
            self.renew(place, generator)
        else:
            self.train(place, step)

    def renew(self, place: int, generator: torch.Generator) -> None:
        """Draws a network's parameters anew and empties its optimiser; its age is 0 then."""
        self._initialise(self.networks[place], generator)
        self.optimizers[place].state.clear()
        self.ages[place] = 0

    def state_dict(self) -> dict[str, object]:
        """Returns weights, buffers, optimisers and ages, for a checkpoint."""
        return {
            "networks": [network.state_dict() for network in self.networks],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "ages": list(self.ages),
        }

    def load_state_dict(self, state: dict[str, list[Any]]) -> None:
        """Restores what `state_dict` returned."""
        for held, saved in zip(self.networks, state["networks"], strict=True):
            held.load_state_dict(saved)
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.ages = list(state["ages"])
