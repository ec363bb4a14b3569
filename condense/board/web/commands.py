"""The commands that do a row of the board again."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from condense.files import canonical
from condense.records.record import FILES, NO_STUDENT, Record
from condense.store.foreign.importing import IMPORTED


def file_of(record: Record, folder: str) -> str:
    """Returns the path of a record's file below a results folder, with slashes on every system."""
    return record.path(Path(folder)).as_posix()


def same_again(record: Record, folder: str) -> str | None:
    """Returns the command that trains new students for a row; None for a federation, which has none.

    Args:
        record: One record of the row.
        folder: The results folder.
    """
    if record.kind == "federated":
        return None
    return f"condense reproduce {shlex.quote(file_of(record, folder))}"


def run_command(record: Record) -> str | None:
    """Returns the command that makes and records a row from nothing, with every setting of the method.

    Returns:
        The command; None for an imported set, and where the data cannot be found by their name or the samples
        of the classes were given in a file. Where a setting is a file, the command says ``FILE``, and a
        comment at its end the file's hash.
    """
    options = record.dataset.options
    if record.method.name.startswith(IMPORTED) or record.asked or options is None:
        return None
    if record.kind == "reference":
        words = ["condense", "evaluate", "--reference", record.method.name, *_options(options)]
    else:
        size = {"ipc": record.ipc} if record.fraction is None else {"fraction": record.fraction}
        words = ["condense", "run", "--method", record.method.name, *_options({**options, **size})]
    named = {
        "clients": record.federation.split if record.federation else None,
        "protocol": record.protocol.name,
        "targets": record.target.name if record.target else None,
        "student": None if record.student == NO_STUDENT else record.student,
    }
    words += _options({name: value for name, value in named.items() if value is not None})
    if record.kind != "reference":
        words += ["--seed", str(record.seed)]
    hashes = ""
    for field, value in record.params.items():
        if field.rpartition(".")[2] in FILES and isinstance(value, str):
            hashes += f"  # the SHA-256 of the file of {field} is {value}"
            value = "FILE"
        words += ["--param", f"{field}={_value(value)}"]
    return shlex.join(words) + hashes


def _options(values: Mapping[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def _value(value: object) -> str:
    """Returns a value as ``--param`` takes it."""
    return value if isinstance(value, str) else "none" if value is None else canonical(value)
