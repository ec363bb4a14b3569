"""From a set, or a reference without one, to a record: students trained and tested, each noted at once."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from condense.data import Dataset
from condense.errors import Refused
from condense.evaluation.kinds import WHOLE, Trial, kind_of, referred
from condense.files import digest
from condense.protocol import Protocol
from condense.records.published import lookup
from condense.records.record import (
    NO_STUDENT,
    DataUsed,
    Entry,
    MethodUsed,
    Paper,
    Record,
    SampleCounts,
    SetUsed,
    read_record,
)
from condense.resources import Budget, device_name, versions
from condense.store import DistilledSet
from condense.teachers import Teacher


def evaluate_set(
    made: DistilledSet,
    dataset: Dataset,
    protocol: Protocol,
    student: str,
    seeds: Sequence[int],
    results: Path,
    device: torch.device,
    budget: Budget,
) -> Record:
    """Trains students on a set and writes the record after each of them.

    Args:
        made: The set.
        dataset: What it was made of; gives the test split.
        protocol: How to train.
        student: Name of the network.
        seeds: Evaluation seeds; those that the record holds are skipped.
        results: Folder for records.
        device: Where to train.
        budget: When to stop.

    Raises:
        Refused: if the set is of other data, the teacher or the stored labels that the protocol asks for are
            missing, or the record holds students of another set.
        Stopped: when the budget has run out; the record then holds the students that are done.
    """
    used = made.content["dataset"]
    if used["train_hash"] != dataset.train.hash:
        raise Refused(
            f"the set was made of {used['name']} with training split {used['train_hash'][:8]}; "
            f"{dataset.spec.name} has {dataset.train.hash[:8]}"
        )
    kind = kind_of(dataset)
    kind.check_labels(made, protocol)
    teacher = kind.teacher(made, protocol, device)
    record = record_of(made, dataset, protocol, student, teacher)
    path = record.path(results)
    if path.exists():
        old = read_record(path)
        assert old.set is not None
        if old.set.hash != made.hash:
            raise Refused(
                f"{path} judges the set {old.set.hash[:8]}; this one, {made.hash[:8]}, comes from the same "
                "settings on another machine or version: choose another --results, or move that file away"
            )
        record = old
    if _full(record, seeds, path):
        return record
    trial = kind.trial(made, protocol, student, record.space, teacher, device, budget)
    return _entered(record, seeds, trial, results, device)


def evaluate_reference(
    name: str,
    dataset: Dataset,
    protocol: Protocol,
    student: str,
    seeds: Sequence[int],
    results: Path,
    device: torch.device,
    budget: Budget,
) -> Record:
    """A row without a set: `evaluate_set`, with the whole training set or what needs no network in place of one.

    Args:
        name: ``whole``, or one of `condense.evaluation.REFERENCES`, which train no student.
        dataset: Whose training set it is.
        protocol: How to train, like all that follows.
        student: Name of the network; `condense.records.record.NO_STUDENT` where none is trained.
        seeds: Evaluation seeds.
        results: Folder for records.
        device: Where to train.
        budget: When to stop.
    """
    kind = kind_of(dataset)
    record = Record(
        kind="reference",
        key=digest({"reference": name, "version": 1, "train": dataset.train.hash}),
        dataset=data_used(dataset),
        method=MethodUsed(name=name, chain=()),
        ipc=0,
        seed=0,
        set=None,
        space=kind.space(None, protocol),
        protocol=protocol,
        student=student,
        paper=paper(dataset, name, 0, student),
    )
    path = record.path(results)
    if path.exists():
        record = read_record(path)
    if _full(record, seeds, path):
        return record
    if student == NO_STUDENT:
        trial = referred(name, dataset)
    else:
        assert name == WHOLE
        trial = kind.trial(None, protocol, student, record.space, None, device, budget)
    return _entered(record, seeds, trial, results, device)


def _full(record: Record, seeds: Sequence[int], path: Path) -> bool:
    """Whether a record holds all of the seeds, which is then said."""
    full = all(record.has(seed) for seed in seeds)
    if full:
        say(f"up to date: {path}")
    return full


def _entered(
    record: Record, seeds: Sequence[int], trial: Trial, results: Path, device: torch.device
) -> Record:
    """A record with an entry for each of the seeds, written after each."""
    for seed in seeds:
        if record.has(seed):
            continue
        outcome = trial(seed)
        entry = Entry(
            seed=seed,
            accuracy=outcome.accuracy,
            seconds=round(outcome.seconds, 3),
            device=device_name(device),
            threads=torch.get_num_threads(),
            versions=versions(),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            auc=outcome.auc,
        )
        record = record.with_entry(entry)
        path = record.write(results)
        auc = "" if outcome.auc is None else f"AUC {outcome.auc:.2f} %, "
        who = record.method.name if record.student == NO_STUDENT else f"{record.student} {seed}"
        say(f"{who}: {auc}{outcome.accuracy:.2f} % in {outcome.seconds:.1f} s -> {path}")
    return record


def record_of(
    made: DistilledSet, dataset: Dataset, protocol: Protocol, student: str, teacher: Teacher | None = None
) -> Record:
    """A set's record under a protocol and student, without entries.

    Args:
        made: The set.
        dataset: What it was made of.
        protocol: How students are trained.
        student: Name of the network.
        teacher: Who labels while they are trained, if somebody does; stored labels name theirs themselves.
    """
    content, provenance, kind = made.content, made.provenance, kind_of(dataset)
    method, hints = content["method"], {**content}.get("hints", {})
    counts = content["counts"]
    stored = protocol.labels == "stored"
    return Record(
        kind="set",
        key=content["key"],
        dataset=data_used(dataset),
        method=MethodUsed(name=method["name"], chain=tuple(method["chain"]), source=method["source"]),
        ipc=content["ipc"],
        seed=content["seed"],
        set=SetUsed(
            hash=made.hash,
            bytes=made.nbytes(),
            counts=SampleCounts(
                stored=counts["stored"],
                effective=counts["effective"],
                per_class=tuple(counts["per_class"]),
            ),
            label=content["label"]["kind"],
            seconds=_number(provenance.get("seconds")),
            peak_bytes=_whole(provenance.get("peak_bytes")),
            device=str(provenance.get("device", "unknown")),
            rollbacks=_whole(hints.get("rollbacks")) if isinstance(hints, dict) else None,
            dense_bytes=_whole({**content}.get("dense_bytes")),
        ),
        space=kind.space(made, protocol),
        protocol=protocol,
        student=student,
        teacher=teacher.hash if teacher else content["label"]["teacher"] if stored else None,
        teacher_bytes=teacher.nbytes if teacher else None,
        teacher_accuracy=teacher.accuracy if teacher else None,
        valid_bytes=kind.valid_bytes(protocol),
        paper=paper(dataset, method["name"], content["ipc"], student),
    )


def paper(dataset: Dataset, method: str, ipc: int, student: str) -> Paper | None:
    """The published number of a cell, as records hold it."""
    found = lookup(dataset.spec.name, method, ipc, student)
    return found.paper if found else None


def data_used(dataset: Dataset) -> DataUsed:
    """A dataset as records name it."""
    spec = dataset.spec
    return DataUsed(
        name=spec.name, kind=spec.kind, train_hash=dataset.train.hash, test_hash=dataset.test.hash
    )


def say(line: str) -> None:
    """A line of progress, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
