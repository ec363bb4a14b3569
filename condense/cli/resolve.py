"""What the options of the command line stand for. Nothing heavy is imported before it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from condense.resources import Budget
    from condense.runner.cell import CellSpec, Paths


def cell_of(
    method: str | None,
    ipc: int,
    dataset: str | None,
    protocol: str | None,
    student: str | None,
    seed: int | None,
    eval_seeds: int | None,
    size: int | None,
    skip_unreadable: bool,
    param: list[str] | None = None,
    teacher: Path | None = None,
) -> "CellSpec":
    """The cell that the options name, all of them with their defaults filled in.

    Raises:
        Refused: if a parameter is no ``key=value``.
    """
    from condense.errors import Refused
    from condense.evaluation.kinds import method_for
    from condense.runner.cell import CellSpec

    if bad := [text for text in param or [] if "=" not in text]:
        raise Refused(f"--param {bad[0]}: write key=value")
    return CellSpec(
        method=method or method_for(dataset),
        ipc=ipc,
        dataset=dataset,
        protocol=protocol,
        student=student,
        seeds=None if seed is None else (seed,),
        eval_seeds=eval_seeds,
        size=size,
        skip_unreadable=skip_unreadable,
        params=dict(text.split("=", 1) for text in param or []),
        teacher=None if teacher is None else str(teacher),
    )


def places_of(out: Path, results: Path, data_dir: Path | None) -> "Paths":
    """The folders, of which the one with data must exist."""
    from condense.runner.cell import Paths

    existing(data_dir)
    return Paths(out=out, results=results, data_dir=data_dir)


def existing(data_dir: Path | None) -> None:
    """Refuses a folder of data that does not exist."""
    from condense.errors import Refused

    if data_dir is not None and not data_dir.is_dir():
        raise Refused(f"--data-dir {data_dir}: there is no such folder")


def device_of(name: str) -> "torch.device":
    """The device of a name; ``auto`` is a GPU where there is one.

    Raises:
        Refused: if there is none.
    """
    import torch

    from condense.errors import Refused

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, ImportError) as error:
        raise Refused(
            f"--device {name}: there is no such device here; write cpu, cuda, cuda:1 or auto"
        ) from error
    return device


def budget_of(text: str | None) -> "Budget":
    """The budget of a text such as ``9m``."""
    from condense.resources import Budget

    return Budget.parse(text)
