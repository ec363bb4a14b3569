"""The study behind graph-v2: it reads training graphs alone, and long trainings contain shorter ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.benchmarks import graph_protocol as study
from condense.benchmarks.graph_protocol import Training, page, parted, planned, read, scored
from condense.data import Graphs, load_graphs
from condense.evaluation.graph_student import GraphStudent
from condense.networks import GRAPH_NETWORKS
from condense.protocols import GRAPH_V1, GRAPH_V2, GRAPH_WHOLE_V2

MUTAG = load_graphs("mutag")


class Unread(Graphs):
    """A split that must not be read."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise AssertionError(f"the study reads {name} of a split that is not for it")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study after 2 and 4 steps."""
    monkeypatch.setattr(study, "STEPS", (2, 4))


def test_the_training_graphs_are_parted_by_class_and_no_graph_is_in_both() -> None:
    train = replace(MUTAG.train, node_labels=torch.arange(len(MUTAG.train.node_labels)))
    kept, held = parted(train)
    every = torch.cat([kept.node_labels, held.node_labels])
    assert torch.equal(every.sort().values, train.node_labels)
    assert list(held.counts()) == [-(-count // 5) for count in train.counts()]


@pytest.mark.parametrize("source", study.SOURCES)
def test_the_study_reads_neither_test_nor_validation_graphs(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    unread = Unread.__new__(Unread)
    with pytest.raises(AssertionError, match="reads labels of a split"):
        len(unread)
    monkeypatch.setattr(study, "load_graphs", lambda name: replace(MUTAG, valid=unread, test=unread))
    one = Training("mutag", source, "gcn-sum", 0.0, 0)
    (line,) = study.study([one], tmp_path / "scores.jsonl", tmp_path)
    found = read(tmp_path / "scores.jsonl")[one]
    assert set(found) == {2, 4} and str(one) in line
    assert list(study.study([one], tmp_path / "scores.jsonl", tmp_path)) == []


def test_scores_on_the_way_are_those_of_shorter_protocols(tmp_path: Path, short: None) -> None:
    kept, held = parted(MUTAG.train)
    data, one = replace(MUTAG, train=kept), Training("mutag", "mirage", "gin-mean", 1e-4, 1)
    found = scored(one, data, held, tmp_path)
    for steps in (2, 4):
        student = GraphStudent(
            network="gin-mean", protocol=replace(GRAPH_V1, steps=steps, weight_decay=1e-4),
            source=study.source("mirage", data, 1, tmp_path), test=held, spec=data.spec,
        )  # fmt: skip
        assert student.outcome(1).auc == found[steps]


def test_the_page_has_the_means_of_both_poolings_and_the_paired_differences() -> None:
    scores = {
        Training("mutag", "mirage", student, decay, seed): {300: 50.0, 500: auc + seed, 1000: 70, 2000: 80}
        for student in GRAPH_NETWORKS
        for decay, auc in ((0.0, 60.0 if "sum" in student else 40.0), (0.01, 50.0))
        for seed in (0, 1)
    }
    told = page(scores)
    assert "| mutag   | mirage     | sum     | 50.0   | 60.5   | 70.0    | 80.0    | 50.0" in told
    assert "| all     | all        | mean    | 50.0   | 40.5   | 70.0    | 80.0    | 50.0" in told
    assert "- sum pooling, decay 0 and 500 steps, less decay 0.01 and 500 steps: +10.00 ± 0.00 (n=6)" in told
    # A seed of which a student is missing is left out, and with it the mean over both datasets.
    scores |= {Training("nci1", "mirage", "gcn-sum", 0.0, 0): {300: 0.0, 500: 0.0, 1000: 0, 2000: 0}}
    assert page(scores) == told


def test_the_protocols_have_values_that_the_study_tried() -> None:
    trained = planned(study.DATASETS, study.SOURCES)
    assert GRAPH_V2.weight_decay in {one.decay for one in trained if one.source != study.WHOLE}
    assert GRAPH_WHOLE_V2.weight_decay in {one.decay for one in trained if one.source == study.WHOLE}
    assert {one.dataset for one in trained} == {"mutag", "molbace", "proteins", "nci1"}
