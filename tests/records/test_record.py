"""Records: strict to read, never edited, keyed by everything that a student depends on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condense.errors import Refused
from condense.files import digest
from condense.protocols import HARD_V1, SOFT_V1, WHOLE_V1
from condense.records.folder import read_records
from condense.records.keys import evaluation_keys
from condense.records.record import (
    CurvePoint,
    Entry,
    Paper,
    Record,
    TrainingUsed,
    read_record,
)

Make = Callable[..., Record]
MakeEntry = Callable[[int, float], Entry]

HISTORIC = sorted((Path(__file__).parent.parent / "historic_records").glob("*.json"))
PAPER = Paper(value=63.0, error=None, source="a table", verified=False, protocol="its own")


def plain(record: Record) -> Any:
    return json.loads(json.dumps(record.to_json()))


def test_a_record_reads_back_as_it_was_written(made: Make, tmp_path: Path) -> None:
    known: dict[str, Any] = {"protocol": SOFT_V1, "teacher": "f" * 64, "teacher_bytes": 51234}
    for record in (
        made(paper=PAPER, teacher="f" * 64),
        made(**known),
        made(**known, teacher_accuracy=91.25),
        made("whole", ipc=0, kind="reference"),
    ):
        path = record.write(tmp_path)
        assert path == record.path(tmp_path)
        assert read_record(path) == record


def test_what_is_not_known_of_a_teacher_stays_out_of_the_file(made: Make) -> None:
    told = {"teacher_bytes", "teacher_accuracy"}
    assert not told & set(plain(made())) and not told & set(plain(made(teacher="f" * 64)))
    both = plain(made(teacher="f" * 64, teacher_bytes=51234, teacher_accuracy=91.25))
    assert both["teacher_bytes"] == 51234 and both["teacher_accuracy"] == 91.25
    for key, wrong in (("teacher_bytes", "many"), ("teacher_bytes", 1.5), ("teacher_accuracy", "good")):
        with pytest.raises(Refused, match=f"some.json: {key} is .*, not a"):
            Record.from_json(both | {key: wrong}, "some.json")


def test_what_only_graphs_have_stays_out_of_the_file_of_images(made: Make) -> None:
    record = made()
    assert record.set is not None
    graphs = replace(
        record, valid_bytes=1234, set=replace(record.set, dense_bytes=5678),
        entries=tuple(replace(entry, auc=75.5) for entry in record.entries),
    )  # fmt: skip
    told, untold = plain(graphs), plain(record)
    assert Record.from_json(told) == graphs and Record.from_json(untold) == record
    assert (told["valid_bytes"], told["set"]["dense_bytes"], told["entries"][0]["auc"]) == (1234, 5678, 75.5)
    assert "valid_bytes" not in untold and "dense_bytes" not in untold["set"]
    assert not any("auc" in entry for entry in untold["entries"])
    assert graphs.evaluation_key(0) == record.evaluation_key(0)
    assert [entry.score for entry in graphs.entries] == [75.5] * 3 and record.entries[0].score == 70.0
    told["entries"][0]["auc"] = "good"
    with pytest.raises(Refused, match='some.json: entries.0..auc is "good", not a number or null'):
        Record.from_json(told, "some.json")


def training(made: Make) -> Record:
    """A record of students that were trained on a tenth of the training images, and on the way measured."""
    curve = tuple(CurvePoint(step=step, seconds=step / 2, accuracy=10.0 * step) for step in (1, 5))
    used = TrainingUsed(bytes=6500, images=100, whole=True, steps=5, seconds=1.5)
    record = made("rs2", ipc=0, kind="training")
    entries = tuple(replace(entry, curve=curve) for entry in record.entries)
    return replace(record, fraction=0.1, training=used, entries=entries)


def test_a_training_without_a_set_reads_back_as_it_was_written(made: Make, tmp_path: Path) -> None:
    record = training(made)
    path = record.write(tmp_path)
    assert read_record(path) == record and path.name.startswith("rs2-fraction0.1-seed0-hard-v1-convnet-")
    told = plain(record)
    assert told["training"] == {"bytes": 6500, "images": 100, "whole": True, "steps": 5} | {
        "seconds": 1.5,
        "teacher": None,
    }
    assert told["entries"][0]["curve"][1] == {"step": 5, "seconds": 2.5, "accuracy": 50.0}
    untold = plain(made())
    assert not {"fraction", "training"} & set(untold) and "curve" not in untold["entries"][0]


def test_a_training_has_no_set_and_a_fraction_is_at_most_the_whole(made: Make) -> None:
    told = plain(training(made))
    for changed, reason in (
        ({"kind": "set"}, "kind 'set' does not fit its set and training"),
        ({"kind": "reference"}, "kind 'reference' does not fit its set and training"),
        ({"set": plain(made())["set"]}, "kind 'training' does not fit its set and training"),
        ({"fraction": 0}, "fraction is 0, not a number above 0"),
        ({"fraction": 1.5}, "fraction is 1.5, not a number of at most 1"),
    ):
        with pytest.raises(Refused, match=f"some.json: {reason}"):
            Record.from_json(told | changed, "some.json")


def test_what_is_known_of_a_teacher_changes_no_key(made: Make) -> None:
    plainly, known = made(teacher="f" * 64), made(teacher="f" * 64, teacher_bytes=1, teacher_accuracy=2.0)
    assert plainly.evaluation_key(0) == known.evaluation_key(0) != made().evaluation_key(0)


def test_the_file_name_tells_the_record(made: Make, tmp_path: Path) -> None:
    record = made("mtt+fyi", ipc=10, seed=3, dataset="digits@32")
    path = record.path(tmp_path)
    assert path.parent == tmp_path / "digits@32"
    assert path.name == f"mtt+fyi-ipc10-seed3-hard-v1-convnet-{record.evaluation_key()[:8]}.json"


def test_a_name_with_a_slash_stays_below_the_results(made: Make, tmp_path: Path) -> None:
    assert made(dataset="../../x").path(tmp_path).parent.parent == tmp_path


@pytest.mark.parametrize("path", HISTORIC, ids=lambda path: path.stem)
def test_a_historic_record_loads_and_is_rewritten_without_change(path: Path) -> None:
    record = read_record(path)
    assert record.method.name == "dm"
    assert [entry.accuracy for entry in record.entries] == [96.12, 96.3]
    assert plain(record) == json.loads(path.read_text())


def test_there_is_a_historic_record() -> None:
    assert HISTORIC


def test_the_evaluation_key_changes_with_each_part() -> None:
    base: dict[str, Any] = {
        "run_key": "a",
        "test_hash": "b",
        "protocol_hash": "c",
        "teacher": None,
        "student": "d",
        "space": "e",
    }
    changed = [evaluation_keys(**base | {part: "other"}, seeds=[0])[0] for part in base]
    assert len({*evaluation_keys(**base, seeds=[0, 1, None]), *changed}) == len(base) + 3


def test_the_evaluation_key_is_the_digest_of_its_parts_in_order() -> None:
    parts = {
        "run_key": "a",
        "test_hash": "b",
        "protocol_hash": "c",
        "teacher": None,
        "student": "é",
        "space": "e",
    }
    found = evaluation_keys(**parts, seeds=[0, None, 12])  # type: ignore[arg-type]
    assert found == [digest([*parts.values(), seed]) for seed in (0, None, 12)]


def test_the_evaluation_key_ignores_time_and_device(made: Make) -> None:
    record = made()
    assert record.set is not None
    moved = replace(record, set=replace(record.set, device="other", seconds=9.0), entries=())
    assert moved.evaluation_key(0) == record.evaluation_key(0) != record.evaluation_key(1)


def test_the_same_seed_twice_is_refused(made: Make, entry: MakeEntry) -> None:
    record = made(accuracies=(70.0,))
    with pytest.raises(Refused, match="already has evaluation seed 0"):
        record.with_entry(entry(0, 70.0))
    assert record.with_entry(entry(1, 71.0)).has(1) and not record.has(1)


def test_entries_stand_in_order_of_seed(made: Make, entry: MakeEntry) -> None:
    record = made(accuracies=())
    for seed in (2, 0, 1):
        record = record.with_entry(entry(seed, 50.0 + seed))
    assert [one.seed for one in record.entries] == [0, 1, 2]


def test_writing_never_edits_or_loses_an_entry(made: Make, entry: MakeEntry, tmp_path: Path) -> None:
    record = made(accuracies=(70.0,))
    record.write(tmp_path)
    record.with_entry(entry(1, 71.0)).write(tmp_path)
    for other in (record, replace(record, entries=(entry(0, 99.0), entry(2, 72.0), entry(3, 73.0)))):
        other.write(tmp_path)
    stored = read_record(record.path(tmp_path))
    assert [one.accuracy for one in stored.entries] == [70.0, 71.0, 72.0, 73.0]


def test_students_of_another_set_are_not_added_to_a_record(made: Make, tmp_path: Path) -> None:
    record = made()
    record.write(tmp_path)
    assert record.set is not None
    with pytest.raises(Refused, match="holds students of the set .*; move the file away; results keeps"):
        replace(record, set=replace(record.set, hash="f" * 64)).write(tmp_path)


def every_key(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all keys whose names are fixed: configurations, versions, bytes and protocols are not."""
    places: list[tuple[Any, ...]] = []
    if isinstance(values, dict):
        for key, value in values.items():
            places.append((*path, key))
            if key not in ("config", "versions", "bytes", "protocol"):
                places += every_key(value, (*path, key))
    elif isinstance(values, list):
        for i, value in enumerate(values):
            places += every_key(value, (*path, i))
    return places


def test_every_missing_key_is_refused_by_name(made: Make) -> None:
    good = plain(made(paper=PAPER))
    places = every_key(good)
    assert len(places) > 40
    for place in places:
        broken = json.loads(json.dumps(good))
        inner = broken
        for step in place[:-1]:
            inner = inner[step]
        del inner[place[-1]]
        with pytest.raises(Refused, match=f"some.json.*{place[-1]} is missing"):
            Record.from_json(broken, "some.json")


@pytest.mark.parametrize("part", [None, "dataset", "method", "set", "paper"])
def test_an_unknown_key_is_refused_by_name(made: Make, part: str | None) -> None:
    values = plain(made(paper=PAPER))
    (values[part] if part else values)["mood"] = "good"
    with pytest.raises(Refused, match=r"some\.json: .*mood is unknown"):
        Record.from_json(values, "some.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "condense-set"}, "not a condense-record"),
        ({"ipc": "10"}, 'ipc is "10", not a whole number'),
        ({"ipc": True}, "ipc is true, not a whole number"),
        ({"ipc": -3}, "ipc is -3, not a whole number of at least 0"),
        ({"seed": 2**63}, "seed is 9223372036854775808, not a whole number of at most"),
        ({"student": "x" * 3000}, 'student is "xx+\\.\\.\\., not a text of length 255 or less'),
        ({"space": "a\nb"}, r'space is "a\\nb", not a text without control characters'),
        ({"kind": "reference"}, "kind 'reference'"),
        ({"kind": "sets"}, "kind 'sets'"),
        ({"protocol_hash": "0" * 64}, "not 00000000 as it states"),
        ({"protocol": {"name": "hard-v1"}}, "protocol.stages is missing"),
        ({"protocol": {"name": "hard-v1", "stages": 5}}, "protocol.stages is 5, not a list"),
        ({"protocol": {"name": "hard-v1", "stages": [{}]}}, r"protocol.stages\[0\].epochs is missing"),
        ({"protocol": None}, "protocol is missing"),
        ({"entries": [1]}, r"entries\[0\] is 1, not an object"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(made: Make, change: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said) as refusal:
        Record.from_json(plain(made()) | change, "some.json")
    assert str(refusal.value).startswith("some.json") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("accuracy", 1000),
        ("accuracy", -5),
        ("accuracy", 1e300),
        ("auc", 100.5),
        ("seed", -1),
        ("seconds", -1),
    ],
)
def test_a_result_that_no_student_can_have_is_refused(made: Make, key: str, value: float) -> None:
    values = plain(made())
    values["entries"][1][key] = value
    with pytest.raises(Refused, match=rf"some.json: entries\[1\].{key} is .*, not a .*number of at "):
        Record.from_json(values, "some.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"ipc": 1, "ipc": 1}', "the key 'ipc' is there twice"),
        ('{"ipc": 1e999}', "1e999 is no JSON number"),
        ('{"ipc": NaN}', "NaN is no JSON number"),
        ('{"ipc": 1' + "0" * 300 + "}", "needs more than 64 bits"),
        ('{"ipc": "\\ud800"}', "surrogates not allowed"),
        ("[" * 100 + "]" * 100, "nested more than 64 levels deep"),
        ("[" * 100_000, "is not JSON: "),
    ],
)
def test_json_that_could_not_be_used_or_rewritten_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(Refused, match=f"x.json.*{said}"):
        read_record(tmp_path / "x.json")


def test_a_seed_that_stands_twice_in_a_file_is_refused(made: Make) -> None:
    values = plain(made())
    values["entries"][1]["seed"] = 0
    with pytest.raises(Refused, match="not ascending and distinct"):
        Record.from_json(values)


def test_records_are_read_in_order_of_path_and_manifests_are_skipped(made: Make, tmp_path: Path) -> None:
    records = [made(seed=seed, dataset=name) for name in ("b", "a") for seed in (1, 0)]
    for record in records:
        record.write(tmp_path)
    (tmp_path / "a" / "set.json").write_text("{}")
    (tmp_path / "a" / "deeper").mkdir()
    (tmp_path / "a" / "deeper" / "x.json").write_text("{}")
    found = read_records(tmp_path)
    assert [(one.dataset.name, one.seed) for one in found] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert read_records(tmp_path / "nowhere") == []


def test_a_broken_file_is_refused_by_name(made: Make, tmp_path: Path) -> None:
    path = made().write(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Refused, match=f"{path.name} is not JSON"):
        read_records(tmp_path)


def test_a_copied_file_does_not_count_twice(made: Make, tmp_path: Path) -> None:
    path = made().write(tmp_path)
    (path.parent / "copy.json").write_bytes(path.read_bytes())
    with pytest.raises(Refused, match="hold the same record"):
        read_records(tmp_path)


def test_two_protocols_of_one_name_have_two_files(made: Make, tmp_path: Path) -> None:
    changed = replace(HARD_V1, lr=0.02)
    paths = {made(protocol=protocol).path(tmp_path) for protocol in (HARD_V1, changed, WHOLE_V1)}
    assert len(paths) == 3
