"""The export of a stored set, and what it costs in accuracy."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import cast

from condense.data import ImageDataset
from condense.data.images.pixels import WHITENED
from condense.errors import Refused
from condense.evaluation.kinds import kind_of
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.reevaluate import reevaluate
from condense.store import DistilledSet
from condense.store.exporting import Exported, export_set
from condense.store.foreign import Origin, import_set

SUFFIXES = {"npz": ".npz", "pt": ".pt", "imagefolder": "", "grid": ".png", "webdataset": ".tar"}
"""The ends of the files' names by form; the other forms are folders."""
PICTURES = ("imagefolder", "grid")
"""The forms that show images, for which those of a whitened set are turned back into pixels."""
READ_BACK: Mapping[str, Mapping[str, str]] = {
    "images": {"npz": "tensors", "pt": "tensors", "imagefolder": "folder", "grid": "grid"}, "graphs": {},
}  # fmt: skip
"""The importer of each form that has one, by the kind of data."""


def export_file(made: DistilledSet, form: str, to: Path, cell: CellSpec, paths: Paths) -> Exported:
    """Writes a set in another form: see `condense.store.exporting.export_set`.

    Args:
        made: The set.
        form: The form.
        to: The file or folder, which must not exist.
        cell: Names the dataset, whose training images the pictures of a whitened set need; None finds it by
            the set's name. Any other set is exported without its data.
        paths: The folders of the data.
    """
    if form in PICTURES and made.evaluation_space in WHITENED:
        dataset = resolve(cell, paths, made=made, recorded=False).dataset
        made = kind_of(dataset).placed(made, dataset)
    return export_set(made, form, to)


def accuracies(
    made: DistilledSet, form: str, exported: Path, cell: CellSpec, paths: Paths, machine: Machine
) -> tuple[float, float]:
    """Returns the mean accuracy in percent of students on a set, and on what was exported of it.

    Args:
        made: The set.
        form: The form that it was exported in.
        exported: What was written.
        cell: The dataset, protocol and students.
        paths: The folders of the data.
        machine: The device, and the time limit.

    Raises:
        Refused: if the form cannot be read back, or the set cannot be evaluated so.
        Stopped: if the budget runs out.
    """
    if form not in READ_BACK[made.kind]:
        raise Refused(f"nothing reads the form {form} back, so that it could be judged")
    dataset = cast(ImageDataset, resolve(cell, paths, made=made, recorded=False).dataset)
    back = import_set(exported, Origin(READ_BACK[made.kind][form]), dataset, trusted=True)
    found = []
    for one in (made, back):
        records = reevaluate(one, cell, paths, machine, recorded=False)
        found.append(fmean(entry.accuracy for record in records for entry in record.entries))
    return found[0], found[1]
