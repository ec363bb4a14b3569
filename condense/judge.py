"""From a set, or the whole training set, to a record: students trained and tested, each noted at once."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from condense.board.published import lookup
from condense.board.records import Counts, DataUsed, Entry, MethodUsed, Paper, Record, SetUsed, read
from condense.data import Dataset
from condense.errors import Refused
from condense.evaluate import Trainable, Whole, train_student
from condense.files import digest
from condense.measure import Budget, device_name, versions
from condense.protocol import Protocol
from condense.store import DistilledSet


def judge(
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
        Refused: if the set is of other data, or the record holds students of another set.
        Stopped: when the budget has run out; the record then holds the students that are done.
    """
    used = made.content["dataset"]
    if used["train_hash"] != dataset.train.hash:
        raise Refused(
            f"the set was made of {used['name']} with training split {used['train_hash'][:8]}; "
            f"{dataset.spec.name} has {dataset.train.hash[:8]}"
        )
    record = record_of(made, dataset, protocol, student)
    path = record.path(results)
    if path.exists():
        old = read(path)
        assert old.set is not None
        if old.set.hash != made.hash:
            raise Refused(
                f"{path} judges the set {old.set.hash[:8]}; this one, {made.hash[:8]}, comes from the same "
                "settings on another machine or version: choose another --results, or move that file away"
            )
        record = old
    if _full(record, seeds, path):
        return record
    pixels = dataset.space(record.space)
    source = made.in_space(pixels, dataset.space(made.content["pixels"]["space"])).to(device)
    return _students(source, record, seeds, dataset, results, device, budget)


def judge_whole(
    dataset: Dataset,
    protocol: Protocol,
    student: str,
    seeds: Sequence[int],
    results: Path,
    device: torch.device,
    budget: Budget,
) -> Record:
    """The reference row of the whole training set: `judge`, with all of it in place of a set."""
    record = Record(
        kind="reference",
        key=digest({"reference": "whole", "version": 1, "train": dataset.train.hash}),
        dataset=data_used(dataset),
        method=MethodUsed(name="whole", chain=()),
        ipc=0,
        seed=0,
        set=None,
        space="normalized",
        protocol=protocol,
        student=student,
        paper=paper(dataset, "whole", 0, student),
    )
    path = record.path(results)
    if path.exists():
        record = read(path)
    if _full(record, seeds, path):
        return record
    pixels = dataset.space(record.space).to(device)
    source = Whole(dataset.train.to(device).in_space(pixels))
    return _students(source, record, seeds, dataset, results, device, budget)


def _full(record: Record, seeds: Sequence[int], path: Path) -> bool:
    """Whether a record holds all of the seeds, which is then said."""
    full = all(record.has(seed) for seed in seeds)
    if full:
        say(f"up to date: {path}")
    return full


def _students(
    source: Trainable,
    record: Record,
    seeds: Sequence[int],
    dataset: Dataset,
    results: Path,
    device: torch.device,
    budget: Budget,
) -> Record:
    pixels = dataset.space(record.space).to(device)
    test = dataset.test.to(device).in_space(pixels)
    for seed in seeds:
        if record.has(seed):
            continue
        outcome = train_student(
            source, test, dataset.spec, record.protocol, student=record.student, seed=seed, budget=budget
        )
        entry = Entry(
            seed=seed,
            accuracy=outcome.accuracy,
            seconds=round(outcome.seconds, 3),
            device=device_name(device),
            threads=torch.get_num_threads(),
            versions=versions(),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        record = record.with_entry(entry)
        path = record.write(results)
        say(f"{record.student} {seed}: {outcome.accuracy:.2f} % in {outcome.seconds:.1f} s -> {path}")
    return record


def record_of(made: DistilledSet, dataset: Dataset, protocol: Protocol, student: str) -> Record:
    """A set's record under a protocol and student, without entries."""
    content, provenance = made.content, made.provenance
    method = content["method"]
    counts = content["counts"]
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
            counts=Counts(
                stored=counts["stored"],
                effective=counts["effective"],
                per_class=tuple(counts["per_class"]),
            ),
            label=content["label"]["kind"],
            seconds=_number(provenance.get("seconds")),
            peak_bytes=_whole(provenance.get("peak_bytes")),
            device=str(provenance.get("device", "unknown")),
            rollbacks=content["hints"].get("rollbacks"),
        ),
        space=made.evaluation_space,
        protocol=protocol,
        student=student,
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
