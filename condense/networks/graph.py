"""Graph networks: message-passing layers, a sum or mean over a graph's nodes, and a linear classifier.

The layers are torch_geometric's (the extra ``graph``), which is imported when the first network is built:

- ``gcn``: Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks" (ICLR 2017,
  https://arxiv.org/abs/1609.02907);
- ``gat``: Velickovic et al., "Graph Attention Networks" (ICLR 2018, https://arxiv.org/abs/1710.10903), with
  one head;
- ``gin``: Xu et al., "How Powerful are Graph Neural Networks?" (ICLR 2019, https://arxiv.org/abs/1810.00826),
  with epsilon 0 and two linear layers.

GCN and GAT add one self-loop to each node, so a graph must not contain any. In GAT and GIN, the root of a
computation tree gets the same value as every node with this tree in its graph. GCN weights a message by the
degrees of both its nodes, and the leaves of a tree lack some neighbours; the weights are therefore computed
from `GraphBatch.degrees`, not from the messages. The root then gets the value of the node that the tree was
unrolled from. Other nodes with the same tree may get another value, as their outermost neighbours may have
another degree.
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
from condense.errors import Refused, install, unknown

GRAPH_CHUNK = 65_536
"""Nodes and messages per chunk of graphs; messages of 64 values then take about 16 MiB."""


@cache
def geometric() -> Any:
    """Imports and returns ``torch_geometric.nn``.

    Raises:
        Refused: If torch_geometric is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it scripts modules, which torch deprecates
            return import_module("torch_geometric.nn")
    except ImportError as error:
        raise Refused(f"graph networks need torch_geometric ({error}): {install('graph')}") from error


def _gin(width: int, hidden: int) -> nn.Module:
    inner = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden))
    layer: nn.Module = geometric().GINConv(inner)
    return layer


def _looped(batch: GraphBatch) -> Int64[Tensor, "2 m"]:
    """Returns the messages followed by the self-loops of all nodes."""
    nodes = torch.arange(len(batch.nodes), device=batch.edges.device)
    return torch.cat([batch.edges, nodes.expand(2, -1)], 1)


def _weighted(batch: GraphBatch) -> tuple[Tensor, Tensor]:
    """Returns messages with self-loops, and weights 1 / sqrt((d_i + 1) (d_j + 1)) for degrees d_i, d_j."""
    edges = _looped(batch)
    scale = (batch.degrees + 1).to(batch.nodes.dtype).rsqrt()
    return edges, scale[edges[0]] * scale[edges[1]]


_Layer = Callable[[int, int], nn.Module]
_Messages = Callable[[GraphBatch], tuple[Tensor, ...]]

_LAYERS: Mapping[str, tuple[_Layer, _Messages]] = {
    "gcn": (lambda width, hidden: geometric().GCNConv(width, hidden, normalize=False), _weighted),
    "gat": (
        lambda width, hidden: geometric().GATConv(width, hidden, add_self_loops=False),
        lambda batch: (_looped(batch),),
    ),
    "gin": (_gin, lambda batch: (batch.edges,)),
}
"""Constructor of each layer, and the arguments that all layers take besides the nodes' values."""

GRAPH_NETWORKS = tuple(f"{layer}-{pool}" for layer in _LAYERS for pool in ("sum", "mean"))
"""Names of the graph networks: the layer, and the pooling of the nodes' values."""


class GraphNetwork(nn.Module):
    """Message-passing layers with ReLU, a sum or mean over the nodes of a graph, and a linear classifier.

    Attributes:
        rounds: Message-passing layers.
        classifier: Linear layer from h features to k logits.
        mean: Whether the features of a graph are the mean of its nodes' values instead of their sum. If a
            batch has roots, the mean or sum is taken over these.
    """

    def __init__(
        self, layer: str, width: int, num_classes: int, *, mean: bool, layers: int, hidden: int
    ) -> None:
        """Builds the layers; see `build_graph_network`. ``layer`` is ``gcn``, ``gat`` or ``gin``."""
        super().__init__()
        make, self._messages = _LAYERS[layer]
        self.rounds = nn.ModuleList(make(hidden if number else width, hidden) for number in range(layers))
        self.classifier = nn.Linear(hidden, num_classes)
        self.mean = mean

    @property
    def feature_dim(self) -> int:
        return self.classifier.in_features

    def nodes(self, batch: GraphBatch) -> Float[Tensor, "z h"]:
        """Returns the nodes' values after the last layer."""
        x, messages = batch.nodes, self._messages(batch)
        for layer in self.rounds:
            x = torch.relu(layer(x, *messages))
        return x

    def features(self, batch: GraphBatch) -> Float[Tensor, "g h"]:
        """Returns the pooled values of each graph, the input of the classifier."""
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
    """Builds a graph network with freshly drawn parameters.

    Args:
        name: Name of the network, one of `GRAPH_NETWORKS`.
        width: Number d of features of a node.
        num_classes: Number k of logits.
        generator: A CPU generator that the parameters are drawn from.
        device: Device of the network.
        layers: Number of message-passing layers.
        hidden: Number h of values of a node after each layer.

    Raises:
        Refused: If there is no network of that name, or torch_geometric is not installed.
    """
    if name not in GRAPH_NETWORKS:
        raise unknown("graph network", name, GRAPH_NETWORKS)
    layer, pool = name.split("-")
    with torch.device("meta"):
        net = GraphNetwork(layer, width, num_classes, mean=pool == "mean", layers=layers, hidden=hidden)
    net.to_empty(device=device)
    _initialise_(net, generator)
    return net


@torch.no_grad()
def _initialise_(net: GraphNetwork, generator: torch.Generator) -> None:
    """Draws the parameters in the order of `parameters()`, from the default distributions of the layers.

    - Weights and biases of `torch.nn.Linear` are drawn from U(-b, b), b = 1 / sqrt(fan-in).
    - torch_geometric's weights and GAT's attention vectors are drawn from Glorot's distribution U(-b, b),
      b = sqrt(6 / (m + n)), where m and n are the last two dimensions; biases are 0.
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
    """Yields graphs in their order as batches of limited size, which limits the memory for the features.

    Args:
        graphs: The graphs.
        widths: Number of values of each feature, `condense.data.GraphSpec.features`.
        size: Largest number of nodes and messages of a batch; a larger graph is a batch of its own.
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
    """Applies a function, such as `GraphNetwork.features`, to `graph_chunks` without gradients.

    The function maps a batch to one row per graph. No graph may influence another graph's row.
    """
    return torch.cat([function(batch) for batch in graph_chunks(graphs, widths, size)])
