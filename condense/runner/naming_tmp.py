"""What names stand for: protocols, students and seeds, refused where they do not fit the data."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from condense.data import Dataset
from condense.errors import Refused
from condense.evaluation.kinds import fitting, kind_of
from condense.protocol import Protocol, named_protocol


def data_options(dataset: str, size: int | None, skip_unreadable: bool, data_dir: Path | None) -> str:
    """The options of the command line that name data."""
    text = f"--dataset {shlex.quote(dataset)}"
    if size is not None:
        text += f" --size {size}"
    if skip_unreadable:
        text += " --skip-unreadable"
    if data_dir is not None:
        text += f" --data-dir {shlex.quote(str(data_dir))}"
    return text


@contextmanager
def telling_of(data: str) -> Iterator[None]:
    """Where there is no fixed teacher, the refusal names the data as the user did.

    Args:
        data: As `data_options`.
    """
    del data
    yield


def first_seeds(protocol: Protocol, count: int | None) -> tuple[int, ...]:
    """The first evaluation seeds of a protocol.

    Raises:
        Refused: if it has fewer.
    """
    if count is not None and not 1 <= count <= protocol.seeds:
        raise Refused(f"--eval-seeds {count}: {protocol.name} has the seeds 0 to {protocol.seeds - 1}")
    return tuple(range(count or protocol.seeds))


def resolve(name: str | None, published: Protocol | None, what: str, dataset: Dataset) -> Protocol:
    """A protocol for sets of a dataset by name.

    Args:
        name: ``published`` is the one given, None the dataset's default.
        published: The one that goes with a set's settings.
        what: The set in words.
        dataset: The data.

    Raises:
        Refused: if there is none, it judges another kind of data, or the whole training set.
    """
    name = name or dataset.spec.protocol
    if name == "published":
        if published is None:
            raise Refused(f"{what}: there is no published protocol for it; choose {dataset.spec.protocol}")
        return fitting(published, dataset)
    protocol = fitting(named_protocol(name), dataset)
    if protocol.whole:
        raise Refused(
            f"{what}: {name} judges the whole training set and the like (evaluate --reference), no other set"
        )
    return protocol


def students_of(student: str | None, dataset: Dataset) -> tuple[str, ...]:
    """The networks that judge a set of a dataset: the one that is named, or the usual ones.

    Raises:
        Refused: if one does not exist or does not fit the data.
    """
    kind = kind_of(dataset)
    chosen = kind.students if student is None else (student,)
    for one in chosen:
        kind.check_student(one)
    return chosen
