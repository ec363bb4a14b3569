"""The fixed teacher of a dataset, and the places of teachers: shipped, pinned by a user, or kept by a run.

``soft-v2`` labels all sets of a dataset with the same network, so this network is pinned by its hash. Small
ones are shipped beside this module; others are pinned once by a user and stored below the home folder. A
teacher that a run has used is kept there as well, by its hash, so that the run's sets can be evaluated with
it.
"""

import sys
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch

from condense.errors import Refused, Remedy
from condense.files import canonical, home, locked, tidy
from condense.teachers.teacher import Teacher, load_teacher


class Pinned(NamedTuple):
    """A shipped teacher: its file, its hash, and the hash of the training split that it was trained on."""

    file: str
    hash: str
    train_hash: str


PINNED: Mapping[str, Pinned] = {
    "digits": Pinned(
        file="digits.safetensors",
        hash="9567c61ca8e1886b388a400d8dab98433b94bccfd44ccb27d4decf66680bbcf3",
        train_hash="b6536b565eeeafba1d93fa1262b308b74224c9a28cc09457cce76f9221c6b2c9",
    ),
    "cifar10": Pinned(
        file="cifar10.safetensors",
        hash="801f7269c04d4cfccce4b6272c0f3319c1c7d8698a389fcd4ff490ed70b77ef7",
        train_hash="a28d45c8de96d9d461f0627c5fc0869e4fcb37a9cfd87dc75d8eacfbaa0e5771",
    ),
    "fashion-mnist": Pinned(
        file="fashion-mnist.safetensors",
        hash="3301892729347f8b4404b8b669417e2c5f49ac7c57818a8598047d9f5885883a",
        train_hash="b317137254a8cfaa834f3daac6be91320519514882a582590de3bb41eb73c75e",
    ),
}
"""The shipped teachers by the dataset's name. Each is a convnet-w32-bn, trained by
`condense.teachers.training.teach` for 200 epochs on the digits, 40 on CIFAR-10 and 20 on Fashion-MNIST."""


FIXED, TRAINED = "fixed", "trained"
"""Values of a method's field ``teacher`` besides a hash: the dataset's fixed teacher, or one that the run
trains."""


class NoFixed(Refused):
    """A dataset has no fixed teacher. One of the remedies makes one.

    Args:
        dataset: The dataset's name.
        remedies: What the user can do instead.
    """

    def __init__(self, dataset: str, remedies: Iterable[Remedy] = ()) -> None:
        settings = {"dataset": dataset, "network": "convnet-w32-bn", "epochs": 20, "pin": True}
        make = Remedy(command="teach", settings=settings, effect="makes one")
        super().__init__(f"{dataset} has no fixed teacher", remedies=[make, *remedies])
        self.dataset = dataset


def fixed(dataset_name: str, train_hash: str, device: torch.device | str = "cpu") -> Teacher:
    """Returns the fixed teacher of a dataset.

    Args:
        dataset_name: Name of the dataset.
        train_hash: SHA-256 of its training split.
        device: The device to compute on.

    Raises:
        NoFixed: if there is none.
        Refused: if its file is damaged.
    """
    if (shipped := _shipped(dataset_name, train_hash)) is not None:
        return _from_package(shipped, device)
    path = pinned_path(train_hash)
    if path.is_file():
        teacher = load_teacher(path, device)
        assert teacher.header is not None
        if (theirs := teacher.header.train_hash) != train_hash:
            told = theirs[:8] if theirs else "unknown"
            raise Refused(f"{path} is the teacher of other data, {told}: move it away")
        return teacher
    raise NoFixed(dataset_name)


def require_fixed(dataset_name: str, train_hash: str, setting: str | None) -> None:
    """Refuses a dataset without a fixed teacher, which a method asks for: see `fixed`.

    Args:
        dataset_name: Name of the dataset.
        train_hash: SHA-256 of its training split.
        setting: The method's setting that may be ``trained`` instead; None if it trains no teacher.
    """
    try:
        fixed(dataset_name, train_hash)
    except NoFixed:
        trained = [Remedy(settings={setting: TRAINED}, effect="trains one for the run")] if setting else []
        file = Remedy(settings={"teacher": None}, effect="takes one from a file")
        raise NoFixed(dataset_name, [*trained, file]) from None


def pin(teacher: Teacher) -> Path:
    """Makes a teacher the fixed one of the training split that it was trained on, and returns its file.

    Raises:
        Refused: if there is another fixed teacher: a table would mix results of both.
    """
    assert teacher.header is not None
    name, train_hash = teacher.header.dataset, teacher.header.train_hash
    assert name is not None and train_hash is not None, "nobody knows what another's teacher was trained on"
    path = pinned_path(train_hash)
    with locked(path, what=f"pins a teacher of {name}"):
        require_pinnable(name, train_hash, teacher.header.training)
        if path.is_file() and (there := load_teacher(path)).hash != teacher.hash:
            raise _taken(path, name, there, teacher.hash[:8])
        teacher.save(path)
    return path


def require_pinnable(dataset_name: str, train_hash: str, training: Mapping[str, object]) -> None:
    """Refuses to pin a teacher, before it is trained, for a dataset that has another fixed teacher.

    Args:
        dataset_name: Name of the dataset.
        train_hash: SHA-256 of its training split.
        training: How the teacher is trained, as in `Header.training`.

    Raises:
        Refused: if a teacher is shipped, or one that was trained in another way is pinned.
    """
    if (shipped := _shipped(dataset_name, train_hash)) is not None:
        raise Refused(
            f"the fixed teacher of {dataset_name}, {shipped.hash[:8]}, is shipped: none can be pinned"
        )
    path = pinned_path(train_hash)
    if path.is_file():
        there = load_teacher(path)
        assert there.header is not None
        if canonical(dict(there.header.training)) != canonical(dict(training)):
            raise _taken(path, dataset_name, there, "another")


def keep_teacher(teacher: Teacher, cache: Path) -> None:
    """Stores a teacher by its hash, for `find_teacher`, in place of a damaged file if there is one."""
    path = _kept(teacher.hash, cache)
    if path.exists():
        try:
            _as_named(teacher.hash, path, "cpu")
        except Refused as error:
            print(f"{error}; it is written again", file=sys.stderr, flush=True)
        else:
            tidy(path)
            return
    if teacher.header is not None:
        teacher.save(path)


def find_teacher(hash_: str, device: torch.device | str = "cpu", *, cache: Path | None = None) -> Teacher:
    """Finds the teacher with a hash among those that are shipped, pinned, or kept by a run.

    Args:
        hash_: The teacher's hash.
        device: The device to compute on.
        cache: The folder that `keep_teacher` was given; default: `condense.files.home`.

    Raises:
        Refused: if the teacher is not here, or its file is damaged.
    """
    for shipped in PINNED.values():
        if shipped.hash == hash_:
            return _from_package(shipped, device)
    path = _kept(hash_, cache or home())
    if path.is_file():
        return _as_named(hash_, path, device)
    for pinned in sorted(pinned_path("").parent.glob("*.safetensors")):
        try:
            teacher = load_teacher(pinned, device)
        except Refused:  # it may be another dataset's, whose runs will say so
            continue
        if teacher.hash == hash_:
            return teacher
    file: Mapping[str, object] = {"teacher": None}
    stored = Remedy(
        command="evaluate", settings=file, effect="does so for a stored set that was made with it"
    )
    raise Refused(
        f"the teacher {hash_[:8]} is not here",
        remedies=[Remedy(settings=file, effect="names its file"), stored],
    )


def pinned_path(train_hash: str) -> Path:
    """Returns the path of the fixed teacher that a user pins for a training split."""
    return home() / "teachers" / f"{train_hash}.safetensors"


def _kept(hash_: str, cache: Path) -> Path:
    return cache / "teachers" / "kept" / f"{hash_}.safetensors"


def _shipped(dataset_name: str, train_hash: str) -> Pinned | None:
    shipped = PINNED.get(dataset_name)
    return shipped if shipped is not None and shipped.train_hash == train_hash else None


def _from_package(shipped: Pinned, device: torch.device | str) -> Teacher:
    # The file of a zipped package exists only within this block.
    with resources.as_file(resources.files("condense.teachers") / shipped.file) as path:
        return _as_named(shipped.hash, path, device)


def _taken(path: Path, dataset_name: str, there: Teacher, this: str) -> Refused:
    return Refused(
        f"{path} is the fixed teacher of {dataset_name} already, {there.hash[:8]}, and this is {this}: "
        "what is judged by one cannot be compared with what is judged by the other"
    )


def _as_named(hash_: str, path: Path, device: torch.device | str) -> Teacher:
    teacher = load_teacher(path, device)
    if teacher.hash != hash_:
        raise Refused(f"{path} is damaged: its content has the hash {teacher.hash[:8]}, not {hash_[:8]}")
    return teacher
