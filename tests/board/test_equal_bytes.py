"""The column of random samples of equal bytes: which baseline a row is compared with, and why none is."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from condense.board.asked import asked_of
from condense.board.entries import tuples
from condense.board.render import table_for
from condense.board.tables import gather
from condense.protocols import HARD_V1, SOFT_V2
from condense.records.equal_bytes import rung
from condense.records.frame import frame
from condense.records.record import Record
from tests.board.markdown import page, rows

Make = Callable[..., Record]
Draw = Callable[..., list[Record]]
IMAGES, GRAPHS = "random, equal bytes (images)", "random, equal bytes (graphs)"


def column(records: list[Record], head: str = IMAGES) -> dict[str, str]:
    """The column of the first table by the names of rows."""
    text = page(frame(records)).split("\n### ")[1]
    found = rows(text)
    return {name: cells[found["method"].index(head)] for name, cells in found.items() if set(name) != {"-"}}


def test_a_row_is_compared_with_the_baseline_of_its_size_rounded_down(made: Make, drawn: Draw) -> None:
    assert (rung(650), rung(6500)) == (512, 5792)
    records = [made(ipc=1), made(ipc=10), made("dsa", ipc=10, replay=10_000)]
    found = column([*records, *drawn(512, 40.0), *drawn(5792, 60.0), *drawn(8192, 70.0)])
    assert found["dm"] == "42.0 ± 2.0 (10) / 62.0 ± 2.0 (10)"
    assert found["dsa"] == "-", "16500 bytes have a baseline of 16384, which was not run"


@pytest.mark.parametrize(("draws", "told"), [(3, "41.0 (3 of 5) (10)"), (5, "42.0 ± 2.0 (10)")])
def test_missing_draws_are_told(made: Make, drawn: Draw, draws: int, told: str) -> None:
    assert column([made(ipc=1), *drawn(512, 40.0, draws=draws)])["dm"] == told


def test_the_board_asks_for_as_many_draws_as_are_made(made: Make, drawn: Draw) -> None:
    def asked(record: Record) -> int:
        entries = frame([record])
        (entry, *_) = tuples(entries, entries["split"].isna())
        found = asked_of(entry)
        assert found is not None
        return found.students

    (filled,) = drawn(512, 40.0, draws=1)
    assert filled.set is not None
    many = replace(filled, set=replace(filled.set, counts=replace(filled.set.counts, effective=2001)))
    plain = made("random_subset", config={"room": 0})
    assert [asked(record) for record in (filled, many, plain)] == [5, 1, 10]
    assert asked(made("herding", config={"room": 512})) == HARD_V1.seeds
    assert asked(made("random_subset+fkd", config={"room": 512})) == 10


def test_the_teacher_that_labels_counts(made: Make, drawn: Draw) -> None:
    taught = {"protocol": SOFT_V2, "teacher": "ab" * 32}
    record = made(teacher_bytes=4000, **taught)
    text = page(frame([record, *drawn(4096, 50.0)]))
    assert "52.0 ± 2.0 (10)" in text.split("### soft-v2")[1]
    assert IMAGES not in page(frame([made(**taught), *drawn(4096, 50.0)])).split("### soft-v2")[1]


def test_baselines_stand_in_a_table_by_bytes_and_in_no_other(made: Make, drawn: Draw) -> None:
    plain = made("random_subset", config={}, accuracies=(30.0, 31.0))
    records = [made(), plain, *drawn(512, 40.0), *drawn(5792, 60.0)]
    first, second = gather(frame(records))
    assert [row.name for row in first.rows] == ["dm", "random_subset"] and first.ipcs == (1,)
    assert [row.name for row in second.rows] == ["random_subset"] and second.columns == (512, 5792)
    text = table_for(frame(records), "digits", "hard-v1", "convnet", "normalized")
    _, filled = text.split("sets that fill a number of bytes")
    assert rows(filled)["method"][:3] == ["label", "512 B", "5.8 kB"] and "*herding*" not in rows(filled)


def test_another_compression_student_or_protocol_is_no_baseline(made: Make, drawn: Draw) -> None:
    other = replace(HARD_V1, name="other-v1")
    for given in ({"encode": "png"}, {"student": "vgg11"}, {"protocol": other}):
        assert IMAGES not in page(frame([made(), *drawn(512, 40.0, **given)]))
    assert IMAGES in page(frame([made(), *drawn(512, 40.0)]))


def test_more_than_an_hour_of_training_leaves_the_hours_in_its_place(made: Make, drawn: Draw) -> None:
    # 16384 bytes: 16384 / 512 times the time of the baseline of 512 bytes.
    large = made("dsa", ipc=10, replay=10_000)
    assert column([large, made(), *drawn(512, 40.0, 225.0)])["dsa"] == "- / - (2.0 h)"
    assert column([large, made(), *drawn(512, 40.0, 100.0)])["dsa"] == "-"
    with_larger = [*drawn(512, 40.0, 225.0), *drawn(8192, 40.0, 1000.0)]
    assert column([large, made(), *with_larger])["dsa"] == "-", "the largest baseline took less per byte"


def test_graphs_have_the_mean_over_the_students_that_both_have(graphs: Make) -> None:
    records = [graphs(ipc=10, student=student) for student in ("gcn-sum", "gin-sum")]
    size = sum(records[0].set.bytes.values()) if records[0].set else 0
    baselines = [
        graphs("random_subset", (score,), config={"room": rung(size)}, seed=seed, student=student)
        for seed in range(5)
        for student, score in (("gcn-sum", 60.0), ("gin-sum", 70.0), ("gat-sum", 99.0))
    ]
    text = page(frame([*records, *baselines])).split("\n### ")[1]
    found = rows(text, names=2)
    assert found["mirage 10"][found["method IPC"].index(GRAPHS)] == "65.0 (10)"
    few = [record for record in baselines if (record.seed, record.student) != (4, "gin-sum")]
    text = page(frame([*records, *few])).split("\n### ")[1]
    assert "65.0 (4 of 5) (10)" in text
