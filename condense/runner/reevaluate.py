"""The evaluation of a set that exists already."""

from condense.evaluation.evaluate import evaluate_set, tell_notes
from condense.records.record import Record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.store import DistilledSet


def reevaluate(
    made: DistilledSet, cell: CellSpec, paths: Paths, machine: Machine, *, recorded: bool = True
) -> list[Record]:
    """Trains students on a set that exists already.

    Args:
        made: The set.
        cell: The dataset, protocol, students and teacher. A dataset of None is found by the name that the set
            holds. ``published`` is the protocol that the set holds; for an imported set, that of its method's
            published settings. The teacher is the one that the set was made with, for a protocol under which
            it labels.
        paths: The folders that are read and written.
        machine: The device, and the time limit.
        recorded: Whether the results are recorded.

    Returns:
        A record for each student network.

    Raises:
        Refused: if the set cannot be evaluated so.
        Stopped: if the budget runs out.
    """
    job = resolve(cell, paths, made=made, recorded=recorded)
    for data in (job.dataset, *(setup.target for setup in job.setups if setup.target is not None)):
        tell_notes(data)
    return [evaluate_set(made, setup, job.eval_seeds(), job.results, machine) for setup in job.setups]
