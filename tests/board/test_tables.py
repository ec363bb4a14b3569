"""Tables: the interval, its units, and what may never stand side by side."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from condense.board.render import render
from condense.board.tables import Key, TableCell, gather, half_width, published
from condense.protocol import HARD_V1, WHOLE_V1, dc_evaluation
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]


def key_of(record: Record) -> Key:
    """The key of the table that a record of images belongs in."""
    data, protocol = record.dataset, record.protocol
    hashes = (data.train_hash, data.test_hash, protocol.name, protocol.hash)
    return Key(data.name, *hashes, record.student, record.space, record.teacher or "")


def cell_of(*records: Record) -> TableCell:
    """The cell of records of one method at IPC 1."""
    return gather(frame(records))[0].rows[0].cells[1]


def test_the_interval_is_the_one_computed_by_hand() -> None:
    # mean 2, s = 1, t(0.975; 2) = 4.302653, over sqrt(3)
    assert half_width([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=12, unique=True))
def test_the_interval_is_that_of_scipy(hundredths: list[int]) -> None:
    values = [value / 100 for value in hundredths]
    theirs = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert half_width(values) == pytest.approx((theirs.high - theirs.low) / 2, rel=1e-6)


def test_the_interval_covers_the_mean_nineteen_times_in_twenty() -> None:
    draw = Random(0)
    covered = 0
    for _ in range(4000):
        values = [draw.gauss(0, 1) for _ in range(5)]
        half = half_width(values)
        assert half is not None
        covered += abs(sum(values) / 5) <= half
    assert covered / 4000 == pytest.approx(0.95, abs=0.012)


def test_one_value_has_no_interval() -> None:
    assert half_width([50.0]) is None


def test_the_units_of_one_set_are_its_students(made: Make) -> None:
    assert cell_of(made(accuracies=(70.0, 72.0))).units == (70.0, 72.0)


def test_the_units_of_several_sets_are_their_means(made: Make) -> None:
    cell = cell_of(made(seed=0, accuracies=(70.0, 72.0)), made(seed=1, accuracies=(80.0,)))
    assert cell.units == (71.0, 80.0)
    assert cell.mean == 75.5


def test_the_interval_of_random_subsets_is_over_draws(made: Make) -> None:
    values = [60.0 + draw for draw in range(10)]
    draws = [
        made("random_subset", seed=i, accuracies=(value,), seeds=(i % 5,)) for i, value in enumerate(values)
    ]
    row = gather(frame(draws))[0].rows[0]
    cell = row.cells[1]
    assert cell.mean == 64.5
    assert cell.half == pytest.approx(half_width(values))
    assert cell.students == (1,) * 10


def test_rows_stand_by_accuracy_at_the_largest_ipc_and_references_last(made: Make) -> None:
    records = [
        made("first", ipc=10, accuracies=(90.0,)),
        made("second", ipc=10, accuracies=(80.0,)),
        made("second", ipc=1, accuracies=(99.0,)),
        made("small", ipc=1, accuracies=(10.0,)),
        made("herding", ipc=10, accuracies=(85.0,)),
        made("whole", ipc=0, accuracies=(5.0,), protocol=WHOLE_V1, kind="reference"),
    ]
    table = gather(frame(records))[0]
    assert table.columns == table.ipcs == (1, 10)
    assert [row.method for row in table.rows] == ["first", "herding", "second", "small", "whole"]


def test_the_whole_set_joins_every_table_of_its_data_student_and_space(made: Make) -> None:
    soft = replace(HARD_V1, name="soft-v1")
    whole = made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")
    records = [
        made(),
        made(protocol=soft, teacher="f" * 64),
        made(space="zca"),
        made(student="vgg11"),
        made(dataset="mnist"),
        whole,
    ]
    joined = [t.key for t in gather(frame(records)) if any(row.reference for row in t.rows)]
    assert joined == sorted([key_of(records[0]), key_of(records[1])])
    alone = gather(frame([whole]))
    assert [(table.key.protocol, table.ipcs) for table in alone] == [("whole-v1", ())]


def test_a_reference_without_a_student_joins_every_student(made: Make) -> None:
    majority = made("majority", ipc=0, student="none", kind="reference", accuracies=(10.0,))
    tables = gather(frame([made(), made(student="vgg11"), majority]))
    assert [row.method for table in tables for row in table.rows] == ["dm", "majority"] * 2


def test_settings_that_differ_between_ipcs_make_one_row(made: Make) -> None:
    records = [made(ipc=1, config={"steps": 5}), made(ipc=10, config={"steps": 50})]
    assert [row.name for row in gather(frame(records))[0].rows] == ["dm"]


def test_settings_that_differ_at_one_ipc_make_two_rows(made: Make) -> None:
    records = [made(config={"steps": 5, "lr": 1.0}), made(config={"steps": 50, "lr": 1.0})]
    rows = gather(frame(records))[0].rows
    assert sorted(row.name for row in rows) == ["dm (steps=5)", "dm (steps=50)"]
    assert all(len(row.cells[1].records) == 1 for row in rows)


def test_a_record_without_entries_makes_no_row(made: Make) -> None:
    assert gather(frame([made(accuracies=())])) == []


CHOICES = list(
    product(
        ("dm", "herding", "whole"),
        (HARD_V1, replace(HARD_V1, lr=0.02), WHOLE_V1, dc_evaluation(300, augment="none")),
        ("convnet", "vgg11"),
        ("normalized", "zca"),
        (None, "e" * 64, "f" * 64),
        ("1" * 64, "3" * 64),
    )
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=14, unique=True), st.randoms())
def test_tables_never_mix_and_never_depend_on_the_order(made: Make, picks: list[Any], dice: Random) -> None:
    records = [
        made(
            method,
            ipc=0 if protocol.whole else 1,
            protocol=protocol,
            student=student,
            space=space,
            teacher=teacher,
            train_hash=train_hash,
            kind="reference" if protocol.whole else "set",
            accuracies=(50.0 + i / 3, 51.0 + i / 7),
        )
        for i, (method, protocol, student, space, teacher, train_hash) in enumerate(picks)
    ]
    by_key = {record.evaluation_key(): record for record in records}
    shown = set()
    for table in gather(frame(records)):
        for entry in (entry for row in table.rows for cell in row.cells.values() for entry in cell.entries):
            shown.add(entry.record_key)
            mine = key_of(by_key[entry.record_key])
            if entry.whole:
                assert mine.data == table.key.data
                assert (mine.student, mine.space) == (table.key.student, table.key.space)
            else:
                assert mine == table.key
            assert entry.protocol != "published"
    for rows in published(frame(records)).values():
        for key, row in rows:
            found = {record.record_key for record in row.cells[key.student].records}
            assert {key_of(by_key[one]) for one in found} == {key}
            shown |= found
    assert shown == set(by_key)
    shuffled = list(records)
    dice.shuffle(shuffled)
    assert render(frame(shuffled)) == render(frame(records))
