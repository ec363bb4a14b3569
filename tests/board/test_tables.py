"""Tables: which results share one, in which order, and under which names."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.board import tables as module
from condense.board.tables import Key, gather, published, superseded
from condense.distillation.matching.protocols import dc_evaluation
from condense.protocols import HARD_V1, LABEL_V1, REPLAY_V2, SOFT_V1, SOFT_V2, WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Record
from tests.board.markdown import page

Make = Callable[..., Record]


def key_of(record: Record) -> Key:
    """The key of the table that a record of images belongs in."""
    data, protocol = record.dataset, record.protocol
    hashes = (data.train_hash, data.test_hash, protocol.name, protocol.hash)
    return Key(data.name, *hashes, record.student, record.space, record.teacher or "")


def test_rows_are_ranked_at_the_largest_ipc_and_references_come_last(made: Make) -> None:
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


def test_the_whole_set_joins_tables_of_its_data_student_and_space(made: Make) -> None:
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


def test_random_images_with_a_label_each_join_the_soft_tables_of_their_data(made: Make) -> None:
    plain = made("random_subset+expert", ipc=10, protocol=LABEL_V1, accuracies=(70.0,))
    taught = [
        made("dm", ipc=10, protocol=one, teacher="f" * 64, accuracies=(60.0,))
        for one in (SOFT_V1, SOFT_V2, REPLAY_V2)
    ]
    apart = [
        made("dm", ipc=10, protocol=LABEL_V1, accuracies=(60.0,)),
        made("dm", ipc=10, accuracies=(60.0,)),
        made("dm", protocol=SOFT_V2, teacher="f" * 64, student="vgg11"),
        made("dm", protocol=SOFT_V2, teacher="f" * 64, dataset="mnist"),
        made("random_subset+expert", ipc=10, protocol=HARD_V1),
        made("herding+expert", ipc=10, protocol=LABEL_V1),
    ]
    tables = {table.key: table for table in gather(frame([plain, *taught, *apart]))}
    marked = "random_subset+expert (label-v1)"
    with_it = [key for key, table in tables.items() if marked in [row.name for row in table.rows]]
    assert with_it == sorted(key_of(record) for record in taught)
    for key in with_it:
        assert [row.name for row in tables[key].rows] == [marked, "dm"]
        assert tables[key].rows[0].baseline and not tables[key].rows[0].reference
    own = [row.name for row in tables[key_of(plain)].rows]
    assert own == ["herding+expert", "random_subset+expert", "dm"]
    text = page(frame([plain, *taught, *apart]))
    assert text.count(f"| *{marked}*") == 3
    # It takes the place of no baseline of the table's own protocol.
    assert text.count("| *random_subset with stored labels* |") == 1


def test_an_older_reference_stays_in_the_tables_of_older_protocols(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SUPERSEDED", {"soft-v1": "soft-v2", "whole-v1": "whole-v2"})
    old, new = (made(protocol=one, teacher="f" * 64) for one in (SOFT_V1, SOFT_V2))
    first = made("whole", ipc=0, protocol=WHOLE_V1, kind="reference", accuracies=(50.0,))
    second = made(
        "whole", ipc=0, protocol=replace(WHOLE_V1, name="whole-v2"), kind="reference", accuracies=(90.0,)
    )

    def told(*records: Record) -> dict[str, list[float]]:
        tables = gather(frame(records))
        return {table.key.protocol: [row.mean([]) for row in table.rows if row.reference] for table in tables}

    assert told(old, new, first, second) == {"soft-v1": [50.0], "soft-v2": [90.0]}
    assert told(old, new, second) == {"soft-v1": [90.0], "soft-v2": [90.0]}
    assert told(old, new, first) == {"soft-v1": [50.0], "soft-v2": []}
    # One that no table takes has its own, which is folded beside the newer one's results.
    tables = gather(frame([new, first, second]))
    assert [table.key.protocol for table in tables] == ["soft-v2", "whole-v1"]
    assert superseded(tables) == {tables[1].key: "whole-v2"}


def test_a_reference_without_a_student_joins_the_table_of_each_student(made: Make) -> None:
    majority = made("majority", ipc=0, student="none", kind="reference", accuracies=(10.0,))
    tables = gather(frame([made(), made(student="vgg11"), majority]))
    assert [row.method for table in tables for row in table.rows] == ["dm", "majority"] * 2


def test_settings_that_differ_between_ipcs_share_a_row(made: Make) -> None:
    records = [made(ipc=1, config={"steps": 5}), made(ipc=10, config={"steps": 50})]
    assert [row.name for row in gather(frame(records))[0].rows] == ["dm"]


def test_settings_that_differ_at_one_ipc_make_two_rows(made: Make) -> None:
    records = [made(config={"steps": 5, "lr": 1.0}), made(config={"steps": 50, "lr": 1.0})]
    rows = gather(frame(records))[0].rows
    assert sorted(row.name for row in rows) == ["dm (steps=5)", "dm (steps=50)"]
    assert all(len(row.cells[1].records) == 1 for row in rows)


def test_a_record_without_entries_has_no_row(made: Make) -> None:
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


PICKS = st.lists(st.sampled_from(CHOICES), min_size=1, max_size=14, unique=True)


@settings(max_examples=12, deadline=None)
@given(PICKS, st.randoms())
def test_a_table_holds_one_key_whatever_the_order_of_the_records(
    made: Make, picks: list[Any], dice: Random
) -> None:
    one_key_each(made, picks, dice)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(PICKS, st.randoms())
def test_a_table_of_any_of_many_records_holds_one_key(made: Make, picks: list[Any], dice: Random) -> None:
    one_key_each(made, picks, dice)


def one_key_each(made: Make, picks: list[Any], dice: Random) -> None:
    """Checks that all records are shown, each in a table of its key, and that their order does not matter."""
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
    assert page(frame(shuffled)) == page(frame(records))
