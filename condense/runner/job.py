"""The one pass from what a user names to work that can be done.

`resolve` goes from the data to the method, the protocol, the students and the teacher, and refuses whatever
cannot work before any work starts. Commands, queues and the Python API all begin with it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from condense.data import Dataset, load_dataset, unmarked, whole_name
from condense.distillation import Method, Recipe
from condense.distillation.images.sampling import share_of
from condense.distillation.images.taught import teachers_of
from condense.distillation.registry import build, changed, fitted, methods
from condense.distillation.run import COUNTS, FRACTION
from condense.errors import Refused, Remedy
from condense.evaluation.kinds import KINDS, Setup, kind_of, require_fit
from condense.files import folder_name, home, require_writable
from condense.networks import full_name
from condense.protocol import PUBLISHED, Protocol
from condense.protocols import PRUNE_V1, REFERENCE_V1, TRANSFER_SHORT_V1, named_protocol
from condense.records.record import BY_CLASS, NO_PRETRAINING, NO_STUDENT, WHOLE
from condense.runner.cell import CellSpec, Paths
from condense.runner.counts import counts_of
from condense.runner.targets import require_transfer, targets_of
from condense.store import DistilledSet
from condense.store.foreign import IMPORTED
from condense.teachers import FIXED, fixed
from condense.training.validation import VALIDATION


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell whose names are resolved and checked.

    Attributes:
        cell: The cell as the user named it.
        paths: The folders that are read and written.
        dataset: Its dataset.
        setups: What its sets are evaluated with, one for each student network, and for each dataset that they
            are trained on afterwards; empty if they are not evaluated.
        method: Its method with all settings; None for a reference row and for a set that is stored already.
        recipe: The published settings that the method was built from, if there are any.
        labeller: Hash of the dataset's fixed teacher if it labels under the protocol.
        teachers: The files of the teachers that the method's settings name by their hashes.
        fitted: Fields of the method that were lowered to the size of the smallest class; see `fitted`.
        counts: Samples of each class, if they are not ``ipc`` of each.
        results: Folder for records; None writes none.
    """

    cell: CellSpec
    paths: Paths
    dataset: Dataset
    setups: tuple[Setup[Any], ...] = ()
    method: Method | None = None
    recipe: Recipe | None = None
    labeller: str | None = None
    teachers: Mapping[str, Path] = field(default_factory=dict)
    fitted: Mapping[str, object] = field(default_factory=dict)
    counts: tuple[int, ...] | None = None
    results: Path | None = None

    @property
    def trains(self) -> bool:
        """Whether students are trained without a set."""
        return self.method is not None and (self.cell.fraction is not None or not self.method.stores)

    @property
    def transfers(self) -> bool:
        """Whether students are trained and tested on other data after a set."""
        return any(setup.target is not None for setup in self.setups)

    @property
    def draws(self) -> int:
        """Number of sets, or of trainings: one for each evaluation seed, if the method draws at random."""
        if self.method is None:
            return 1
        return min(self.method.draws, self.setups[0].protocol.seeds) if self.trains else self.method.draws

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.draws)) if self.cell.seeds is None else self.cell.seeds

    def eval_seeds(self, seed: int = 0) -> tuple[int, ...]:
        """Returns the evaluation seeds of the set with a distillation seed."""
        available = self.setups[0].protocol.seeds
        if self.cell.eval_seeds is None and self.draws > 1:
            return (seed % available,)
        return tuple(range(self.cell.eval_seeds or available))

    @property
    def teacher(self) -> str | None:
        """Hash of the fixed teacher that the method itself takes for a training without a set, if it does."""
        assert self.method is not None
        data = self.dataset
        return fixed(data.spec.name, data.train.hash).hash if FIXED in teachers_of(self.method) else None

    @property
    def given(self) -> Mapping[str, object]:
        """Choices about the data that enter the run key, by name: see `RunSettings.given`."""
        given = dict(self.dataset.spec.given)
        if self.counts is not None:
            given[COUNTS] = list(self.counts)
        if self.trains:
            choices = {FRACTION: self.cell.fraction, "teacher": self.teacher, "validation": VALIDATION}
            given |= {name: value for name, value in choices.items() if value is not None}
        return given

    def key(self, seed: int) -> str:
        """Returns the run key of the set with a distillation seed."""
        assert self.method is not None
        return self.method.run_key(self.dataset.train.hash, self.cell.ipc, seed, self.given)

    def folder(self, seed: int) -> Path:
        """Returns the folder of the set with a distillation seed."""
        assert self.method is not None
        ipc = f"ipc{self.cell.ipc}{'' if self.counts is None else BY_CLASS}"
        name = f"{self.dataset.spec.name}-{self.method.title}-{ipc}"
        return self.paths.out / folder_name(f"{name}-seed{seed}-{self.key(seed)[:8]}")


def resolve(
    cell: CellSpec,
    paths: Paths,
    *,
    made: DistilledSet | None = None,
    evaluated: bool = True,
    recorded: bool = True,
    dataset: Dataset | None = None,
    targets: Sequence[Dataset | None] = (),
) -> Job:
    """Resolves the names of a cell and refuses what cannot work, before any work.

    Args:
        cell: The cell as the user named it.
        paths: The folders that are read and written.
        made: A stored set that is evaluated in place of one that the cell's method makes.
        evaluated: Whether the sets are evaluated.
        recorded: Whether the results are recorded.
        dataset: The cell's dataset, if it is loaded already.
        targets: The cell's targets, if they are loaded already.

    Raises:
        Refused: if the cell cannot be filled.
    """
    job = Job(cell=cell, paths=paths, dataset=dataset or _dataset(cell, paths, made))
    if made is not None:
        _check_same_data(made, job.dataset)
    if cell.reference:
        _check_reference(job)
    elif made is None:
        job = _with_method(job)
        require_writable(paths.out)
    if not evaluated:
        _require_set(job)
        return job
    protocol = _protocol(job, made)
    if cell.eval_seeds is not None and not 1 <= cell.eval_seeds <= protocol.seeds:
        reason = f"{protocol.name} has the seeds 0 to {protocol.seeds - 1}"
        raise Refused(reason, setting="eval_seeds", value=cell.eval_seeds)
    targets = targets or targets_of(cell, protocol, job.dataset, paths.data_dir)
    setups = tuple(
        Setup(job.dataset, protocol, student, target)
        for target in targets
        for student in _students(job, made, protocol)
    )
    labeller = _labeller(job, protocol, made)
    if recorded:
        require_writable(paths.results)
    results = paths.results if recorded else None
    return replace(job, setups=setups, labeller=labeller, results=results)


def _dataset(cell: CellSpec, paths: Paths, made: DistilledSet | None) -> Dataset:
    """Loads the dataset that a cell names, or else the one that a set was made of."""
    name, size, classes, augment = cell.data, cell.size, cell.classes, cell.augment
    if made is not None:
        used: Mapping[str, Any] = {**made.content["dataset"]}
        usual = unmarked(used["name"], used.get("dsa"))
        if usual != used["name"] and augment is None:
            augment = used["dsa"]
        whole = whole_name(usual)
        if whole != usual and classes is None:
            classes = used["classes"]
        if cell.dataset is None:
            name, _, side = whole.partition("@")
            size = size or (int(side) if side else None)
    try:
        return load_dataset(
            name,
            data_dir=paths.data_dir,
            size=size,
            skip_unreadable=cell.skip_unreadable,
            undirected=cell.undirected,
            classes=classes,
            augment=augment,
        )
    except Refused as error:
        if made is None or cell.dataset is not None:
            raise
        raise Refused(
            f"the set was made of {name!r}: {error.reason}",
            remedies=[*error.remedies, Remedy(settings={"dataset": None}, effect="names its data")],
        ) from error


def _check_same_data(made: DistilledSet, dataset: Dataset) -> None:
    used, found = made.content["dataset"], dataset.train.hash
    if used["train_hash"] != found:
        raise Refused(
            f"the set was made of {used['name']} with training split {used['train_hash'][:8]}; "
            f"{dataset.spec.name} has {found[:8]}"
        )
    dsa = {**used}.get("dsa")
    if dsa != dataset.spec.augmentation:
        raise Refused(
            f"the set was made of {used['name']} with the augmentation {dsa}; {dataset.spec.name} has "
            f"{dataset.spec.augmentation}",
            remedies=[Remedy(settings={"augment": dsa}, effect="takes that of the set")],
        )


def _check_reference(job: Job) -> None:
    name, kind = job.cell.method, kind_of(job.dataset)
    trained = (WHOLE, *kind.untuned)
    if name not in trained and name not in kind.references:
        able = next(o.name for o in KINDS.values() if name in o.references or name in o.untuned)
        raise Refused(f"{name} is a reference for {able}; {job.dataset.spec.name} holds {kind.name}")
    if job.cell.teacher is not None:
        reason = f"{name} goes by the class ids of the data"
        raise Refused(reason, setting="teacher", value=job.cell.teacher)


def _with_method(job: Job) -> Job:
    cell, dataset, spec = job.cell, job.dataset, job.dataset.spec
    method, recipe = build(cell.method, spec.name, cell.ipc, cell.params, kind=spec.kind)
    teachers: Mapping[str, Path] = {}
    if cell.teacher is not None:
        method, teachers = kind_of(dataset).with_teacher(method, Path(cell.teacher), dataset)
    counts = counts_of(cell, dataset)
    if cell.fraction is None:
        method.require(dataset, cell.ipc, counts, teachers=teachers, cache=home())
    else:
        method.check(dataset, 1, teachers=teachers, cache=home())
    # The named datasets have records whose keys hold these fields as they are.
    lowered = {} if spec.named else fitted(method, min(dataset.train.counts()), cell.params)
    method = changed(method, lowered)
    if bad := [seed for seed in cell.seeds or () if not 0 <= seed < 2**63]:
        raise Refused("a seed is a whole number from 0", setting="seed", value=bad[0])
    job = replace(job, method=method, recipe=recipe, teachers=teachers, fitted=lowered, counts=counts)
    if job.trains:
        _check_training(job)
    return job


def _check_training(job: Job) -> None:
    """Refuses a method that cannot train students without a set on as many images as are asked for."""
    cell, method, spec = job.cell, job.method, job.dataset.spec
    assert method is not None
    if not method.trains:
        reason = f"{method.title} makes sets of a number of {spec.kind} of each class, not of a fraction"
        raise Refused(reason, setting="fraction", value=cell.fraction)
    if (space := method.settings().get("pixel_space")) != "normalized":
        raise Refused(f"without a set, students see normalized pixels, not {space} ones")
    left = kind_of(job.dataset).without_validation(job.dataset).counts()
    for name, asked, there in zip(spec.classes, job.counts or [cell.ipc] * len(left), left, strict=True):
        if asked > there:
            reason = f"class {name!r} of {spec.name} has {there} {spec.kind} to train on"
            raise Refused(f"{reason}, not {asked}")
    asked = share_of(cell.fraction, sum(left)) if cell.fraction else sum(job.counts or [cell.ipc] * len(left))
    for link in method.links():
        link.require_training(asked)


def _require_set(job: Job) -> None:
    """Refuses to store what is no set."""
    if job.method is None:
        name = job.cell.method
        raise Refused(
            f"{name} is a reference row, for which no set is made",
            remedies=[Remedy(settings={"method": name}, command="run", effect="records it")],
        )
    if job.trains:
        raise Refused(
            f"{job.cell.title}: students are trained on the training images themselves, and no set is made",
            remedies=[Remedy(settings={"method": job.cell.method}, command="run", effect="trains them")],
        )


def _protocol(job: Job, made: DistilledSet | None) -> Protocol:
    cell, spec, kind = job.cell, job.dataset.spec, kind_of(job.dataset)
    if cell.reference:
        if cell.method == NO_PRETRAINING:
            return require_transfer(named_protocol(cell.protocol or TRANSFER_SHORT_V1.name), cell.method)
        usual = kind.whole if cell.method == WHOLE else REFERENCE_V1.name
        protocol = require_fit(named_protocol(usual if cell.protocol is None else cell.protocol), job.dataset)
        if not protocol.whole or (protocol.name == REFERENCE_V1.name) != (cell.method != WHOLE):
            what = "the whole training set" if cell.method == WHOLE else cell.method
            raise Refused(f"{what} is judged by {usual}, not by {protocol.name}")
        return protocol
    usual = kind.usual_protocol(made, job.dataset) if made is not None else spec.protocol
    if job.method is not None:
        usual = job.method.judged_by or usual
    if cell.fraction is not None:
        usual = PRUNE_V1.name
    name, what = usual if cell.protocol is None else cell.protocol, cell.title if made is None else "the set"
    if name == PUBLISHED:
        recipe = _recipe(job, made)
        published = _stored_protocol(made) or (recipe.protocol if recipe else None)
        if published is None:
            raise Refused(
                f"{what}: there is no published protocol for it",
                remedies=[Remedy(settings={"protocol": usual}, effect="is the data's default")],
            )
        return require_fit(published, job.dataset)
    protocol = require_fit(named_protocol(name), job.dataset)
    if protocol.whole:
        raise Refused(f"{what}: {name} judges references such as the whole training set, not sets")
    if protocol.rounds:
        raise Refused(
            f"{what}: {name} judges federations",
            remedies=[Remedy(settings={"protocol": usual}, effect="judges it")],
        )
    if bool(protocol.pruned) != (cell.fraction is not None):
        judged = "trainings on a fraction of the images" if protocol.pruned else "a number of images a class"
        raise Refused(
            f"{what}: {name} judges {judged}",
            remedies=[Remedy(settings={"protocol": usual}, effect="judges it")],
        )
    if job.trains and protocol.online and job.method is not None and teachers_of(job.method):
        raise Refused(f"{what}: under {name} a teacher labels already, and the method has one of its own")
    if job.trains and protocol.labels not in (None, "fixed"):
        raise Refused(f"{what}: {name} trains on labels of a set, and there is none")
    return protocol


def _stored_protocol(made: DistilledSet | None) -> Protocol | None:
    """Returns the published protocol that a set holds, if there is a set and it holds one."""
    own = made.content["protocol"] if made is not None else None
    return Protocol.from_json(own) if own else None


def _recipe(job: Job, made: DistilledSet | None) -> Recipe | None:
    """Returns the published settings of a job's method, or of the method that a stored set is of."""
    if made is None:
        return job.recipe
    name, spec = made.content["method"]["name"].removeprefix(IMPORTED), job.dataset.spec
    known = name in methods(spec.kind)
    return build(name, spec.name, made.content["ipc"], kind=spec.kind)[1] if known else None


def _students(job: Job, made: DistilledSet | None, protocol: Protocol) -> tuple[str, ...]:
    cell, kind = job.cell, kind_of(job.dataset)
    if cell.reference and cell.method not in (WHOLE, *kind.untuned):
        if cell.student is not None:
            raise Refused(f"{cell.method} trains no network", setting="student", value=cell.student)
        return (NO_STUDENT,)
    usual: tuple[str, ...] = kind.students if cell.fraction is None else kind.pruned
    if protocol.name == PUBLISHED and (recipe := _recipe(job, made)) is not None and recipe.student:
        usual = (recipe.student,)
    students = usual if cell.student is None else (cell.student,)
    for student in students:
        kind.check_student(student, job.dataset)
    return tuple(map(full_name, students))


def _labeller(job: Job, protocol: Protocol, made: DistilledSet | None) -> str | None:
    """Checks that the labels that a protocol needs are there; returns the hash of a fixed teacher."""
    kind = kind_of(job.dataset)
    if made is not None and job.cell.teacher is not None:
        kind.keep_own_teacher(made, job.dataset, protocol, Path(job.cell.teacher))
    if job.method is None:
        return None
    labeller: str | None = kind.labeller_hash(job.method, job.dataset, protocol)
    return labeller
