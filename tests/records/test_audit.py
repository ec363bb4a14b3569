"""Records against the stored sets that they judge."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.evaluate import record_of
from condense.protocols import HARD_V1
from condense.records.audit import audit
from condense.records.record import Record


@pytest.fixture
def judged(toy: ImageDataset, tmp_path: Path) -> tuple[Path, Record]:
    """The folder of a stored set of two images of each of three classes, and the set's record."""
    method, _ = build("random_subset", toy.spec.name, 2)
    made, run = distill(method, toy, ipc=2, cache=tmp_path / "cache")
    made.save(tmp_path / "sets" / "mine")
    return tmp_path / "sets", record_of(made, toy, HARD_V1, "convnet")


def audited(sets: Path, *records: Record) -> int:
    """The audit of records, which are written for it."""
    results = sets.parent / "results"
    for place, record in enumerate(records):
        (results / str(place)).mkdir(parents=True, exist_ok=True)
        (results / str(place) / "record.json").write_text(json.dumps(record.to_json()))
    return audit(results, [sets, sets, sets.parent / "nowhere"])


def test_the_bytes_of_a_record_are_those_of_its_sets_tensors(judged: tuple[Path, Record]) -> None:
    sets, record = judged
    assert record.set is not None
    stored = load_file(sets / "mine" / "data.safetensors")
    assert {part: count for part, count in record.set.bytes.items() if count} == {
        name: np.asarray(tensor).nbytes for name, tensor in stored.items()
    }
    assert audited(sets, record) == 1  # a set that two names lead to is one set


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        (
            {"bytes": {"images": 1, "labels": 6}},
            "states 1 for the bytes of images of its set, but .*mine holds",
        ),
        ({"bytes": {"labels": 6}}, "states None for the bytes of images"),
        ({"label": "soft"}, "states soft for the label kind of its set, but .*mine holds hard"),
        ({"rollbacks": 2}, "states 2 for the steps taken back of its set, but .*mine holds None"),
    ],
)
def test_a_record_that_tells_otherwise_is_named(
    lie: dict[str, object], sentence: str, judged: tuple[Path, Record]
) -> None:
    sets, record = judged
    assert record.set is not None
    other = replace(record, set=replace(record.set, **lie))  # type: ignore[arg-type]
    with pytest.raises(Refused, match=f"record of toy random_subset-ipc2-seed0.* {sentence}"):
        audited(sets, record, replace(other, student="vgg11"))


def test_a_part_without_bytes_may_be_left_out_of_a_record(judged: tuple[Path, Record]) -> None:
    sets, record = judged
    assert record.set is not None and 0 in record.set.bytes.values()
    bare = {part: count for part, count in record.set.bytes.items() if count}
    assert audited(sets, replace(record, set=replace(record.set, bytes=bare))) == 1


def test_a_damaged_set_is_found_only_if_a_record_was_made_of_it(
    judged: tuple[Path, Record], toy: ImageDataset, damage: Callable[[Path], None]
) -> None:
    sets, record = judged
    other, run = distill(build("random_subset", "toy", 1)[0], toy, ipc=1, cache=sets.parent / "cache")
    other.save(sets / "other")
    damage(sets / "other")
    assert audited(sets, record) == 1
    damage(sets / "mine")
    with pytest.raises(Refused, match="mine/data.safetensors or set.json was altered"):
        audited(sets, record)


@pytest.fixture
def damage() -> Callable[[Path], None]:
    """Turns a byte of a set's tensors over."""

    def turn(folder: Path) -> None:
        file = folder / "data.safetensors"
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
        assert json.loads((folder / "set.json").read_text())

    return turn
