"""The coresets that stand beside a cell in its table: of the same data, judged alike."""

from collections.abc import Sequence
from dataclasses import replace

from condense.distillation.registry import methods, wrappers
from condense.errors import Refused
from condense.protocol import PUBLISHED, named_protocol
from condense.records.record import BASELINES, Record
from condense.runner.cell import CellSpec, Job, Paths, prepare
from condense.teachers import TRAINED

HOST = "host"
"""The teacher of a link that has that of the method which it stands behind."""

ROOM = "room"
"""The field of a coreset that is filled up to a number of bytes, where it has one."""


def baselines(cell: CellSpec, inner: str | None = None) -> list[CellSpec]:
    """The baselines of a cell.

    Where a cell is judged as its paper did, they are judged by the data's default protocol; where by labels
    that its set stores, what stores them is around the coresets too.

    Args:
        cell: The cell.
        inner: The field ``teacher`` of its innermost method, where it has one: a coreset has none that could
            be its host's.

    Raises:
        Refused: if what stores labels has the teacher that the method trains, which is known only by then.
    """
    protocol = None if cell.protocol == PUBLISHED else cell.protocol
    params, suffix = {}, ""
    if protocol is not None and named_protocol(protocol).labels == "stored":
        _, *around = cell.method.split("+")
        known = wrappers()
        around = [name for name in around if name in known and known[name].labels_views]
        suffix = "".join(f"+{name}" for name in around)
        params = {key: text for key, text in cell.params.items() if key.partition(".")[0] in around}
        for key in [f"{name}.teacher" for name in around]:
            if params.get(key) != HOST or inner is None:
                continue
            if inner == TRAINED:
                raise Refused(
                    f"--param {key}={HOST}: no baseline can have the teacher that {cell.method} trains; "
                    f"write --no-baselines, or --teacher FILE for a teacher that is trained already"
                )
            params[key] = inner
    return [
        replace(
            cell, method=name + suffix, dataset=cell.data, protocol=protocol, params=params,
            seeds=None, eval_seeds=None, teacher=cell.teacher if suffix else None,
        )
        for name in BASELINES
    ]  # fmt: skip


def roomy(cell: CellSpec, records: Sequence[Record]) -> list[CellSpec]:
    """The baselines of as many bytes as a cell's set has, where the data's coresets can be cut to a size.

    Args:
        cell: The cell; a coreset stands beside itself already.
        records: Of its sets, of which the largest counts.
    """
    kind = records[0].dataset.kind
    able = [name for name, method in methods(kind).items() if name in BASELINES and ROOM in method().config()]
    sizes = [sum(record.set.bytes.values()) for record in records if record.set]
    if cell.method in BASELINES or not sizes:
        return []
    room = {ROOM: str(max(sizes))}
    return [replace(row, params={**row.params, **room}) for row in baselines(cell) if row.method in able]


def prepared(cell: CellSpec, places: Paths) -> list[CellSpec]:
    """The baselines of a cell, all of which can work, as the cell itself can.

    Raises:
        Refused: before any work, if one cannot.
    """
    job: Job | None = None if cell.reference else prepare(cell, places)
    inner = job.method.links()[0].config().get("teacher") if job else None
    beside = baselines(cell, None if inner is None else str(inner))
    for row in beside:
        try:
            prepare(row, places, dataset=job.dataset if job else None)
        except Refused as error:
            raise Refused(f"{error} (a baseline: --no-baselines leaves it out)") from error
    return beside
