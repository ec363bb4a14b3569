"""Trainings without a set: tables by fraction, and rows among sets that are marked."""

from collections.abc import Callable
from dataclasses import replace

from condense.board.tables import PARTS, gather
from condense.board.values import tables_json
from condense.records.frame import frame
from condense.records.parts import TrainingUsed
from condense.records.record import Record
from tests.board.markdown import page, rows

Make = Callable[..., Record]


def training(record: Record, fraction: float | None, size: int, whole: bool) -> Record:
    read = TrainingUsed(bytes=size, images=size // 10, whole=whole, steps=100, seconds=1.0)
    ipc = record.ipc if fraction is None else 0
    return replace(record, kind="training", set=None, fraction=fraction, training=read, ipc=ipc)


def test_trainings_by_fraction_have_a_table_with_the_bytes_they_read(made: Make) -> None:
    records = [
        training(made(name, seed=seed, config={"f": share}), share, int(1000 * share), name == "rs2")
        for name in ("rs2", "random_subset")
        for share in (0.005, 0.1)
        for seed in (0, 1)
    ]
    plain, table = gather(frame([made(), *records]))
    assert [row.method for row in plain.rows] == ["dm"]
    assert [column / PARTS for column in table.columns] == [0.005, 0.1]  # type: ignore[operator]
    assert {row.method for row in table.rows} == {"rs2", "random_subset"}
    text = page(frame(records))
    found = rows(text)
    column = found["method"].index("bytes")
    assert found["method"][1:3] == ["0.5 %", "10 %"] and "*herding*" not in found
    assert found["rs2"][column] == "whole set" and found["*random_subset*"][column] == "5/100 B"
    assert "- rs2, % 0.5, seed 0-1" in text


def test_fractions_that_are_nearly_alike_have_columns_of_their_own(made: Make) -> None:
    shares = (0.00001, 0.3333, 1 / 3, 0.3)
    records = [training(made("rs2", config={"f": share}), share, 100, False) for share in shares]
    (table,) = gather(frame(records))
    assert len(table.columns) == 4 and 0 not in table.columns
    assert rows(page(frame(records)))["method"][1:5] == ["0.001 %", "30 %", "33.33 %", "33.3333 %"]
    (values,) = tables_json(frame(records))
    assert values["columns"] == "fraction" and not values["filled"]
    cells = [cell for row in values["rows"] for cell in row["cells"]]
    assert sorted(cell["fraction"] for cell in cells) == sorted(shares)


def test_a_training_for_as_many_steps_as_a_set_is_marked(made: Make) -> None:
    records = [made(), training(made("rs2"), None, 47_000, True)]
    found = rows(page(frame(records)))
    assert found["rs2 (no set)"][found["method"].index("bytes")] == "whole set"
