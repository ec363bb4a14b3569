"""From a set, or the whole training set, to a record: students trained and tested, each noted at once."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from condense.board.published import lookup
from condense.board.records import Counts, DataUsed, Entry, MethodUsed, Paper, Record, SetUsed, read
from condense.data import Dataset
from condense.errors import Refused
from condense.evaluate import Labeller, Trainable, Whole, train_student
from condense.files import digest
from condense.measure import Budget, device_name, versions
from condense.protocol import Protocol
from condense.store import DistilledSet
from condense.store.manifest import TeacherPart
from condense.store.targets import Distilled, Target
from condense.teachers import ANY_DATA, NoFixed, Teacher, find, fixed


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
    if protocol.labels == "stored" and made.epochs is None:
        name, taught = made.content["method"]["name"], "teacher" in made.content
        raise without_stored_labels(protocol, name, dataset, taught=taught)
    teacher = labelling_teacher(made, dataset, protocol, device)
    record = record_of(made, dataset, protocol, student, teacher)
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
    labeller = None if teacher is None else labelled_by(teacher, protocol)
    return _students(source, record, seeds, dataset, results, device, budget, labeller)


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
    labeller: Labeller | None = None,
) -> Record:
    pixels = dataset.space(record.space).to(device)
    test = dataset.test.to(device).in_space(pixels)
    for seed in seeds:
        if record.has(seed):
            continue
        outcome = train_student(
            source, test, dataset.spec, record.protocol,
            student=record.student, seed=seed, labeller=labeller, budget=budget,
        )  # fmt: skip
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


def labelling_teacher(
    made: DistilledSet, dataset: Dataset, protocol: Protocol, device: torch.device | str
) -> Teacher | None:
    """Who labels what students see under a protocol: the dataset's fixed teacher, the set's own, or nobody.

    Raises:
        Refused: if there is none, or it is not here.
    """
    if protocol.labels == "fixed":
        return fixed(dataset.spec.name, dataset.train.hash, device)
    if protocol.labels == "own":
        return find(own_teacher(made, protocol)["hash"], device)
    return None


def own_teacher(made: DistilledSet, protocol: Protocol) -> TeacherPart:
    """What a set says of the teacher that its method inverted.

    Args:
        made: The set.
        protocol: One for which that teacher labels.

    Raises:
        Refused: if it names none.
    """
    own = made.content.get("teacher")
    if own is None:
        raise Refused(
            f"{protocol.name} has a set labelled by its own teacher, and this set of "
            f"{made.content['method']['name']} names none"
        )
    return own


def without_stored_labels(
    protocol: Protocol, method: str, dataset: Dataset, *, taught: bool, data: str = ANY_DATA
) -> Refused:
    """The refusal of sets that lack what a protocol trains on.

    Args:
        protocol: One for stored labels.
        method: The name of the method chain that stores none.
        dataset: The data: without a fixed teacher, ``+fkd`` wants another.
        taught: Whether the method has a teacher of its own.
        data: The options of the command line that name the data.
    """
    told = f"condense run --method {method}+fkd"
    remedy = f"{told} makes one that does"
    try:
        fixed(dataset.spec.name, dataset.train.hash)
    except NoFixed as error:
        first = NoFixed(error.name, data)
        remedy = (
            f"{told} --param fkd.teacher=host makes one that does" if taught else f"{remedy}, but {first}"
        )
    return Refused(
        f"{protocol.name} trains on labels that are stored with a set's views, and a set of {method} stores "
        f"none; {remedy}"
    )


def labelled_by(teacher: Teacher, protocol: Protocol) -> Labeller:
    """What gives a batch a teacher's logits, as a protocol's loss takes them.

    Args:
        teacher: On the device of the images.
        protocol: Gives the temperature, and whose statistics the teacher's batch norms go by.
    """
    temperature = protocol.temperature
    assert temperature is not None

    def label(images: Float[Tensor, "n c h w"], target: Target) -> Target:
        logits = teacher.logits(images, batch_statistics=protocol.teacher_mode == "train")
        return Distilled(logits, target.ids, temperature, squared=bool(protocol.squared))

    return label


def space_of(own: str, protocol: Protocol) -> str:
    """The pixel space of students: the set's own, but normalised pixels where a teacher's labels are used.

    Args:
        own: The set's evaluation space.
        protocol: How students are trained.
    """
    return own if protocol.labels is None else "normalized"


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
    content, provenance = made.content, made.provenance
    method = content["method"]
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
        space=space_of(made.evaluation_space, protocol),
        protocol=protocol,
        student=student,
        teacher=teacher.hash if teacher else content["label"]["teacher"] if stored else None,
        teacher_bytes=teacher.nbytes if teacher else None,
        teacher_accuracy=teacher.accuracy if teacher else None,
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
