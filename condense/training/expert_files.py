"""The files of expert trajectories: one file per expert, of which single snapshots can be read.

``expert-0007.safetensors`` holds ``snapshots`` (epochs + 1, p), whose row 0 is the initialisation, and what
further epochs start from: ``velocity`` (p,) and ``rng``, the state of the generator. Its metadata entry holds
a hash of each row, a hash of the rest, and the seconds that the training took.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast

import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condense.errors import Damaged, Refused
from condense.files import canonical, hash_tensors, raw_bytes, write_atomic


@dataclass(frozen=True)
class Expert:
    """A stored expert.

    Attributes:
        path: The file.
        rows: SHA-256 of each snapshot.
        seconds: Time that the training took.
    """

    path: Path
    rows: tuple[str, ...]
    seconds: float

    @property
    def epochs(self) -> int:
        """Number of epochs that it was trained for."""
        return len(self.rows) - 1

    def snapshot(self, epoch: int) -> Float[Tensor, " p"]:
        """Reads the parameters after an epoch, and nothing else of the file."""
        with safe_open(self.path, framework="pt") as file:
            row: Tensor = file.get_slice("snapshots")[epoch]
            return row.clone()

    def whole(self) -> tuple[Float[Tensor, "rows p"], Float[Tensor, " p"], UInt8[Tensor, " bytes"]]:
        """Reads all snapshots, the velocity and the state of the generator."""
        with safe_open(self.path, framework="pt") as file:
            return tuple(file.get_tensor(name).clone() for name in ("snapshots", "velocity", "rng"))


def read_expert(path: Path) -> Expert | None:
    """Reads an expert's file and checks all hashes, or raises `Damaged`; returns None if there is no file."""
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
        raise Damaged(f"{path} is damaged") from error


def stored_epochs(path: Path) -> int:
    """Returns the number of epochs in an expert's file, unchecked; 0 if there is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice("snapshots").get_shape()[0]) - 1
    except (SafetensorError, OSError):
        return 0


def write_expert(
    path: Path,
    snapshots: Float[Tensor, "rows p"],
    velocity: Float[Tensor, " p"],
    rng: UInt8[Tensor, " bytes"],
    seconds: float,
) -> Expert:
    """Writes an expert's file, completely or not at all.

    Args:
        path: The file.
        snapshots: The snapshots, on the CPU; row 0 is the initialisation.
        velocity: The momentum buffer of SGD after the last epoch.
        rng: The state of the generator after the last epoch.
        seconds: Time that the training took.
    """
    end = {"velocity": velocity.cpu().contiguous(), "rng": rng}
    rows = [_hash(row) for row in snapshots]
    about = {"rows": rows, "end": hash_tensors(end), "seconds": seconds}
    data = save({"snapshots": snapshots.contiguous(), **end}, metadata={"condense": canonical(about)})
    write_atomic(path, data)
    return Expert(path, tuple(rows), seconds)


def tensor_bytes(parameters: int, epochs: int) -> int:
    """Returns the bytes of an expert's tensors: its file has about 70 bytes more for each epoch."""
    return 4 * parameters * (epochs + 2) + torch.Generator().get_state().numel()


def _hash(row: Tensor) -> str:
    return hash_tensors({"snapshot": row})


class Rows:
    """The snapshots of a training that is not finished, one after the other in a plain file.

    It is part of the loop's state, which holds the hashes of the snapshots.

    Args:
        folder: Folder of the training's checkpoints.
        shape: Shape (e, p) of one snapshot of each of e networks.
    """

    def __init__(self, folder: Path, shape: torch.Size) -> None:
        self._path, self._shape = folder / "snapshots.part", shape
        self._hashes: list[str] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._path.touch()
            self._file = self._path.open("r+b")
        except OSError as error:
            raise self._refused(error) from error

    def __enter__(self) -> Self:
        """Returns the snapshots; the file is closed at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self._file.close()

    def write(self, epoch: int, theta: Float[Tensor, "e p"]) -> None:
        """Writes the snapshot of an epoch, counted from 0."""
        data = raw_bytes(theta.cpu().contiguous())
        self._hashes = [*self._hashes[:epoch], hashlib.sha256(data).hexdigest()]
        try:
            self._file.seek(epoch * len(data))
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def read(self) -> Float[Tensor, "epochs e p"]:
        """Reads all snapshots that were written."""
        self._file.seek(0)
        data = self._file.read(len(self._hashes) * self._row)
        return torch.frombuffer(bytearray(data), dtype=torch.float32).view(-1, *self._shape)

    @property
    def _row(self) -> int:
        """Bytes of a snapshot."""
        return 4 * self._shape.numel()

    def state_dict(self) -> dict[str, object]:
        """Returns the hashes of the snapshots so far."""
        return {"hashes": self._hashes}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Goes on after the snapshots that a state names."""
        self._hashes = list(cast(list[str], state["hashes"]))

    def verify_files(self, state: Mapping[str, object]) -> None:
        """Raises `Damaged` if the file does not hold the snapshots that a state names."""
        self._file.seek(0)
        for hash_ in cast(list[str], state["hashes"]):
            if hashlib.sha256(self._file.read(self._row)).hexdigest() != hash_:
                raise Damaged(f"{self._path} is damaged")

    def _refused(self, error: OSError) -> Refused:
        return Refused(f"cannot write {self._path}: {error.strerror or error}")
