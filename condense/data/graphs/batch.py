"""Graphs as networks take them: node features spread out, messages, and whose node each is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from condense.data.graphs.spec import Graphs


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphBatch:
    """Several graphs as one disjoint union; z nodes, e messages, g graphs, d features.

    Attributes:
        nodes: The nodes' features.
        edges: Source and target of each message; an undirected edge is there in both directions.
        degrees: How many neighbours each node has in the graph that it comes from: in a tree that was cut,
            more than it has messages.
        owners: The graph of each node.
        labels: The graphs' classes.
        roots: The nodes that stand for their graph; all of them if None.
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
        """The same batch on another device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


def multi_hot(features: Int64[Tensor, "z f"], widths: Sequence[int]) -> Float[Tensor, "z d"]:
    """Each column of features one-hot, side by side: with a single column, its one-hot.

    Args:
        features: Column j holds values from 0 to ``widths[j] - 1``.
        widths: How many values each column has; d is their sum.
    """
    starts = torch.tensor([0, *widths[:-1]], device=features.device).cumsum(0)
    spread = torch.zeros(len(features), sum(widths), device=features.device)
    return spread.scatter_(1, features + starts, 1.0)


def batch_of(graphs: Graphs, widths: Sequence[int]) -> GraphBatch:
    """Graphs of a dataset as networks take them.

    Args:
        graphs: Any selection of them.
        widths: `condense.data.GraphSpec.features`.
    """
    return GraphBatch(
        nodes=multi_hot(graphs.node_features, widths),
        edges=graphs.edges,
        degrees=torch.bincount(graphs.edges[1], minlength=len(graphs.node_labels)),
        owners=graphs.owners,
        labels=graphs.labels,
    )
