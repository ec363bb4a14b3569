"""Flat graphs: selection, classes, hashes, and the datasets mutag and molbace."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from condense.data import GraphDataset, Graphs, load_graphs
from condense.data.graphs.spec import ARRAYS

MOLBACE = Path(__file__).with_name("ogbg_molbace.zip")
"""OGB's own files of ogbg-molbace (MIT), from Graph-and-Geometric-Learning/MolGroup at ffe8843."""

One = tuple[list[int], list[tuple[int, int, int]], int]
"""One graph: node labels, edges as (source, target, label), and its class."""


@pytest.fixture(scope="module")
def molbace() -> GraphDataset:
    return load_graphs(str(MOLBACE))


def flat(graphs: list[One]) -> Graphs:
    """Builds the flat arrays of single graphs, one graph and one edge at a time."""
    nodes: list[int] = []
    edges: list[tuple[int, int, int]] = []
    nodes_ptr, edges_ptr = [0], [0]
    for labels, own, _ in graphs:
        edges += [(source + len(nodes), target + len(nodes), label) for source, target, label in own]
        nodes += labels
        nodes_ptr.append(len(nodes))
        edges_ptr.append(len(edges))
    table = torch.tensor(edges, dtype=torch.int64).view(-1, 3)
    return Graphs(
        node_labels=torch.tensor(nodes, dtype=torch.int64),
        node_features=torch.tensor([[7 * node, -node] for node in nodes], dtype=torch.int64).view(-1, 2),
        edges=table[:, :2].T.contiguous(),
        edge_labels=table[:, 2].contiguous(),
        nodes_ptr=torch.tensor(nodes_ptr),
        edges_ptr=torch.tensor(edges_ptr),
        labels=torch.tensor([label for _, _, label in graphs], dtype=torch.int64),
        num_classes=3,
    )


@st.composite
def single(draw: st.DrawFn) -> One:
    """Draws a small graph, which may have no edges."""
    nodes = draw(st.lists(st.integers(0, 9), min_size=1, max_size=4))
    end = st.integers(0, len(nodes) - 1)
    edges = draw(st.lists(st.tuples(end, end, st.integers(0, 3)), max_size=5))
    return nodes, edges, draw(st.integers(0, 2))


@settings(max_examples=60, deadline=None)
@given(graphs=st.lists(single(), min_size=1, max_size=5), data=st.data())
def test_a_selection_equals_the_selected_graphs_built_alone(graphs: list[One], data: st.DataObject) -> None:
    index = data.draw(st.lists(st.integers(0, len(graphs) - 1), max_size=6))
    chosen, naive = flat(graphs).select(index), flat([graphs[position] for position in index])
    for name in ARRAYS:
        assert torch.equal(getattr(chosen, name), getattr(naive, name)), name
    assert chosen.hash == naive.hash and len(chosen) == len(index)


@settings(max_examples=30, deadline=None)
@given(graphs=st.lists(single(), min_size=1, max_size=5))
def test_owners_counts_and_classes_agree_with_the_single_graphs(graphs: list[One]) -> None:
    held = flat(graphs)
    assert held.owners.tolist() == [at for at, (nodes, _, _) in enumerate(graphs) for _ in nodes]
    for label in range(3):
        members = [at for at, (_, _, own) in enumerate(graphs) if own == label]
        assert held.of_class(label).tolist() == members and held.counts()[label] == len(members)


@pytest.mark.parametrize("index", [[2], [0, -1], [True, False], [0.0]])
@pytest.mark.usefixtures("unchecked_shapes")
def test_selecting_a_position_without_a_graph_is_an_error(index: list[int]) -> None:
    with pytest.raises(IndexError):
        flat([([0], [], 0), ([1], [], 1)]).select(index)


def test_the_hash_covers_every_array_and_ignores_the_device() -> None:
    graphs = flat([([0, 1], [(0, 1, 2), (1, 0, 2)], 0), ([1, 0, 2], [(0, 2, 0), (2, 0, 0)], 1)])
    hashes = {graphs.hash}
    for name in ARRAYS:
        array: Tensor = getattr(graphs, name)
        hashes.add(replace(graphs, **{name: array + 1}).hash)  # type: ignore[arg-type]
    assert len(hashes) == 1 + len(ARRAYS)
    moved = graphs.to("cpu")
    assert moved is not graphs and moved.hash == graphs.hash and moved.num_classes == 3
    assert graphs.to("meta").edges.device.type == "meta"


def test_mutag_comes_with_the_package_and_its_hash_is_pinned(mutag: GraphDataset) -> None:
    assert mutag.hash == "5b695018568308c1d4707f155eba79d3ddf7ec09cdcf5eb6175c8dc46efbe506"
    parts = (mutag.train, mutag.valid, mutag.test)
    assert [len(part) for part in parts] == [150, 19, 19]
    assert sum(len(part.node_labels) for part in parts) == 3371
    assert sum(len(part.edge_labels) for part in parts) == 2 * 3721
    assert [sum(part.counts()[label] for part in parts) for label in (0, 1)] == [63, 125]
    spec = mutag.spec
    assert (spec.kind, spec.protocol, spec.split) == ("graphs", "graph-v2", "seeded")
    assert spec.classes == ("-1", "1") and spec.num_classes == 2
    assert (spec.features, spec.node_labels, len(spec.edge_values)) == ((7,), 7, 4)


def test_molbace_keeps_its_official_split(molbace: GraphDataset) -> None:
    assert molbace.hash == "df7cd02e90876965b96feb6196305bbb20be33c60d462cfbe6930abf7bcb813c"
    parts = (molbace.train, molbace.valid, molbace.test)
    assert [len(part) for part in parts] == [1210, 151, 152]
    assert [part.counts()[1] for part in parts] == [480, 130, 81]
    assert sum(len(part.node_labels) for part in parts) == 51577
    assert sum(len(part.edge_labels) for part in parts) == 2 * 55768
    spec = molbace.spec
    assert (spec.name, spec.split, spec.classes) == ("molbace", "official", ("0", "1"))
    assert (spec.node_labels, len(spec.edge_values), len(spec.features)) == (73, 11, 9)
    everything = torch.cat([part.node_features for part in parts])
    assert spec.features == tuple((everything.amax(0) + 1).tolist())
    assert len(torch.unique(everything, dim=0)) == 73


@pytest.mark.parametrize(
    ("name", "part", "nodes", "edges"),
    [("mutag", "test", 95.51, 94.87), ("molbace", "valid", 68.50, 68.85), ("molbace", "test", 76.80, 76.88)],
)
def test_sizes_of_graphs_predict_classes_as_well_as_published(
    name: str, part: str, nodes: float, edges: float, request: pytest.FixtureRequest
) -> None:
    graphs: Graphs = getattr(request.getfixturevalue(name), part)
    for ptr, percent in ((graphs.nodes_ptr, nodes), (graphs.edges_ptr, edges)):
        assert round(100 * roc_auc_score(graphs.labels, ptr.diff()), 2) == percent


@pytest.mark.parametrize("name", ["mutag", "molbace"])
def test_every_edge_occurs_once_in_each_direction_within_its_graph(
    name: str, request: pytest.FixtureRequest
) -> None:
    graphs: Graphs = request.getfixturevalue(name).train
    source, target = graphs.edges
    keys = source * len(graphs.node_labels) + target
    assert bool((keys.diff() > 0).all()) and not bool((source == target).any())
    order = torch.argsort(target * len(graphs.node_labels) + source)
    assert torch.equal(source[order], target) and torch.equal(target[order], source)
    assert torch.equal(graphs.edge_labels[order], graphs.edge_labels)
    owner = torch.arange(len(graphs)).repeat_interleave(graphs.edges_ptr.diff())
    assert torch.equal(graphs.owners[source], owner) and torch.equal(graphs.owners[target], owner)
