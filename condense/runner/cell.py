"""A cell of the board: what to distil and how to judge it, and the work that fills it.

Each unit (distil one set, train one student) is a pure function of values that serialise, writes one result
under a name made of those values, and may be done twice without harm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from condense.data import Dataset, ImageDataset, load_dataset
from condense.distillation import ImageMethod, Method, Recipe
from condense.distillation.engine import clean, distill
from condense.distillation.images.taught import given, require_same_fixed
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation import REFERENCES
from condense.evaluation.evaluate import data_used, evaluate_reference, evaluate_set, say
from condense.evaluation.kinds import KINDS, WHOLE, data_for, fitting, kind_of
from condense.evaluation.labels import ready
from condense.files import home, require_writable
from condense.protocol import REFERENCE_V1, Protocol, named_protocol
from condense.records.record import NO_STUDENT, MethodUsed, Record, read_record
from condense.resources import Budget, Machine
from condense.runner.naming_tmp import data_options, first_seeds, resolve, students_of, telling_of
from condense.store import DistilledSet, ImageSet, load, save


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where things are read and written.

    Attributes:
        out: Folder for sets.
        results: Folder for records; the board lies beside it.
        data_dir: Folder with the datasets' files; None takes the default.
    """

    out: Path = Path("sets")
    results: Path = Path("results")
    data_dir: Path | None = None


@dataclass(frozen=True, kw_only=True)
class CellSpec:
    """What to distil and how to judge it, as a user or a queue names it.

    Attributes:
        method: Name; or of a row without a set: ``whole`` for the whole training set, ``majority``...
        dataset: Name or path; None takes what the method is for: `digits` or, of graphs, `mutag`.
        ipc: Samples per class.
        protocol: Name; None takes the dataset's default; ``published`` the recipe's own.
        student: Name of the network that is trained on the set; None takes convnet, of graphs all there are.
        size: Side in pixels to resize the data to.
        skip_unreadable: Whether to leave out the data's pictures that cannot be read.
        seeds: Distillation seeds; None takes as many as the method's row has sets.
        eval_seeds: Students a set; None takes the protocol's number (one for a method of several draws).
        params: The method's fields as text.
        teacher: File of the teacher that the method takes, in place of what its settings say.
    """

    method: str = "dm"
    dataset: str | None = None
    ipc: int = 1
    protocol: str | None = None
    student: str | None = None
    size: int | None = None
    skip_unreadable: bool = False
    seeds: tuple[int, ...] | None = None
    eval_seeds: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None

    @property
    def title(self) -> str:
        """The cell in a few words."""
        ipc = "" if self.reference else f" ipc {self.ipc}"
        more = "".join(f", {name}" for name in (self.protocol, self.student) if name)
        return f"{self.method} {self.data}{ipc}{more}"

    @property
    def reference(self) -> bool:
        """Whether it is a row without a set."""
        return self.method in (WHOLE, *REFERENCES)

    @property
    def data(self) -> str:
        """Name or path of its data."""
        return data_for(self.method) if self.dataset is None else self.dataset


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell with its names resolved, checked before any work.

    Attributes:
        cell: As the user named it.
        dataset: Its data.
        method: With its settings.
        recipe: Where they come from, if they are published ones.
        protocol: How its sets are judged; None if they are not.
        students: The networks that are trained on its sets.
        teacher: Hash of the data's fixed teacher, where the protocol has that label.
        teachers: The files of the teachers that the method's settings name by their hashes.
    """

    cell: CellSpec
    dataset: Dataset
    method: Method
    recipe: Recipe | None
    protocol: Protocol | None
    students: tuple[str, ...] = ()
    teacher: str | None = None
    teachers: Mapping[str, Path] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Distillation seeds."""
        return tuple(range(self.method.draws)) if self.cell.seeds is None else self.cell.seeds

    def eval_seeds(self, seed: int) -> tuple[int, ...]:
        """Evaluation seeds of the set with a distillation seed."""
        assert self.protocol is not None
        if self.cell.eval_seeds is None and self.method.draws > 1:
            return (seed % self.protocol.seeds,)
        return first_seeds(self.protocol, self.cell.eval_seeds)

    @property
    def space(self) -> str:
        """The space that the job's sets are judged in."""
        assert self.protocol is not None
        return kind_of(self.dataset).space(self.method, self.protocol)

    def key(self, seed: int) -> str:
        """The run key of the set with a distillation seed."""
        return self.method.run_key(self.dataset.train.hash, self.cell.ipc, seed)

    def folder(self, places: Paths, seed: int) -> Path:
        """Where the set with a distillation seed is stored."""
        spec, method = self.dataset.spec, self.method
        return places.out / f"{spec.name}-{method.title}-ipc{self.cell.ipc}-seed{seed}-{self.key(seed)[:8]}"


def prepare(cell: CellSpec, places: Paths, *, judged: bool = True, dataset: Dataset | None = None) -> Job:
    """Resolves a cell's names and refuses what cannot work, before any work.

    Args:
        cell: What the user asked for.
        places: Must be writable.
        judged: Whether the set is to be evaluated as well.
        dataset: The cell's data, where they are loaded already.

    Raises:
        Refused: in one sentence.
    """
    dataset = dataset or data_of(cell, places)
    spec = dataset.spec
    method, recipe = build(cell.method, spec.name, cell.ipc, dict(cell.params), kind=spec.kind)
    teachers: Mapping[str, Path] = {}
    if cell.teacher is not None:
        if not (isinstance(method, ImageMethod) and isinstance(dataset, ImageDataset)):
            raise Refused(
                f"--teacher {cell.teacher}: no teacher labels {spec.kind}, and {method.title} has none"
            )
        method, teachers = given(method, Path(cell.teacher), dataset)
    data = data_options(cell.data, cell.size, cell.skip_unreadable, places.data_dir)
    with telling_of(data):
        method.check(dataset, cell.ipc, teachers=teachers, cache=home())
    if bad := [seed for seed in cell.seeds or () if not 0 <= seed < 2**63]:
        raise Refused(f"--seed {bad[0]}: a seed is a whole number from 0")
    require_writable(places.out)
    job = Job(
        cell=cell, dataset=dataset, method=method, recipe=recipe, protocol=None, teachers=teachers
    )  # fmt: skip
    if not judged:
        return job
    protocol = resolve(cell.protocol, recipe.protocol if recipe else None, cell.title, dataset)
    first_seeds(protocol, cell.eval_seeds)
    students = students_of(cell.student, dataset)
    teacher = None
    if isinstance(method, ImageMethod) and isinstance(dataset, ImageDataset):
        with telling_of(data):
            teacher = ready(method, dataset, protocol, data)
    require_writable(places.results)
    return replace(job, protocol=protocol, students=students, teacher=teacher)


def data_of(cell: CellSpec, places: Paths) -> Dataset:
    """The data of a cell."""
    return load_dataset(
        cell.data, data_dir=places.data_dir, size=cell.size, skip_unreadable=cell.skip_unreadable
    )


def make_set(
    job: Job, seed: int, places: Paths, device: torch.device, budget: Budget
) -> tuple[DistilledSet, Path]:
    """The set of a job with a distillation seed: read if it is stored, else distilled and stored.

    Raises:
        Refused: if the stored set is damaged or another fixed teacher's, or the loss is not finite.
        Stopped: when the budget has run out.
    """
    folder = job.folder(places, seed)
    if folder.exists():
        stored = load(folder)
        if stored.content["key"] != job.key(seed):
            raise Refused(f"{folder} holds the set of another run; move it away or choose another --out")
        if isinstance(stored, ImageSet):
            assert isinstance(job.method, ImageMethod) and isinstance(job.dataset, ImageDataset)
            require_same_fixed(job.method, stored.content, job.dataset, folder)
        clean(job.key(seed))
        return stored, folder
    made, run = distill(
        job.method, job.dataset, ipc=job.cell.ipc, seed=seed, recipe=job.recipe,
        machine=Machine(device, budget), teachers=job.teachers,
    )  # fmt: skip
    save(made, folder)
    run.done()
    return load(folder), folder


def run_cell(cell: CellSpec, places: Paths, device: torch.device, budget: Budget) -> list[Record]:
    """Fills a cell: distils and stores its sets, trains its students, writes a record after each.

    What the records hold is not done again.

    Returns:
        The cell's records.

    Raises:
        Refused: before any work, if it cannot work.
        Stopped: when the budget has run out.
    """
    if cell.reference:
        return references(cell, places, device, budget)
    job = prepare(cell, places)
    assert job.protocol is not None
    say_settings(job)
    records = []
    for seed in job.seeds:
        made: DistilledSet | None = None
        folder = job.folder(places, seed)
        for student in job.students:
            found = stored_record(job, student, seed, places)
            missing = [s for s in job.eval_seeds(seed) if found is None or not found.has(s)]
            if found is not None and not missing:
                where = folder if folder.exists() else "not kept here (condense distill makes it again)"
                say(f"up to date: {found.path(places.results)}; its set: {where}")
                records.append(found)
                continue
            if made is None:
                made, folder = make_set(job, seed, places, device, budget)
                say(f"set: {folder}")
            records.append(
                evaluate_set(
                    made, job.dataset, job.protocol, student, missing, places.results, device, budget
                )
            )
    return records


def stored_record(job: Job, student: str, seed: int, places: Paths) -> Record | None:
    """The record of a job's set with a distillation seed under a student, if there is one."""
    assert job.protocol is not None
    blank = Record(
        kind="set",
        key=job.key(seed),
        dataset=data_used(job.dataset),
        method=MethodUsed(name=job.method.title, chain=()),
        ipc=job.cell.ipc,
        seed=seed,
        set=None,
        space=job.space,
        protocol=job.protocol,
        student=student,
        teacher=job.teacher,
    )
    if job.protocol.labels in ("own", "stored"):
        return of_any_teacher(blank, places.results)
    path = blank.path(places.results)
    return read_record(path) if path.exists() else None


def of_any_teacher(blank: Record, results: Path) -> Record | None:
    """The stored record of a set that a teacher of its own labels, known only once the set is made."""
    folder, _, _ = blank.path(results).name.rpartition("-")
    for path in sorted(blank.path(results).parent.glob(f"{folder}-*.json")):
        found = read_record(path)
        if replace(found, teacher=None).evaluation_key() == blank.evaluation_key():
            return found
    return None


def references(cell: CellSpec, places: Paths, device: torch.device, budget: Budget) -> list[Record]:
    """`evaluate_reference`, with everything by name: a record for each student, or one without any.

    Raises:
        Refused: before any work, if it cannot work.
    """
    dataset = data_of(cell, places)
    kind, name = kind_of(dataset), cell.method
    if name not in kind.references:
        able = next(kind for kind, other in KINDS.items() if name in other.references)
        raise Refused(f"{name} is a reference for {able}; {dataset.spec.name} holds {kind.kind}")
    usual = kind.whole if name == WHOLE else REFERENCE_V1.name
    protocol = fitting(named_protocol(cell.protocol or usual), dataset)
    if not protocol.whole or (protocol.name == REFERENCE_V1.name) != (name != WHOLE):
        what = "the whole training set" if name == WHOLE else name
        raise Refused(f"{what} is judged by {usual}, not by {protocol.name}")
    if name != WHOLE and cell.student is not None:
        raise Refused(f"--student {cell.student}: {name} trains no network")
    seeds = first_seeds(protocol, cell.eval_seeds)
    students = students_of(cell.student, dataset) if name == WHOLE else (NO_STUDENT,)
    require_writable(places.results)
    return [
        evaluate_reference(name, dataset, protocol, student, seeds, places.results, device, budget)
        for student in students
    ]


def say_settings(job: Job) -> None:
    """One line: which settings a job runs with and where they come from."""
    source = f"published settings: {job.recipe.source}" if job.recipe else "no published settings: defaults"
    overridden = (
        f", with {', '.join(f'{k}={v}' for k, v in job.cell.params.items())}" if job.cell.params else ""
    )
    say(f"{job.cell.title}: {source}{overridden}")
