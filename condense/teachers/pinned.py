"""The one fixed teacher of a dataset, and where teachers lie: shipped, pinned by a user, kept by a run.

``soft-v1`` labels every set of a dataset with the same network, so that network is pinned by its hash: small
ones are shipped beside this module, others are pinned once by ``condense teach --pin`` below the home folder.
A teacher that a run has used is kept there as well, by its hash, so that its sets can be judged with it.
"""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch

from condense.errors import Refused
from condense.files import home
from condense.teachers.teacher import Teacher, load


class Pinned(NamedTuple):
    """A teacher that is shipped: its file, its hash, and that of the training split."""

    file: str
    hash: str
    train_hash: str


PINNED: Mapping[str, Pinned] = MappingProxyType(
    {
        "digits": Pinned(
            file="digits.safetensors",
            hash="9567c61ca8e1886b388a400d8dab98433b94bccfd44ccb27d4decf66680bbcf3",
            train_hash="b6536b565eeeafba1d93fa1262b308b74224c9a28cc09457cce76f9221c6b2c9",
        ),
        "fashion-mnist": Pinned(
            file="fashion-mnist.safetensors",
            hash="3301892729347f8b4404b8b669417e2c5f49ac7c57818a8598047d9f5885883a",
            train_hash="b317137254a8cfaa834f3daac6be91320519514882a582590de3bb41eb73c75e",
        ),
    }
)
"""The shipped teachers by the dataset's name, as ``condense teach --network convnet-w32-bn`` made them."""


def fixed(dataset_name: str, train_hash: str, device: torch.device | str = "cpu") -> Teacher:
    """The pinned teacher of a dataset.

    Args:
        dataset_name: Its name.
        train_hash: SHA-256 of its training split.
        device: Where the teacher shall compute.

    Raises:
        Refused: if there is none, saying how to make one; or if its file is damaged.
    """
    if (shipped := _shipped(dataset_name, train_hash)) is not None:
        return _as_named(shipped.hash, _beside(shipped.file), device)
    path = pinned_path(train_hash)
    if path.is_file():
        teacher = load(path, device)
        assert teacher.header is not None
        if teacher.header.train_hash != train_hash:
            raise Refused(
                f"{path} is the teacher of other data, {teacher.header.train_hash[:8]}: move it away"
            )
        return teacher
    raise Refused(
        f"{dataset_name} has no fixed teacher; make one and pin it with "
        f"condense teach --dataset {dataset_name} --pin"
    )


def pin(teacher: Teacher) -> Path:
    """Makes a teacher the fixed one of the training split that it was trained on.

    Returns:
        Where it lies now.

    Raises:
        Refused: if there is another: tables would mix teachers.
    """
    assert teacher.header is not None
    train_hash = teacher.header.train_hash
    path = pinned_path(train_hash)
    require_pinnable(teacher.dataset, train_hash)
    if path.is_file() and (there := load(path).hash) != teacher.hash:
        raise Refused(
            f"{path} is the fixed teacher of {teacher.dataset} already, {there[:8]}, and this is "
            f"{teacher.hash[:8]}: what is judged by one cannot be compared with what is judged by the other"
        )
    teacher.save(path)
    return path


def require_pinnable(dataset_name: str, train_hash: str) -> None:
    """Refuses a dataset whose fixed teacher is shipped.

    Raises:
        Refused: if it has one.
    """
    if (shipped := _shipped(dataset_name, train_hash)) is not None:
        raise Refused(
            f"the fixed teacher of {dataset_name}, {shipped.hash[:8]}, is shipped: none can be pinned"
        )


def keep(teacher: Teacher, cache: Path) -> None:
    """Keeps a teacher by its hash, for `find`."""
    path = _kept(teacher.hash, cache)
    if teacher.header is not None and not path.exists():
        teacher.save(path)


def find(hash_: str, device: torch.device | str = "cpu", *, cache: Path | None = None) -> Teacher:
    """The teacher of a hash: shipped, or kept by the run that used it.

    Args:
        hash_: As `Teacher.hash`.
        device: Where it shall compute.
        cache: The folder that `keep` was given; default `condense.files.home`.

    Raises:
        Refused: if it is not here, or its file is damaged.
    """
    for shipped in PINNED.values():
        if shipped.hash == hash_:
            return _as_named(hash_, _beside(shipped.file), device)
    path = _kept(hash_, cache or home())
    if path.is_file():
        return _as_named(hash_, path, device)
    for pinned in sorted(pinned_path("").parent.glob("*.safetensors")):
        if (teacher := load(pinned, device)).hash == hash_:
            return teacher
    raise Refused(f"the teacher {hash_[:8]} is not here; give its file with --teacher FILE")


def pinned_path(train_hash: str) -> Path:
    """Where a user's fixed teacher of a training split lies."""
    return home() / "teachers" / f"{train_hash}.safetensors"


def _kept(hash_: str, cache: Path) -> Path:
    return cache / "teachers" / "kept" / f"{hash_}.safetensors"


def _shipped(dataset_name: str, train_hash: str) -> Pinned | None:
    shipped = PINNED.get(dataset_name)
    return shipped if shipped is not None and shipped.train_hash == train_hash else None


def _beside(file: str) -> Path:
    with resources.as_file(resources.files("condense.teachers") / file) as path:
        return path


def _as_named(hash_: str, path: Path, device: torch.device | str) -> Teacher:
    teacher = load(path, device)
    if teacher.hash != hash_:
        raise Refused(f"{path} is damaged: its content has the hash {teacher.hash[:8]}, not {hash_[:8]}")
    return teacher
