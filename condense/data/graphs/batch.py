"""Graphs in the form that networks take: features multi-hot, edges as messages, and each node's graph."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from condense.data.graphs.spec import Graphs


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphBatch:
    """Several graphs as one disjoint union with z nodes, e messages, g graphs and d features.

    Attributes:
        nodes: Features of the nodes.
        edges: Source and target of each message; an undirected edge is listed in both directions.
        degrees: Number of neighbours of each node in its original graph. A truncated tree has fewer messages.
        owners: Position of each node's graph.
        labels: Class ids of the graphs.
        roots: Marks the nodes whose values represent their graph; None if all nodes do.
    """

    nodes: Float[Tensor, "z d"]
    edges: Int64[Tensor, "2 e"]
    degrees: Int64[Tensor, " z"]
    owners: Int64[Tensor, " z"]
    labels: Int64[Tensor, " g"]
    roots: Bool[Tensor, " z"] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "GraphBatch":
        """Returns the same batch on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def multi_hot(features: Int64[Tensor, "z f"], widths: Sequence[int]) -> Float[Tensor, "z d"]:
    """Encodes each column of features one-hot and concatenates the encodings.

    Args:
        features: Features of the nodes; column j holds values from 0 to ``widths[j] - 1``.
        widths: Number of values of each column; d is their sum.
    """
    starts = torch.tensor([0, *widths[:-1]], device=features.device).cumsum(0)
    encoded = torch.zeros(len(features), sum(widths), device=features.device)
    return encoded.scatter_(1, features + starts, 1.0)


def batch_of(graphs: Graphs, widths: Sequence[int]) -> GraphBatch:
    """Returns a dataset's graphs as one batch; ``widths`` are `condense.data.GraphSpec.features`."""
    return GraphBatch(
        nodes=multi_hot(graphs.node_features, widths),
        edges=graphs.edges,
        degrees=torch.bincount(graphs.edges[1], minlength=len(graphs.node_labels)),
        owners=graphs.owners,
        labels=graphs.labels,
    )
