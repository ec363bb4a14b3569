"""The files of expert trajectories: one an expert, of which single snapshots are read.

``expert-0007.safetensors`` holds ``snapshots`` (epochs + 1, p), row 0 the initialisation, and what further
epochs start from: ``velocity`` (p,) and ``rng``, the generator's state. Its one metadata entry holds a hash
of each row and of the rest, and the seconds that the training took.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condense.errors import Refused
from condense.files import canonical, hash_tensors, raw_bytes, write_atomic
from condense.training.checkpoint import Checkpoints

RNG_BYTES = torch.Generator().get_state().numel()
"""Bytes of a CPU generator's state."""


class Damaged(Exception):
    """A file that does not hold what was once written to it."""


@dataclass(frozen=True)
class Expert:
    """A stored expert.

    Attributes:
        path: The file.
        rows: SHA-256 of each snapshot.
        seconds: The time that the training took.
    """

    path: Path
    rows: tuple[str, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        """How many epochs it was trained for."""
        return len(self.rows) - 1

    def snapshot(self, epoch: int) -> Float[Tensor, " p"]:
        """The parameters after an epoch; nothing else of the file is read."""
        with safe_open(self.path, framework="pt") as file:
            row: Tensor = file.get_slice("snapshots")[epoch]
            return row.clone()

    def whole(self) -> tuple[Float[Tensor, "rows p"], Float[Tensor, " p"], UInt8[Tensor, " bytes"]]:
        """All snapshots, the velocity and the generator's state."""
        with safe_open(self.path, framework="pt") as file:
            return tuple(file.get_tensor(name).clone() for name in ("snapshots", "velocity", "rng"))


def read_expert(path: Path) -> Expert | None:
    """What a file holds, checked hash by hash, or None if there is none.

    Raises:
        Damaged: if it is not what was written.
    """
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["condense"])
            snapshots = file.get_slice("snapshots")
            rows = [_hash(snapshots[row]) for row in range(snapshots.get_shape()[0])]
            end = hash_tensors({name: file.get_tensor(name) for name in ("velocity", "rng")})
        if (rows, end) != (about["rows"], about["end"]):
            raise ValueError("hash")
        return Expert(path, tuple(rows), float(about["seconds"]))
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise Damaged from error


def write_expert(
    path: Path,
    snapshots: Float[Tensor, "rows p"],
    velocity: Float[Tensor, " p"],
    rng: UInt8[Tensor, " bytes"],
    seconds: float,
) -> Expert:
    """Stores an expert, whole or not at all.

    Args:
        path: The file.
        snapshots: On the CPU, row 0 the initialisation.
        velocity: SGD's momentum after the last epoch.
        rng: The generator's state after it.
        seconds: The time that the training took.

    Raises:
        Refused: if it cannot be written.
    """
    end = {"velocity": velocity.cpu().contiguous(), "rng": rng}
    rows = [_hash(row) for row in snapshots]
    about = {"rows": rows, "end": hash_tensors(end), "seconds": seconds}
    data = save({"snapshots": snapshots.contiguous(), **end}, metadata={"condense": canonical(about)})
    write_atomic(path, data)
    return Expert(path, tuple(rows), seconds)


def tensor_bytes(parameters: int, epochs: int) -> int:
    """Bytes of an expert's tensors: all of its file but about 70 bytes of head for each epoch."""
    return 4 * parameters * (epochs + 2) + RNG_BYTES


def _hash(row: Tensor) -> str:
    return hash_tensors({"snapshot": row})


class Rows:
    """The snapshots of a training that is not finished: each in its place in a plain file.

    A checkpoint counts on the snapshots before it. Where their file is gone, the checkpoints go too, and the
    training starts over.

    Args:
        folder: That of the training's checkpoints.
        shape: (e, p): one snapshot of each network.
    """

    def __init__(self, folder: Path, shape: torch.Size) -> None:
        self._path, self._shape = folder / "snapshots.part", shape
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not self._path.exists():
                Checkpoints(folder).remove()
                self._path.touch()
            self._file = self._path.open("r+b")
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Self:
        """The rows, to be closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self._file.close()

    def write(self, epoch: int, theta: Float[Tensor, "e p"]) -> None:
        """Puts the snapshot of an epoch, counted from 0, in its place."""
        data = raw_bytes(theta.cpu().contiguous())
        try:
            self._file.seek(epoch * len(data))
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def read(self) -> Float[Tensor, "epochs e p"]:
        """All that were written."""
        self._file.seek(0)
        return torch.frombuffer(bytearray(self._file.read()), dtype=torch.float32).view(-1, *self._shape)

    def _refused(self, error: OSError) -> Refused:
        return Refused(f"cannot write {self._path}: {error.strerror or error}")
