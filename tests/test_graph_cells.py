"""Cells of graph data: one set for all students, references, baselines of equal bytes, and refusals."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condense import protocols
from condense.distillation.registry import methods
from condense.errors import Refused, Stopped
from condense.networks import GRAPH_NETWORKS
from condense.protocols import GRAPH_SELECT_V2, GRAPH_V2, GRAPH_WHOLE_V2
from condense.records.equal_bytes import rung
from condense.records.folder import read_records
from condense.records.record import Record
from condense.resources import Budget, Machine
from condense.runner.baselines import beside, of_equal_bytes
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.reevaluate import reevaluate
from condense.runner.run import run_cell
from condense.store import GraphSet, load

CPU = torch.device("cpu")
Given = dict[str, object]


@pytest.fixture(autouse=True)
def tiny_protocols(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocols for graphs with two steps and two seeds, and a home of the test's own."""
    short = [replace(one, steps=2, seeds=2) for one in (GRAPH_V2, GRAPH_SELECT_V2, GRAPH_WHOLE_V2)]
    known = {**protocols.PROTOCOLS, **{one.name: one for one in short}}
    monkeypatch.setattr(protocols, "PROTOCOLS", known)


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


def run(places: Paths, budget: Budget | None = None, **given: object) -> list[Record]:
    return run_cell(CellSpec(**given), places, Machine(budget=budget or Budget()))  # type: ignore[arg-type]


def test_a_method_for_graphs_needs_nothing_else_said(places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    records = run(places, method="mirage")
    assert [record.student for record in records] == list(GRAPH_NETWORKS)
    assert len({record.set.hash for record in records if record.set}) == 1
    for record in records:
        assert record.dataset.name == "mutag" and record.dataset.kind == "graphs" and record.ipc == 1
        assert [entry.seed for entry in record.entries] == [0, 1] and record.space == "multi-hot"
        assert all(entry.auc is not None and 0 <= entry.auc <= 100 for entry in record.entries)
        assert record.set and set(record.set.bytes) == {"graphs", "labels"}
        assert record.set.dense_bytes and record.valid_bytes is None
    assert {one.evaluation_key() for one in read_records(places.results)} == {
        one.evaluation_key() for one in records
    }
    (folder,) = places.out.iterdir()
    assert folder.name.startswith("mutag-mirage-ipc1-seed0-") and isinstance(load(folder), GraphSet)
    monkeypatch.setattr(methods("graphs")["mirage"], "distill", None)
    assert run(places, method="mirage") == records


def test_a_budget_that_ends_between_students_keeps_those_that_are_done(
    places: Paths, spent_after: Callable[[int], Budget]
) -> None:
    (done,) = run(places, method="random_subset", dataset="mutag", seeds=(0,), student="gcn-sum")
    with pytest.raises(Stopped, match="gcn-mean 0, phase train, step 1 of 2"):
        run(places, spent_after(0), method="random_subset", dataset="mutag", seeds=(0,))
    assert read_records(places.results) == [done]


def test_a_draw_of_random_graphs_has_a_student_of_its_own_in_each_network(places: Paths) -> None:
    records = run(places, method="random_subset", dataset="mutag", student="gcn-mean")
    assert [(one.seed, [entry.seed for entry in one.entries]) for one in records] == [
        (seed, [seed % 2]) for seed in range(10)
    ]


def test_a_record_holds_the_bytes_of_validation_graphs_that_select(places: Paths) -> None:
    (record,) = run(places, method="mirage", student="gcn-sum", protocol="graph-select-v2")
    assert record.valid_bytes and record.protocol.select == "valid"


def test_the_whole_training_set_has_a_record_for_each_student(
    places: Paths,
) -> None:
    whole = run(places, method="whole", dataset="mutag")
    assert [record.student for record in whole] == list(GRAPH_NETWORKS)
    assert {record.protocol.name for record in whole} == {"graph-whole-v2"}
    (nodes,) = run(places, method="num_nodes")
    assert nodes.student == "none" and nodes.kind == "reference" and nodes.dataset.name == "mutag"
    assert [entry.auc for entry in nodes.entries] == [pytest.approx(95.51, abs=0.01)]
    (majority,) = run(places, method="majority", dataset="digits")
    assert majority.dataset.kind == "images" and majority.entries[0].auc is None
    assert run(places, method="num_nodes") == [nodes]
    assert len(read_records(places.results)) == 8


def test_a_stored_set_of_graphs_is_evaluated_with_all_students(places: Paths) -> None:
    (first,) = run(places, method="mirage", student="gin-sum")
    (folder,) = places.out.iterdir()
    made, plain = load(folder), CellSpec(eval_seeds=1)
    records = reevaluate(made, plain, places, Machine())
    assert [record.student for record in records] == list(GRAPH_NETWORKS)
    assert first in records
    with pytest.raises(Refused, match="hard-v1 judges images; mutag holds graphs"):
        reevaluate(made, replace(plain, protocol="hard-v1"), places, Machine())
    with pytest.raises(Refused, match="teacher='a.pt': under graph-v2 a set's own teacher labels nothing"):
        reevaluate(made, replace(plain, teacher="a.pt"), places, Machine())
    with pytest.raises(Refused, match="the set was made of mutag with training split"):
        reevaluate(made, replace(plain, dataset="digits"), places, Machine())


def test_a_graph_method_has_baselines_of_equal_number_and_equal_bytes(places: Paths) -> None:
    cell = CellSpec(method="mirage", student="gcn-sum", eval_seeds=1)
    job = resolve(cell, places)
    rows = [row.cell for row in beside(job)]
    assert [(row.method, row.dataset, row.params) for row in rows] == [
        (name, "mutag", {}) for name in ("random_subset", "herding", "k_center")
    ]
    records = run_cell(cell, places, Machine())
    assert records[0].set
    room = rung(sum(records[0].set.bytes.values()))
    larger = [row.cell for row in of_equal_bytes(job, records)]
    assert [(row.params, row.ipc) for row in larger] == [({"room": str(room)}, 1)] * 3
    (drawn, *_) = run_cell(replace(larger[0], seeds=(0,)), places, Machine())
    assert drawn.set and min(drawn.set.counts.per_class) >= 1
    assert drawn.method.chain[0]["config"] == {"room": room}
    assert of_equal_bytes(resolve(replace(cell, method="herding", dataset="mutag"), places), records) == []
    majority = CellSpec(method="majority", dataset="mutag")
    assert of_equal_bytes(resolve(majority, places), run_cell(majority, places, Machine())) == []


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"method": "dm", "dataset": "mutag"}, "dm distils images; mutag holds graphs"),
        ({"method": "mirage", "dataset": "digits"}, "mirage distils graphs; digits holds images"),
        ({"method": "mirag"}, "unknown method 'mirag'; nearest: mirage"),
        ({"size": 8}, "size=8: mutag holds graphs, which have no pixels to resize"),
        ({"skip_unreadable": True}, "skip_unreadable=True: mutag holds graphs, not images"),
        ({"teacher": "a.pt"}, "teacher='a.pt': methods for graphs have no teacher"),
        ({"student": "convnet"}, "student='convnet': this is a network for images; mutag holds graphs"),
        ({"student": "gcn"}, "unknown graph network 'gcn'; nearest: gcn-sum, gcn-mean"),
        (
            {"method": "dm", "student": "gcn-sum"},
            "student='gcn-sum': this is a network for graphs; digits holds images",
        ),
        ({"dataset": "IMDB"}, "dataset='IMDB': unknown dataset; nearest: imdb-binary"),
        ({"protocol": "hard-v1"}, "hard-v1 judges images; mutag holds graphs"),
        ({"protocol": "soft-v1"}, "soft-v1 judges images; mutag holds graphs"),
        (
            {"protocol": "graph-whole-v2"},
            "mirage mutag ipc 1, graph-whole-v2: graph-whole-v2 judges references",
        ),
        ({"method": "dm", "protocol": "graph-v2"}, "graph-v2 judges graphs; digits holds images"),
        ({"eval_seeds": 3}, "eval_seeds=3: graph-v2 has the seeds 0 to 1"),
        ({"ipc": 0}, "ipc=0: at least one graph per class is needed"),
        ({"method": "num_nodes", "dataset": "digits"}, "num_nodes is a reference for graphs"),
        ({"method": "num_nodes", "student": "gcn-sum"}, "student='gcn-sum': num_nodes trains no network"),
        (
            {"method": "num_nodes", "protocol": "graph-v2"},
            "num_nodes is judged by reference-v1, not by graph-v2",
        ),
        (
            {"method": "whole", "dataset": "mutag", "protocol": "reference-v1"},
            "the whole training set is judged by graph-whole-v2, not by reference-v1",
        ),
        ({"method": "whole", "dataset": "mutag", "protocol": "whole-v1"}, "whole-v1 judges images; mutag"),
    ],
)
def test_cells_that_contradict_themselves_are_refused_before_any_work(
    places: Paths, given: Given, sentence: str
) -> None:
    with pytest.raises(Refused) as refusal:
        run_cell(CellSpec(**({"method": "mirage"} | given)), places, Machine())  # type: ignore[arg-type]
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)
    assert not places.out.exists() and not places.results.exists()
