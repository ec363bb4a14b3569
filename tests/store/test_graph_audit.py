"""Records of graph sets against the stored sets that they judge."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.evaluate import record_of
from condense.protocols import HARD_V1
from condense.records.audit import audit
from condense.records.record import Record, SampleCounts, SetUsed
from condense.store import ImageSet
from tests.store.graph_sets import make


@pytest.fixture
def judged(toy: ImageDataset, tmp_path: Path) -> tuple[Path, Record]:
    """The folder of a stored set of graphs, and a record of it."""
    method, _ = build("random_subset", toy.spec.name, 2)
    images, _ = distill(method, toy, ipc=2, cache=tmp_path / "cache")
    assert isinstance(images, ImageSet)
    record = record_of(images, toy, HARD_V1, "convnet")
    graphs = make(trees=True, weights="whole")
    content_hash = graphs.save(tmp_path / "sets" / "mine")
    assert record.set is not None
    counts = graphs.content["counts"]
    used = replace(
        record.set,
        hash=content_hash,
        bytes=graphs.nbytes(),
        counts=SampleCounts(stored=4, effective=4, per_class=tuple(counts["per_class"])),
        dense_bytes=graphs.dense_bytes,
    )
    return tmp_path, replace(record, set=used)


def audited(folder: Path, record: Record, change: Callable[[SetUsed], SetUsed]) -> int:
    """The audit of the record as changed."""
    assert record.set is not None
    results = folder / "results"
    (results / "toy").mkdir(parents=True)
    told = replace(record, set=change(record.set)).to_json()
    (results / "toy" / "record.json").write_text(json.dumps(told))
    return audit(results, [folder / "sets"])


def test_a_record_that_tells_what_its_graphs_take_is_true(judged: tuple[Path, Record]) -> None:
    assert audited(*judged, lambda used: used) == 1


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        ({"bytes": {"graphs": 1, "labels": 12}}, "states 1 for the bytes of graphs"),
        ({"dense_bytes": 1}, "states 1 for the bytes as dense floats"),
        ({"dense_bytes": None}, "states None for the bytes as dense floats"),
        ({"label": "soft"}, "states soft for the label kind"),
    ],
)
def test_a_record_that_tells_otherwise_is_named(
    judged: tuple[Path, Record], lie: dict[str, object], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        audited(*judged, lambda used: replace(used, **lie))  # type: ignore[arg-type]
