"""A results folder of many made records: ``python benchmarks/many_records.py FOLDER --count 100000``.

What reading records and writing a board take is measured with it (docs/scale.md). The records are those of a
large comparison: 25 methods on six datasets with 10 to 1000 classes, at four IPCs, under three protocols,
with five student networks, in four settings of each method, from three distillation seeds. Of fewer records
the first ones are written, so that a smaller folder is the beginning of the same comparison.

The names of methods, their settings and the protocols are real; hashes, scores and times are made, from the
record's place alone: two folders of one count are equal. Nothing in them is a result.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import islice, product
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from condense.distillation.registry import build, methods
from condense.files import canonical, digest
from condense.protocol import Protocol
from condense.protocols import HARD_V1, REPLAY_V2, SOFT_V2
from condense.records.published import lookup
from condense.records.record import DataUsed, Entry, MethodUsed, Record, SampleCounts, SetUsed

CLASSES = {
    "cifar10": 10,
    "svhn": 10,
    "imagenette": 10,
    "cifar100": 100,
    "tiny-imagenet": 200,
    "imagenet": 1000,
}
"""The datasets, with their numbers of classes."""
IPCS = (1, 10, 50, 100)
PROTOCOLS = (HARD_V1, SOFT_V2, REPLAY_V2)
STUDENTS = ("convnet", "convnet-w32", "resnet18", "alexnet", "vgg11")
SETTINGS, SEEDS = 4, 3
METHODS = 25
FIRST = ("random_subset", "random_subset+fkd", "rded+fkd", "sre2l+fkd")
DRAWS, EACH = 10, 3
"""The sets of random images, with a student each, and the students on each set of another method."""
VERSIONS = {"condense": "1.0.0", "numpy": "2.3.0", "python": "3.11.2", "torch": "2.7.0"}
NETWORKS = ("convnet", "convnet-w32", "convnet-w64", "resnet18")


class Place(NamedTuple):
    """What tells a made record from the others."""

    seed: int
    setting: int
    student: str
    protocol: Protocol
    dataset: str
    ipc: int
    method: str


def names() -> tuple[str, ...]:
    """Returns the methods, random images first."""
    others = [name for name, cls in methods("images").items() if cls.stores and name not in FIRST]
    return (*FIRST, *others)[:METHODS]


def places() -> Iterator[Place]:
    """Yields the places of all records; those of one seed and setting before the next."""
    axes: Sequence[Sequence[Any]] = (
        range(SEEDS), range(SETTINGS), STUDENTS, PROTOCOLS, tuple(CLASSES), IPCS, names()
    )  # fmt: skip
    yield from (Place(*one) for one in product(*axes))


@cache
def chain_of(method: str, dataset: str, ipc: int, setting: int) -> tuple[Any, ...]:
    """Returns a method's chain; in a further setting, the first number or the network differs."""
    first, *rest = build(method, dataset, ipc)[0].chain()
    config: dict[str, Any] = dict(first["config"])  # type: ignore[call-overload]
    numbers = [name for name, value in config.items() if type(value) in (int, float) and value]
    if setting and numbers:
        config[numbers[0]] *= 1 + setting
    elif setting:
        config["network"] = NETWORKS[setting]
    return ({**first, "config": config}, *rest)


def record_of(place: Place) -> Record:
    """Returns the made record of a place."""
    classes, drawn = CLASSES[place.dataset], Random(canonical([*place[:3], place.protocol.name, *place[4:]]))
    data = [digest([place.dataset, split]) for split in ("train", "test")]
    chain = chain_of(place.method, place.dataset, place.ipc, place.setting)
    key = digest([chain, data[0], place.ipc, place.seed])
    images = place.ipc * classes
    side = 224 if place.dataset in ("imagenet", "imagenette") else 32
    taught = place.protocol is SOFT_V2
    skill = Random(canonical([place.method, place.setting])).uniform(-8, 8)
    mean = 30 + 10 * IPCS.index(place.ipc) - 5 * len(str(classes)) + skill
    alone = place.method == FIRST[0]
    found = lookup(place.dataset, place.method, place.ipc, place.student)
    return Record(
        kind="set",
        key=key,
        dataset=DataUsed(name=place.dataset, kind="images", train_hash=data[0], test_hash=data[1]),
        method=MethodUsed(name=place.method, chain=chain),
        ipc=place.ipc,
        seed=place.seed,
        set=SetUsed(
            hash=digest(["set", key]),
            bytes={"images": images * 3 * side * side, "labels": images},
            counts=SampleCounts(stored=images, effective=images, per_class=(place.ipc,) * classes),
            label="replayed" if "fkd" in place.method else "hard",
            seconds=round(drawn.uniform(10, 10_000), 3),
            peak_bytes=drawn.randrange(2**28, 2**32),
            device="made",
        ),
        space="normalized",
        protocol=place.protocol,
        student=place.student,
        teacher=digest(["teacher", place.dataset]) if taught else None,
        teacher_bytes=44_000_000 if taught else None,
        teacher_accuracy=70.0 if taught else None,
        paper=found.paper if found and place.protocol is HARD_V1 else None,
        entries=tuple(
            Entry(
                seed=seed,
                accuracy=round(min(100.0, max(0.0, drawn.gauss(mean, 1.0))), 2),
                seconds=round(drawn.uniform(10, 1000), 3),
                device="made",
                threads=1,
                versions=VERSIONS,
                time=f"2026-01-{1 + drawn.randrange(28):02}T{drawn.randrange(24):02}:00:00+00:00",
            )
            for seed in range(1 if alone else EACH)
        ),
    )


def write(folder: Path, count: int) -> int:
    """Writes the first records into a folder, and returns their number; at most all are written."""
    made = 0
    for place in islice(places(), count):
        record = record_of(place)
        path = record.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Records are written whole and synced one by one; a made folder needs neither.
        path.write_text(canonical(record.to_json(), indent=1) + "\n")
        made += 1
    return made


def main() -> None:
    """Writes a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="The results folder; the board is written beside it.")
    parser.add_argument(
        "--count", type=int, default=100_000, help="Number of records (default: %(default)s)."
    )
    given = parser.parse_args()
    print(f"{write(given.folder, given.count)} records in {given.folder}")


if __name__ == "__main__":
    main()
