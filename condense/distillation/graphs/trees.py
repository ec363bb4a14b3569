"""Computation trees: what a message-passing network of L layers sees from a node, compared exactly.

The tree of depth 0 of a node is the node's label. The tree of depth l is the node's label with the multiset
of pairs (edge label, the neighbour's tree of depth l - 1) over all neighbours; a child's neighbours include
its parent. Trees are compared without being built: the tree of each node gets a number, its colour, which is
computed from the colours of the round before. This is the refinement of Weisfeiler and Leman, except that a
node keeps its own label in place of its previous colour. Colours are ranks of sorted integers, and nothing is
hashed, so that equal colours mean equal trees. A tree has as many nodes as there are walks of at most L edges
from its root, far more than it takes to compute its colour.

Gupta et al., "Mirage: Model-agnostic Graph Distillation for Graph Classification" (ICLR 2024,
https://arxiv.org/abs/2310.09486) distils such trees; `itemsets` finds those that occur together.

Edges come in pairs, one in each direction. The neighbours of a node are the sources of the edges into it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from condense.distillation.graphs.itemsets import Transactions
from condense.errors import Refused

LARGEST = 2**63 - 1
"""Largest integer of 64 bits."""


def colours(
    node_labels: Int[Tensor, " z"], edges: Int[Tensor, "2 e"], edge_labels: Int[Tensor, " e"], rounds: int
) -> list[Int[Tensor, " z"]]:
    """Returns the colour of each node's tree of depth 0, 1, ..., rounds.

    Two nodes have the same colour in round l if and only if their trees of depth l are equal. The colours of
    a round are numbered from 0 without a gap, in the order of (degree, label, sorted neighbours). They do not
    depend on how nodes, edges or graphs are numbered. Each round sorts the edges once.

    Args:
        node_labels: Id of each node's features.
        edges: Source and target of each edge, over the nodes of all graphs.
        edge_labels: Id of each edge's features.
        rounds: L, the depth of the last trees.
    """
    own, bonds = _dense(node_labels), _dense(edge_labels)
    degree = degrees(edges, len(own))
    starts = degree.cumsum(0) - degree
    by_degree = degree.argsort(stable=True)
    sizes_of = torch.bincount(degree).tolist()
    kinds = _count(bonds)
    found = [own]
    for _ in range(rounds):
        span = kinds * _count(found[-1])
        pairs = bonds * _count(found[-1]) + found[-1][edges[0]]
        if len(own) * span > LARGEST:
            pairs, span = _dense(pairs), edges.shape[1]
        # Sorts the neighbours of every node at once: target and pair are combined into one integer.
        pairs = (edges[1] * span + pairs).sort().values.remainder_(max(span, 1))
        colour, used, start = torch.empty_like(own), 0, 0
        for neighbours, size in enumerate(sizes_of):
            if size == 0:
                continue
            nodes = by_degree[start : start + size]
            columns = (pairs[starts[nodes] + place] for place in range(neighbours))
            rank = _lexicographic(own[nodes], columns, span)
            colour[nodes] = rank + used
            used, start = used + _count(rank), start + size
        found.append(colour)
    return found


def _lexicographic(
    first: Int[Tensor, " n"], columns: Iterable[Int[Tensor, " n"]], span: int
) -> Int[Tensor, " n"]:
    """Returns the rank of each row (first, *columns) among the rows; columns hold values below the span."""
    code, bound = first, _count(first)
    for column in columns:
        if bound * span > LARGEST:
            code = _dense(code)
            bound = _count(code)
        code, bound = code * span + column, bound * span
    return _dense(code)


def _dense(values: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Returns the rank of each value among those that occur."""
    inverse: Tensor = torch.unique(values, return_inverse=True)[1]
    return inverse


def _count(ranks: Int[Tensor, " n"]) -> int:
    """Returns the number of ranks: the largest one plus 1."""
    return int(ranks.max()) + 1 if len(ranks) else 0


def degrees(edges: Int[Tensor, "2 e"], nodes: int) -> Int[Tensor, " z"]:
    """Returns the number of neighbours of each node, from edges that come in pairs."""
    return torch.bincount(edges[1], minlength=nodes)


def transactions(
    colours: Int[Tensor, " z"],
    labels: Int[Tensor, " g"],
    nodes_ptr: Int[Tensor, " g+1"],
    num_classes: int | None = None,
    *,
    keep: Bool[Tensor, " z"] | None = None,
) -> list[Transactions]:
    """Returns the transactions of each class: a graph is a transaction, and its distinct trees are its items.

    The graphs of a class are numbered in their order, including those without any tree.

    Args:
        colours: Each node's tree: one round of `colours`.
        labels: The graphs' classes.
        nodes_ptr: Position of each graph's first node, then the number of all nodes.
        num_classes: k; None means the largest label plus 1.
        keep: The nodes whose trees count; None means all. ``degrees(edges, z) > 0`` omits isolated nodes.
    """
    graph = torch.repeat_interleave(torch.arange(len(labels), device=colours.device), nodes_ptr.diff())
    if keep is not None:
        graph, colours = graph[keep], colours[keep]
    span = max(_count(colours), 1)
    pairs = torch.unique(graph * span + colours)
    graph, tree = pairs // span, pairs % span
    found = []
    for label in range(_count(labels) if num_classes is None else num_classes):
        of_class = labels == label
        number, mine = of_class.cumsum(0) - 1, of_class[graph]
        found.append(Transactions(number[graph[mine]], tree[mine], int(of_class.sum())))
    return found


@dataclass(frozen=True, eq=False)
class Forest:
    """A disjoint union of r trees with m nodes in all, tree after tree, each level by level from its root.

    Attributes:
        nodes: For each node, the graphs' node that it stands for, and whose label it has.
        edges: Child and parent of the e = m - r edges, in the order of the children.
        edge_labels: The edges' labels in the graphs.
        roots: True where a node is a root.
        degrees: For each node, the number of neighbours in its graph, which a leaf of the tree does not show.
        trees: For each node, which of the r trees it belongs to.
    """

    nodes: Int[Tensor, " m"]
    edges: Int[Tensor, "2 e"]
    edge_labels: Int[Tensor, " e"]
    roots: Bool[Tensor, " m"]
    degrees: Int[Tensor, " m"]
    trees: Int[Tensor, " m"]


def build_forest(
    trees: Int[Tensor, " r"],
    colours: Sequence[Int[Tensor, " z"]],
    edges: Int[Tensor, "2 e"],
    edge_labels: Int[Tensor, " e"],
) -> Forest:
    """Builds the trees of some colours by unrolling each from the first node that has the colour.

    Children are sorted by (edge label, colour), so that a tree has the same labels and edges whichever node
    it is unrolled from. L rounds of messages from child to parent, summed up at the parent, give a root the
    embedding that a node of its colour has in the node's graph.

    Args:
        trees: Colours of the last round; one that occurs twice is built twice.
        colours: The colours of every round, as `colours` returns them.
        edges: Source and target of each edge.
        edge_labels: Id of each edge's features.

    Raises:
        Refused: if no node has one of the colours.
    """
    last = colours[-1]
    first = first_nodes(last)
    outside = (trees < 0) | (trees >= len(first))
    if outside.any():
        raise Refused(f"there is no tree {int(trees[outside][0])}: the {len(first)} trees count from 0")
    degree = degrees(edges, len(last))
    starts, into = degree.cumsum(0) - degree, edges[1].argsort(stable=True)
    node, tree = first[trees], torch.arange(len(trees), device=trees.device)
    nodes, owners, parents, bonds = [node], [tree], [tree.new_empty(0)], [tree.new_empty(0)]
    begin = 0
    for colour in reversed(colours[:-1]):
        count = degree[node]
        parent = torch.repeat_interleave(torch.arange(len(node), device=node.device), count)
        place = torch.arange(len(parent), device=node.device) - (count.cumsum(0) - count)[parent]
        edge = into[starts[node][parent] + place]
        order = _order(colour[edges[0][edge]], edge_labels[edge], parent)
        edge, parent = edge[order], parent[order]
        parents.append(parent + begin)
        bonds.append(edge_labels[edge])
        begin += len(node)
        node, tree = edges[0][edge], tree[parent]
        nodes.append(node)
        owners.append(tree)
    return _tree_by_tree(torch.cat(nodes), torch.cat(owners), torch.cat(parents), torch.cat(bonds), degree)


def _tree_by_tree(nodes: Tensor, owners: Tensor, parents: Tensor, bonds: Tensor, degree: Tensor) -> Forest:
    """Returns the forest of nodes that are given level by level over all trees, roots first."""
    order = owners.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    roots = order < len(nodes) - len(parents)
    children = order[~roots] - (len(nodes) - len(parents))
    child = (~roots).nonzero()[:, 0]
    edges = torch.stack([child, place[parents[children]]])
    return Forest(nodes[order], edges, bonds[children], roots, degree[nodes[order]], owners[order])


def _order(*keys: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Returns the order that sorts by the last key, ties by the key before it, and so on."""
    order = keys[0].argsort(stable=True)
    for key in keys[1:]:
        order = order[key[order].argsort(stable=True)]
    return order


def first_nodes(colour: Int[Tensor, " z"]) -> Int[Tensor, " t"]:
    """Returns the first node of each colour."""
    first = colour.new_full((_count(colour),), len(colour))
    return first.scatter_reduce_(0, colour, torch.arange(len(colour), device=colour.device), "amin")
