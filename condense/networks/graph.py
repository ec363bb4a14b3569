"""Networks for graphs: rounds of messages, one vector a graph by a sum or a mean, one linear classifier.

The rounds are torch_geometric's (the extra ``graph``), which is imported when the first network is built:

- ``gcn``: Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks" (ICLR 2017,
  https://arxiv.org/abs/1609.02907);
- ``gat``: Velickovic et al., "Graph Attention Networks" (ICLR 2018, https://arxiv.org/abs/1710.10903), with
  one head;
- ``gin``: Xu et al., "How Powerful are Graph Neural Networks?" (ICLR 2019, https://arxiv.org/abs/1810.00826),
  with epsilon 0 and two linear layers a round.

What a node gives itself is there once for each node in GCN and GAT; so edges must not go from a node to
itself. The root of a computation tree gets what a node with that tree gets in its graph, in GAT and GIN. GCN
weighs a message by the numbers of neighbours at both of its ends, and the leaves of a tree have lost theirs:
so the weights are made from the numbers that a batch states, not from the messages that it has. The root then
gets what the node gets that the tree was unrolled from; another node with that tree may have neighbours with
more neighbours at the distance of the leaves.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from condense.data.graphs.batch import GraphBatch, batch_of
from condense.data.graphs.spec import Graphs
from condense.errors import Refused, unknown

GRAPH_CHUNK = 65_536
"""Nodes and messages in a chunk of graphs: the messages of 64 values then hold some 16 MiB."""


@cache
def geometric() -> Any:
    """``torch_geometric.nn``, imported at the first call.

    Raises:
        Refused: if it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it scripts modules, which torch is about to give up
            return import_module("torch_geometric.nn")
    except ImportError as error:
        raise Refused(
            f"networks for graphs need torch_geometric ({error}): install condense-bench[graph]"
        ) from error


def _gcn(width: int, hidden: int) -> nn.Module:
    layer: nn.Module = geometric().GCNConv(width, hidden, normalize=False)
    return layer


def _gat(width: int, hidden: int) -> nn.Module:
    layer: nn.Module = geometric().GATConv(width, hidden, add_self_loops=False)
    return layer


def _gin(width: int, hidden: int) -> nn.Module:
    inner = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
    layer: nn.Module = geometric().GINConv(inner)
    return layer


def _looped(batch: GraphBatch) -> Int64[Tensor, "2 e+z"]:
    """The messages, and behind them one of each node to itself."""
    nodes = torch.arange(len(batch.nodes), device=batch.edges.device)
    return torch.cat([batch.edges, nodes.expand(2, -1)], 1)


def _weighted(batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """The messages and each one's weight, 1 / sqrt((d_i + 1) (d_j + 1)) between nodes of d neighbours."""
    edges = _looped(batch)
    scale = (batch.degrees + 1).to(batch.nodes.dtype).rsqrt()
    return edges, scale[edges[0]] * scale[edges[1]]


_Layer = Callable[[int, int], nn.Module]
_Messages = Callable[[GraphBatch], tuple[Tensor, ...]]

_LAYERS: Mapping[str, tuple[_Layer, _Messages]] = {
    "gcn": (_gcn, _weighted),
    "gat": (_gat, lambda batch: (_looped(batch),)),
    "gin": (_gin, lambda batch: (batch.edges,)),
}
"""Each layer, and what it is called with beside the nodes' values: the same in all rounds."""

GRAPH_NETWORKS = tuple(f"{layer}-{pool}" for layer in _LAYERS for pool in ("sum", "mean"))
"""Networks for graphs by name: the layer, and how the nodes' values become one vector a graph."""


class GraphNetwork(nn.Module):
    """Rounds of messages, each followed by a ReLU; a sum or mean over nodes; one linear layer.

    Attributes:
        rounds: The layers.
        classifier: The linear layer from h features to the logits.
        mean: Whether a graph's vector is the mean of its nodes' values (of its roots' if it has any), not
            their sum.
    """

    def __init__(
        self, layer: str, width: int, num_classes: int, *, mean: bool, layers: int, hidden: int
    ) -> None:
        """Stacks the layers.

        Args:
            layer: ``gcn``, ``gat`` or ``gin``.
            width: d, the values of a node.
            num_classes: k, the number of logits.
            mean: Whether to pool by the mean.
            layers: Rounds of messages.
            hidden: h.
        """
        super().__init__()
        make, self._messages = _LAYERS[layer]
        self.rounds = nn.ModuleList(make(hidden if number else width, hidden) for number in range(layers))
        self.classifier = nn.Linear(hidden, num_classes)
        self.mean = mean

    @property
    def feature_dim(self) -> int:
        """Length h of the feature vector."""
        return self.classifier.in_features

    def nodes(self, batch: GraphBatch) -> Float[Tensor, "z h"]:
        """The nodes' values after the last round."""
        x, messages = batch.nodes, self._messages(batch)
        for layer in self.rounds:
            x = torch.relu(layer(x, *messages))
        return x

    def features(self, batch: GraphBatch) -> Float[Tensor, "g h"]:
        """One vector a graph: everything before the classifier."""
        x = self.nodes(batch)
        if batch.roots is not None:
            x = x * batch.roots[:, None]
        pooled = x.new_zeros(len(batch), x.shape[1]).index_add_(0, batch.owners, x)
        if not self.mean:
            return pooled
        each = torch.ones_like(x[:, 0]) if batch.roots is None else batch.roots.to(x.dtype)
        count = x.new_zeros(len(batch)).index_add_(0, batch.owners, each)
        return pooled / count[:, None]

    def forward(self, batch: GraphBatch) -> Float[Tensor, "g k"]:
        """The logits."""
        logits: Tensor = self.classifier(self.features(batch))
        return logits


def build_graph_network(
    name: str,
    width: int,
    num_classes: int,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    *,
    layers: int = 2,
    hidden: int = 64,
) -> GraphNetwork:
    """Builds a network for graphs with freshly drawn parameters.

    Args:
        name: One of `GRAPH_NETWORKS`.
        width: d, the values of a node.
        num_classes: k, the number of logits.
        generator: The CPU generator that the parameters are drawn from; no other randomness is touched.
        device: Where the network shall live.
        layers: Rounds of messages.
        hidden: h, the values of a node after each.

    Raises:
        Refused: if there is no network of that name, or torch_geometric is not installed.
    """
    if name not in GRAPH_NETWORKS:
        raise unknown("network for graphs", name, GRAPH_NETWORKS)
    layer, pool = name.split("-")
    with torch.device("meta"):
        net = GraphNetwork(layer, width, num_classes, mean=pool == "mean", layers=layers, hidden=hidden)
    net.to_empty(device=device)
    _initialise_(net, generator)
    return net


@torch.no_grad()
def _initialise_(net: GraphNetwork, generator: torch.Generator) -> None:
    """Draws every parameter in the order of `parameters()`, from the distributions that the layers name.

    - `torch.nn.Linear`, weights and biases: U(-b, b) with b = 1 / sqrt(fan-in).
    - torch_geometric's weights and GAT's attention vectors: Glorot's U(-b, b) with b = sqrt(6 / (m + n)), m
      and n the last two sides of the tensor; biases 0.
    """
    dense = {
        id(parameter): 1 / math.sqrt(module.in_features)
        for module in net.modules()
        if isinstance(module, nn.Linear)
        for parameter in module.parameters()
    }
    for parameter in net.parameters():
        glorot = math.sqrt(6 / sum(parameter.shape[-2:])) if parameter.ndim > 1 else 0.0
        b = dense.get(id(parameter), glorot)
        if b:
            drawn = torch.rand(parameter.shape, generator=generator)
            parameter.copy_(drawn.mul_(2 * b).sub_(b))
        else:
            parameter.zero_()
    for buffer in net.buffers():  # GIN's epsilons
        buffer.zero_()


def graph_chunks(graphs: Graphs, widths: Sequence[int], size: int = GRAPH_CHUNK) -> Iterator[GraphBatch]:
    """All graphs in their order, batch by batch, so that little of them is spread out at a time.

    Args:
        graphs: Graphs of a dataset.
        widths: `condense.data.GraphSpec.features`.
        size: Nodes and messages a batch, but for a graph that has more by itself.
    """
    ends = (graphs.nodes_ptr + graphs.edges_ptr).cpu()
    start = 0
    while start < len(graphs):
        fits = int(torch.searchsorted(ends, ends[start] + size, right=True)) - 1
        stop = min(max(fits, start + 1), len(graphs))
        yield batch_of(graphs.select(torch.arange(start, stop)), widths)
        start = stop


@torch.no_grad()
def in_graph_chunks(
    function: Callable[[GraphBatch], Tensor], graphs: Graphs, widths: Sequence[int], size: int = GRAPH_CHUNK
) -> Float[Tensor, "g d"]:
    """A function of independent graphs, such as `GraphNetwork.features`, chunk by chunk without gradients.

    Args:
        function: From a batch to one row a graph.
        graphs: Graphs of a dataset.
        widths: `condense.data.GraphSpec.features`.
        size: Nodes and messages a chunk.
    """
    return torch.cat([function(batch) for batch in graph_chunks(graphs, widths, size)])
