"""The coresets beside a cell in its table: made of the same data and evaluated in the same way."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from condense.distillation.images.room import BEST
from condense.distillation.registry import methods, wrappers
from condense.errors import Refused, Remedy
from condense.evaluation.evaluate import say
from condense.networks import build_network
from condense.protocol import PUBLISHED
from condense.protocols import LABEL_V1, PROJECTED_V1, SOFT_V2, named_protocol
from condense.records import frame
from condense.records.equal_bytes import (
    LONGEST,
    draws_worth,
    needed_bytes,
    pace_of,
    rung,
    samples_seen,
)
from condense.records.record import BASELINES, NO_DISTILLATION, NO_PRETRAINING, TAUGHT, Record
from condense.resources import Machine, device_name, duration
from condense.runner.cell import CellSpec
from condense.runner.job import Job, resolve
from condense.teachers import TRAINED

HOST = "host"
"""The value of a wrapper's field ``teacher`` that stands for the teacher of the method that it wraps."""

ROOM = "room"
"""The field of a coreset that fills it up to a number of bytes, if it has one."""

ENCODE = "encode"
"""The field of a coreset that compresses its samples, if it has one."""

LEFT_OUT = Remedy(settings={"baselines": False}, effect="leaves the baselines out")


def baselines(cell: CellSpec, inner: str | None = None, network: str | None = None) -> list[CellSpec]:
    """Returns the baselines of a cell.

    If a cell is evaluated as its paper did, its baselines are evaluated by the data's default protocol. If
    the labels of a cell's sets are projected, a teacher labels the coresets, for as many steps. If students
    are trained on labels that a set stores, the wrapper that stores them is around the coresets too. Beside
    a cell that is judged with soft labels stand random images with one soft label each, too.

    Args:
        cell: The cell.
        inner: The field ``teacher`` of the cell's innermost method, if it has one.
        network: Name of the network whose checkpoint gives those labels; None for the default.

    Raises:
        Refused: if the wrapper takes the teacher that the method trains: a coreset trains none.
    """
    protocol = None if cell.protocol == PUBLISHED else cell.protocol
    if protocol == PROJECTED_V1.name:
        protocol = SOFT_V2.name
    params: dict[str, object] = {}
    suffix = ""
    if protocol is not None and named_protocol(protocol).labels == "stored":
        _, *around = cell.method.split("+")
        known = wrappers()
        around = [name for name in around if name in known and known[name].labels_views]
        suffix = "".join(f"+{name}" for name in around)
        params = {key: value for key, value in cell.params.items() if key.partition(".")[0] in around}
        for key in [f"{name}.teacher" for name in around]:
            if params.get(key) != HOST or inner is None:
                continue
            if inner == TRAINED:
                raise Refused(
                    f"no baseline can have the teacher that {cell.method} trains",
                    setting=f"params.{key}",
                    value=HOST,
                    remedies=[
                        LEFT_OUT,
                        Remedy(settings={"teacher": None}, effect="takes a teacher that is trained already"),
                    ],
                )
            params[key] = inner
    usual = replace(cell, dataset=cell.data, protocol=protocol, seeds=None, eval_seeds=None)
    teacher = cell.teacher if suffix else None
    rows = [replace(usual, method=name + suffix, params=params, teacher=teacher) for name in BASELINES]
    if protocol is not None and _soft(protocol) and cell.method != NO_DISTILLATION:
        rows.append(_no_distillation(usual, network))
    return rows


def without_distillation(job: Job) -> list[CellSpec]:
    """Returns the baselines of a job whose students are trained on other data after a set.

    They are students without a set, and students of random images: with the targets of the same teacher if
    the method's images have no classes, and with their class ids otherwise.
    """
    if job.method is None:
        return []
    protocol = job.setups[0].protocol
    cell = replace(job.cell, dataset=job.cell.data, protocol=protocol.name, params={}, teacher=None)
    rows = [replace(cell, method=NO_PRETRAINING, seeds=None)]
    host = job.method.links()[0]
    if host.name in (*BASELINES, TAUGHT):
        return rows
    cell = replace(cell, seeds=tuple(range(protocol.seeds)), eval_seeds=None)
    if host.labelled:
        return [*rows, replace(cell, method=BASELINES[0])]
    shared = {one.name for one in fields(methods(host.kind)[TAUGHT])} - {"network"}
    params = {name: value for name, value in host.config().items() if name in shared}
    return [*rows, replace(cell, method=TAUGHT, params=params)]


def _soft(protocol: str) -> bool:
    """Returns whether sets are judged with soft labels."""
    return protocol == LABEL_V1.name or named_protocol(protocol).labels is not None


def _no_distillation(cell: CellSpec, network: str | None) -> CellSpec:
    """Returns the cell of random images with soft labels, whose checkpoint is chosen for this data here.

    The published epochs are those of a published learning rate and network; they are left aside.
    """
    link = NO_DISTILLATION.partition("+")[2]
    usual = {one.name: one.default for one in fields(wrappers()[link])}
    params = {f"{link}.{name}": usual[name] for name in ("epoch", "lr", "momentum")}
    own = {} if network is None else {"network": network}
    return replace(cell, method=NO_DISTILLATION, protocol=LABEL_V1.name, params=own | params, teacher=None)


def stands_alone(cell: CellSpec) -> bool:
    """Returns whether a cell is a baseline or a reference itself, beside which nothing has to stand."""
    return cell.reference or cell.method.partition("+")[0] in (*BASELINES, TAUGHT)


def beside(job: Job, required: bool = True, tell: Callable[[str], None] = say) -> list[Job]:
    """Resolves the baselines of a job.

    Args:
        job: The job.
        required: Whether one that cannot work is refused; it is left out with a line otherwise.
        tell: Is told that line.

    Raises:
        Refused: before any work, if one that is required cannot work.
    """
    try:
        rows, targets = _beside(job)
    except Refused as error:
        if required:
            raise
        tell(f"left out beside {job.cell.title}: all baselines, as {error.reason}")
        return []
    found = []
    for row in rows:
        try:
            found.append(resolve(row, job.paths, dataset=job.dataset, targets=targets))
        except Refused as error:
            if required:
                raise error.with_remedies(*([] if job.transfers else [LEFT_OUT])) from error
            tell(f"left out beside {job.cell.title}: {row.method}, as {error.reason}")
    return found


def _beside(job: Job) -> tuple[list[CellSpec], Any]:
    """Returns the cells of a job's baselines, and the data that their students are trained on afterwards."""
    if job.transfers:
        return without_distillation(job), tuple(dict.fromkeys(setup.target for setup in job.setups))
    inner = job.method.links()[0].config().get("teacher") if job.method else None
    usual = job.method.judged_by if job.method else None
    cell = replace(job.cell, protocol=job.cell.protocol or usual)
    return baselines(cell, None if inner is None else str(inner), _expert(replace(job, cell=cell))), ()


def _expert(job: Job) -> str | None:
    """Returns the name of a job's student if its checkpoints can label: if it has no batch norms."""
    if job.cell.protocol in (None, PUBLISHED) or not _soft(str(job.cell.protocol)):
        return None
    spec: Any = job.dataset.spec
    student = job.setups[0].student
    network = build_network(student, spec.shape, spec.num_classes, torch.Generator())
    return None if network.mixes_samples else student


def of_equal_bytes(job: Job, records: Sequence[Record]) -> list[Job]:
    """Resolves the coresets that need as many bytes as the largest set of a job, rounded down to a `rung`.

    They have class ids as labels and are judged by the data's default protocol, whatever the job is judged
    by, so that all rows of about the same size share them. A job that makes a coreset itself has none, nor
    has one whose teacher's size is unknown.
    """
    spec = job.dataset.spec
    configs = {name: method().config() for name, method in methods(spec.kind).items() if name in BASELINES}
    sizes = [needed_bytes(record) for record in records if record.set]
    known = [size for size in sizes if size]
    if job.cell.method in BASELINES or not known or len(known) < len(sizes):
        return []
    cells = []
    for name in BASELINES:
        if ROOM in (own := configs[name]):
            params = {ROOM: str(rung(max(known)))} | ({ENCODE: BEST} if ENCODE in own else {})
            cells.append(
                replace(
                    job.cell, method=name, dataset=job.cell.data, protocol=spec.protocol, params=params,
                    ipc=1, ipc_per_class=None, imbalanced=None, seeds=None, eval_seeds=None, teacher=None,
                )
            )  # fmt: skip
    return [resolve(cell, job.paths, dataset=job.dataset) for cell in cells]


def draws_of(job: Job, count: int, machine: Machine) -> Job | None:
    """Returns a baseline of equal bytes with the draws that it is worth; None, with a line, if it is dear.

    Args:
        job: The baseline.
        count: Number of samples that a student is trained on.
        machine: The device.
    """
    device, entries = device_name(machine.device), frame.results(job.paths.results)
    for setup in job.setups:
        pace = pace_of(
            entries, train_hash=job.dataset.train.hash, student=setup.student,
            protocol_hash=setup.protocol.hash, device=device,
        )  # fmt: skip
        seen = samples_seen(setup.protocol, count)
        seconds = pace.estimate(seen) if pace and seen else 0.0
        if seconds > LONGEST:
            say(
                f"{job.cell.title}: left out, as one {setup.student} on {count} {job.dataset.spec.kind} "
                f"would take about {duration(seconds)} here"
            )
            return None
    return replace(job, cell=replace(job.cell, seeds=tuple(range(draws_worth(count, job.draws)))))
