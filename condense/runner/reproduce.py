"""A row of the board, done again: new students on its set, or everything from the distillation on.

Nothing is recorded. New students have evaluation seeds that the protocol does not use, so that they are drawn
anew, and what they reach is compared with what the record says.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy import special, stats

from condense.catalogue import locate
from condense.catalogue.known import known_sets
from condense.distillation.registry import registered
from condense.errors import Refused, Remedy, unknown
from condense.evaluation.evaluate import evaluate_reference, evaluate_set, record_of, say, tell_notes
from condense.evaluation.kinds import kind_of
from condense.records.folder import read_records
from condense.records.record import NO_STUDENT, Entry, Record, read_record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import Job, resolve
from condense.runner.run import train_without_set
from condense.runner.sets import make_set
from condense.store import DistilledSet, load
from condense.store.folder import read_manifest

LEVEL = 0.01
"""Probability of a difference as large as the one found, below which a row does not stand."""
CLOSE = 0.05
"""Difference in points that is none, however little the students of a row differ from each other."""
FEW = 2
"""The smallest number of new students, as one alone says nothing of how much they differ."""


@dataclass(frozen=True)
class Reproduced:
    """A row beside what was found when it was done again.

    Attributes:
        record: The record that was done again.
        stored: Scores in percent that the records hold: of each student, or if the row has several sets, the
            mean of each set.
        again: Scores of the new students.
        same_set: Whether the set that was distilled again has the stored content hash; None if none was.
        one_set: Whether the new students share one set while `stored` are the means of several.
        older: Names of the methods of which the row has an older version, with both versions.
    """

    record: Record
    stored: tuple[float, ...]
    again: tuple[float, ...]
    same_set: bool | None
    one_set: bool
    older: tuple[str, ...]

    @property
    def difference(self) -> float:
        """How many points the new mean lies above the stored one."""
        return fmean(self.again) - fmean(self.stored)

    @property
    def compared(self) -> tuple[float, float]:
        """The difference in standard errors, and its probability: see `agreement`."""
        return agreement(self.stored, (fmean(self.again),) if self.one_set else self.again)

    @property
    def z(self) -> float:
        """The difference in standard errors; 0 if both are equal."""
        return self.compared[0]

    @property
    def chance(self) -> float:
        """The probability of a difference at least as large if nothing but the seeds differs."""
        return self.compared[1]

    @property
    def stands(self) -> bool:
        return self.chance >= LEVEL or abs(self.difference) < CLOSE

    def __str__(self) -> str:
        units = "sets" if self.one_set else "students"
        told = (
            f"{self.record.title} on {self.record.dataset.name}: {_summary(self.stored, units)} recorded, "
            f"{_summary(self.again, 'students')} again: z = {self.z:+.2f}, p = {self.chance:.2g}"
        )
        return f"{told}: the row {'stands' if self.stands else 'does not stand'}"


def _summary(scores: Sequence[float], units: str) -> str:
    spread = f" ± {stdev(scores):.2f}" if len(scores) > 1 else ""
    return f"{fmean(scores):.2f}{spread} % ({len(scores)} {units})"


def agreement(stored: Sequence[float], again: Sequence[float]) -> tuple[float, float]:
    """Compares the means of two groups of scores.

    With two or more scores on both sides this is Welch's test. A single score is compared with the spread of
    the other group, as one more draw from it.

    Args:
        stored: Scores in one group.
        again: Scores in the other.

    Returns:
        The difference of the means, the second minus the first, in standard errors; and the two-sided
        probability of one at least as large. Two single scores agree only if they are equal.
    """
    difference = fmean(again) - fmean(stored)
    if difference == 0:
        return 0.0, 1.0
    groups = [group for group in (stored, again) if len(group) > 1]
    if not any(stdev(group) > 0 for group in groups):
        return math.copysign(math.inf, difference), 0.0
    if len(groups) == 2:
        found = stats.ttest_ind(again, stored, equal_var=False)
        return float(found.statistic), float(found.pvalue)
    (group,) = groups
    z = difference / (stdev(group) * math.sqrt(1 + 1 / len(group)))
    return z, float(2 * special.stdtr(len(group) - 1, -abs(z)))


def find_row(
    row: str, results: Path, protocol: str | None = None, student: str | None = None
) -> tuple[Record, list[Record]]:
    """Finds a row of the board.

    Args:
        row: Path of a record; or the name of a row, ``DATASET/METHOD/ipcN`` or a record's file name without
            its end.
        results: Folder of the records.
        protocol: Name of the protocol, where the row has several.
        student: Name of the student, where the row has several.

    Returns:
        The record, and all records of its row: those that differ from it by the seed of their sets alone. A
        file that is in no results folder stands for itself.

    Raises:
        Refused: if nothing has this name, or several rows have.
    """
    path = Path(row)
    if path.suffix == ".json":
        record = read_record(path)
        return record, [record, *(other for other in _neighbours(path, record) if _beside(other, record))]
    records = read_records(results) if results.is_dir() else []
    named = [record for record in records if row in (_short(record), record.path(Path()).stem)]
    if not named:
        raise unknown("row", row, sorted({_short(record) for record in records}))
    fits = [
        record
        for record in named
        if protocol in (None, record.protocol.name) and student in (None, record.student)
    ]
    rows: list[list[Record]] = []
    for record in fits:
        for other in rows:
            if _beside(record, other[0]):
                other.append(record)
                break
        else:
            rows.append([record])
    if len(rows) != 1:
        shown = [first for first, *_ in rows] or named
        told = ", ".join(sorted({one.path(Path()).stem for one in shown})[:8])
        many = f"{len(rows)} rows have this name" if rows else "no such protocol or student in this row"
        raise Refused(f"{row}: {many}: {told}")
    return rows[0][0], rows[0]


def _neighbours(path: Path, record: Record) -> Iterator[Record]:
    """Yields the valid records beside a record whose file lies where it would be in a results folder."""
    place = path.resolve()
    if record.path(place.parent.parent) == place:
        for other in sorted(place.parent.glob("*.json")):
            with suppress(Refused):
                yield read_record(other)


def reproduce(
    record: Record,
    row: Sequence[Record],
    paths: Paths,
    machine: Machine,
    *,
    full: bool = False,
    students: int | None = None,
    teacher: str | Path | None = None,
) -> Reproduced:
    """Trains new students for a row, and compares what they reach with what is recorded.

    Args:
        record: The record that is done again.
        row: All records of its row.
        paths: The folders that are read. The set is looked for in ``results/sets`` and in ``out``.
        machine: The device, and the time limit.
        full: Whether the set is distilled again as well.
        students: Number of new students; None takes the protocol's number, and two at least.
        teacher: File of the teacher that the set was made with, if its settings name one by its hash.

    Raises:
        Refused: if the set is not at hand, or what is there now would give another row.
        Stopped: if the budget runs out.
    """
    if record.kind == "federated":
        raise Refused("a federation is run again by condense run, with other folders for its results")
    older = tuple(_older(record))
    for line in older:
        say(line)
    count = max(students or record.protocol.seeds, 1 if students else FEW)
    start = max(record.protocol.seeds, *(entry.seed + 1 for entry in record.entries), 0)
    seeds, cell = tuple(range(start, start + count)), _cell(record, teacher)
    same: bool | None = None
    if record.set is None:
        again = _without_set(record, cell, paths, machine, seeds)
    elif full:
        if older:
            raise Refused(f"{older[0]}: what is distilled now is another row")
        with tempfile.TemporaryDirectory() as folder:
            job = resolve(cell, replace(paths, out=Path(folder)), recorded=False)
            _require_key(job.key(record.seed), record)
            made, _ = make_set(job, record.seed, machine)
            same = made.hash == record.set.hash
            say(f"the set has {'the recorded' if same else 'another'} content hash, {made.hash[:16]}")
            again = _on(made, record, cell, paths, machine, seeds)
    else:
        again = _on(_at_hand(record, paths), record, cell, paths, machine, seeds)
    several = len(row) > 1
    stored = [_scores(one.entries) for one in row]
    return Reproduced(
        record, tuple(map(fmean, stored)) if several else tuple(stored[0]), tuple(_scores(again)), same,
        several and record.set is not None, older,
    )  # fmt: skip


def _on(
    made: DistilledSet, record: Record, cell: CellSpec, paths: Paths, machine: Machine, seeds: Sequence[int]
) -> Sequence[Entry]:
    """Trains students on a set."""
    job = resolve(replace(cell, params={}), paths, made=made, recorded=False)
    (setup,) = job.setups
    for data in (job.dataset, setup.target):
        if data is not None:
            tell_notes(data)
    _require_same(job, record)
    labeller = kind_of(job.dataset).teacher(made, job.dataset, setup.protocol, machine.device)
    found = record_of(made, setup.dataset, setup.protocol, setup.student, labeller, setup.target)
    if found.evaluation_key() != record.evaluation_key():
        raise Refused(f"the set of {record.title} would be judged with another teacher or pixel space here")
    return evaluate_set(made, setup, seeds, None, machine).entries


def _without_set(
    record: Record, cell: CellSpec, paths: Paths, machine: Machine, seeds: Sequence[int]
) -> Sequence[Entry]:
    """Trains students on real images, or fits a reference again."""
    job = resolve(cell, paths, recorded=False)
    tell_notes(job.dataset)
    _require_same(job, record)
    if job.method is None:
        (setup,) = job.setups
        once = job.eval_seeds() if record.protocol.seeds == 1 else seeds
        return evaluate_reference(record.method.name, setup, once, None, machine).entries
    _require_key(job.key(record.seed), record)
    (made,) = train_without_set(job, record.seed, seeds, machine)
    return made.entries


def _at_hand(record: Record, paths: Paths) -> DistilledSet:
    """Loads the set of a record.

    Raises:
        Refused: if it is not in any of the folders.
    """
    assert record.set is not None
    for folder in (paths.results / "sets", paths.out):
        for place in sorted(folder.glob(f"*-{record.key[:8]}")):
            content, provenance = read_manifest(place)
            if content["key"] == record.key and provenance["hash"] == record.set.hash:
                return load(place)
    for known in known_sets():
        if known.entry.hash == record.set.hash and known.where is not None:
            return load(locate(known.entry.full))
    raise Refused(
        f"the set {record.set.hash[:16]} of {record.title} is neither in {paths.results / 'sets'} nor in "
        f"{paths.out}",
        remedies=[Remedy(settings={"full": True}, effect="distils it again")],
    )


def _cell(record: Record, teacher: str | Path | None) -> CellSpec:
    """Returns the cell that fills a record."""
    options: dict[str, Any] | None = record.dataset.options
    if options is None:
        raise Refused(f"the data of {record.title}, {record.dataset.name!r}, cannot be found by their name")
    if "size" in options:
        options["size"] = int(options["size"])
    return CellSpec(
        **options, method=record.method.name, ipc=record.ipc, fraction=record.fraction,
        protocol=record.protocol.name, student=None if record.student == NO_STUDENT else record.student,
        targets=None if record.target is None else (record.target.name,), params=record.params,
        teacher=teacher,
    )  # fmt: skip


def _require_same(job: Job, record: Record) -> None:
    """Refuses data or a protocol that are not those of a record."""
    (setup,) = job.setups
    tested = setup.dataset if setup.target is None else setup.target
    wanted = record.dataset if record.target is None else record.target
    if (found := tested.test.hash) != wanted.test_hash:
        raise Refused(
            f"{tested.spec.name} has the test split {found[:8]} here; the row was tested on "
            f"{wanted.test_hash[:8]}"
        )
    if setup.protocol.hash != record.protocol.hash:
        raise Refused(f"{setup.protocol.name} has other numbers here than in the record")


def _require_key(key: str, record: Record) -> None:
    """Refuses settings that would give another set."""
    if key != record.key:
        raise Refused(
            f"the settings of {record.title} give the run {key[:8]} here, and the row is {record.key[:8]}: "
            "its data, its counts or its teacher are not those that its names stand for"
        )


def _older(record: Record) -> list[str]:
    """Returns a sentence for each method of a record that has a later version by now."""
    now = {(kind, name): cls.version for (kind, name), cls in registered().items()}
    return [
        f"the row is of version {link['version']} of {link['name']}, which has version {version} now"
        for link in record.method.chain
        if (version := now.get((record.dataset.kind, link["name"]))) not in (None, link["version"])
    ]


def _short(record: Record) -> str:
    """Returns the short name of a record's row."""
    size = f"ipc{record.ipc}" if record.fraction is None else f"fraction{record.fraction:g}"
    return f"{record.dataset.name}/{record.method.name}/{size}"


def _beside(other: Record, record: Record) -> bool:
    """Returns whether two records are of one row: they differ by the seed of their sets alone."""
    return all(
        (
            other.seed != record.seed or other.key != record.key,
            other.kind == record.kind,
            other.dataset == record.dataset,
            other.method.chain == record.method.chain,
            other.method.name == record.method.name,
            (other.ipc, other.fraction, other.asked) == (record.ipc, record.fraction, record.asked),
            other.protocol.hash == record.protocol.hash,
            (other.student, other.teacher, other.space) == (record.student, record.teacher, record.space),
            other.target == record.target,
        )
    )


def _scores(entries: Sequence[Entry]) -> list[float]:
    """Returns the scores of students in percent: the AUC where there is one, or else the accuracy."""
    return [entry.accuracy if entry.auc is None else entry.auc for entry in entries]
