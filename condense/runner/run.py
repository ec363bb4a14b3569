"""The work of a job: sets are distilled and stored, students trained, records written.

Each unit of work (distil one set, train one student) is a pure function of values that can be written down,
writes one result under a name made of those values, and may be repeated without harm.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from condense.distillation.engine import choose, clean, run_settings
from condense.errors import Refused, Remedy
from condense.evaluation.described import data_used, paper, target_used
from condense.evaluation.evaluate import (
    evaluate_reference,
    evaluate_set,
    evaluate_training,
    say,
    tell_notes,
    tidy_record,
)
from condense.evaluation.kinds import kind_of
from condense.events import events_folder, telling
from condense.files import home, tidy
from condense.records.record import MethodUsed, Record, read_record
from condense.resources import Machine
from condense.runner.baselines import beside, draws_of, of_equal_bytes, stands_alone
from condense.runner.cell import CellSpec, Paths
from condense.runner.federation import run_federation
from condense.runner.job import Job, resolve
from condense.runner.sets import make_set
from condense.store import DistilledSet
from condense.store.manifest import ChainLinkPart


def run_cell(
    cell: CellSpec,
    paths: Paths,
    machine: Machine,
    *,
    with_baselines: bool | None = None,
    required: bool = True,
    announce: Callable[[str], None] = say,
    told: set[str] | None = None,
) -> list[Record]:
    """Distils and stores the sets of a cell, trains their students and records the results.

    What is recorded already is not done again.

    Args:
        cell: The cell.
        paths: The folders that are read and written.
        machine: The device, and the time limit.
        with_baselines: Whether the baselines that stand beside the cell are filled too; None does so only for
            students that are trained on other data after a set.
        required: Whether a baseline that cannot work refuses the cell; if not, it is left out with a line,
            and a baseline or a reference itself has none beside it.
        announce: Is told, ahead of the work, which baselines will be added.
        told: Notes on the data of earlier cells, which are not printed again: see `tell_notes`.

    Returns:
        The cell's records, without those of the baselines. A federation has one, and no baselines.

    Raises:
        Refused: if the cell cannot be filled.
        Stopped: if the budget runs out.
    """
    if cell.federated:
        return [run_federation(cell, paths, machine, told)]
    job = resolve(cell, paths)
    wanted = wants_baselines(job, with_baselines, required)
    rows = beside(job, required) if wanted else []
    for data in (job.dataset, *(setup.target for setup in job.setups if setup.target is not None)):
        tell_notes(data, told)
    if added := _missing(rows):
        announce(f"baselines that are added beside {job.cell.title}: {added}")
    records = run_job(job, machine)
    for row in rows:
        run_job(row, machine)
    for row in of_equal_bytes(job, records) if wanted and not job.transfers else []:
        run_equal_bytes(row, machine)
    return records


def wants_baselines(job: Job, with_baselines: bool | None, required: bool) -> bool:
    """Returns whether the baselines that stand beside a job are filled too: see `run_cell`."""
    wanted = job.transfers if with_baselines is None else with_baselines
    return wanted and (required or job.transfers or not stands_alone(job.cell))


def _missing(rows: Sequence[Job]) -> str:
    """Returns the baselines of which students are still to be trained, each with their number, as text."""
    found = []
    for row in rows:
        if row.method is None:
            found.append(row.cell.method)
            continue
        stored = [
            (stored_record(blank, row.results), row.eval_seeds(seed))
            for seed in row.seeds
            for blank in blank_records(row, seed)
        ]
        students = [one for record, seeds in stored for one in seeds if record is None or not record.has(one)]
        if students:
            found.append(f"{row.cell.method} ({len(students)} trained networks)")
    return ", ".join(found)


def run_equal_bytes(job: Job, machine: Machine) -> None:
    """Does the work of a baseline of equal bytes, if there is room for it and it does not take too long.

    Its first draw says how many samples there are.
    """
    stored = [stored_record(blank, job.results) for blank in blank_records(job, 0)]
    counts = {record.set.counts.effective for record in stored if record and record.set}
    try:
        count = counts.pop() if counts else len(make_set(job, 0, machine)[0])
    except Refused as error:
        if error.setting != "params.room":
            raise
        say(f"{job.cell.title}: left out: {error.reason}")
        return
    if (worth := draws_of(job, count, machine)) is not None:
        run_job(worth, machine)


def distil_cell(cell: CellSpec, paths: Paths, machine: Machine) -> Iterator[tuple[DistilledSet, Path]]:
    """Distils and stores the sets of a cell, and yields each with its folder; none is evaluated.

    Raises:
        Refused: if this cannot work.
        Stopped: if the budget runs out.
    """
    if cell.federated:
        raise Refused(
            f"{cell.method}: clients train one network together, and no set is made",
            remedies=[Remedy(settings={"method": cell.method}, command="run", effect="trains it")],
        )
    job = resolve(cell, paths, evaluated=False)
    tell_notes(job.dataset)
    say_settings(job)
    for seed in job.seeds:
        yield make_set(job, seed, machine)


def run_job(job: Job, machine: Machine) -> list[Record]:
    """Does the work of a job, and writes a record after each student."""
    results = job.results
    if job.method is None:
        return [
            evaluate_reference(job.cell.method, setup, job.eval_seeds(), results, machine)
            for setup in job.setups
        ]
    say_settings(job)
    if job.trains:
        return [record for seed in job.seeds for record in _trained(job, seed, machine)]
    records = []
    for seed in job.seeds:
        made: DistilledSet | None = None
        folder = job.folder(seed)
        for blank, setup in zip(blank_records(job, seed), job.setups, strict=True):
            found = stored_record(blank, results)
            missing = [one for one in job.eval_seeds(seed) if found is None or not found.has(one)]
            if found is not None and results is not None and not missing:
                where = folder if folder.exists() else "not kept here (distilling makes it again)"
                say(f"up to date: {found.path(results)}; its set: {where}")
                tidy_record(found, results, machine.device)
                tidy(folder)
                records.append(found)
                continue
            if made is None:
                made, folder = make_set(job, seed, machine)
                say(f"set: {folder}")
            records.append(evaluate_set(made, setup, missing, results, machine))
    return records


def _trained(job: Job, seed: int, machine: Machine) -> list[Record]:
    """Trains the students of a job that makes no set, on images that are chosen with a seed."""
    blanks, seeds, results = blank_records(job, seed), job.eval_seeds(seed), job.results
    stored = [found for blank in blanks if (found := stored_record(blank, results)) is not None]
    full = len(stored) == len(blanks) and all(one.has(number) for one in stored for number in seeds)
    if full and results is not None:
        for record in stored:
            say(f"up to date: {record.path(results)}")
            tidy_record(record, results, machine.device)
        clean(job.key(seed))
        return stored
    return train_without_set(job, seed, seeds, machine)


def train_without_set(job: Job, seed: int, seeds: Sequence[int], machine: Machine) -> list[Record]:
    """Trains the students with these evaluation seeds of a job that makes no set, and records them."""
    blanks = blank_records(job, seed)
    method, dataset = cast(Any, job.method), cast(Any, job.dataset)
    settings = run_settings(
        method, dataset, ipc=job.cell.ipc, seed=seed, recipe=job.recipe, machine=machine, cache=home(),
        teachers=job.teachers, given=job.given,
    )  # fmt: skip
    with telling(job.folder(seed).name, events_folder()):
        chosen, run = choose(method, dataset, settings)
    records = [
        evaluate_training(blank, chosen, run.seconds, setup, seeds, job.results, machine)
        for blank, setup in zip(blanks, job.setups, strict=True)
    ]
    run.done()
    return records


def blank_records(job: Job, seed: int) -> list[Record]:
    """Returns, for each setup, a record that has the evaluation key of a job's set and no entries."""
    assert job.method is not None
    kind = kind_of(job.dataset)
    chain = cast(tuple[ChainLinkPart, ...], tuple(job.method.chain()))
    source = job.recipe.cited_by(job.method) if job.recipe else None
    return [
        Record(
            kind="training" if job.trains else "set" if setup.target is None else "transfer",
            key=job.key(seed), dataset=data_used(job.dataset), target=target_used(setup.target),
            ipc=job.cell.ipc, fraction=job.cell.fraction, seed=seed,
            method=MethodUsed(name=job.method.title, chain=chain, source=source), set=None,
            student=setup.student, space=kind.space_of_method(job.method, setup.protocol),
            protocol=setup.protocol, teacher=job.labeller, asked=job.counts or (),
            paper=paper(job.dataset, job.method.title, job.cell.ipc, setup.student) if job.trains else None,
        )
        for setup in job.setups
    ]  # fmt: skip


def stored_record(blank: Record, results: Path | None) -> Record | None:
    """Returns the stored record with the evaluation key of a blank one, if there is one.

    A set that its own teacher labels, or that stores its labels, names its teacher only once it is made; its
    record is then found by everything else.
    """
    if results is None:
        return None
    path = blank.path(results)
    if blank.protocol.labels not in ("own", "stored", "projected"):
        return read_record(path) if path.exists() else None
    stem, _, _ = path.name.rpartition("-")
    for other in sorted(path.parent.glob(f"{stem}-*.json")):
        found = read_record(other)
        if replace(found, teacher=None).evaluation_key() == blank.evaluation_key():
            return found
    return None


def say_settings(job: Job) -> None:
    """Prints which settings a job runs with and where they come from."""
    source = f"published settings: {job.recipe.source}" if job.recipe else "no published settings: defaults"
    params = ", ".join(f"{name}={value}" for name, value in job.cell.params.items())
    say(f"{job.cell.title}: {source}{f', with {params}' if params else ''}")
    for name, value in job.fitted.items():
        spec = job.dataset.spec
        say(f"{name} is {value}, as the smallest class of {spec.name} has {value} training {spec.kind}")
