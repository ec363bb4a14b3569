"""The set of a job: read if it is stored, else distilled and stored."""

from pathlib import Path

from condense.distillation.engine import clean, distill, run_lock
from condense.errors import Refused, Remedy
from condense.evaluation.kinds import kind_of
from condense.events import events_folder, telling
from condense.files import locked, tidy
from condense.resources import Machine
from condense.runner.job import Job
from condense.store import DistilledSet, load


def make_set(job: Job, seed: int, machine: Machine) -> tuple[DistilledSet, Path]:
    """Returns the set of a job with a distillation seed: read if it is stored, else distilled and stored.

    A process that finds another one at it waits for the other's set.

    Raises:
        Refused: if the stored set is damaged or another fixed teacher's, or the loss is not finite.
        Stopped: if the budget runs out.
    """
    folder, method = job.folder(seed), job.method
    assert method is not None
    if not folder.exists():
        with locked(folder, what=f"makes {folder}", budget=machine.budget):
            if not folder.exists():
                return _distilled(job, seed, machine), folder
    tidy(folder)
    stored = load(folder)
    if stored.content["key"] != job.key(seed):
        raise Refused(
            f"{folder} holds the set of another run; move it away",
            remedies=[Remedy(settings={"out": None}, effect="stores sets elsewhere")],
        )
    kind_of(job.dataset).require_same_teacher(stored, method, job.dataset, folder)
    clean(job.key(seed))
    return stored, folder


def _distilled(job: Job, seed: int, machine: Machine) -> DistilledSet:
    method, folder = job.method, job.folder(seed)
    assert method is not None
    with run_lock(job.key(seed), method.title, machine), telling(folder.name, events_folder()):
        made, run = distill(
            method, job.dataset, ipc=job.cell.ipc, seed=seed, recipe=job.recipe, machine=machine,
            teachers=job.teachers, given=job.given,
        )  # fmt: skip
        made.save(folder)
        run.done()
    return load(folder)
