"""Reads PyTorch files of other code bases without executing anything: tensors in plain containers alone."""

import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from condense.errors import Refused
from condense.files import first_line
from condense.reading import BOMB, open_file, open_zip, refused_if_damaged, require_plausible

_OLD = "numpy.core.multiarray"
_SCALAR = type(np.float64(0)).__reduce__(np.float64(0))[0]
_ARRAY = np.zeros(0).__reduce__()[0]
SAFE: tuple[Any, ...] = (
    (_SCALAR, f"{_OLD}.scalar"),
    (_ARRAY, f"{_OLD}._reconstruct"),
    _SCALAR,
    _ARRAY,
    np.ndarray,
    np.dtype,
    *(
        type(np.dtype(name))
        for name in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    ),
)
"""What a file may name besides tensors and plain containers: NumPy's numbers and arrays of numbers.

Programs of this field save accuracies as NumPy scalars, most of them under the name that the module had
before NumPy 2. None of these objects does anything but hold numbers.
"""


def read_plain(path: Path) -> Any:
    """Returns what a PyTorch file holds, on the CPU.

    Args:
        path: The file, zipped or of the older form.

    Raises:
        Refused: if it is damaged, would unpack to far more than it holds, or names anything but tensors,
            plain containers and `SAFE`; the refusal then says what it names.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        with refused_if_damaged(f"{path} is no PyTorch file"):
            zipped = zipfile.is_zipfile(file)
        if zipped:
            with open_zip(file, str(path), "a PyTorch file") as archive:
                require_plausible(sum(one.file_size for one in archive.infolist()), size, str(path))
                with refused_if_damaged(f"{path} is a damaged PyTorch file"):
                    if (name := archive.testzip()) is not None:  # torch itself does not look at the checksums
                        raise ValueError(f"the checksum of {name} is wrong")
        file.seek(0)
        with torch.serialization.safe_globals([*SAFE]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the protocol of older pickles
            try:
                held = torch.load(file, map_location="cpu", weights_only=True)
            except Exception as error:  # of many kinds, one of them the pickle module's own
                why = _reason(path, error)
                raise Refused(
                    f"{path} cannot be read as plain tensors, and nothing else is read: {why}"
                ) from error
    _require_held(held, size, path)
    return held


def _reason(path: Path, error: Exception) -> str:
    """Returns which function or class a file asks to be called, or what else is wrong with it."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # a file without the zipped form, or a damaged one
        named = []
    if named:
        return f"it asks for {min(named)}"
    return "its pickle is not plain" if type(error).__name__ == "UnpicklingError" else first_line(error)


def _require_held(held: Any, size: int, path: Path) -> None:
    """Refuses tensors that do not hold each of their numbers, and more numbers than the file can hold."""
    total = 0
    for name, value in tensors_in(held):
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise Refused(f"{path}: {name} is no plain tensor, which holds each of its numbers")
        total += value.numel() * value.element_size()
    # A tensor may repeat numbers without holding them; some repeat all of another, as tied weights do.
    if total > max(BOMB, 4 * size):
        raise Refused(f"{path} declares tensors that are larger than the file")


def tensors_in(held: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields the tensors in nested mappings and lists, each with the path of keys and numbers to it."""
    waiting: list[tuple[str, Any]] = [(name, held)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Tensor):
            yield name or "the tensor", value
        elif isinstance(value, Mapping):
            waiting += [(f"{name}.{key}".lstrip("."), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(f"{name}[{number}]", inner) for number, inner in enumerate(value)]
