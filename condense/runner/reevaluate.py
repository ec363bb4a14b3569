"""Judging a set that is stored, with everything by name."""

from pathlib import Path

import torch

from condense.data import Dataset, ImageDataset, load_dataset
from condense.errors import Refused
from condense.evaluation.evaluate import evaluate_set
from condense.evaluation.labels import own_teacher
from condense.files import home, require_writable
from condense.protocol import Protocol
from condense.records.record import Record
from condense.resources import Budget
from condense.runner.cell import Paths
from condense.runner.naming_tmp import data_options, first_seeds, resolve, students_of, telling_of
from condense.store import DistilledSet, ImageSet, load
from condense.teachers import keep, read


def reevaluate(
    path: Path,
    dataset: str | None,
    size: int | None,
    protocol: str | None,
    student: str | None,
    eval_seeds: int | None,
    places: Paths,
    device: torch.device,
    budget: Budget,
    skip_unreadable: bool = False,
    teacher: Path | None = None,
) -> list[Record]:
    """`evaluate_set` for a stored set, with everything by name.

    Args:
        path: The set's folder.
        dataset: Name or path of its data; None goes by the name that the set holds.
        size: Side in pixels to resize the data to; None goes by the set's name for the data too.
        protocol: Name; None takes the dataset's default; ``published`` the one that the set holds.
        student: Name of the network; None takes convnet, of graphs all there are.
        eval_seeds: Students; None takes the protocol's number.
        places: Where to read data and write the record.
        device: Where to train.
        budget: When to stop.
        skip_unreadable: Whether to leave out the data's pictures that cannot be read.
        teacher: File of the teacher that the set was made with, for a protocol in which it labels.

    Returns:
        A record for each student network.

    Raises:
        Refused: before any work, if it cannot work.
    """
    made = load(path)
    name, _, side = made.content["dataset"]["name"].partition("@")
    size = size or (int(side) if side else None)
    try:
        data = load_dataset(
            dataset or name,
            data_dir=places.data_dir,
            size=size,
            skip_unreadable=skip_unreadable,
        )
    except Refused as error:
        if dataset is not None:
            raise
        raise Refused(f"{path} was made of {name!r}; say where that is with --dataset ({error})") from error
    own = made.content["protocol"]
    published = Protocol.from_json(own) if own else None
    chosen = resolve(protocol, published, str(path), data)
    seeds = first_seeds(chosen, eval_seeds)
    students = students_of(student, data)
    require_writable(places.results)
    if teacher is not None:
        keep_own(made, data, chosen, teacher)
    with telling_of(data_options(dataset or name, size, skip_unreadable, places.data_dir)):
        return [
            evaluate_set(made, data, chosen, one, seeds, places.results, device, budget) for one in students
        ]


def keep_own(made: DistilledSet, dataset: Dataset, protocol: Protocol, file: Path) -> None:
    """Keeps the teacher that a set was made with, for protocols in which it labels.

    Args:
        made: The set.
        dataset: What it was made of.
        protocol: How it is to be judged.
        file: The teacher's.

    Raises:
        Refused: if no teacher of the set's own labels, or the file holds another.
    """
    if not (isinstance(made, ImageSet) and isinstance(dataset, ImageDataset)) or protocol.labels != "own":
        raise Refused(f"--teacher {file}: under {protocol.name} a set's own teacher labels nothing")
    own = own_teacher(made, protocol)
    found = read(file, network=own["network"], spec=dataset.spec)
    if found.hash != own["hash"]:
        raise Refused(
            f"--teacher {file} holds the teacher {found.hash[:8]}; the set was made with {own['hash'][:8]}"
        )
    keep(found, home())
