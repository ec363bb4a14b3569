"""Translation between the options of the command line and the values of the core.

Nothing heavy is imported before it is needed.
"""

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

from condense.errors import Refused, Remedy

if TYPE_CHECKING:
    from condense.runner.cell import CellSpec

DATA = ("dataset", "size", "skip_unreadable", "classes", "augment", "data_dir")
"""The settings that say which data are used."""

PLACEHOLDERS = {
    "dataset": "NAME_OR_PATH",
    "teacher": "FILE",
    "out": "PATH",
    "results": "FOLDER",
    "size": "N",
}
"""What a remedy shows where the value is the user's own; ``VALUE`` for all other settings."""


def params_of(texts: list[str] | None) -> Mapping[str, object]:
    """Reads the values of ``--param``; refuses one that is not of the form ``key=value``."""
    if bad := [text for text in texts or [] if "=" not in text]:
        raise Refused(f"--param {bad[0]}: write key=value")
    return dict(text.split("=", 1) for text in texts or [])


def data_options(cell: "CellSpec") -> dict[str, object]:
    """Returns the settings that say which data a cell uses, for `sentence`."""
    classes = None if cell.classes is None else ",".join(cell.classes)
    shared = ("size", "skip_unreadable", "augment")
    return {"dataset": cell.data, "classes": classes} | {name: getattr(cell, name) for name in shared}


def sentence(error: Refused, given: Mapping[str, object]) -> str:
    """Writes a refusal with the names of options.

    Args:
        error: The refusal.
        given: The settings that the user gave. Those of `DATA` are put in for the dataset of a remedy that is
            a command of its own.
    """
    return error.sentence(option, lambda remedy: _remedy(remedy, given))


def option(name: str, value: object) -> str:
    """Writes a setting as an option: ``--ipc 0``, ``--param lr=0``, ``--no-baselines``, ``--size``."""
    if name.startswith("params."):
        field = name.removeprefix("params.")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return f"--param {field}" if value is None else f"--param {shlex.quote(f'{field}={text}')}"
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{flag}" if value else f"--no-{flag}"
    return f"--{flag}" if value is None else f"--{flag} {shlex.quote(str(value))}"


def _remedy(remedy: Remedy, given: Mapping[str, object]) -> str:
    settings = dict(remedy.settings)
    if remedy.command is not None and "dataset" in settings:
        # Without a dataset of the user's own, that of the remedy has the size in its name.
        shared = ("skip_unreadable", "classes", "augment", "data_dir")
        names = DATA if given.get("dataset") is not None else shared
        settings["dataset"] = str(settings["dataset"]).removesuffix(f"~{given.get('augment')}")
        settings |= {name: value for name in names if (value := given.get(name)) not in (None, False)}
    words = [_placed(name, value) for name, value in settings.items()]
    if remedy.command is not None:
        words = [f"condense {remedy.command}", *words]
    return " ".join([*words, remedy.effect]).strip()


def _placed(name: str, value: object) -> str:
    """Writes an option of a remedy, with a placeholder if its value is the user's own."""
    if value is not None:
        return option(name, value)
    if name.startswith("params."):
        return f"{option(name, None)}=VALUE"
    return f"{option(name, None)} {PLACEHOLDERS.get(name, 'VALUE')}"
