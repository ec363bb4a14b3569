"""Small federations for tests: made data, one process, and the algorithms written out."""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from condense.data import Images, ImageSpec
from condense.federated.algorithms import Algorithm
from condense.federated.local import Labelled
from condense.federated.participant import Answer, Order, Participant, generator
from condense.federated.plan import Plan
from condense.networks import build_network
from condense.protocol import Protocol, Stage
from condense.resources import Budget
from condense.training.loop import Loop

CLASSES, SHAPE, LR = 3, (1, 8, 8), 0.05
NETWORK = "convnet-w32"
Named = dict[str, Tensor]
SPEC = ImageSpec(
    name="toy{made}", classes=("a", "b", "c"), shape=SHAPE, mean=(0.5,), std=(0.5,), dsa="color_crop"
)


def protocol(rounds: int, ratio: float = 1.0, batch: int = 4) -> Protocol:
    return Protocol(
        name="toy", lr=LR, momentum=0.0, weight_decay=0.0, batch=batch, stages=(Stage(epochs=1),),
        augment="none", seeds=1, rounds=rounds, client_ratio=ratio,
    )  # fmt: skip


def plan(rounds: int, clients: int, ratio: float = 1.0) -> Plan:
    names = tuple(f"client {number}" for number in range(clients))
    return Plan(
        protocol=protocol(rounds, ratio), network=NETWORK, spec=SPEC, names=names, seed=0,
        device=torch.device("cpu"),
    )  # fmt: skip


def images(n: int, seed: int) -> Images:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    pixels = torch.randint(0, 160, (n, *SHAPE), generator=rng)
    pixels[torch.arange(n), 0, 2 * labels + 1] += 80
    return Images.of(pixels.to(torch.uint8), labels, CLASSES)


def local(number: int, per_class: int) -> Labelled:
    rng = torch.Generator().manual_seed(100 + number)
    labels = torch.arange(CLASSES).repeat_interleave(per_class)
    return Labelled(torch.randn((len(labels), *SHAPE), generator=rng), labels)


def participants(
    folder: Path, sizes: Sequence[int], cls: type[Participant] = Participant
) -> Callable[[int], Participant]:
    """Writes the files of clients whose sets have some numbers of images of each class."""
    for number, per_class in enumerate(sizes):
        own = local(number, per_class)
        Participant.write(folder / str(number), images(24, number), images(12, 50 + number), own)

    return partial(one_of, cls, folder)


def one_of(cls: type[Participant], folder: Path, number: int) -> Participant:
    return cls(folder=folder / str(number), number=number, network=NETWORK, shape=SHAPE, classes=CLASSES)


class Killed(Participant):
    """Client 1 loses its process in the second round, unless it has lost it before."""

    def answer(self, order: Order) -> Answer:
        mark = self.folder / "killed"
        if self.number == 1 and order.number == 1 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(order)


def loop(folder: Path | None, budget: Budget | None = None) -> Loop:
    return Loop(
        folder, torch.Generator(), device=torch.device("cpu"), budget=budget or Budget(), title="toy",
        remedy="lower it",
    )  # fmt: skip


def start() -> Named:
    made = build_network(NETWORK, SHAPE, CLASSES, generator(0, "network"))
    return {name: one.detach().clone() for name, one in made.named_parameters()}


def trained(
    weights: Named, own: Labelled, number: int, client: int, *, mu: float = 0.0, drift: Named | None = None
) -> tuple[Named, int]:
    """One epoch of a client, written out: the network after it and its number of steps."""
    net = build_network(NETWORK, SHAPE, CLASSES, torch.Generator())
    net.load_state_dict(weights)
    rng = generator(0, "round", number, "client", client)
    order = torch.randperm(len(own), generator=rng)
    steps = 0
    for first in range(0, len(own), 4):
        chosen = order[first : first + 4]
        slopes = torch.autograd.grad(
            cross_entropy(net(own.images[chosen]), own.labels[chosen]), list(net.parameters())
        )
        with torch.no_grad():
            for (name, one), slope in zip(net.named_parameters(), slopes, strict=True):
                extra = drift[name] if drift else 0.0
                one.sub_(LR * (slope + mu * (one - weights[name]) + extra))
        steps += 1
    return {name: one.detach() for name, one in net.named_parameters()}, steps


def reference(name: str, settings: Algorithm, rounds: int, sizes: Sequence[int]) -> Named:
    """The algorithms in one process, as their papers write them, with all clients in every round."""
    weights, count = start(), len(sizes)
    c = {key: torch.zeros_like(value) for key, value in weights.items()}
    own_c = [dict(c) for _ in sizes]
    mu = float(settings.config().get("mu", 0.0))  # type: ignore[arg-type]
    for number in range(rounds):
        found, taus, changes = [], [], []
        for client, per_class in enumerate(sizes):
            drift = None
            if name == "scaffold":
                drift = {key: c[key] - own_c[client][key] for key in c}
            after, tau = trained(weights, local(client, per_class), number, client, mu=mu, drift=drift)
            found.append(after)
            taus.append(tau)
            new = {k: own_c[client][k] - c[k] + (weights[k] - after[k]) / (tau * LR) for k in c}
            changes.append({k: new[k] - own_c[client][k] for k in c})
            own_c[client] = new
        if name == "fednova":
            mean_tau = sum(taus) / count
            gaps = [{k: (weights[k] - one[k]) / t for k in c} for one, t in zip(found, taus, strict=True)]
            weights = {k: weights[k] - mean_tau * _mean([gap[k] for gap in gaps]) for k in c}
        else:
            weights = {k: _mean([one[k] for one in found]) for k in c}
        if name == "scaffold":
            c = {k: c[k] + _mean([one[k] for one in changes]) for k in c}
    return weights


def _mean(values: list[Tensor]) -> Tensor:
    total: Any = sum(values)
    mean: Tensor = total / len(values)
    return mean
