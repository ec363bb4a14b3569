"""The units of a cell's work, as values: what each makes, and which others it needs.

A unit names its result by the hash of everything that the result depends on, makes it with the functions that
a run in one process makes it with, and may be done twice, or by two processes at once, without harm. Units
that are done already are not listed.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from condense.distillation.shared import shared_trainings
from condense.evaluation.evaluate import evaluate_reference, evaluate_set, grown, reference_record
from condense.evaluation.kinds import Setup
from condense.events import Event, hearing
from condense.files import digest
from condense.records.record import NO_STUDENT, Record
from condense.resources import Machine
from condense.runner.baselines import beside
from condense.runner.cell import CellSpec, Paths
from condense.runner.federation import blank_record, resolve_federation, run_federation
from condense.runner.job import Job, resolve
from condense.runner.run import blank_records, run_job, stored_record, wants_baselines
from condense.runner.sets import make_set

Stage = Literal["prepare", "distil", "student", "train", "reference", "client", "federation"]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A part of the work on a cell that one process does from its beginning to its end.

    Attributes:
        stage: What is done: ``prepare`` trains the networks on real data that several sets share, ``distil``
            makes a set, ``student`` trains one student on it, ``train`` makes a training without a set with
            all its students, ``reference`` makes a row without a set or trains one of its students,
            ``client`` makes the set of a client of a federation, and ``federation`` runs its rounds.
        key: Hash of everything that the result depends on.
        cell: The cell, narrowed to the set, the student network and the target of the unit.
        title: The unit in words.
        number: The evaluation seed of a student or a reference; the number of a client.
        needs: Keys of the units that have to be done before it.
        group: Hash that the units of one set share, so that they are placed together.
        shares: Hashes of the trainings that a set needs, and that other sets may need too.
        reads: Names of the folders of stored sets that it reads or makes.
    """

    stage: Stage
    key: str
    cell: CellSpec
    title: str
    number: int = 0
    needs: tuple[str, ...] = ()
    group: str
    shares: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


def units_of(
    cell: CellSpec, paths: Paths, *, with_baselines: bool | None = None, required: bool = True
) -> list[Unit]:
    """Returns the units of a cell that are not done yet, and of the baselines that stand beside it.

    What a unit needs comes before it. Baselines of equal bytes are not among them: their sizes are known only
    once the cell's sets are made.

    Args:
        cell: The cell.
        paths: The folders that are read and written.
        with_baselines: As for `condense.runner.run.run_cell`.
        required: As for `condense.runner.run.run_cell`; what is left out is not told.

    Raises:
        Refused: if the cell cannot be filled.
    """
    if cell.federated:
        return list(_federated(cell, paths))
    job = resolve(cell, paths)
    wanted = wants_baselines(job, with_baselines, required)
    rows = beside(job, required, tell=lambda line: None) if wanted else []
    return [unit for row in (job, *rows) for unit in _units(row)]


def arranged(units: Iterable[Unit]) -> list[Unit]:
    """Returns the units of several cells as one list: each once, with the preparation that sets share.

    Where two sets or more need the same trained networks, these become a unit of their own ahead of the sets,
    so that no process waits for another one that trains them.
    """
    listed = {unit.key: unit for unit in units}
    users = Counter(share for unit in listed.values() for share in unit.shares)
    found: dict[str, Unit] = {}
    for unit in listed.values():
        prepared = [digest(["prepare", share]) for share in unit.shares if users[share] > 1]
        for number, key in enumerate(prepared):
            if key not in found:
                found[key] = replace(
                    unit, stage="prepare", key=key, title=f"networks for {unit.title}", shares=(), reads=(),
                    needs=tuple(prepared[:number]),
                )  # fmt: skip
        found[unit.key] = replace(unit, needs=(*unit.needs, *prepared))
    return [replace(unit, needs=tuple(key for key in unit.needs if key in found)) for unit in found.values()]


def run_unit(unit: Unit, paths: Paths, machine: Machine) -> str:
    """Does a unit's work, and returns its result in a few words.

    Raises:
        Refused: if it cannot be done.
        Stopped: if the budget runs out.
    """
    if unit.stage == "federation":
        run_federation(unit.cell, paths, machine)
        return "recorded"
    if unit.stage == "client":
        federation = resolve_federation(unit.cell, paths)
        made, _ = make_set(federation.local(unit.number), federation.seed, machine)
        return f"set {made.hash[:8]}"
    job = resolve(unit.cell, paths)
    if unit.stage == "prepare":
        return _prepare(job, machine)
    if unit.stage == "distil":
        made, _ = make_set(job, job.seeds[0], machine)
        return f"set {made.hash[:8]}"
    if unit.stage == "train":
        return _score(run_job(job, machine)[0], job.eval_seeds(job.seeds[0])[0])
    (setup,) = job.setups
    if unit.stage == "reference":
        record = evaluate_reference(job.cell.method, setup, [unit.number], job.results, machine)
    else:
        made, _ = make_set(job, job.seeds[0], machine)
        record = evaluate_set(made, setup, [unit.number], job.results, machine)
    return _score(record, unit.number)


class _Begun(Exception):
    """A method has come to the first step of its own."""


def _prepare(job: Job, machine: Machine) -> str:
    """Makes a set up to the first step of its own: all that comes before it is kept for all sets.

    A method without steps of its own makes its set.
    """
    assert job.method is not None
    task = f"{job.method.title} on {job.dataset.spec.name}"

    def until(event: Event) -> None:
        if event["task"] == task:
            raise _Begun

    try:
        with hearing(until):
            make_set(job, job.seeds[0], machine)
    except _Begun:
        pass
    return "ready"


def _score(record: Record, seed: int) -> str:
    (entry,) = [entry for entry in record.entries if entry.seed == seed]
    return f"{entry.accuracy:.2f} %" if entry.auc is None else f"AUC {entry.auc:.2f} %"


def _units(job: Job) -> Iterator[Unit]:
    """Yields the units of a cell, or of one of its baselines."""
    if job.method is None:
        yield from _references(job)
        return
    for seed in job.seeds:
        yield from _trainings(job, seed) if job.trains else _sets(job, seed)


def _references(job: Job) -> Iterator[Unit]:
    for setup, cell in _narrowed(job):
        record = reference_record(job.cell.method, setup)
        stored = grown(record, job.results)
        for number in job.eval_seeds():
            if not stored.has(number):
                key = digest(["reference", record.evaluation_key(number)])
                who = "" if setup.student == NO_STUDENT else f"{setup.student} {number} of "
                title = f"{who}{cell.title}"
                yield Unit(stage="reference", key=key, cell=cell, title=title, number=number, group=key)


def _trainings(job: Job, seed: int) -> Iterator[Unit]:
    """Yields the training without a set with a seed, if it lacks a student: all of them share a selection."""
    blanks, numbers = blank_records(job, seed), job.eval_seeds(seed)
    stored = [stored_record(blank, job.results) for blank in blanks]
    if not all(record is not None and record.has(number) for record in stored for number in numbers):
        key = digest(["train", [blank.evaluation_key(number) for blank in blanks for number in numbers]])
        cell = replace(job.cell, seeds=(seed,))
        yield Unit(stage="train", key=key, cell=cell, title=_titled(job, seed), group=key)


def _sets(job: Job, seed: int) -> Iterator[Unit]:
    """Yields the set with a seed, if it is not stored, and the students that it lacks."""
    assert job.method is not None
    missing = []
    for blank, (setup, cell) in zip(blank_records(job, seed), _narrowed(job), strict=True):
        stored = stored_record(blank, job.results)
        numbers = [one for one in job.eval_seeds(seed) if stored is None or not stored.has(one)]
        missing += [(blank, setup, cell, number) for number in numbers]
    folder, key, title = job.folder(seed), digest(["distil", job.key(seed)]), _titled(job, seed)
    if missing and not folder.exists():
        train, shared = job.dataset.train.hash, shared_trainings(job.method)
        yield Unit(
            stage="distil", key=key, cell=replace(job.cell, seeds=(seed,)), title=title, group=key,
            shares=tuple(dict.fromkeys(digest([train, repr(one)]) for one in shared)), reads=(folder.name,),
        )  # fmt: skip
    for blank, setup, cell, number in missing:
        to = "" if setup.target is None else f" to {setup.target.spec.name}"
        yield Unit(
            stage="student", key=digest(["student", blank.evaluation_key(number)]),
            cell=replace(cell, seeds=(seed,)), title=f"{setup.student} {number} of {title}{to}",
            number=number, needs=(key,), group=key, reads=(folder.name,),
        )  # fmt: skip


def _narrowed(job: Job) -> Iterator[tuple[Setup[Any], CellSpec]]:
    """Yields each setup of a job with the cell that has it alone."""
    targets = job.cell.targets or (None,)
    each = len(job.setups) // len(targets)
    for number, setup in enumerate(job.setups):
        target = targets[number // each]
        yield (
            setup,
            replace(
                job.cell,
                student=None if setup.student == NO_STUDENT else setup.student,
                targets=None if target is None else (target,),
            ),
        )


def _titled(job: Job, seed: int) -> str:
    return f"{replace(job.cell, student=None, targets=None).title} seed {seed}"


def _federated(cell: CellSpec, paths: Paths) -> Iterator[Unit]:
    """Yields the sets that the clients of a federation lack, and its rounds, if a seed is not recorded."""
    job = resolve_federation(cell, paths)
    blank = blank_record(job)
    stored = grown(blank, paths.results)
    if all(stored.has(seed) for seed in job.eval_seeds):
        return
    group = digest(["federation", [blank.evaluation_key(seed) for seed in job.eval_seeds]])
    needs, reads = [], []
    for number, client in enumerate(job.federation.clients):
        local = job.local(number)
        folder, key = local.folder(job.seed), digest(["distil", local.key(job.seed)])
        reads.append(folder.name)
        if not folder.exists():
            needs.append(key)
            yield Unit(
                stage="client", key=key, cell=cell, title=f"{client.name} of {cell.title}", number=number,
                group=group, reads=(folder.name,),
            )  # fmt: skip
    yield Unit(
        stage="federation", key=group, cell=cell, title=cell.title, needs=tuple(needs), group=group,
        reads=tuple(reads),
    )  # fmt: skip


def shard_of(group: str, of: int) -> int:
    """Returns the shard, from 0, that a group of units belongs to: by its hash alone, whatever is done."""
    return int(group[:15], 16) % of


def in_shard(units: Sequence[Unit], number: int, of: int) -> list[Unit]:
    """Returns the units of a shard.

    All units of one set are in the same shard, so that no shard waits for another. Sets whose clients two
    federations share, and networks that sets of two shards need, are made by whichever comes first.

    Args:
        units: The units.
        number: Number of the shard, from 0.
        of: Number of shards.
    """
    return [unit for unit in units if shard_of(unit.group, of) == number]
