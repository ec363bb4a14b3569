"""Gradients of graph convolutional networks in closed form, for dense and for sparse graphs.

A layer is relu(S H W^T + b), where S = D^(-1/2) (A + I) D^(-1/2) and D counts a node's neighbours and the
node itself. After the last layer the rows of each graph are pooled and go through a linear head. `gradient`
takes S and the pooling as linear maps with their adjoints (`LinearMap`), so that one derivation serves both
kinds of graphs. It consists of differentiable operations: a loss of the gradient takes one differentiation by
autograd, instead of two.

A node's row in layer l depends only on the node's computation tree of depth l over labels and degrees
(`condense.distillation.graphs.trees`). `RealBatches` computes every tree that occurs in a batch once, and
not every node.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag, linear, one_hot

from condense.data.graphs.batch import multi_hot
from condense.data.graphs.spec import Graphs, members_of
from condense.distillation.graphs.trees import colours, degrees, first_nodes

Weights = Sequence[Tensor]
"""Weight (h, d) and bias (h) of each layer, then of the head; or the gradients with respect to them."""


@runtime_checkable
class LinearMap(Protocol):
    """A linear map from r rows to s rows, which acts on each column alike."""

    def apply(self, rows: Float[Tensor, "*k r h"]) -> Float[Tensor, "*k s h"]:
        """Applies the map."""
        ...

    def adjoint(self, rows: Float[Tensor, "*k s h"]) -> Float[Tensor, "*k r h"]:
        """Applies the adjoint (transposed) map."""
        ...


def draw_weights(
    widths: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """Draws the weights of a network with the initialisation of torch_geometric's layers.

    The layers' weights are uniform within sqrt(6 / (d + h)), and their biases 0. The head's weight and bias
    are uniform within 1 / sqrt(h).

    Args:
        widths: Widths of the input, of each layer's output, and of the logits.
        generator: A generator on the CPU.
        device: The device of the weights.
    """
    *hidden, last = zip(widths[:-1], widths[1:], strict=True)
    found = []
    for width, out in hidden:
        bound = math.sqrt(6 / (width + out))
        found += [torch.empty(out, width).uniform_(-bound, bound, generator=generator), torch.zeros(out)]
    bound = 1 / math.sqrt(last[0])
    for shape in (last[::-1], last[1:]):
        found.append(torch.empty(shape).uniform_(-bound, bound, generator=generator))
    return [tensor.to(device) for tensor in found]


def gradient(
    first: Float[Tensor, "*k r d"],
    spreads: Sequence[LinearMap],
    pool: LinearMap,
    weights: Weights,
    error: Callable[[Float[Tensor, "*k g o"]], Float[Tensor, "*k g o"]],
) -> list[Tensor]:
    """Returns the gradient of a loss with respect to each weight and bias, for each of the leading axes k.

    Args:
        first: S X, the features after one multiplication by S.
        spreads: S of every layer after the first one.
        pool: Maps the last layer's rows to those of the g graphs.
        weights: The network's weights, which all k share.
        error: Computes the derivative of the loss with respect to the logits.
    """
    *layers, (head, offset) = [(weights[at], weights[at + 1]) for at in range(0, len(weights), 2)]
    taken, given = [first], list[Tensor]()
    for number, (weight, bias) in enumerate(layers):
        if number:
            taken.append(spreads[number - 1].apply(given[-1]))
        given.append(linear(taken[-1], weight, bias).relu())
    pooled = pool.apply(given[-1])
    slope = error(linear(pooled, head, offset))
    found = [slope.mT @ pooled, slope.sum(-2)]
    slope = pool.adjoint(slope @ head)
    for number in reversed(range(len(layers))):
        slope = slope * (given[number] > 0)
        found = [slope.mT @ taken[number], slope.sum(-2), *found]
        if number:
            slope = spreads[number - 1].adjoint(slope @ layers[number][0])
    return found


def softmax_error(labels: Int64[Tensor, "*k g"]) -> Callable[[Tensor], Tensor]:
    """Returns the derivative of the mean cross-entropy of g graphs with one logit a class."""

    def error(logits: Float[Tensor, "*k g o"]) -> Float[Tensor, "*k g o"]:
        return (logits.softmax(-1) - one_hot(labels, logits.shape[-1])) / labels.shape[-1]

    return error


def sigmoid_error(labels: Int64[Tensor, "*k g"]) -> Callable[[Tensor], Tensor]:
    """Returns the derivative of the mean binary cross-entropy of g graphs with one logit, that of class 1."""

    def error(logits: Float[Tensor, "*k g 1"]) -> Float[Tensor, "*k g 1"]:
        return (logits.sigmoid() - labels[..., None]) / labels.shape[-1]

    return error


@dataclass(frozen=True, eq=False)
class Dense:
    """Multiplication by S for dense graphs, differentiable in S; the rows lie graph after graph."""

    matrix: Float[Tensor, "*k i m m"]

    @classmethod
    def of(cls, adjacency: Float[Tensor, "*k i m m"]) -> "Dense":
        """Computes S from symmetric edge weights between 0 and 1, without self-loops."""
        looped = adjacency + torch.eye(adjacency.shape[-1], dtype=adjacency.dtype, device=adjacency.device)
        scale = looped.sum(-1).rsqrt()
        return cls(scale[..., None] * looped * scale[..., None, :])

    def apply(self, rows: Float[Tensor, "*k r h"]) -> Float[Tensor, "*k r h"]:
        """Returns S H, graph by graph."""
        graphs = rows.view(*self.matrix.shape[:-1], rows.shape[-1])
        return (self.matrix @ graphs).flatten(-3, -2)

    def adjoint(self, rows: Float[Tensor, "*k r h"]) -> Float[Tensor, "*k r h"]:
        """Returns the same, as S is symmetric."""
        return self.apply(rows)


@dataclass(frozen=True)
class Even:
    """Pooling of graphs that all have m nodes; the rows lie graph after graph.

    Attributes:
        size: m, the number of nodes.
        mean: Whether a graph's rows are averaged; otherwise they are summed up.
    """

    size: int
    mean: bool

    def apply(self, rows: Float[Tensor, "*k r h"]) -> Float[Tensor, "*k i h"]:
        """Returns the pooled row of each graph."""
        total = rows.view(*rows.shape[:-2], -1, self.size, rows.shape[-1]).sum(-2)
        return total / self.size if self.mean else total

    def adjoint(self, rows: Float[Tensor, "*k i h"]) -> Float[Tensor, "*k r h"]:
        """Returns each node's share of its graph's row."""
        share = rows / self.size if self.mean else rows
        return share.repeat_interleave(self.size, -2)


class Sparse:
    """A sparse matrix as a linear map, stored by rows, and by columns for the adjoint.

    Args:
        ptr: Position of the first entry of each of the s rows, then the number of entries: p = s + 1 values.
        columns: Column of each entry.
        values: Value of each entry.
        width: Number of columns.
    """

    def __init__(
        self, ptr: Int64[Tensor, " p"], columns: Int64[Tensor, " e"], values: Float[Tensor, " e"], width: int
    ) -> None:
        rows = torch.arange(len(ptr) - 1, device=ptr.device)
        rows = rows.repeat_interleave(ptr.diff(), output_size=len(columns))
        order = columns.argsort(stable=True)
        heads = torch.bincount(columns, minlength=width).cumsum(0)
        self._by_rows = (columns, ptr, values)
        self._by_columns = (rows[order], torch.cat([heads.new_zeros(1), heads]), values[order])

    def apply(self, rows: Float[Tensor, "r h"]) -> Float[Tensor, "s h"]:
        """Returns the product with the matrix."""
        return _bags(rows, *self._by_rows)

    def adjoint(self, rows: Float[Tensor, "s h"]) -> Float[Tensor, "r h"]:
        """Returns the product with the transposed matrix."""
        return _bags(rows, *self._by_columns)


def _bags(rows: Tensor, index: Tensor, ptr: Tensor, values: Tensor) -> Tensor:
    """Returns weighted sums of rows; of torch's sparse products this is by far the fastest on a CPU."""
    found: Tensor = embedding_bag(
        index, rows, ptr, mode="sum", per_sample_weights=values.to(rows.dtype), include_last_offset=True
    )
    return found


def padded(
    graphs: Graphs, widths: Sequence[int], size: int
) -> tuple[Float[Tensor, "g m d"], Float[Tensor, "g m m"]]:
    """Returns the features and adjacency matrices of graphs, each padded with zeros to m = ``size`` nodes.

    Args:
        graphs: Graphs of at most m nodes.
        widths: `condense.data.GraphSpec.features`, the width of each column's one-hot encoding.
        size: The number of nodes.
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
class RealBatch:
    """Real graphs in the form that `gradient` takes.

    Attributes:
        first: S X, the features after one multiplication by S.
        spreads: S of every layer after the first one.
        pool: Maps the last layer's rows to those of the graphs.
        labels: The graphs' classes.
    """

    first: Float[Tensor, "r d"]
    spreads: Sequence[LinearMap]
    pool: LinearMap
    labels: Int64[Tensor, " g"]


class RealBatches:
    """Makes batches of a dataset's graphs, in which equal rows of a layer are computed once.

    Args:
        graphs: The dataset's graphs.
        widths: `condense.data.GraphSpec.features`, the width of each column's one-hot encoding.
        layers: Number of layers of the network.
        mean: Whether a graph's rows are averaged; otherwise they are summed up.
    """

    def __init__(self, graphs: Graphs, widths: Sequence[int], layers: int, *, mean: bool) -> None:
        z = len(graphs.node_labels)
        degree = degrees(graphs.edges, z)
        labels = graphs.node_labels * (int(degree.max()) + 1) + degree
        self._graphs, self._widths, self._mean = graphs, widths, mean
        self._trees = colours(labels, graphs.edges, torch.zeros_like(graphs.edge_labels), layers)
        self._firsts = [first_nodes(trees) for trees in self._trees]
        self._scale = (degree + 1).double().rsqrt()
        # The neighbours of every node and the node itself, node after node.
        nodes = torch.arange(z, device=degree.device)
        sources, targets = torch.cat([graphs.edges, nodes.expand(2, z)], dim=1)
        self._ptr = torch.cat([degree.new_zeros(1), (degree + 1).cumsum(0)])
        self._around = targets[sources.argsort(stable=True)]

    def __call__(self, index: Int64[Tensor, " g"], dtype: torch.dtype = torch.float32) -> RealBatch:
        """Returns the batch of the graphs at some positions, with rows and values of a dtype."""
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
        return RealBatch(spreads[0].apply(features), spreads[1:], pool, self._graphs.labels[index])


class RealGradients:
    """Gradients of a network's loss on random batches of real graphs, one for each group of classes.

    Args:
        batches: Makes the batches.
        groups: For each group, the positions of each class's graphs.
        most: Largest number of graphs of each class in a batch. A class that has no more
            gives all of them, and nothing is drawn.
        error: Returns the derivative of the loss with respect to the logits, from the labels.
        generator: Draws the batches; on the CPU.
    """

    def __init__(
        self,
        batches: RealBatches,
        groups: Sequence[Sequence[Int64[Tensor, " _"]]],
        most: int,
        error: Callable[[Tensor], Callable[[Tensor], Tensor]],
        generator: torch.Generator,
    ) -> None:
        self._batches, self._groups, self._most = batches, groups, most
        self._error, self._generator = error, generator
        self._fixed: dict[int, RealBatch] = {}

    @torch.no_grad()
    def gradient(self, weights: Weights) -> list[Tensor]:
        """Draws a batch of each group; returns each weight's gradient, with the groups as leading axis."""
        found = []
        for number in range(len(self._groups)):
            batch = self._batch(number)
            found.append(gradient(batch.first, batch.spreads, batch.pool, weights, self._error(batch.labels)))
        return [torch.stack(of_weight) for of_weight in zip(*found, strict=True)]

    def _batch(self, number: int) -> RealBatch:
        classes = self._groups[number]
        if max(map(len, classes)) > self._most:
            return self._batches(torch.cat([self._drawn(members) for members in classes]))
        if number not in self._fixed:
            self._fixed[number] = self._batches(torch.cat(list(classes)))
        return self._fixed[number]

    def _drawn(self, members: Int64[Tensor, " g"]) -> Int64[Tensor, " b"]:
        if len(members) <= self._most:
            return members
        order = torch.randperm(len(members), generator=self._generator)
        return members[order[: self._most].to(members.device)]


def _ranked(values: Int64[Tensor, " n"], bound: int) -> tuple[Int64[Tensor, " u"], Int64[Tensor, " n"]]:
    """Returns the values that occur, all below the bound, and each value's rank among them."""
    seen = torch.zeros(bound, dtype=torch.long, device=values.device)
    seen[values] = 1
    return seen.nonzero()[:, 0], seen.cumsum(0)[values] - 1
