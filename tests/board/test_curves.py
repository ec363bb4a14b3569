"""What plots show of the records: which setting of a method, at which place, in which colour."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from condense.board.curves import Curve, Panel, method_numbers, panels_of
from condense.board.datasets import gathered
from condense.board.plot_files import Against
from condense.protocols import WHOLE_V1
from condense.records.frame import frame
from condense.records.record import Record

Make = Callable[..., Record]
FIVE = (70.0, 71.0, 72.0, 71.5, 70.5)


def panels(*records: Record, against: Against = "ipc") -> list[Panel]:
    entries = frame(list(records))
    (one,) = gathered(entries).datasets
    return panels_of(one.tables, against, one.names, method_numbers(entries))


def curves(*records: Record, against: Against = "ipc") -> dict[str, Curve]:
    (panel,) = panels(*records, against=against)
    return {curve.name: curve for curve in panel.curves}


def test_a_curve_takes_the_best_setting_at_each_ipc_and_names_them(made: Make) -> None:
    low, high = {"lr_img": 1.0}, {"lr_img": 2.0}
    found = curves(
        made(config=low, accuracies=FIVE),
        made(config=high, accuracies=[value + 5 for value in FIVE]),
        made(ipc=10, config=low, accuracies=[value + 9 for value in FIVE]),
        made(ipc=10, config=high, accuracies=[value + 8 for value in FIVE]),
    )
    assert list(found) == ["dm (b / a)"]
    assert [(point.at, point.mean) for point in found["dm (b / a)"].points] == [(1, 76.0), (10, 80.0)]


def test_a_complete_setting_goes_before_a_better_one_that_is_not(made: Make) -> None:
    whole, part = made(accuracies=FIVE), made(config={"lr_img": 2.0}, accuracies=(90.0, 91.0))
    assert [curve.end.complete for curve in curves(whole, part).values()] == [True]
    assert [curve.end.complete for curve in curves(part).values()] == [False]
    assert [curve.end.mean for curve in curves(whole, part).values()] == [71.0]


def test_against_bytes_a_point_stands_at_the_size_of_its_set(made: Make) -> None:
    record = made(ipc=10)
    assert record.set is not None
    found = curves(record, made("dsa"), against="bytes")
    assert found["dm"].end.at == sum(record.set.bytes.values()) == 6500 and found["dsa"].end.at == 650


def test_references_and_random_samples_are_told_apart_from_methods(made: Make) -> None:
    found = curves(
        made(),
        made("herding"),
        made("random_subset", accuracies=(50.0,)),
        made("whole", ipc=0, protocol=WHOLE_V1, kind="reference"),
    )
    roles = {name: curve.role for name, curve in found.items()}
    assert roles == {
        "dm": "method", "herding": "selection", "random_subset": "random", "whole training set": "reference"
    }  # fmt: skip
    assert found["random_subset"].end.half is None and found["dm"].end.half is not None


def test_each_network_of_graphs_has_a_panel(graphs: Make) -> None:
    found = panels(graphs(), graphs(student="gin-sum"), graphs(ipc=10, student="gin-sum"))
    assert [(panel.student, panel.places, panel.scored) for panel in found] == [
        ("gcn-sum", [1.0], True),
        ("gin-sum", [1.0, 10.0], True),
    ]


def test_a_method_keeps_its_number_when_others_are_run_later(made: Make) -> None:
    def at(year: int, record: Record) -> Record:
        entries = [replace(one, time=f"{year}-01-01T00:00:00+00:00") for one in record.entries]
        return replace(record, entries=tuple(entries))

    first = [at(2026, made("mtt")), at(2025, made("dsa"))]
    before = method_numbers(frame(first))
    assert before == {"dsa": 0, "mtt": 1}
    after = method_numbers(frame([at(2027, made("dc")), *first]))
    assert after == before | {"dc": 2}


@pytest.mark.parametrize("against", ["ipc", "bytes"])
def test_a_panel_without_sets_is_left_out(made: Make, against: Against) -> None:
    reference = made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")
    assert panels(reference, against=against) == []
