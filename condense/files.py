"""Canonical JSON, content hashes, atomic writes, and the folders that files are kept in."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from condense.errors import Refused


def canonical(value: object, *, indent: int | None = None) -> str:
    """Returns a value as JSON with sorted keys and without NaN, so that equal values give equal texts."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent, separators=separators)


def parse_json(text: str | bytes, what: str) -> Any:
    """Parses JSON, in which NaN and infinities are faults.

    Args:
        text: The JSON.
        what: The text's place, for the refusal.

    Raises:
        Refused: if the text is not JSON.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{what} is not JSON: {error}") from error


def require_version(version: object, known: int, file: Path, form: str, thing: str) -> None:
    """Refuses a file in another version of its format than this condense reads.

    Args:
        version: The version that the file names.
        known: The version that can be read.
        file: The file.
        form: Name of the format.
        thing: The file's content in a word: ``set`` or ``teacher``.
    """
    if type(version) is int and version > known:
        raise Refused(
            f"{file}: this {thing} is of version {version}; "
            f"this condense reads version {known}: update condense"
        )
    if type(version) is not int or version != known:
        raise Refused(f"{file}: {version!r} is no version of a {form}; this condense reads version {known}")


def digest(value: object) -> str:
    """Returns the SHA-256 of a JSON value's canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor], prefix: str = "") -> str:
    """Returns the SHA-256 of a text and each tensor's name, dtype, shape and bytes, in order of name."""
    total = hashlib.sha256(prefix.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        total.update(canonical([name, dtype, list(tensor.shape)]).encode())
        if tensor.numel() < 2:  # such a tensor counts as contiguous whatever its strides are
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # without a copy
    return total.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """Returns the memory of a contiguous CPU tensor of any dtype."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a file, and missing folders, such that a reader sees the old or the new content as a whole.

    Raises:
        Refused: If the file cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Refused(f"cannot write {path}: {error.strerror or error}") from error


def require_writable(folder: Path) -> None:
    """Checks, before long work starts, that a folder can be created and written to; creates nothing.

    Raises:
        Refused: If it cannot.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise Refused(f"cannot write to {folder}: {existing} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror or error}") from error


def home() -> Path:
    """Returns the folder for downloads, trained networks and checkpoints.

    It is ``$CONDENSE_HOME`` if that is set, and otherwise ``condense`` in the user's cache folder.
    """
    if chosen := os.environ.get("CONDENSE_HOME"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "condense"


def data_folder(chosen: Path | None) -> Path:
    """Returns the folder of named datasets: the chosen one, ``$CONDENSE_DATA``, or ``data`` in `home`."""
    return chosen or Path(os.environ.get("CONDENSE_DATA") or home() / "data")


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or the name of its class if there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
