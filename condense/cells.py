"""A cell of the board: what to distil and how to judge it, and the work that fills it.

Each unit (distil one set, train one student) is a pure function of values that serialise, writes one result
under a name made of those values, and may be done twice without harm.
"""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from condense.board.records import MethodUsed, Record, read
from condense.data import Dataset, load
from condense.distill import Method, Recipe
from condense.distill.engine import check, clean, distill
from condense.distill.registry import build
from condense.distill.run import run_key
from condense.distill.teaching import asked, given, require_same_fixed
from condense.errors import Refused
from condense.files import require_writable
from condense.judge import data_used, judge, judge_whole, say, space_of, without_stored_labels
from condense.measure import Budget
from condense.networks import build as build_network
from condense.protocol import Protocol, named
from condense.store import DistilledSet
from condense.teachers import NoFixed, fixed


@dataclass(frozen=True, kw_only=True)
class Places:
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
class Cell:
    """What to distil and how to judge it, as a user or a queue names it.

    Attributes:
        method: Name, or ``whole`` for the reference row of the whole training set.
        dataset: Name or path.
        ipc: Images per class.
        protocol: Name; None takes the dataset's default; ``published`` the recipe's own.
        student: Name of the network that is trained on the set.
        size: Side in pixels to resize the data to.
        skip_unreadable: Whether to leave out the data's pictures that cannot be read.
        seeds: Distillation seeds; None takes as many as the method's row has sets.
        eval_seeds: Students a set; None takes the protocol's number (one for a method of several draws).
        params: The method's fields as text.
        teacher: File of the teacher that the method takes, in place of what its settings say.
    """

    method: str = "dm"
    dataset: str = "digits"
    ipc: int = 1
    protocol: str | None = None
    student: str = "convnet"
    size: int | None = None
    skip_unreadable: bool = False
    seeds: tuple[int, ...] | None = None
    eval_seeds: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    teacher: str | None = None

    @property
    def title(self) -> str:
        """The cell in a few words."""
        ipc = "" if self.method == "whole" else f" ipc {self.ipc}"
        protocol = f", {self.protocol}" if self.protocol else ""
        return f"{self.method} {self.dataset}{ipc}{protocol}, {self.student}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell with its names resolved, checked before any work.

    Attributes:
        cell: As the user named it.
        dataset: Its data.
        method: With its settings.
        recipe: Where they come from, if they are published ones.
        protocol: How its sets are judged; None if they are not.
        teacher: Hash of the data's fixed teacher, where the protocol has that label.
        teachers: The files of the teachers that the method's settings name by their hashes.
    """

    cell: Cell
    dataset: Dataset
    method: Method
    recipe: Recipe | None
    protocol: Protocol | None
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
        """The pixel space that the job's sets are judged in."""
        assert self.protocol is not None
        return space_of("zca" if self.method.pixel_space == "zca" else "normalized", self.protocol)

    def key(self, seed: int) -> str:
        """The run key of the set with a distillation seed."""
        return run_key(self.method, self.dataset.train.hash, self.cell.ipc, seed)

    def folder(self, places: Places, seed: int) -> Path:
        """Where the set with a distillation seed is stored."""
        spec, method = self.dataset.spec, self.method
        return places.out / f"{spec.name}-{method.title}-ipc{self.cell.ipc}-seed{seed}-{self.key(seed)[:8]}"


def first_seeds(protocol: Protocol, count: int | None) -> tuple[int, ...]:
    """The first evaluation seeds of a protocol.

    Raises:
        Refused: if it has fewer.
    """
    if count is not None and not 1 <= count <= protocol.seeds:
        raise Refused(f"--eval-seeds {count}: {protocol.name} has the seeds 0 to {protocol.seeds - 1}")
    return tuple(range(count or protocol.seeds))


def prepare(cell: Cell, places: Places, *, judged: bool = True, dataset: Dataset | None = None) -> Job:
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
    method, recipe = build(cell.method, dataset.spec.name, cell.ipc, dict(cell.params))
    teachers: Mapping[str, Path] = {}
    if cell.teacher is not None:
        method, teachers = given(method, Path(cell.teacher), dataset)
    data = data_options(cell.dataset, cell.size, cell.skip_unreadable, places)
    with telling_of(data):
        check(method, dataset, cell.ipc, teachers=teachers)
    if bad := [seed for seed in cell.seeds or () if not 0 <= seed < 2**63]:
        raise Refused(f"--seed {bad[0]}: a seed is a whole number from 0")
    require_writable(places.out)
    protocol, teacher = None, None
    if judged:
        protocol = resolve(
            cell.protocol or dataset.spec.protocol, recipe.protocol if recipe else None, cell.title
        )
        first_seeds(protocol, cell.eval_seeds)
        check_student(cell.student, dataset)
        if protocol.labels == "fixed":
            with telling_of(data):
                teacher = fixed(dataset.spec.name, dataset.train.hash).hash
        if protocol.labels == "stored" and not any(link.labels_views for link in method.links()):
            taught = bool(asked(method))
            raise without_stored_labels(protocol, method.title, dataset, taught=taught, data=data)
        require_writable(places.results)
    return Job(
        cell=cell, dataset=dataset, method=method, recipe=recipe, protocol=protocol, teacher=teacher,
        teachers=teachers,
    )  # fmt: skip


def data_options(dataset: str, size: int | None, skip_unreadable: bool, places: Places) -> str:
    """The options of the command line that name data."""
    text = f"--dataset {shlex.quote(dataset)}"
    if size is not None:
        text += f" --size {size}"
    if skip_unreadable:
        text += " --skip-unreadable"
    if places.data_dir is not None:
        text += f" --data-dir {shlex.quote(str(places.data_dir))}"
    return text


@contextmanager
def telling_of(data: str) -> Iterator[None]:
    """Where there is no fixed teacher, the refusal names the data as the user did.

    Args:
        data: As `data_options`.
    """
    try:
        yield
    except NoFixed as error:
        raise NoFixed(error.name, data, error.instead) from None


def data_of(cell: Cell, places: Places) -> Dataset:
    """The data of a cell."""
    return load(cell.dataset, data_dir=places.data_dir, size=cell.size, skip_unreadable=cell.skip_unreadable)


def resolve(name: str, published: Protocol | None, what: str) -> Protocol:
    """A protocol for sets by name; ``published`` is the one given.

    Raises:
        Refused: if there is none, or it judges the whole training set.
    """
    if name != "published":
        if (protocol := named(name)).whole:
            raise Refused(f"{what}: {name} judges the whole training set (--reference whole), no other set")
        return protocol
    if published is None:
        raise Refused(f"{what}: there is no published protocol for it; choose hard-v1")
    return published


def check_student(student: str, dataset: Dataset) -> None:
    """Refuses a student network that does not exist or does not fit the images."""
    build_network(student, dataset.spec.shape, dataset.spec.num_classes, torch.Generator())


def make_set(
    job: Job, seed: int, places: Places, device: torch.device, budget: Budget
) -> tuple[DistilledSet, Path]:
    """The set of a job with a distillation seed: read if it is stored, else distilled and stored.

    Raises:
        Refused: if the stored set is damaged or another fixed teacher's, or the loss is not finite.
        Stopped: when the budget has run out.
    """
    folder = job.folder(places, seed)
    if folder.exists():
        stored = DistilledSet.load(folder)
        if stored.content["key"] != job.key(seed):
            raise Refused(f"{folder} holds the set of another run; move it away or choose another --out")
        require_same_fixed(job.method, stored.content, job.dataset.spec, job.dataset.train.hash, folder)
        clean(job.key(seed))
        return stored, folder
    made, run = distill(
        job.method, job.dataset, ipc=job.cell.ipc, seed=seed, recipe=job.recipe, device=device, budget=budget,
        teachers=job.teachers,
    )  # fmt: skip
    made.save(folder, run.space)
    run.done()
    return DistilledSet.load(folder), folder


def run_cell(cell: Cell, places: Places, device: torch.device, budget: Budget) -> list[Record]:
    """Fills a cell: distils and stores its sets, trains its students, writes a record after each.

    What the records hold is not done again.

    Returns:
        The cell's records.

    Raises:
        Refused: before any work, if it cannot work.
        Stopped: when the budget has run out.
    """
    if cell.method == "whole":
        return [reference(cell, places, device, budget)]
    job = prepare(cell, places)
    say_settings(job)
    records = []
    for seed in job.seeds:
        found = stored_record(job, seed, places)
        missing = [s for s in job.eval_seeds(seed) if found is None or not found.has(s)]
        if found is not None and not missing:
            folder = job.folder(places, seed)
            where = folder if folder.exists() else "not kept here (condense distill makes it again)"
            say(f"up to date: {found.path(places.results)}; its set: {where}")
            records.append(found)
            continue
        made, folder = make_set(job, seed, places, device, budget)
        say(f"set: {folder}")
        assert job.protocol is not None
        records.append(
            judge(made, job.dataset, job.protocol, cell.student, missing, places.results, device, budget)
        )
    return records


def stored_record(job: Job, seed: int, places: Places) -> Record | None:
    """The record of a job's set with a distillation seed, if there is one."""
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
        student=job.cell.student,
        teacher=job.teacher,
    )
    if job.protocol.labels in ("own", "stored"):
        return of_any_teacher(blank, places.results)
    path = blank.path(places.results)
    return read(path) if path.exists() else None


def of_any_teacher(blank: Record, results: Path) -> Record | None:
    """The stored record of a set that a teacher of its own labels, known only once the set is made."""
    folder, _, _ = blank.path(results).name.rpartition("-")
    for path in sorted(blank.path(results).parent.glob(f"{folder}-*.json")):
        found = read(path)
        if replace(found, teacher=None).evaluation_key() == blank.evaluation_key():
            return found
    return None


def reference(cell: Cell, places: Places, device: torch.device, budget: Budget) -> Record:
    """`judge_whole`, with everything by name."""
    dataset = data_of(cell, places)
    protocol = named(cell.protocol or "whole-v1")
    if not protocol.whole:
        raise Refused(f"the whole training set is judged by whole-v1, not by {protocol.name}")
    seeds = first_seeds(protocol, cell.eval_seeds)
    check_student(cell.student, dataset)
    require_writable(places.results)
    return judge_whole(dataset, protocol, cell.student, seeds, places.results, device, budget)


def say_settings(job: Job) -> None:
    """One line: which settings a job runs with and where they come from."""
    source = f"published settings: {job.recipe.source}" if job.recipe else "no published settings: defaults"
    overridden = (
        f", with {', '.join(f'{k}={v}' for k, v in job.cell.params.items())}" if job.cell.params else ""
    )
    say(f"{job.cell.title}: {source}{overridden}")
