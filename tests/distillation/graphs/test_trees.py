"""Computation trees: against trees written out as nested tuples, and networks in float64."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from condense.distillation.graphs import trees
from condense.distillation.graphs.trees import Forest, build_forest, colours, degrees, transactions
from condense.errors import Refused
from tests.distillation.tree_sizes import sizes

Tree = tuple[Any, ...]


@dataclass(frozen=True)
class Made:
    """Random graphs: 20 graphs of 1 to 6 nodes, about half of all possible edges, a few labels."""

    labels: Tensor
    edges: Tensor
    bonds: Tensor
    ptr: Tensor

    @property
    def count(self) -> int:
        return len(self.labels)

    def colours(self, rounds: int) -> list[Tensor]:
        return colours(self.labels, self.edges, self.bonds, rounds)

    def into(self, node: int) -> list[tuple[int, int]]:
        """The label of the edge and the source, for each edge into a node."""
        at = (self.edges[1] == node).nonzero()[:, 0]
        return list(zip(self.bonds[at].tolist(), self.edges[0][at].tolist(), strict=True))

    def tree(self, node: int, depth: int) -> Tree:
        """The tree as its definition has it."""
        label = int(self.labels[node])
        if depth == 0:
            return (label,)
        return (label, *sorted((bond, self.tree(other, depth - 1)) for bond, other in self.into(node)))

    def renumbered(self, order: Tensor) -> "Made":
        """The same graphs, with node order[i] as node i, and edges the other way round in the list."""
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order))
        return Made(self.labels[order], place[self.edges].flip(1), self.bonds.flip(0), self.ptr)


def made(seed: int = 0, graphs: int = 20) -> Made:
    rng = np.random.RandomState(seed)
    sizes = rng.randint(1, 7, graphs)
    ptr = np.concatenate([[0], np.cumsum(sizes)])
    pairs = [
        (a, b) for start, end in pairwise(ptr.tolist()) for a in range(start, end) for b in range(start, a)
    ]
    kept = torch.tensor([pair for pair in pairs if rng.rand() < 0.5]).T
    bonds = torch.from_numpy(rng.randint(0, 2, kept.shape[1]))
    labels = torch.from_numpy(rng.randint(0, 2, ptr[-1]))
    return Made(labels, torch.cat([kept, kept.flip(0)], 1), bonds.repeat(2), torch.from_numpy(ptr))


def undirected(*pairs: tuple[int, int]) -> Tensor:
    one = torch.tensor(pairs).T
    return torch.cat([one, one.flip(0)], 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_nodes_have_one_colour_if_and_only_if_their_trees_are_equal(seed: int) -> None:
    graphs = made(seed)
    for depth, colour in enumerate(graphs.colours(3)):
        written = [graphs.tree(node, depth) for node in range(graphs.count)]
        both = set(zip(colour.tolist(), written, strict=True))
        assert len(both) == len(set(written)) == len(set(colour.tolist()))
        assert sorted(set(colour.tolist())) == list(range(len(both)))


def test_colours_do_not_depend_on_how_nodes_are_numbered() -> None:
    graphs = made()
    order = torch.from_numpy(np.random.RandomState(1).permutation(graphs.count))
    for ours, theirs in zip(graphs.colours(3), graphs.renumbered(order).colours(3), strict=True):
        assert torch.equal(ours[order], theirs)


def test_colours_are_ranks_by_degree_then_label_then_neighbours() -> None:
    # A path 0-1-2, an edge 3-4 and a lone node 5, with labels 7 and 9.
    found = colours(
        torch.tensor([9, 7, 9, 9, 7, 9]), undirected((0, 1), (1, 2), (3, 4)), torch.ones(6).long(), 2
    )
    # One neighbour: 7-(9), 9-(7). A round on, 9-(7-(9)) is not 9-(7-(9, 9)).
    assert found[1].tolist() == [2, 3, 2, 2, 1, 0]
    assert found[2].tolist() == [3, 4, 3, 2, 1, 0]


def test_trees_confuse_a_hexagon_with_two_triangles_unless_an_edge_is_labelled() -> None:
    six = undirected(*[(i, (i + 1) % 6) for i in range(6)])
    three = undirected((6, 7), (7, 8), (8, 6), (9, 10), (10, 11), (11, 9))
    edges, bonds = torch.cat([six, three], 1), torch.zeros(24).long()
    assert set(colours(torch.zeros(12).long(), edges, bonds, 4)[-1].tolist()) == {0}
    bonds[[0, 6]] = 1  # the edge between 0 and 1, either way
    found = colours(torch.zeros(12).long(), edges, bonds, 2)[-1]
    assert found[0] == found[1] != found[2] and found[3] == found[6]


def test_a_label_of_any_size_is_only_a_name() -> None:
    graphs = made()
    huge = torch.tensor([-(2**62), 2**62])[graphs.labels], torch.tensor([5, 2**63 - 1])[graphs.bonds]
    for ours, theirs in zip(graphs.colours(3), colours(huge[0], graphs.edges, huge[1], 3), strict=True):
        assert torch.equal(ours, theirs)


def test_the_first_of_40_neighbours_counts_as_much_as_the_last() -> None:
    # With 4 labels a row of 33 columns is 66 bits: what of it leaves an integer's 64 would be its beginning.
    edges = undirected(*[(leaf // 42, leaf) for leaf in range(2, 82)])
    labels = torch.tensor([2, 2, 0, *[3] * 39, 1, *[3] * 39])
    found = colours(labels, edges, torch.zeros(160).long(), 1)[-1]
    assert found[0] != found[1]


def test_pairs_that_do_not_fit_beside_a_node_are_ranked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs, spans = made(), set()
    expected, lexicographic = graphs.colours(3), trees._lexicographic

    def seen(first: Tensor, columns: Iterable[Tensor], span: int) -> Tensor:
        spans.add(span)
        return lexicographic(first, columns, span)

    monkeypatch.setattr(trees, "_lexicographic", seen)
    monkeypatch.setattr(trees, "LARGEST", 0)
    for ours, theirs in zip(expected, graphs.colours(3), strict=True):
        assert torch.equal(ours, theirs)
    assert spans == {graphs.edges.shape[1]}


def test_graphs_without_edges_or_nodes_have_colours_too() -> None:
    none = torch.zeros(2, 0).long()
    lone = colours(torch.tensor([4, 2, 4]), none, none[0], 2)
    assert [colour.tolist() for colour in lone] == [[1, 0, 1]] * 3
    assert [len(colour) for colour in colours(none[0], none, none[0], 1)] == [0, 0]
    assert len(build_forest(none[0], colours(none[0], none, none[0], 1), none, none[0]).nodes) == 0


@pytest.mark.parametrize("isolated", [True, False])
def test_a_graph_holds_each_of_its_trees_once(isolated: bool) -> None:
    graphs = made()
    colour, labels = graphs.colours(2)[-1], torch.arange(20) % 3
    keep = None if isolated else degrees(graphs.edges, graphs.count) > 0
    expected: list[list[set[int]]] = [[], [], []]
    for graph, (start, end) in enumerate(pairwise(graphs.ptr.tolist())):
        held = {int(colour[node]) for node in range(start, end) if isolated or graphs.into(node)}
        expected[graph % 3].append(held)
    for found, rows in zip(transactions(colour, labels, graphs.ptr, keep=keep), expected, strict=True):
        assert found.count == len(rows) and len(found.items) == sum(map(len, rows))
        pairs = set(zip(found.rows.tolist(), found.items.tolist(), strict=True))
        assert pairs == {(row, item) for row, items in enumerate(rows) for item in items}


def test_a_class_without_graphs_has_no_transactions() -> None:
    found = transactions(torch.tensor([0, 1, 1]), torch.tensor([1, 1]), torch.tensor([0, 2, 3]), 3)
    assert [one.count for one in found] == [0, 2, 0]
    assert found[1].supports().tolist() == [1, 2]


def forest_of(graphs: Made, depth: int) -> tuple[list[Tensor], Forest]:
    found = graphs.colours(depth)
    return found, build_forest(torch.arange(int(found[-1].max()) + 1), found, graphs.edges, graphs.bonds)


def tree_in(forest: Forest, labels: Tensor, node: int, depth: int) -> Tree:
    """A tree of a forest, written out."""
    if depth == 0:
        return (int(labels[node]),)
    below = (forest.edges[1] == node).nonzero()[:, 0]
    children = zip(forest.edge_labels[below].tolist(), forest.edges[0][below].tolist(), strict=True)
    return (
        int(labels[node]),
        *sorted((bond, tree_in(forest, labels, child, depth - 1)) for bond, child in children),
    )


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_a_tree_that_is_built_is_the_tree_of_its_colour(depth: int) -> None:
    graphs = made()
    found, forest = forest_of(graphs, depth)
    labels, roots = graphs.labels[forest.nodes], forest.roots.nonzero()[:, 0]
    assert forest.trees[roots].tolist() == list(range(int(found[-1].max()) + 1))
    by_colour = [tree_in(forest, labels, root, depth) for root in roots.tolist()]
    for node, colour in enumerate(found[-1].tolist()):
        assert by_colour[colour] == graphs.tree(node, depth)


def test_a_forest_is_sorted_by_tree_with_parents_before_children() -> None:
    graphs = made()
    found, forest = forest_of(graphs, 3)
    child, parent = forest.edges
    assert torch.equal(child, (~forest.roots).nonzero()[:, 0])
    assert (parent < child).all() and torch.equal(forest.trees[child], forest.trees[parent])
    assert (forest.trees.diff() >= 0).all() and forest.roots[0]
    assert torch.equal(forest.roots[1:], forest.trees.diff() > 0)
    assert torch.equal(forest.degrees, degrees(graphs.edges, graphs.count)[forest.nodes])
    expected = sizes(graphs.edges, graphs.count, 3)[forest.nodes[forest.roots]]
    assert torch.equal(torch.bincount(forest.trees), expected)


def test_a_tree_is_written_the_same_whichever_node_it_is_unrolled_from() -> None:
    graphs = made()
    other = graphs.renumbered(torch.arange(graphs.count).flip(0))
    (_, ours), (_, theirs) = forest_of(graphs, 3), forest_of(other, 3)
    assert not torch.equal(graphs.count - 1 - theirs.nodes, ours.nodes)
    assert torch.equal(graphs.labels[ours.nodes], other.labels[theirs.nodes])
    assert torch.equal(ours.edges, theirs.edges) and torch.equal(ours.edge_labels, theirs.edge_labels)


def test_trees_are_built_in_the_order_asked_for_and_twice_if_asked_twice() -> None:
    graphs = made()
    found, forest = forest_of(graphs, 2)
    some = build_forest(torch.tensor([9, 2, 9]), found, graphs.edges, graphs.bonds)
    for place, tree in enumerate([9, 2, 9]):
        assert torch.equal(some.nodes[some.trees == place], forest.nodes[forest.trees == tree])


@pytest.mark.parametrize("tree", [-1, 1000])
def test_a_tree_that_does_not_occur_is_refused(tree: int) -> None:
    graphs = made()
    with pytest.raises(Refused, match=f"there is no tree {tree}: the .* trees count from 0"):
        build_forest(torch.tensor([0, tree]), graphs.colours(1), graphs.edges, graphs.bonds)


# What a network makes of the root of a tree, and of the node

WIDTH = 5


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def summing(labels: Tensor, edges: Tensor, bonds: Tensor, rounds: int, scale: Tensor | None = None) -> Tensor:
    """A network of messages relu(W x + bond), times a scale of each edge, summed at the target; float64."""
    x, bond = randn(2, WIDTH, seed=1)[labels], randn(2, WIDTH, seed=2)[bonds]
    for layer in range(rounds):
        message = (x[edges[0]] @ randn(WIDTH, WIDTH, seed=3 + layer) + bond).relu()
        if scale is not None:
            message = message * scale[:, None]
        x = torch.zeros_like(x).index_add_(0, edges[1], message) + 1.5 * x
    return x


def symmetric(degree: Tensor, edges: Tensor) -> Tensor:
    """GCN's factor of each edge."""
    return ((degree[edges[0]] + 1) * (degree[edges[1]] + 1)).double().rsqrt()


def test_the_root_of_a_tree_is_to_a_network_what_its_node_is_in_the_graph() -> None:
    graphs = made()
    found, forest = forest_of(graphs, 3)
    whole = summing(graphs.labels, graphs.edges, graphs.bonds, 3)
    roots = summing(graphs.labels[forest.nodes], forest.edges, forest.edge_labels, 3)[forest.roots]
    torch.testing.assert_close(roots[found[-1]], whole, rtol=1e-12, atol=1e-12)
    deeper = summing(graphs.labels, graphs.edges, graphs.bonds, 4)
    more = summing(graphs.labels[forest.nodes], forest.edges, forest.edge_labels, 4)[forest.roots]
    assert (more[found[-1]] - deeper).abs().max() > 0.1


def test_a_gcn_embeds_a_root_as_its_node_only_with_true_degrees() -> None:
    graphs = made()
    _, forest = forest_of(graphs, 2)
    degree = degrees(graphs.edges, graphs.count)
    whole = summing(graphs.labels, graphs.edges, graphs.bonds, 2, symmetric(degree, graphs.edges))
    expected = whole[forest.nodes[forest.roots]]

    def at_roots(of_nodes: Tensor) -> Tensor:
        scale = symmetric(of_nodes, forest.edges)
        labels = graphs.labels[forest.nodes]
        return summing(labels, forest.edges, forest.edge_labels, 2, scale)[forest.roots]

    torch.testing.assert_close(at_roots(forest.degrees), expected, rtol=1e-12, atol=1e-12)
    in_tree = torch.bincount(forest.edges.flatten(), minlength=len(forest.nodes))
    assert (at_roots(in_tree) - expected).abs().max() > 0.1


def test_one_round_more_makes_nodes_of_one_colour_equal_to_a_gcn() -> None:
    graphs = made(graphs=200)
    found = graphs.colours(3)
    degree = degrees(graphs.edges, graphs.count)
    whole = summing(graphs.labels, graphs.edges, graphs.bonds, 2, symmetric(degree, graphs.edges))

    def spread(colour: Tensor) -> float:
        first = torch.stack([(colour == one).nonzero()[0, 0] for one in range(int(colour.max()) + 1)])
        return float((whole - whole[first][colour]).abs().max())

    assert spread(found[3]) < 1e-12 and spread(found[2]) > 0.01


@pytest.mark.parametrize("name", ["GINConv", "GATConv", "SAGEConv", "GCNConv"])
def test_layers_of_torch_geometric_agree_at_the_root(name: str) -> None:
    layers_of = pytest.importorskip("torch_geometric.nn")
    graphs = made()
    found, forest = forest_of(graphs, 2)
    degree = degrees(graphs.edges, graphs.count)

    def layer(seed: int) -> torch.nn.Module:
        inner = (torch.nn.Linear(WIDTH, WIDTH),) if name == "GINConv" else (WIDTH, WIDTH)
        options: dict[str, bool] = {"normalize": False} if name == "GCNConv" else {}
        one: torch.nn.Module = getattr(layers_of, name)(*inner, **options).double()
        for number, parameter in enumerate(one.parameters()):
            parameter.data = randn(*parameter.shape, seed=100 * seed + number)
        return one

    layers = [layer(1), layer(2)]

    def run(labels: Tensor, edges: Tensor, degree: Tensor) -> Tensor:
        x = randn(2, WIDTH)[labels]
        more: tuple[Tensor, ...] = ()
        if name == "GCNConv":
            edges = torch.cat([edges, torch.arange(len(labels)).expand(2, -1)], 1)
            more = (symmetric(degree, edges),)
        for one in layers:
            x = one(x, edges, *more).relu()
        return x

    whole = run(graphs.labels, graphs.edges, degree)
    roots = run(graphs.labels[forest.nodes], forest.edges, forest.degrees)[forest.roots]
    torch.testing.assert_close(roots, whole[forest.nodes[forest.roots]], rtol=1e-11, atol=1e-11)
    if name != "GCNConv":
        torch.testing.assert_close(roots[found[-1]], whole, rtol=1e-11, atol=1e-11)
