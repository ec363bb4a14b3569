"""The federation of one seed, from the clients' files to the test of its last network."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch

from condense.evaluation.student import Outcome
from condense.federated.algorithms import Chain
from condense.federated.local import Labelled
from condense.federated.participant import Participant
from condense.federated.plan import Plan
from condense.federated.simulation import federate
from condense.federated.splits import Federation
from condense.protocol import Protocol
from condense.records.record import ClientScore
from condense.resources import Machine, keep_freed_memory
from condense.store import ImageSet
from condense.training.loop import Loop
from condense.training.progress import Cost


def local_images(made: ImageSet, federation: Federation, number: int) -> Labelled:
    """Returns the set that a client has distilled, class after class, with the federation's class ids.

    Args:
        made: The set.
        federation: The federation.
        number: Number of the client.
    """
    data = federation.local(number)
    pixels = made.with_space(data.space(made.content["pixels"]["space"])).in_space(data.space("normalized"))
    images, ids = pixels.images_at(torch.arange(len(made))), made.target.ids
    order = torch.argsort(ids, stable=True)
    classes = torch.tensor(federation.clients[number].classes)
    return Labelled(images[order], classes[ids[order]])


@dataclass(frozen=True, kw_only=True, eq=False)
class FederatedTrial:
    """Runs the federation of a seed: see `condense.evaluation.kinds.Trial`.

    Attributes:
        federation: The clients.
        sets: The set that each client has distilled.
        chain: The algorithm.
        protocol: Rounds, clients in each, and how they train.
        student: Name of the network.
        machine: The device, and the time limit.
    """

    federation: Federation
    sets: Sequence[ImageSet]
    chain: Chain
    protocol: Protocol
    student: str
    machine: Machine

    def __call__(self, seed: int, folder: Path | None) -> Outcome:
        """Runs the federation of a seed, whose checkpoints and whose clients' files are in the folder."""
        keep_freed_memory()
        if folder is not None:
            return self._run(seed, folder, kept=True)
        with tempfile.TemporaryDirectory() as other:
            return self._run(seed, Path(other), kept=False)

    def _run(self, seed: int, folder: Path, *, kept: bool) -> Outcome:
        spec, clients = self.federation.spec, self.federation.clients
        for number, (client, made) in enumerate(zip(clients, self.sets, strict=True)):
            place = client_folder(folder, number)
            if not (place / "written").exists():
                shutil.rmtree(place, ignore_errors=True)
                local = local_images(made, self.federation, number)
                Participant.write(place, client.train, client.test, local)
                (place / "written").touch()
        title = f"{self.chain.title} on {spec.name}"
        loop = Loop(
            folder, torch.Generator(), device=self.machine.device, budget=self.machine.budget,
            title=f"{title} seed {seed}", remedy=self.chain.algorithm.remedy, kept=kept,
            cost=Cost(
                f"the rounds of each seed of {title}",
                "a smaller student, fewer eval_seeds or federated-short-v1 make it shorter",
            ),
        )  # fmt: skip
        plan = Plan(
            protocol=self.protocol, network=self.student, spec=spec, names=tuple(one.name for one in clients),
            seed=seed, device=self.machine.device,
        )  # fmt: skip
        strategy = federate(
            self.chain.algorithm, plan, loop, partial(_participant, folder.absolute(), plan), self.machine
        )
        scores = tuple(
            ClientScore(name=client.name, accuracy=strategy.scores[number])
            for number, client in enumerate(clients)
        )
        return Outcome(
            fmean(one.accuracy for one in scores), loop.seconds, clients=scores,
            up_bytes=strategy.up, down_bytes=strategy.down, lost=strategy.lost,
        )  # fmt: skip


def client_folder(folder: Path, number: int) -> Path:
    """Returns the folder of a client below that of its federation."""
    return folder / f"client-{number:04d}"


def _participant(folder: Path, plan: Plan, number: int) -> Participant:
    """Returns the client of a number, in its own process."""
    return Participant(
        folder=client_folder(folder, number), number=number, network=plan.network, shape=plan.spec.shape,
        classes=plan.spec.num_classes, device=str(plan.device),
    )  # fmt: skip
