"""The work of a federated cell: each client distils its data, and for each seed a federation is run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from condense.data import ImageDataset, load_dataset
from condense.distillation.registry import changed, fitted
from condense.distillation.run import run_key
from condense.errors import Refused, Remedy
from condense.evaluation.described import data_used, paper
from condense.evaluation.evaluate import (
    evaluate_federation,
    grown,
    is_recorded,
    say,
    tell_notes,
)
from condense.federated.algorithms import Chain, chain, is_federated
from condense.federated.simulation import require_flower
from condense.federated.splits import Federation, federation
from condense.federated.trial import FederatedTrial
from condense.files import home, require_writable
from condense.networks import build_network, full_name
from condense.protocol import Protocol
from condense.protocols import FEDERATED_V1, named_protocol
from condense.records.record import ClientUsed, FederationUsed, MethodUsed, Record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import Job
from condense.runner.sets import make_set
from condense.store import ImageSet

USUAL_CLIENTS = "dirichlet:5:0.5"
"""The clients of a federation that names none."""


@dataclass(frozen=True, kw_only=True)
class FederatedJob:
    """A federated cell whose names are resolved and checked.

    Attributes:
        cell: The cell as the user named it.
        paths: The folders that are read and written.
        federation: Its clients.
        clients: The clients as they were named.
        chain: What runs on it.
        protocol: Rounds, clients in each, and how they train.
        student: Name of the network.
    """

    cell: CellSpec
    paths: Paths
    federation: Federation
    clients: str
    chain: Chain
    protocol: Protocol
    student: str

    @property
    def seed(self) -> int:
        """Seed of the clients' distillations."""
        return self.cell.seeds[0] if self.cell.seeds else 0

    @property
    def eval_seeds(self) -> tuple[int, ...]:
        return tuple(range(self.cell.eval_seeds or self.protocol.seeds))

    def local(self, number: int) -> Job:
        """Returns the job of a client's distillation.

        What the method draws of each class is lowered to the client's largest class, not to its smallest:
        clients may have a single image of some class.
        """
        data = self.federation.local(number)
        method = self.chain.local
        lowered = fitted(method, max(data.train.counts()))
        cell = CellSpec(method=method.title, dataset=data.spec.name, ipc=self.cell.ipc)
        return Job(cell=cell, paths=self.paths, dataset=data, method=changed(method, lowered))


def resolve_federation(cell: CellSpec, paths: Paths) -> FederatedJob:
    """Resolves the names of a federated cell and refuses what cannot work, before any work.

    Raises:
        Refused: if the cell cannot be filled, or Flower is not installed.
    """
    require_plain(cell)
    protocol = named_protocol(cell.protocol or FEDERATED_V1.name)
    if not protocol.rounds:
        raise Refused(
            f"{protocol.name} judges no federations",
            remedies=[Remedy(settings={"protocol": FEDERATED_V1.name}, effect="does")],
        )
    clients = cell.clients or USUAL_CLIENTS
    datasets, name = _datasets(cell, paths, clients)
    found = federation(datasets, clients, name)
    student = full_name(cell.student or "convnet")
    network = build_network(student, found.spec.shape, found.spec.num_classes, torch.Generator())
    if network.mixes_samples:
        raise Refused(
            "a federation averages weights, and the statistics of batch norms are those of one client",
            setting="student", value=student,
        )  # fmt: skip
    links = chain(cell.method, found.spec.name, cell.ipc, cell.params, student)
    if cell.eval_seeds is not None and not 1 <= cell.eval_seeds <= protocol.seeds:
        reason = f"{protocol.name} has the seeds 0 to {protocol.seeds - 1}"
        raise Refused(reason, setting="eval_seeds", value=cell.eval_seeds)
    job = FederatedJob(
        cell=cell, paths=paths, federation=found, clients=clients, chain=links, protocol=protocol,
        student=student,
    )  # fmt: skip
    for number, client in enumerate(found.clients):
        data = found.local(number)
        try:
            links.local.require(data, cell.ipc, None, teachers={}, cache=home())
        except Refused as error:
            reason = f"{client.name}: {error.reason}"
            raise Refused(
                reason, setting=error.setting, value=error.value
            ) from error  # its remedies are no use
    require_flower()
    require_writable(paths.out)
    require_writable(paths.results)
    return job


def require_plain(cell: CellSpec) -> None:
    """Refuses settings of a cell that federations do not have, and clients without an algorithm."""
    if not is_federated(cell.method):
        raise Refused(
            f"{cell.method} trains on one dataset; clients have a federated algorithm",
            setting="clients", value=cell.clients,
            remedies=[Remedy(settings={"method": f"{cell.method}+fedavg"}, effect="has one")],
        )  # fmt: skip
    others = {
        "fraction": cell.fraction, "ipc_per_class": cell.ipc_per_class, "imbalanced": cell.imbalanced,
        "teacher": cell.teacher, "undirected": cell.undirected or None, "targets": cell.targets,
    }  # fmt: skip
    for name, value in others.items():
        if value is not None:
            raise Refused("a federation has no such setting", setting=name, value=value)
    if bad := [seed for seed in cell.seeds or () if not 0 <= seed < 2**63]:
        raise Refused("a seed is a whole number from 0", setting="seed", value=bad[0])
    if len(cell.seeds or ()) > 1:
        raise Refused("a federation has one seed for the clients' distillations", setting="seed")


def _datasets(cell: CellSpec, paths: Paths, clients: str) -> tuple[list[ImageDataset], str | None]:
    """Loads the datasets of a cell, and names them together if they are the domains in a folder."""
    named, name = [cell.data], None
    if clients == "domains":
        folder = Path(cell.data)
        if folder.is_dir():
            inside = sorted(one for one in folder.iterdir() if not one.name.startswith("."))
            named = [str(one) for one in inside if one.is_dir() or one.suffix == ".npz"]
            name = folder.resolve().name
            if len(named) < 2:
                raise Refused(f"{folder} holds {len(named)} folders or .npz files; each is to be a domain")
        else:
            named = re.split(r"\+", cell.data)
    found = []
    for one in named:
        data = load_dataset(
            one, data_dir=paths.data_dir, size=cell.size, skip_unreadable=cell.skip_unreadable,
            classes=cell.classes, augment=cell.augment,
        )  # fmt: skip
        if data.spec.kind != "images":
            raise Refused(f"the clients of a federation have images; {data.spec.name} holds {data.spec.kind}")
        found.append(cast(ImageDataset, data))
    return found, name


def run_federation(cell: CellSpec, paths: Paths, machine: Machine, told: set[str] | None = None) -> Record:
    """Distils the clients' data, runs a federation for each seed, and records the results.

    What is stored and recorded already is not done again.

    Args:
        cell: The cell.
        paths: The folders that are read and written.
        machine: The device, and the time limit.
        told: As for `condense.runner.run.run_cell`.

    Raises:
        Refused: if the cell cannot be filled.
        Stopped: if the budget runs out.
    """
    job = resolve_federation(cell, paths)
    found = job.federation
    blank = blank_record(job)
    tell_notes(_whole(job), told)
    if is_recorded(blank, job.eval_seeds, paths.results, machine.device):
        return grown(blank, paths.results)
    for client in found.clients:
        absent = found.spec.num_classes - len(client.classes)
        lacks = f", none of {absent} of {found.spec.num_classes} classes" if absent else ""
        say(f"{client.name}: {len(client.train)} training and {len(client.test)} test images{lacks}")
    sets = [
        cast(ImageSet, make_set(job.local(number), job.seed, machine)[0])
        for number in range(len(found.clients))
    ]
    trial = FederatedTrial(
        federation=found, sets=sets, chain=job.chain, protocol=job.protocol, student=job.student,
        machine=machine,
    )  # fmt: skip
    record = replace(blank, federation=federation_used(job, sets))
    return evaluate_federation(record, trial, job.eval_seeds, paths.results, machine)


def _whole(job: FederatedJob) -> ImageDataset:
    """Returns the federation in the form of a dataset, whose hashes are those of all clients."""
    found, first = job.federation, job.federation.clients[0]
    return ImageDataset(
        found.spec, replace(first.train, hash=found.train_hash), replace(first.test, hash=found.test_hash)
    )


def blank_record(job: FederatedJob) -> Record:
    """Returns a record with the evaluation key of a federation, but without its clients and entries."""
    links, whole = job.chain.links(), _whole(job)
    given = {**whole.spec.given, "clients": job.clients}
    return Record(
        kind="federated", key=run_key(links, whole.train.hash, job.cell.ipc, job.seed, given),
        dataset=data_used(whole), method=MethodUsed(name=job.chain.title, chain=cast(Any, tuple(links))),
        ipc=job.cell.ipc, seed=job.seed, set=None, space="normalized", protocol=job.protocol,
        student=job.student, paper=paper(whole, job.chain.title, job.cell.ipc, job.student),
    )  # fmt: skip


def federation_used(job: FederatedJob, sets: Sequence[ImageSet]) -> FederationUsed:
    """Returns the description of a federation that records hold."""
    clients = tuple(
        ClientUsed(
            name=client.name, train_hash=client.train.hash, test_hash=client.test.hash,
            train=client.train.counts(), test=client.test.counts(), set=made.hash,
            seconds=cast(float | None, made.provenance.get("seconds")),
        )
        for client, made in zip(job.federation.clients, sets, strict=True)
    )  # fmt: skip
    draws = cast(int | None, job.federation.split.get("draws"))
    return FederationUsed(split=job.clients, draws=draws, clients=clients)
