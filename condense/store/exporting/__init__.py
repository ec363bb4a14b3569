"""Stored sets in the forms of others: folders of pictures, arrays, archives; with a word on what is lost."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from condense.errors import Refused, unknown
from condense.store.base import DistilledSet
from condense.store.exporting.croissant import write_description
from condense.store.exporting.graphs import GRAPH_FORMS
from condense.store.exporting.images import IMAGE_FORMS
from condense.store.exporting.report import Exported

FORMS: Mapping[str, Mapping[str, Callable[[Any, Path], Exported]]] = {
    "images": IMAGE_FORMS, "graphs": GRAPH_FORMS
}  # fmt: skip
"""The forms by the kind of data: functions of a set and a place that write there and report."""

__all__ = ["FORMS", "Exported", "export_set"]


def export_set(made: DistilledSet, form: str, to: Path) -> Exported:
    """Writes a set in another form, and beside it a description in Croissant, ``NAME.croissant.json``.

    Args:
        made: The set, on the CPU. A whitened one must know its space (`ImageSet.with_space`).
        form: One of `FORMS` for its kind.
        to: The file or folder, which must not exist.

    Returns:
        What was written, and what was lost.

    Raises:
        Refused: if there is no such form for sets of its kind, something is at the place already, a library
            is missing or the place cannot be written.
    """
    forms = FORMS[made.kind]
    if form not in forms:
        raise unknown("form", form, forms, setting="to")
    if to.exists():
        raise Refused("there is something already", setting="out", value=str(to))
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        written = forms[form](made, to)
        write_description(made, to)
        return written
    except OSError as error:
        raise Refused(f"cannot write {to}: {error.strerror or error}") from error
