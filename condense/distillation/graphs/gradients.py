"""Gradients of graph convolutional networks in closed form, of dense graphs and of sparse ones.

A layer is relu(S H W^T + b), where S = D^(-1/2) (A + I) D^(-1/2) and D counts a node's neighbours and itself;
after the last one the rows of a graph are pooled and go through a linear head. `gradient` takes S and the
pooling as linear maps with their adjoints (`Linear`), so that one derivation serves both kinds of graphs. It
is made of differentiable operations: a loss of the gradient is differentiated once, by autograd.

What a node's row is in layer l is settled by its tree of depth l (`condense.distillation.graphs.trees`) over labels and
degrees. `Batches` computes every tree that occurs in a batch once a layer, and not every node.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag, linear, one_hot

from condense.data.graphs.batch import multi_hot
from condense.data.graphs.spec import Graphs, members_of
from condense.distillation.graphs.trees import colours, degrees

Weights = Sequence[Tensor]
"""Weight (h, d) and bias (h) of each layer, then of the head; gradients alike."""


class Linear(Protocol):
    """A linear map of rows: of r rows in, s come out, column by column alike."""

    def there(self, rows: Float[Tensor, "*k r h"]) -> Float[Tensor, "*k s h"]:
        """The map."""
        ...

    def back(self, rows: Float[Tensor, "*k s h"]) -> Float[Tensor, "*k r h"]:
        """Its adjoint."""
        ...


def draw_weights(
    widths: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """A fresh network, drawn as torch_geometric's layers are.

    Layers: uniform within sqrt(6 / (d + h)), biases 0. Head: all uniform within 1 / sqrt(h).

    Args:
        widths: Of the input, each layer's output, and the logits.
        generator: On the CPU.
        device: Where to put them.
    """
    *hidden, last = zip(widths[:-1], widths[1:], strict=True)
    found = []
    for width, out in hidden:
        bound = math.sqrt(6 / (width + out))
        found += [torch.empty(out, width).uniform_(-bound, bound, generator=generator), torch.zeros(out)]
    bound = 1 / math.sqrt(last[0])
    found += [
        torch.empty(shape).uniform_(-bound, bound, generator=generator) for shape in (last[::-1], last[1:])
    ]
    return [tensor.to(device) for tensor in found]


def gradient(
    first: Float[Tensor, "*k r d"],
    spreads: Sequence[Linear],
    pool: Linear,
    weights: Weights,
    error: Callable[[Float[Tensor, "*k g o"]], Float[Tensor, "*k g o"]],
) -> list[Tensor]:
    """The gradient of a loss with respect to the weights.

    Args:
        first: What the first layer's weights are applied to: the features, spread once.
        spreads: S of every further layer.
        pool: From the last layer's rows to those of the g graphs.
        weights: Of the network; without an axis k.
        error: The loss's derivative with respect to the logits.

    Returns:
        As the weights, behind the axes k: each k has a gradient of its own.
    """
    *layers, (head, offset) = [(weights[at], weights[at + 1]) for at in range(0, len(weights), 2)]
    taken, given = [first], list[Tensor]()
    for number, (weight, bias) in enumerate(layers):
        if number:
            taken.append(spreads[number - 1].there(given[-1]))
        given.append(linear(taken[-1], weight, bias).relu())
    pooled = pool.there(given[-1])
    slope = error(linear(pooled, head, offset))
    found = [slope.mT @ pooled, slope.sum(-2)]
    slope = pool.back(slope @ head)
    for number in reversed(range(len(layers))):
        slope = slope * (given[number] > 0)
        found = [slope.mT @ taken[number], slope.sum(-2), *found]
        if number:
            slope = spreads[number - 1].back(slope @ layers[number][0])
    return found


def softmax_error(labels: Int64[Tensor, "*k g"]) -> Callable[[Tensor], Tensor]:
    """The derivative of the mean cross-entropy of g graphs' logits, one a class."""

    def error(logits: Float[Tensor, "*k g o"]) -> Float[Tensor, "*k g o"]:
        return (logits.softmax(-1) - one_hot(labels, logits.shape[-1])) / labels.shape[-1]

    return error


def sigmoid_error(labels: Int64[Tensor, "*k g"]) -> Callable[[Tensor], Tensor]:
    """The derivative of the mean binary cross-entropy of g graphs' one logit, which speaks for class 1."""

    def error(logits: Float[Tensor, "*k g 1"]) -> Float[Tensor, "*k g 1"]:
        return (logits.sigmoid() - labels[..., None]) / labels.shape[-1]

    return error


@dataclass(frozen=True, eq=False)
class Dense:
    """The spread S of dense graphs, differentiable in it; rows lie graph after graph."""

    matrix: Float[Tensor, "*k i m m"]

    @classmethod
    def of(cls, adjacency: Float[Tensor, "*k i m m"]) -> "Dense":
        """S of symmetric weights between 0 and 1 without loops."""
        looped = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
        scale = looped.sum(-1).rsqrt()
        return cls(scale[..., None] * looped * scale[..., None, :])

    def there(self, rows: Float[Tensor, "*k i*m h"]) -> Float[Tensor, "*k i*m h"]:
        """S H, graph by graph."""
        graphs = rows.view(*self.matrix.shape[:-1], rows.shape[-1])
        return (self.matrix @ graphs).flatten(-3, -2)

    def back(self, rows: Float[Tensor, "*k i*m h"]) -> Float[Tensor, "*k i*m h"]:
        """The same: S is symmetric."""
        return self.there(rows)


@dataclass(frozen=True)
class Even:
    """The pooling of graphs that all have m nodes, graph after graph.

    Attributes:
        size: m.
        mean: Whether it takes the mean of a graph's rows; else their sum.
    """

    size: int
    mean: bool

    def there(self, rows: Float[Tensor, "*k i*m h"]) -> Float[Tensor, "*k i h"]:
        """Pools."""
        total = rows.view(*rows.shape[:-2], -1, self.size, rows.shape[-1]).sum(-2)
        return total / self.size if self.mean else total

    def back(self, rows: Float[Tensor, "*k i h"]) -> Float[Tensor, "*k i*m h"]:
        """Gives each node its share of its graph's row."""
        share = rows / self.size if self.mean else rows
        return share.repeat_interleave(self.size, -2)


class Sparse:
    """A sparse matrix as a linear map, by rows and, for the adjoint, by columns.

    Args:
        ptr: Where each row's entries begin, and their number.
        columns: Of the entries.
        values: Of the entries.
        width: How many columns there are.
    """

    def __init__(
        self,
        ptr: Int64[Tensor, " s+1"],
        columns: Int64[Tensor, " e"],
        values: Float[Tensor, " e"],
        width: int,
    ) -> None:
        rows = torch.arange(len(ptr) - 1, device=ptr.device)
        rows = rows.repeat_interleave(ptr.diff(), output_size=len(columns))
        order = columns.argsort(stable=True)
        heads = torch.bincount(columns, minlength=width).cumsum(0)
        self._there = (columns, ptr, values)
        self._back = (rows[order], torch.cat([heads.new_zeros(1), heads]), values[order])

    def there(self, rows: Float[Tensor, "r h"]) -> Float[Tensor, "s h"]:
        """The product with the matrix."""
        return _bags(rows, *self._there)

    def back(self, rows: Float[Tensor, "s h"]) -> Float[Tensor, "r h"]:
        """The product with its transpose."""
        return _bags(rows, *self._back)


def _bags(rows: Tensor, index: Tensor, ptr: Tensor, values: Tensor) -> Tensor:
    """Weighted sums of rows; of torch's sparse products this is by far the fastest on a CPU."""
    found: Tensor = embedding_bag(
        index, rows, ptr, mode="sum", per_sample_weights=values.to(rows.dtype), include_last_offset=True
    )
    return found


def padded(
    graphs: Graphs, widths: Sequence[int], size: int
) -> tuple[Float[Tensor, "g m d"], Float[Tensor, "g m m"]]:
    """Graphs of at most m nodes as dense ones of m, all zero where a graph has no node.

    Args:
        graphs: Sparse ones.
        widths: `condense.data.GraphSpec.features`: features are one-hot, column by column.
        size: m.
    """
    owners, g = graphs.owners, len(graphs)
    places = torch.arange(len(owners), device=owners.device) - graphs.nodes_ptr[owners]
    features = torch.zeros(g, size, sum(widths), device=owners.device)
    features[owners, places] = multi_hot(graphs.node_features, widths)
    adjacency = torch.zeros(g, size, size, device=owners.device)
    source, target = graphs.edges
    adjacency[owners[source], places[source], places[target]] = 1
    return features, adjacency


@dataclass(frozen=True, eq=False)
class Batch:
    """Real graphs as `gradient` takes them.

    Attributes:
        first: The first layer's rows, spread features.
        spreads: Of the further layers.
        pool: To the graphs.
        labels: Of the graphs.
    """

    first: Float[Tensor, "r d"]
    spreads: Sequence[Linear]
    pool: Linear
    labels: Int64[Tensor, " g"]


class Batches:
    """Any selection of a dataset's graphs, each layer's equal rows computed once.

    Args:
        graphs: The dataset's.
        widths: `condense.data.GraphSpec.features`: features are one-hot, column by column.
        layers: Of the network.
        mean: Whether graphs are the mean of their nodes; else the sum.
    """

    def __init__(self, graphs: Graphs, widths: Sequence[int], layers: int, *, mean: bool) -> None:
        z = len(graphs.node_labels)
        degree = degrees(graphs.edges, z)
        labels = graphs.node_labels * (int(degree.max()) + 1) + degree
        self._graphs, self._widths, self._mean = graphs, widths, mean
        self._trees = colours(labels, graphs.edges, torch.zeros_like(graphs.edge_labels), layers)
        self._firsts = [_first(trees) for trees in self._trees]
        self._scale = (degree + 1).double().rsqrt()
        # The closed neighbourhoods of all nodes, one after the other.
        nodes = torch.arange(z, device=degree.device)
        sources, targets = torch.cat([graphs.edges, nodes.expand(2, z)], dim=1)
        self._ptr = torch.cat([degree.new_zeros(1), (degree + 1).cumsum(0)])
        self._around = targets[sources.argsort(stable=True)]

    def __call__(self, index: Int64[Tensor, " g"], dtype: torch.dtype = torch.float32) -> Batch:
        """The graphs at some positions.

        Args:
            index: The positions.
            dtype: Of all rows and values.
        """
        nodes, ptr = members_of(self._graphs.nodes_ptr, index)
        trees, places = _ranked(self._trees[-1][nodes], len(self._firsts[-1]))
        sizes = ptr.diff()
        values = sizes.to(dtype).reciprocal() if self._mean else torch.ones_like(sizes, dtype=dtype)
        pool = Sparse(ptr, places, values.repeat_interleave(sizes, output_size=len(nodes)), len(trees))
        spreads: list[Sparse] = []
        for layer in reversed(range(len(self._trees) - 1)):
            rows = self._firsts[layer + 1][trees]
            entries, ptr = members_of(self._ptr, rows)
            trees, places = _ranked(self._trees[layer][self._around[entries]], len(self._firsts[layer]))
            values = self._scale[self._firsts[layer][trees]][places]
            values = values * self._scale[rows].repeat_interleave(ptr.diff(), output_size=len(entries))
            spreads.insert(0, Sparse(ptr, places, values.to(dtype), len(trees)))
        features = multi_hot(self._graphs.node_features[self._firsts[0][trees]], self._widths).to(dtype)
        return Batch(spreads[0].there(features), spreads[1:], pool, self._graphs.labels[index])


def _ranked(values: Int64[Tensor, " n"], bound: int) -> tuple[Int64[Tensor, " u"], Int64[Tensor, " n"]]:
    """The values that occur, ascending, and the rank of each value among them: `torch.unique` without a sort.

    Args:
        values: From 0 to ``bound - 1``.
        bound: Above all of them.
    """
    seen = torch.zeros(bound, dtype=torch.long, device=values.device)
    seen[values] = 1
    return seen.nonzero()[:, 0], seen.cumsum(0)[values] - 1


def _first(trees: Int64[Tensor, " z"]) -> Int64[Tensor, " t"]:
    """The first node of each tree."""
    first = trees.new_full((int(trees.max()) + 1,), len(trees))
    return first.scatter_reduce_(0, trees, torch.arange(len(trees), device=trees.device), "amin")
