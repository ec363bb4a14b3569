"""What judging takes for each kind of data: the defaults, which protocol fits, and what validation costs."""

from pathlib import Path

import pytest
import torch

from condense.board.tables import LAYOUTS
from condense.data import GraphDataset, ImageDataset
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.evaluation.kinds import KINDS, data_for, kind_of, method_for, require_fit, stored_bytes
from condense.networks import GRAPH_NETWORKS, NETWORKS
from condense.protocols import GRAPH_SELECT_V1, GRAPH_V1, HARD_V1, PROTOCOLS, REFERENCE_V1
from condense.records.record import WHOLE
from tests.stand_ins import start


def test_the_defaults_of_each_kind_exist_and_fit_each_other() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name and kind.method in methods(name)
        assert set(kind.students) <= set(NETWORKS if name == "images" else GRAPH_NETWORKS)
        assert PROTOCOLS[kind.whole].whole and PROTOCOLS[kind.whole].kind == name
        assert data_for(kind.method) == kind.dataset and method_for(kind.dataset) == kind.method
    assert tuple(GRAPH_NETWORKS) == LAYOUTS["graphs"].order
    assert (*KINDS["graphs"].references, WHOLE) == LAYOUTS["graphs"].references


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("dm+fyi", "digits"), ("mirage", "mutag"), ("doscond", "mutag"), ("random_subset", "digits"),
        ("whole", "digits"), ("majority", "digits"), ("num_nodes", "mutag"), ("no such", "digits"),
    ],
)  # fmt: skip
def test_a_method_without_a_dataset_takes_the_default_of_its_kind(name: str, data: str) -> None:
    assert data_for(name) == data


def test_a_protocol_is_for_data_of_its_kind_alone(toy: ImageDataset, mutag: GraphDataset) -> None:
    assert require_fit(HARD_V1, toy) is HARD_V1 and require_fit(GRAPH_V1, mutag) is GRAPH_V1
    assert require_fit(REFERENCE_V1, toy) is require_fit(REFERENCE_V1, mutag) is REFERENCE_V1
    for protocol, data, sentence in (
        (HARD_V1, mutag, "hard-v1 judges images; mutag holds graphs"),
        (GRAPH_V1, toy, "graph-v1 judges graphs; toy holds images"),
    ):
        with pytest.raises(Refused, match=sentence):
            require_fit(protocol, data)


def test_validation_graphs_count_like_a_stored_set_if_they_are_used(
    mutag: GraphDataset, tmp_path: Path
) -> None:
    method, _ = build("random_subset", "mutag", 1, kind="graphs")
    _, run = start(method, mutag, ipc=1, cache=tmp_path)
    stored = run.selected(mutag.valid, torch.arange(len(mutag.valid))).nbytes()
    assert stored_bytes(mutag.valid) == sum(stored.values()) > 100
    kind = kind_of(mutag)
    assert kind.valid_bytes(mutag, GRAPH_V1) is None
    assert kind.valid_bytes(mutag, GRAPH_SELECT_V1) == stored_bytes(mutag.valid)
