"""Computation trees: all that a network of L rounds of messages sees from a node, told apart exactly.

The tree of depth 0 of a node is its label; that of depth l is its label with the multiset of (label of the
edge, tree of depth l - 1) over its neighbours, the one that it is reached from among them. No tree is built
to be compared: the tree of a node gets a number, its colour, from the colours of the round before, as in the
refinement of Weisfeiler and Leman but with the node's own label in place of its last colour. Colours are
ranks of sorted integers; nothing is hashed, so that equal colours are equal trees. A tree has as many
nodes as there are walks of at most L edges from its root, far more than it takes to find its colour.

Gupta et al., "Mirage: Model-agnostic Graph Distillation for Graph Classification" (ICLR 2024,
https://arxiv.org/abs/2310.09486) distils such trees; `itemsets` finds those that come together.

Edges are in pairs, one in either direction; the neighbours of a node are the sources of the edges into it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from condense.distillation.graphs.itemsets import Transactions
from condense.errors import Refused

LARGEST = 2**63 - 1


def colours(
    node_labels: Int[Tensor, " z"],
    edges: Int[Tensor, "2 e"],
    edge_labels: Int[Tensor, " e"],
    rounds: int,
) -> list[Int[Tensor, " z"]]:
    """The number of each node's tree of depth 0, 1, ..., rounds.

    Two nodes have the same colour in round l if and only if their trees of depth l are equal. Colours of a
    round go from 0 up without a gap, ordered by (number of neighbours, label, sorted neighbours): they do not
    depend on how nodes, edges or graphs are numbered. The work is that of sorting the edges, once a round.

    Args:
        node_labels: Ids of the nodes' whole features.
        edges: Source and target of each edge, over the nodes of all graphs.
        edge_labels: Ids of the edges' whole features.
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
        # Neighbours in order, node by node: target and pair are one integer, and only its values are sorted.
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
    """The rank of each row (first, *columns) among the rows that occur, in lexicographic order.

    Args:
        first: The first column.
        columns: The others.
        span: What every value of them is below.
    """
    code, bound = first, _count(first)
    for column in columns:
        if bound * span > LARGEST:
            code = _dense(code)
            bound = _count(code)
        code, bound = code * span + column, bound * span
    return _dense(code)


def _dense(values: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The rank of each value among those that occur."""
    inverse: Tensor = torch.unique(values, return_inverse=True)[1]
    return inverse


def _count(ranks: Int[Tensor, " n"]) -> int:
    """How many ranks there are: the largest and one."""
    return int(ranks.max()) + 1 if len(ranks) else 0


def degrees(edges: Int[Tensor, "2 e"], nodes: int) -> Int[Tensor, " z"]:
    """How many neighbours each node has.

    Args:
        edges: Source and target of each edge.
        nodes: z, the nodes of all graphs.
    """
    return torch.bincount(edges[1], minlength=nodes)


def sizes(edges: Int[Tensor, "2 e"], nodes: int, rounds: int) -> Int[Tensor, " z"]:
    """How many nodes the tree of each node has: the walks of at most ``rounds`` edges, counted.

    Args:
        edges: Source and target of each edge.
        nodes: z, the nodes of all graphs.
        rounds: L, the trees' depth.
    """
    walks = edges.new_ones(nodes)
    total = walks.clone()
    for _ in range(rounds):
        walks = torch.zeros_like(walks).index_add_(0, edges[1], walks[edges[0]])
        total += walks
    return total


def transactions(
    colours: Int[Tensor, " z"],
    nodes_ptr: Int[Tensor, " g+1"],
    labels: Int[Tensor, " g"],
    num_classes: int | None = None,
    *,
    keep: Bool[Tensor, " z"] | None = None,
) -> list[Transactions]:
    """For each class the trees of its graphs, each once a graph: a graph is a transaction, a tree an item.

    Graphs of a class are numbered in their order, those that keep no tree too.

    Args:
        colours: The trees: one round of `colours`.
        nodes_ptr: Where each graph's nodes begin, and where the last one's end.
        labels: The graphs' classes.
        num_classes: k; the largest label and one if None.
        keep: The nodes whose trees count, all if None; ``degrees(edges, z) > 0`` leaves out isolated nodes.
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
    """Trees side by side, one after another, each from its root down, level by level.

    Attributes:
        nodes: The node of the graphs that each of the m nodes stands for: its label is that node's.
        edges: From child to parent, in the order of the children; every node but a root has one.
        edge_labels: Of these edges, as in the graphs.
        roots: True where a node is a root.
        degrees: How many neighbours each node has in its graph: at the leaves the tree does not show it.
        trees: Which of the r trees each node belongs to.
    """

    nodes: Int[Tensor, " m"]
    edges: Int[Tensor, "2 m-r"]
    edge_labels: Int[Tensor, " m-r"]
    roots: Bool[Tensor, " m"]
    degrees: Int[Tensor, " m"]
    trees: Int[Tensor, " m"]


def build(
    trees: Int[Tensor, " r"],
    colours: Sequence[Int[Tensor, " z"]],
    edges: Int[Tensor, "2 e"],
    edge_labels: Int[Tensor, " e"],
) -> Forest:
    """The trees of these colours, unrolled from the first node that has each.

    Children are in order of (label of the edge, colour), so that a tree's labels and edges come out the same
    whichever node it is unrolled from. What L rounds of messages from child to parent, the sum of which is
    order-free, make of a root is what they make of a node with its colour in its graph.

    Args:
        trees: Colours of the last round; one that comes twice is built twice.
        colours: Every round, as `colours` gives them.
        edges: Source and target of each edge.
        edge_labels: Ids of the edges' whole features.

    Raises:
        Refused: if no node has one of the colours.
    """
    last = colours[-1]
    first = _first(last)
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
    """The forest of nodes that lie level by level, roots first."""
    order = owners.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    roots = order < len(nodes) - len(parents)
    children = order[~roots] - (len(nodes) - len(parents))
    child = (~roots).nonzero()[:, 0]
    edges = torch.stack([child, place[parents[children]]])
    return Forest(nodes[order], edges, bonds[children], roots, degree[nodes[order]], owners[order])


def _order(*keys: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """The order that sorts by the last key, where it is equal by the one before, and so on."""
    order = keys[0].argsort(stable=True)
    for key in keys[1:]:
        order = order[key[order].argsort(stable=True)]
    return order


def _first(colour: Int[Tensor, " z"]) -> Int[Tensor, " t"]:
    """The first node of each colour."""
    first = colour.new_full((_count(colour),), len(colour))
    return first.scatter_reduce_(0, colour, torch.arange(len(colour), device=colour.device), "amin")
