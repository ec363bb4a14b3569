"""Files and hashes: canonical JSON, content hashes, atomic writes, and the folder for everything derived."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from condense.errors import Refused


def canonical(value: object, *, indent: int | None = None) -> str:
    """JSON with sorted keys and no NaN: equal values give equal text."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(value, sort_keys=True, allow_nan=False, indent=indent, separators=separators)


def digest(value: object) -> str:
    """SHA-256 of a JSON value's canonical text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor], prefix: str = "") -> str:
    """SHA-256 over a text and each tensor's name, dtype, shape and raw bytes, in order of name.

    Args:
        tensors: The tensors by name, on any device.
        prefix: Text that is hashed before them.
    """
    total = hashlib.sha256(prefix.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        total.update(canonical([name, dtype, list(tensor.shape)]).encode())
        if tensor.numel() < 2:  # it counts as contiguous whatever its strides are
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # no copy: it may be large
    return total.hexdigest()


def raw_bytes(tensor: Tensor) -> bytes:
    """A contiguous CPU tensor's memory, byte for byte, whatever its dtype."""
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a file so that a reader finds the old content or the new, never a part.

    Args:
        path: The file; its folder is made if need be.
        data: What it shall hold.

    Raises:
        Refused: if the place cannot be written.
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
    """Makes sure that a folder can be made and written, before the long work starts.

    Nothing is left behind: a folder that was not there is not there afterwards.

    Raises:
        Refused: if it cannot.
    """
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise Refused(f"cannot write to {folder}: {there} is not a folder")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise Refused(f"cannot write to {folder}: {error.strerror or error}") from error


def home() -> Path:
    """The folder for everything derived: downloads, trained networks, checkpoints (``$CONDENSE_HOME``)."""
    if chosen := os.environ.get("CONDENSE_HOME"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "condense"
