"""Evaluation of a set or a reference: each student that is tested is added to a record at once."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from condense.data import Dataset
from condense.distillation import Sampling
from condense.errors import Refused
from condense.evaluation.described import data_used, paper, target_used
from condense.evaluation.kinds import Setup, Trial, kind_of
from condense.evaluation.student import Outcome
from condense.events import events_folder, telling
from condense.files import digest, home, locked, locked_if_free, tidy
from condense.protocol import Protocol
from condense.records.record import (
    NO_STUDENT,
    Entry,
    MethodUsed,
    Record,
    SampleCounts,
    SetUsed,
    read_record,
)
from condense.resources import Machine, device_name, duration, versions
from condense.store import DistilledSet
from condense.teachers import Teacher
from condense.training.progress import LONG


def evaluate_set(
    made: DistilledSet, setup: Setup[Any], seeds: Sequence[int], results: Path | None, machine: Machine
) -> Record:
    """Trains students on a set and writes the record after each of them.

    Args:
        made: The set.
        setup: What it is evaluated with.
        seeds: Evaluation seeds. Those that the record holds are skipped.
        results: Folder for records; None writes none.
        machine: The device, and the time limit.

    Students that other processes train for the same record at the same time are left to them.

    Raises:
        Refused: if the teacher or the stored labels that the protocol needs are missing, or the record holds
            students of another set.
        Stopped: if the budget runs out. The record then holds the students that are finished.
    """
    dataset, kind = setup.dataset, kind_of(setup.dataset)
    teacher = kind.teacher(made, dataset, setup.protocol, machine.device)
    blank = record_of(made, dataset, setup.protocol, setup.student, teacher, setup.target)
    record = grown(blank, results)
    if results is not None:
        record.require_same_set(blank.set, record.path(results))
    if _is_full(record, seeds, results, machine.device):
        return record
    return _entered(record, seeds, kind.trial(made, setup, teacher, machine), results, machine)


def evaluate_reference(
    name: str, setup: Setup[Any], seeds: Sequence[int], results: Path | None, machine: Machine
) -> Record:
    """Makes a row without a set: students of the whole training split, or a reference that trains none.

    Args:
        name: ``whole``, or a reference of the dataset's `Kind`.
        setup: What is evaluated. Its student is `condense.records.record.NO_STUDENT` if none is trained.
        seeds: Evaluation seeds. Those that the record holds are skipped.
        results: Folder for records; None writes none.
        machine: The device, and the time limit.
    """
    dataset, kind = setup.dataset, kind_of(setup.dataset)
    record = grown(reference_record(name, setup), results)
    if _is_full(record, seeds, results, machine.device):
        return record
    if (fit := kind.references.get(name)) is not None:
        return _entered(record, seeds, lambda *_: fit(dataset), results, machine)
    return _entered(record, seeds, kind.trial(None, setup, None, machine), results, machine)


def reference_record(name: str, setup: Setup[Any]) -> Record:
    """Returns the record of a row without a set, without entries: see `evaluate_reference`."""
    dataset = setup.dataset
    return Record(
        kind="reference",
        key=digest(
            {"reference": name, "version": 1, "train": dataset.train.hash}
            | ({"given": given} if (given := dataset.spec.given) else {})
        ),
        dataset=data_used(dataset),
        method=MethodUsed(name=name, chain=()),
        ipc=0,
        seed=0,
        set=None,
        space=kind_of(dataset).space,
        protocol=setup.protocol,
        student=setup.student,
        paper=paper(dataset, name, 0, setup.student, setup.target),
        target=target_used(setup.target),
    )


def evaluate_training(
    blank: Record,
    chosen: Sampling,
    seconds: float,
    setup: Setup[Any],
    seeds: Sequence[int],
    results: Path | None,
    machine: Machine,
) -> Record:
    """Trains students without a set, on images that are chosen for each epoch, and records each of them.

    Args:
        blank: The record without what it says of the training, and without entries.
        chosen: The images of each epoch.
        seconds: Wall time of their selection.
        setup: What is evaluated.
        seeds: Evaluation seeds. Those that the record holds are skipped.
        results: Folder for records; None writes none.
        machine: The device, and the time limit.
    """
    dataset, kind = setup.dataset, kind_of(setup.dataset)
    source = kind.sampled(chosen, dataset, machine.device)
    teacher = kind.fixed_teacher(dataset, setup.protocol, machine.device)
    record = replace(blank, training=source.used(setup.protocol, seconds))
    if teacher is not None:
        record = replace(record, teacher_bytes=teacher.nbytes, teacher_accuracy=teacher.accuracy)
    record = grown(record, results)
    if _is_full(record, seeds, results, machine.device):
        return record
    return _entered(record, seeds, kind.trial(source, setup, teacher, machine), results, machine)


def evaluate_federation(
    blank: Record, trial: Trial, seeds: Sequence[int], results: Path | None, machine: Machine
) -> Record:
    """Runs a federation for each seed, and records the network of each.

    Args:
        blank: The record without entries.
        trial: Runs the federation of a seed.
        seeds: Evaluation seeds. Those that the record holds are skipped.
        results: Folder for records; None writes none.
        machine: The device, and the time limit.
    """
    record = grown(blank, results)
    made = [[one.set for one in of.federation.clients] for of in (record, blank) if of.federation]
    if made[0] != made[-1] and results is not None:
        raise Refused(
            f"{record.path(results)} holds a federation whose clients had distilled other sets, on another "
            "machine or with another version; move the file away"
        )
    if _is_full(record, seeds, results, machine.device):
        return record
    return _entered(record, seeds, trial, results, machine)


def is_recorded(blank: Record, seeds: Sequence[int], results: Path | None, device: torch.device) -> bool:
    """Returns whether the record with the evaluation key of a blank one has all seeds, and says so."""
    return _is_full(grown(blank, results), seeds, results, device)


def grown(record: Record, results: Path | None) -> Record:
    """Returns the stored record with the evaluation key of the given one; without one, the given record."""
    path = results and record.path(results)
    return read_record(path) if path is not None and path.exists() else record


def _is_full(record: Record, seeds: Sequence[int], results: Path | None, device: torch.device) -> bool:
    full = all(record.has(seed) for seed in seeds)
    if full and results is not None:
        say(f"up to date: {record.path(results)}")
        tidy_record(record, results, device)
    return full


def tidy_record(record: Record, results: Path, device: torch.device) -> None:
    """Removes what killed processes have left of a stored record and of its students."""
    tidy(record.path(results))
    for entry in record.entries:
        folder = _folder(record, entry.seed, device)
        tidy(folder)
        if folder.exists():
            with locked_if_free(folder) as free:
                if free:
                    shutil.rmtree(folder, ignore_errors=True)


def _folder(record: Record, seed: int, device: torch.device) -> Path:
    """Returns the folder for the checkpoints of a student."""
    trained_on = record.set and record.set.hash
    name = digest([record.evaluation_key(seed), trained_on, device_name(device)])[:32]
    return home() / "students" / name


def _entered(
    record: Record, seeds: Sequence[int], trial: Trial, results: Path | None, machine: Machine
) -> Record:
    """Trains the students that a record lacks; those that other processes are training are waited for."""
    while missing := [seed for seed in seeds if not record.has(seed)]:
        for seed in missing:
            with _claimed(record, seed, results) as mine:
                record = grown(record, results)
                if mine and not record.has(seed):
                    record = _with_student(record, seed, trial, results, machine.device)
                    if seed == missing[0]:
                        _tell_rest(record, seed, len(missing) - 1)
        if results is not None and (others := [seed for seed in missing if not record.has(seed)]):
            what = f"trains {record.student} {others[0]} for {record.path(results)}"
            with locked(_claim(record, others[0], results), what=what, budget=machine.budget):
                record = grown(record, results)
    if results is not None:
        tidy_record(record, results, machine.device)
    return record


def _tell_rest(record: Record, seed: int, others: int) -> None:
    """Says what the other students of a record will take, if that is long, by the time of the first one."""
    seconds = others * next(entry.seconds for entry in record.entries if entry.seed == seed)
    if seconds > LONG:
        networks = "network" if others == 1 else f"{others} networks"
        say(f"about {duration(seconds)} for the other {networks}; fewer eval_seeds make it shorter")


def _claim(record: Record, seed: int, results: Path) -> Path:
    """Returns the path whose lock a process holds while it trains one of a record's students."""
    path = record.path(results)
    return path.with_name(f"{path.name}.{seed}")


@contextmanager
def _claimed(record: Record, seed: int, results: Path | None) -> Iterator[bool]:
    """Claims a student, and yields whether no other process has done so."""
    if results is None:
        yield True
        return
    with locked_if_free(_claim(record, seed, results)) as free:
        yield free


def _with_student(
    record: Record, seed: int, trial: Trial, results: Path | None, device: torch.device
) -> Record:
    """Trains a student and returns the record with its result, as it is stored by then."""
    with _unfinished(record, seed, device) as folder:
        with telling(record.run, None if folder is None else events_folder()):
            outcome = trial(seed, folder)
            outcome.tell(_who(record, seed))
        return _recorded(record, seed, outcome, results, device)


def _who(record: Record, seed: int) -> str:
    return record.method.name if record.student == NO_STUDENT else f"{record.student} {seed}"


@contextmanager
def _unfinished(record: Record, seed: int, device: torch.device) -> Iterator[Path | None]:
    """Yields the folder of a student that is not recorded yet; None if another process trains the same one.

    The folder is removed once the block has ended without an exception.
    """
    folder = _folder(record, seed, device)
    with locked_if_free(folder) as free:
        yield folder if free else None
        if free:
            shutil.rmtree(folder, ignore_errors=True)


def _recorded(
    record: Record, seed: int, outcome: Outcome, results: Path | None, device: torch.device
) -> Record:
    entry = Entry(
        seed=seed,
        accuracy=outcome.accuracy,
        seconds=round(outcome.seconds, 3),
        device=device_name(device),
        threads=torch.get_num_threads(),
        versions=versions(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        auc=outcome.auc,
        size_correlation=outcome.size_correlation,
        curve=outcome.curve,
        curve_part=outcome.curve_part,
        clients=outcome.clients,
        up_bytes=outcome.up_bytes,
        down_bytes=outcome.down_bytes,
        lost=outcome.lost,
    )
    record = record.with_entry(entry)
    auc = "" if outcome.auc is None else f"AUC {outcome.auc:.2f} %, "
    who = _who(record, seed)
    where = "" if results is None else f" -> {record.write(results)}"
    say(f"{who}: {auc}{outcome.accuracy:.2f} % in {outcome.seconds:.1f} s{where}")
    record = grown(record, results)
    if entry not in record.entries:
        say(f"{who}: another process had recorded this student by then; its result stays")
    return record


def record_of(
    made: DistilledSet,
    dataset: Dataset,
    protocol: Protocol,
    student: str,
    teacher: Teacher | None = None,
    target: Dataset | None = None,
) -> Record:
    """Returns the record of a set under a protocol and student, without entries.

    The teacher is the one that labels what students see, if there is one; stored labels name theirs. The
    target is the data that students are trained on after the set, if there are any.
    """
    content, provenance, kind = made.content, made.provenance, kind_of(dataset)
    method, hints = content["method"], {**content}.get("hints", {})
    counts = content["counts"]
    asked = tuple(counts.get("asked", ()))
    stored = protocol.labels == "stored"
    return Record(
        kind="set" if target is None else "transfer",
        key=content["key"],
        dataset=data_used(dataset),
        method=MethodUsed(name=method["name"], chain=tuple(method["chain"]), source=method["source"]),
        ipc=content["ipc"],
        seed=content["seed"],
        set=SetUsed(
            hash=made.hash,
            bytes=made.nbytes(),
            counts=SampleCounts(
                stored=counts["stored"], effective=counts["effective"], per_class=tuple(counts["per_class"])
            ),
            label=content["label"]["kind"],
            seconds=_number(provenance.get("seconds")),
            peak_bytes=_whole(provenance.get("peak_bytes")),
            device=str(provenance.get("device", "unknown")),
            rollbacks=_whole(hints.get("rollbacks")) if isinstance(hints, dict) else None,
            dense_bytes=_whole({**content}.get("dense_bytes")),
        ),
        space=kind.space_of_set(made, protocol),
        protocol=protocol,
        student=student,
        teacher=teacher.hash if teacher else content["label"]["teacher"] if stored else None,
        teacher_bytes=teacher.nbytes if teacher else None,
        teacher_accuracy=teacher.accuracy if teacher else None,
        valid_bytes=kind.valid_bytes(dataset, protocol),
        paper=None if asked else paper(dataset, method["name"], content["ipc"], student, target),
        asked=asked,
        target=target_used(target),
    )


def tell_notes(dataset: Dataset, told: set[str] | None = None) -> None:
    """Prints what the loader of a dataset noted, one line each.

    Args:
        dataset: The dataset.
        told: Lines that were printed before. They are left out, and the new ones are added.
    """
    told = set() if told is None else told
    for line in (f"{dataset.spec.name}: {note}" for note in dataset.spec.notes):
        if line not in told:
            say(line)
        told.add(line)


def say(line: str) -> None:
    """Prints a line of progress on standard error."""
    print(line, file=sys.stderr, flush=True)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
