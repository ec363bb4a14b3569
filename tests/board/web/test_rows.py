"""The rows of the web page: every cell of the board's tables once, with the same numbers."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from condense.board.values import tables_json
from condense.board.web.rows import USUAL_SPACES
from condense.protocols import GRAPH_V1, GRAPH_V2
from condense.records.frame import frame
from condense.records.parts import ClientScore, ClientUsed, FederationUsed
from condense.records.record import Record
from tests.board.web.pages import PAPER, some_records, values_of

Make = Callable[..., Record]


def test_every_cell_of_the_tables_is_one_row_with_equal_numbers(made: Make, graphs: Make) -> None:
    records = some_records(made, graphs)
    cells: dict[tuple[str, ...], dict[str, Any]] = {}
    for table in tables_json(frame(records)):
        for row in table["rows"]:
            cells |= {tuple(cell["record_keys"]): cell for cell in row["cells"]}
    rows = values_of(records)["rows"]
    assert len(rows) == len(cells)
    by_first = {found[0][:12]: cell for found, cell in cells.items()}
    assert sorted(row["id"] for row in rows) == sorted(by_first)
    for row in rows:
        cell = by_first[row["id"]]
        assert (row["score"], row["half"]) == (cell["mean"], cell["half_width"])
        assert (row["accuracy"], row["seconds"]) == (cell["accuracy"], cell["distil_seconds"])
        assert row["students"] == cell["students"] and (row["bytes"] or 0) == sum(cell["bytes"].values())
        assert [paper["value"] for paper in row["papers"]] == [paper["value"] for paper in cell["papers"]]


def test_the_order_of_the_records_does_not_matter(made: Make, graphs: Make) -> None:
    records = some_records(made, graphs)
    before = values_of(records)["rows"]
    random.Random(0).shuffle(records)
    assert values_of(records)["rows"] == before


def test_images_come_before_graphs_and_references_last(made: Make, graphs: Make) -> None:
    rows = values_of(some_records(made, graphs))["rows"]
    assert [row["data"] for row in rows] == ["images"] * 6 + ["graphs"] * 2
    assert [row["kind"] for row in rows if row["data"] == "images"][-1] == "reference"


def test_incomplete_rows_stand_behind_complete_ones_though_better(made: Make, graphs: Make) -> None:
    rows = values_of(some_records(made, graphs))["rows"]
    ten = [row for row in rows if row["size"] == "10" and row["protocol"] == "hard-v1"]
    assert [row["method"] for row in ten] == ["dm", "random_subset", "dsa"]
    assert [row["missing"] for row in ten] == [None, None, "1 of 5 students"]
    few = values_of([made("random_subset", seed=seed, accuracies=(9.0,)) for seed in range(3)])["rows"]
    assert few[0]["missing"] == "3 of 10 sets"


def test_a_reference_is_one_row_that_stands_under_every_protocol(made: Make, graphs: Make) -> None:
    rows = values_of(some_records(made, graphs))["rows"]
    (whole,) = (row for row in rows if row["kind"] == "reference")
    assert whole["protocols"] == ["hard-v1", "soft-v2", "whole-v1"] and whole["protocol"] == "whole-v1"
    assert whole["title"] == "whole training set" and whole["newer"] is None and whole["bytes"] is None


def test_a_row_tells_what_it_is(made: Make, graphs: Make) -> None:
    rows = values_of(some_records(made, graphs))["rows"]
    assert {(row["method"], row["kind"]) for row in rows} == {
        ("dm", "distilled"), ("dsa", "distilled"), ("random_subset", "selection"), ("whole", "reference"),
        ("mirage", "distilled"),
    }  # fmt: skip
    taken = values_of([made("imported-dm")])["rows"][0]
    assert taken["kind"] == "imported" and taken["commands"][1:] == []


def test_a_row_has_the_texts_of_the_board_and_the_papers_number(made: Make, graphs: Make) -> None:
    rows = values_of(some_records(made, graphs))["rows"]
    (one,) = (row for row in rows if row["papers"])
    assert one["text"]["score"] == "48.3 ± 0.3" and one["text"]["units"] == "1 × 5"
    assert one["papers"][0]["text"] == "48.9 ± 0.6†" and one["papers"][0]["protocol"] == PAPER.protocol


def test_settings_that_tell_rows_apart_stand_apart_from_the_method(made: Make) -> None:
    rows = values_of([made(config={"steps": steps}) for steps in (5, 7)])["rows"]
    assert {(row["title"], row["short"]) for row in rows} == {("dm", "steps=5"), ("dm", "steps=7")}
    (zca,) = values_of([made(space="zca", teacher="a" * 64)])["rows"]
    assert zca["more"] == "zca pixels, teacher aaaaaaaa" and "zca" not in USUAL_SPACES


def test_data_of_one_name_are_told_apart_by_their_hash(made: Make) -> None:
    rows = values_of([made(), made(train_hash="9" * 64)])["rows"]
    assert {row["dataset"] for row in rows} == {"digits (train 11111111)", "digits (train 99999999)"}


def test_rows_under_an_older_protocol_name_the_newer_one(graphs: Make) -> None:
    rows = values_of([graphs(protocol=GRAPH_V1), graphs(protocol=GRAPH_V2)])["rows"]
    assert {(row["protocol"], row["newer"]) for row in rows} == {("graph-v2", None), ("graph-v1", "graph-v2")}
    assert rows[0]["protocol"] == "graph-v2"


def test_each_student_names_its_machine_by_number(made: Make) -> None:
    record = made(accuracies=(70.0, 71.0))
    other = replace(record.entries[1], device="another")
    values = values_of([replace(record, entries=(record.entries[0], other))])
    students = values["rows"][0]["records"][0]["students"]
    assert [values["machines"][student[3]]["device"] for student in students] == ["cpu", "another"]
    assert [student[:2] for student in students] == [[0, 70.0], [1, 71.0]]


def test_a_set_has_its_picture(made: Make) -> None:
    record = made()
    assert record.set is not None
    (row,) = values_of([record], **{record.set.hash: "sets/one.png"})["rows"]
    assert row["records"][0]["picture"] == "sets/one.png" and row["records"][0]["set"] == record.set.hash


def test_federations_are_rows_too(made: Make) -> None:
    clients = (
        ClientUsed(name="a", train_hash="1", test_hash="2", train=(1,), test=(1,), set="3", seconds=1.0),
    )
    record = made("fedavg", kind="reference", ipc=0)
    entry = replace(record.entries[0], clients=(ClientScore(name="a", accuracy=70.0),), up_bytes=1)
    entry = replace(entry, down_bytes=1, lost=0)
    split = FederationUsed(split="dirichlet:1:0.5", draws=1, clients=clients)
    (row,) = values_of([replace(record, kind="federated", federation=split, entries=(entry,))])["rows"]
    assert row["kind"] == "federated" and row["more"] == "dirichlet:1:0.5"
