import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from condense.data import Graphs, GraphSpec, load_graphs
from condense.data.graphs.batch import GraphBatch, batch_of, multi_hot
from condense.distillation.graphs import trees
from condense.errors import Refused
from condense.networks import GRAPH_NETWORKS, GraphNetwork, build_graph_network, graph_chunks, in_graph_chunks
from condense.networks import graph as module
from condense.networks.graph import geometric

MUTAG = load_graphs("mutag")
MOLBACE = load_graphs(str(Path(__file__).parents[1] / "data" / "graphs" / "ogbg_molbace.zip"))
SPEC = MUTAG.spec


def fresh(name: str, spec: GraphSpec = SPEC, seed: int = 0) -> GraphNetwork:
    return build_graph_network(name, sum(spec.features), 2, torch.Generator().manual_seed(seed))


def double(batch: GraphBatch) -> GraphBatch:
    return replace(batch, nodes=batch.nodes.double())


def a_few(count: int = 5, graphs: Graphs = MUTAG.train, spec: GraphSpec = SPEC) -> GraphBatch:
    return double(batch_of(graphs.select(torch.arange(count)), spec.features))


def adjacency(batch: GraphBatch) -> Tensor:
    """Returns a matrix whose entry (i, j) says whether a message goes from j to i."""
    found = torch.zeros(len(batch.nodes), len(batch.nodes), dtype=torch.float64)
    found[batch.edges[1], batch.edges[0]] = 1
    return found


def naive_gcn(layer: Any, x: Tensor, near: Tensor) -> Tensor:
    looped = near + torch.eye(len(near))
    scale = looped.sum(1).rsqrt()
    made: Tensor = scale[:, None] * looped * scale @ (x @ layer.lin.weight.T) + layer.bias
    return made


def naive_gat(layer: Any, x: Tensor, near: Tensor) -> Tensor:
    values, rows = x @ layer.lin.weight.T, []
    for node in range(len(x)):
        group = [node, *near[node].nonzero()[:, 0].tolist()]
        raw = [float(values[j] @ layer.att_src[0, 0] + values[node] @ layer.att_dst[0, 0]) for j in group]
        raw = [math.exp(a if a > 0 else 0.2 * a) for a in raw]
        rows.append(sum(a / sum(raw) * values[j] for a, j in zip(raw, group, strict=True)) + layer.bias)
    return torch.stack(rows)


def naive_gin(layer: Any, x: Tensor, near: Tensor) -> Tensor:
    first, _, second = layer.nn
    hidden = torch.relu((x + near @ x) @ first.weight.T + first.bias)
    made: Tensor = hidden @ second.weight.T + second.bias
    return made


NAIVE = {"gcn": naive_gcn, "gat": naive_gat, "gin": naive_gin}


@pytest.mark.parametrize("name", GRAPH_NETWORKS)
def test_the_logits_equal_a_naive_computation_node_by_node(name: str) -> None:
    net, batch = fresh(name).double().requires_grad_(False), a_few()
    for parameter in net.parameters():
        parameter.add_(0.01)  # biases that begin at 0 would hide
    x, near = batch.nodes, adjacency(batch)
    for layer in net.rounds:
        x = torch.relu(NAIVE[name[:3]](layer, x, near))
    of_graph = [x[batch.owners == graph] for graph in range(len(batch))]
    pooled = torch.stack([one.mean(0) if name.endswith("mean") else one.sum(0) for one in of_graph])
    torch.testing.assert_close(net.features(batch), pooled, rtol=1e-9, atol=1e-9)
    expected = pooled @ net.classifier.weight.T + net.classifier.bias
    torch.testing.assert_close(net(batch), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "layer"), [("gcn-sum", "GCNConv"), ("gat-sum", "GATConv")])
def test_layers_on_whole_graphs_equal_torch_geometrics_normalisation(name: str, layer: str) -> None:
    net, batch = fresh(name).double(), a_few()
    x = batch.nodes
    for own in net.rounds:
        theirs = getattr(geometric(), layer)(x.shape[1], 64).double()
        theirs.load_state_dict(own.state_dict())
        x = torch.relu(theirs(x, batch.edges))
    torch.testing.assert_close(net.nodes(batch), x, rtol=1e-9, atol=1e-9)


def forest(graphs: Graphs, spec: GraphSpec, rounds: int) -> tuple[GraphBatch, trees.Forest, Tensor]:
    """Returns all trees of graphs as a batch, their construction, and the tree of each node."""
    found = trees.colours(graphs.node_labels, graphs.edges, graphs.edge_labels, rounds)
    every = torch.arange(int(found[-1].max()) + 1)
    made = trees.build_forest(every, found, graphs.edges, graphs.edge_labels)
    batch = GraphBatch(
        nodes=multi_hot(graphs.node_features[made.nodes], spec.features),
        edges=made.edges,
        degrees=made.degrees,
        owners=made.trees,
        labels=every,
        roots=made.roots,
    )
    return double(batch), made, found[-1]


SETS = pytest.mark.parametrize(
    ("graphs", "spec"),
    [(MUTAG.train, SPEC), (MOLBACE.train.select(torch.arange(40)), MOLBACE.spec)],
    ids=["mutag", "molbace"],
)


@SETS
@pytest.mark.parametrize("name", ["gat-sum", "gin-sum"])
def test_a_root_gets_the_value_of_every_node_with_its_tree(
    name: str, graphs: Graphs, spec: GraphSpec
) -> None:
    net = fresh(name, spec).double()
    batch, _, tree = forest(graphs, spec, 2)
    of_nodes = net.nodes(double(batch_of(graphs, spec.features)))
    torch.testing.assert_close(net.features(batch)[tree], of_nodes, rtol=1e-9, atol=1e-9)
    shallow, _, tree = forest(graphs, spec, 1)
    assert (net.features(shallow)[tree] - of_nodes).abs().max() > 0.01


@SETS
def test_a_root_gets_the_value_of_every_node_in_graphsage(graphs: Graphs, spec: GraphSpec) -> None:
    first = geometric().SAGEConv(sum(spec.features), 16).double()
    second = geometric().SAGEConv(16, 16).double()
    batch, made, tree = forest(graphs, spec, 2)
    whole = double(batch_of(graphs, spec.features))
    of_nodes, of_roots = (
        second(torch.relu(first(one.nodes, one.edges)), one.edges) for one in (whole, batch)
    )
    torch.testing.assert_close(of_roots[made.roots][tree], of_nodes, rtol=1e-9, atol=1e-9)


@SETS
def test_a_root_gets_the_value_of_its_own_node_in_gcn(graphs: Graphs, spec: GraphSpec) -> None:
    net = fresh("gcn-sum", spec).double()
    batch, made, _ = forest(graphs, spec, 2)
    of_nodes = net.nodes(double(batch_of(graphs, spec.features)))[made.nodes[made.roots]]
    torch.testing.assert_close(net.features(batch), of_nodes, rtol=1e-9, atol=1e-9)
    counted = torch.bincount(batch.edges[1], minlength=len(batch.nodes))
    assert (net.features(replace(batch, degrees=counted)) - of_nodes).abs().max() > 0.01


def test_only_roots_are_pooled() -> None:
    batch = a_few(3)
    roots = torch.arange(len(batch.nodes)) % 2 == 0
    batch = replace(batch, roots=roots)
    total, mean = (fresh(f"gin-{pool}").double() for pool in ("sum", "mean"))
    x = total.nodes(batch)
    for graph in range(3):
        chosen = x[roots & (batch.owners == graph)]
        torch.testing.assert_close(total.features(batch)[graph], chosen.sum(0))
        torch.testing.assert_close(mean.features(batch)[graph], chosen.mean(0))


@pytest.mark.parametrize("name", ["gcn", "gat", "gin"])
def test_both_poolings_have_the_same_parameters(name: str) -> None:
    total, mean = fresh(f"{name}-sum"), fresh(f"{name}-mean")
    for a, b in zip(total.parameters(), mean.parameters(), strict=True):
        assert torch.equal(a, b)
    batch = batch_of(MUTAG.test, SPEC.features)
    sizes = MUTAG.test.nodes_ptr.diff()[:, None]
    torch.testing.assert_close(total.features(batch), mean.features(batch) * sizes)


@pytest.mark.parametrize("name", GRAPH_NETWORKS)
def test_parameters_depend_on_the_generator_and_keep_the_bounds(name: str) -> None:
    before = torch.random.get_rng_state()
    first, again, other = fresh(name), fresh(name), fresh(name, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(0)  # for the layers' own draws, of which only the bounds are looked at
    make = module._LAYERS[name[:3]][0]
    theirs = [*(make(width, 64) for width in (sum(SPEC.features), 64)), nn.Linear(64, 2)]
    layers = [*first.rounds, first.classifier]
    for own, their in zip(layers, theirs, strict=True):
        for a, b in zip(own.parameters(), their.parameters(), strict=True):
            # The largest of n uniform values is within a few n-ths of the bound.
            top, near = float(a.detach().abs().max()), float(b.detach().abs().max())
            assert a.shape == b.shape and abs(top - near) <= 10 * max(top, near) / a.numel()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    differ = [not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)]
    assert any(differ) and all(float(buffer) == 0 for buffer in first.buffers())


@pytest.mark.parametrize("size", [1, 100, 10**9])
def test_chunks_contain_every_graph_once_in_order(size: int) -> None:
    batches = list(graph_chunks(MUTAG.train, SPEC.features, size))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), MUTAG.train.labels)
    assert len(batches) == (150 if size == 1 else 1 if size == 10**9 else len(batches))
    if size == 100:
        assert all(len(b) == 1 or len(b.nodes) + b.edges.shape[1] <= size for b in batches)
        assert any(len(b) > 1 for b in batches)
    net = fresh("gcn-sum")
    found = in_graph_chunks(net, MUTAG.train, SPEC.features, size)
    assert not found.requires_grad
    torch.testing.assert_close(found, net(batch_of(MUTAG.train, SPEC.features)))


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="unknown graph network 'gcn'; nearest: gcn-sum, gcn-mean"):
        fresh("gcn")


def test_a_missing_torch_geometric_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(module, "import_module", gone)
    geometric.cache_clear()
    try:
        with pytest.raises(Refused, match=r"No module named .* pip install -e '\.\[graph\]'"):
            fresh("gin-sum")
    finally:
        monkeypatch.undo()
        geometric.cache_clear()
