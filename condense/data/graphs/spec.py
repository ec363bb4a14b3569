"""Graph data: many graphs as a few flat arrays, and what is known of a set of them.

The nodes of all graphs stand in one row and so do the edges, graph after graph; ``nodes_ptr`` and
``edges_ptr`` tell where each graph begins. Node numbers are global, so the arrays are the disjoint union of
all graphs as they stand, and a network takes them without further batching. One letter means one thing: g
graphs, z nodes, e directed edges, f columns of node features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.data.base import Dataset, DatasetSpec, Samples
from condense.files import hash_tensors


@dataclass(frozen=True, kw_only=True)
class GraphSpec(DatasetSpec):
    """Specification of a graph dataset; the classes of TUDataset are named by the numbers in its file.

    Attributes:
        features: For each column of node features how many values it is coded with, 0 to n - 1 (the largest
            value of all graphs, plus one).
        node_labels: How many whole feature tuples occur: node labels are 0 to n - 1.
        edge_values: The tuple of edge features behind each edge label; empty tuples where edges have none.
        split: ``official`` (OGB's scaffold split) or ``seeded`` (`condense.data.graphs.sources.seeded`).
    """

    kind: str = "graphs"
    features: tuple[int, ...]
    node_labels: int
    edge_values: tuple[tuple[int, ...], ...]
    split: str
    protocol: str = "graph-v1"


@dataclass(frozen=True, eq=False, kw_only=True)
class Graphs(Samples):
    """Many graphs, flat, resident on one device.

    Attributes:
        node_labels: For each node the id of its whole tuple of features, in the tuples' order.
        node_features: The tuples, as they were loaded.
        edges: Source and target of each directed edge as global node numbers, ascending; every edge is there
            in both directions, once each, and no node has one to itself.
        edge_labels: For each edge the id of its whole tuple of features; 0 where edges have none.
        nodes_ptr: Where each graph's nodes begin, and z.
        edges_ptr: Where each graph's edges begin, and e.
        labels: Class ids from 0.
        num_classes: Classes of the dataset, whether or not each occurs here.
    """

    node_labels: Int64[Tensor, " z"]
    node_features: Int64[Tensor, "z f"]
    edges: Int64[Tensor, "2 e"]
    edge_labels: Int64[Tensor, " e"]
    nodes_ptr: Int64[Tensor, " g+1"]
    edges_ptr: Int64[Tensor, " g+1"]
    labels: Int64[Tensor, " g"]
    num_classes: int

    def tensors(self) -> dict[str, Tensor]:
        """All arrays by name."""
        return {name: getattr(self, name) for name in ARRAYS}

    @cached_property
    def hash(self) -> str:  # type: ignore[override]  # computed when asked for
        """SHA-256 over all arrays (computed once, when asked for); it stays when the device changes."""
        return hash_tensors(self.tensors())

    @cached_property
    def owners(self) -> Int64[Tensor, " z"]:
        """For each node the position of its graph."""
        graphs = torch.arange(len(self), device=self.labels.device)
        return graphs.repeat_interleave(self.nodes_ptr.diff(), output_size=len(self.node_labels))

    def to(self, device: torch.device | str) -> "Graphs":
        """The same graphs on another device."""
        moved = {name: array.to(device) for name, array in self.tensors().items()}
        return Graphs(**moved, num_classes=self.num_classes)

    def select(self, indices: Int64[Tensor, " m"] | Sequence[int]) -> "Graphs":
        """Some of the graphs, in the order asked for; one that is asked for twice is there twice.

        Args:
            indices: Positions from 0, no mask; best on the CPU, where they are looked at.

        Raises:
            IndexError: if a position is not that of a graph here.
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
"""The fields of `Graphs` that are tensors, all of which its hash covers."""


def members_of(
    ptr: Int64[Tensor, " g+1"], index: Int64[Tensor, " m"]
) -> tuple[Int64[Tensor, " p"], Int64[Tensor, " m+1"]]:
    """The positions of what belongs to the graphs of an index, graph after graph, and where each begins."""
    sizes = ptr.diff()[index]
    starts = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    total = int(starts[-1])
    shifts = (ptr[index] - starts[:-1]).repeat_interleave(sizes, output_size=total)
    return torch.arange(total, device=ptr.device) + shifts, starts


@dataclass(frozen=True, eq=False)
class GraphDataset(Dataset):
    """A graph dataset: its description, what to train on, and what only a finished student sees.

    Attributes:
        spec: Its description.
        train: Training graphs.
        valid: Graphs that are in neither of the others: a method may choose its settings by them.
        test: Test graphs.
    """

    spec: GraphSpec
    train: Graphs
    valid: Graphs
    test: Graphs

    @property
    def parts(self) -> Mapping[str, Graphs]:
        """The splits by name; the hash covers them in this order."""
        return {"train": self.train, "valid": self.valid, "test": self.test}
