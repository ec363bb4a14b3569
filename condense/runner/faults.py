"""What ends the work on one cell and no other: memory that ran out, or a fault in the code of a method."""

import traceback
from dataclasses import fields

from condense.distillation.registry import methods
from condense.errors import Failed, Refused, memory_line, unusable
from condense.files import first_line
from condense.runner.cell import CellSpec

GROWING = ("syn_steps", "batch_syn", "batch_real", "inner_steps", "batch", "factor")
"""Fields of methods that memory grows with, the steepest first."""
STUDENTS = ("student", "reference", "train")
"""Stages of units that train students."""


def refusal(error: Exception, cell: CellSpec, *, stage: str = "", title: str = "") -> Refused:
    """Returns the refusal of a cell whose work an error has ended. It keeps nothing of the work in memory.

    Args:
        error: The error; a refusal is returned as it is.
        cell: The cell.
        stage: Stage of the unit that was at work: see `condense.runner.units.Unit`; empty if it is unknown.
        title: What was at work, for the sentence; empty if the cell's name stands before it.
    """
    if isinstance(error, Refused):
        return error
    start = title and f"{title}: "
    if (line := memory_line(error)) is not None:
        return Refused(f"{start}out of memory ({line}); {less_memory(cell, stage)} takes less")
    if (line := unusable(error)) is not None:
        return Refused(start + line)
    trace = "".join(traceback.format_exception(error))
    return Failed(f"{start}{type(error).__name__}: {first_line(error)}", trace)


def less_memory(cell: CellSpec, stage: str = "") -> str:
    """Names the settings of a cell that the memory of a stage grows with; without a stage, those of all."""
    if cell.reference or stage in STUDENTS:
        return "a smaller student"
    host, *_ = cell.method.split("+")
    cls = methods().get(host)
    names = [one.name for one in fields(cls) if one.name in GROWING] if cls is not None else []
    found = [*(f"a smaller {name}" for name in names[:2]), "a narrower network"]
    return " or ".join(found if stage else [*found, "a smaller student"])
