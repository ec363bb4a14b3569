"""Datasets of graphs: many graphs in a few flat arrays, with their specification.

The nodes of all graphs are stored one after the other, and so are the edges; ``nodes_ptr`` and ``edges_ptr``
hold the position at which each graph begins. Node numbers count through all graphs, so that the arrays are
the disjoint union of the graphs, which a network takes as it is. In shapes, g counts graphs, z nodes, e
directed edges, and f columns of node features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.data.base import Dataset, DatasetSpec, Samples
from condense.files import hash_tensors


@dataclass(frozen=True, kw_only=True)
class GraphSpec(DatasetSpec):
    """Specification of a graph dataset. TUDataset's classes are named by the numbers in its files.

    Attributes:
        features: Number of values of each column of node features: the largest value of all graphs plus one.
        node_labels: Number of different feature tuples; node labels go from 0 to this number minus one.
        edge_values: Tuple of edge features that each edge label stands for; empty if edges have no features.
        split: ``official`` (OGB's scaffold split, or that of the files), ``seeded`` or ``seeded-v2``
            (`condense.data.graphs.splits.seeded_split`, and `stratified_split` of the same module).
    """

    kind: str = "graphs"
    features: tuple[int, ...]
    node_labels: int
    edge_values: tuple[tuple[int, ...], ...]
    split: str
    protocol: str = "graph-v2"


@dataclass(frozen=True, eq=False, kw_only=True)
class Graphs(Samples):
    """Labelled graphs in flat arrays.

    Attributes:
        node_labels: Id of each node's tuple of features; ids follow the order of the tuples.
        node_features: Features of each node as they were loaded.
        edges: Source and target of each directed edge as node numbers, ascending. Each edge occurs once in
            each direction, and no edge joins a node to itself.
        edge_labels: Id of each edge's tuple of features; 0 if edges have no features.
        nodes_ptr: Position at which each graph's nodes begin, followed by z.
        edges_ptr: Position at which each graph's edges begin, followed by e.
    """

    node_labels: Int64[Tensor, " z"]
    node_features: Int64[Tensor, "z f"]
    edges: Int64[Tensor, "2 e"]
    edge_labels: Int64[Tensor, " e"]
    nodes_ptr: Int64[Tensor, " p"]
    edges_ptr: Int64[Tensor, " p"]
    labels: Int64[Tensor, " g"]
    num_classes: int

    def tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ARRAYS}

    @cached_property
    def hash(self) -> str:  # type: ignore[override]  # a plain attribute in the base, computed on demand here
        return hash_tensors(self.tensors())

    @cached_property
    def owners(self) -> Int64[Tensor, " z"]:
        """Position of each node's graph."""
        graphs = torch.arange(len(self), device=self.labels.device)
        return graphs.repeat_interleave(self.nodes_ptr.diff(), output_size=len(self.node_labels))

    def to(self, device: torch.device | str) -> "Graphs":
        """Returns the same graphs on another device."""
        moved = {name: array.to(device) for name, array in self.tensors().items()}
        return Graphs(**moved, num_classes=self.num_classes)

    def only(self, labels: Sequence[int]) -> "Graphs":
        """Returns the graphs of some classes: see `Samples.only`."""
        positions, numbers = self._chosen(labels)
        return replace(self.select(positions), labels=numbers, num_classes=len(labels))

    def select(self, indices: Int64[Tensor, " m"] | Sequence[int]) -> "Graphs":
        """Returns some of the graphs in the order of the indices; a repeated index repeats its graph.

        Args:
            indices: Positions from 0, preferably on the CPU because their range is checked.

        Raises:
            IndexError: If an index is not the position of a graph.
        """
        index = torch.as_tensor(indices)
        if index.numel() and (index.dtype == torch.bool or index.is_floating_point()):
            raise IndexError(f"graphs are selected by their positions, not by {index.dtype}")
        index = index.long()
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise IndexError(f"there are no positions {index.min()} to {index.max()} in {len(self)} graphs")
        index = index.to(self.labels.device)
        nodes, nodes_ptr = members_of(self.nodes_ptr, index)
        edges, edges_ptr = members_of(self.edges_ptr, index)
        moved = (nodes_ptr[:-1] - self.nodes_ptr[index]).repeat_interleave(
            edges_ptr.diff(), output_size=len(edges)
        )
        return Graphs(
            node_labels=self.node_labels[nodes],
            node_features=self.node_features[nodes],
            edges=self.edges[:, edges] + moved,
            edge_labels=self.edge_labels[edges],
            nodes_ptr=nodes_ptr,
            edges_ptr=edges_ptr,
            labels=self.labels[index],
            num_classes=self.num_classes,
        )


ARRAYS = ("node_labels", "node_features", "edges", "edge_labels", "nodes_ptr", "edges_ptr", "labels")
"""Names of the arrays of `Graphs`; its hash covers all of them."""


def members_of(
    ptr: Int64[Tensor, " g_plus_1"], index: Int64[Tensor, " m"]
) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " m+1"]]:
    """Returns the positions of selected graphs' nodes (or edges), and where each graph begins among them."""
    sizes = ptr.diff()[index]
    starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    total = int(starts[-1])
    shifts = (ptr[index] - starts[:-1]).repeat_interleave(sizes, output_size=total)
    return torch.arange(total, device=ptr.device) + shifts, starts


@dataclass(frozen=True, eq=False)
class GraphDataset(Dataset):
    """A graph dataset.

    Attributes:
        valid: Graphs that a method may choose its settings by; they occur in neither other split.
    """

    spec: GraphSpec
    train: Graphs
    valid: Graphs
    test: Graphs

    def only(self, labels: Sequence[int]) -> "GraphDataset":
        """Returns some classes: see `Dataset.only`. The features of nodes keep their values."""
        spec = replace(self.spec, classes=tuple(self.spec.classes[label] for label in labels))
        return GraphDataset(spec, self.train.only(labels), self.valid.only(labels), self.test.only(labels))
