"""Distilled sets of graphs: methods create them, disks store them, and graph networks train on them."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from condense.data.graphs.batch import GraphBatch, multi_hot
from condense.data.graphs.spec import members_of
from condense.errors import Refused, install
from condense.store.base import DistilledSet
from condense.store.graphs.card import graph_card
from condense.store.graphs.check import find_graph_tensor_error, find_root_error, find_stored_form_error
from condense.store.graphs.codec import are_counts, as_messages, as_pairs, in_order, narrowed, owner_of
from condense.store.graphs.manifest import PART_OF, PARTS, GraphContent
from condense.store.manifest import SetContent

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class GraphSet(DistilledSet):
    """A distilled set of g graphs with z nodes and e messages in all, in memory.

    As a `torch.utils.data.Dataset` it gives torch_geometric's ``Data``, which its ``DataLoader`` batches.

    The tensors are kept in one form, so that equal sets have equal hashes: messages are sorted by source and
    target, labels of edges that are all 0 and degrees that the edges show are left out, and whole weights are
    integers.

    Attributes:
        nodes: The nodes of all graphs, graph after graph: columns of integers, or learned float features.
        edges: Source and target of each message, numbered over all graphs. Each edge is there in both
            directions, in trees only from child to parent.
        edge_labels: Labels of the messages; None stands for 0 everywhere.
        nodes_ptr: The places where the nodes of each graph begin, and z.
        edges_ptr: The places where the messages of each graph begin, and e.
        labels: The class of each graph.
        weights: The weight of each graph in a student's loss, positive; None stands for equal weights.
        roots: The nodes whose embeddings are pooled into that of their graph; None stands for all nodes.
        degrees: The number of neighbours of each node in the graph that it comes from; None stands for the
            degrees that the edges show.
        content: The manifest's content. The list of the tensors and the numbers of bytes are filled in here.
        provenance: Where and when the set was made; not part of its hash.
    """

    kind = "graphs"
    parts = PARTS
    part_of = PART_OF

    nodes: Int64[Tensor, "z f"] | Float32[Tensor, "z d"]
    edges: Int64[Tensor, "2 e"]
    edge_labels: Int64[Tensor, " e"] | None = None
    nodes_ptr: Int64[Tensor, " g_plus_1"]
    edges_ptr: Int64[Tensor, " g_plus_1"]
    labels: Int64[Tensor, " g"]
    weights: Int64[Tensor, " g"] | Float32[Tensor, " g"] | None = None
    roots: Bool[Tensor, " z"] | None = None
    degrees: Int64[Tensor, " z"] | None = None
    content: GraphContent

    @property
    def evaluation_space(self) -> str:
        return "multi-hot"

    @property
    def weighting(self) -> Float[Tensor, " g"]:
        """The part of each graph in a loss, as float32; all parts add up to 1."""
        weights = torch.ones_like(self.labels) if self.weights is None else self.weights
        return (weights.double() / weights.double().sum()).float()

    @property
    def dense_bytes(self) -> int:
        """Bytes of the graphs as float32 features with a float32 adjacency matrix each."""
        sizes = self.nodes_ptr.diff()
        return 4 * int((sizes * self.content["nodes"]["width"] + sizes**2).sum())

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name, as they are stored: see `condense.store.graphs.codec`."""
        return dict(self._stored)

    def facts(self) -> dict[str, object]:
        return super().facts() | {"bytes as dense floats": self.dense_bytes}

    def find_inconsistency(self) -> str | None:
        return super().find_inconsistency() or find_root_error(self)

    def gallery(self) -> bytes:
        from condense.store.graphs.gallery import draw_graphs  # here, since only this waits for matplotlib

        return draw_graphs(self.to("cpu"))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> "Data":
        """Returns one graph as torch_geometric's ``Data``, with n nodes and m messages.

        Its ``x`` is (n, d) float32, multi-hot if the nodes are columns of integers; ``edge_index`` (2, m);
        ``edge_label`` (m,); ``y`` (1,) its class; ``weight`` (1,) its part of `weighting`; ``roots`` (n,) is
        true for its roots; ``degrees`` (n,) is the number of neighbours in the graph that a node comes from.

        Raises:
            Refused: if torch_geometric is not installed.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"graph {index} of a set of {len(self)}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from torch_geometric.data import Data
        except ImportError as error:
            raise Refused(
                "a graph is given as torch_geometric's Data, which the extra graph installs: "
                f"{install('graph')}"
            ) from error
        place = torch.tensor([index % len(self)], device=self.device)
        one = self.batch(place)
        first, last = self.edges_ptr[place], self.edges_ptr[place + 1]
        labels = torch.zeros_like(one.edges[0]) if self.edge_labels is None else self.edge_labels[first:last]
        return Data(
            x=one.nodes,
            edge_index=one.edges,
            edge_label=labels,
            y=one.labels,
            weight=self.weighting[place],
            roots=torch.ones_like(one.owners, dtype=torch.bool) if one.roots is None else one.roots,
            degrees=one.degrees,
        )

    def batch(self, index: Int64[Tensor, " b"] | None = None) -> GraphBatch:
        """Returns some of the graphs in the form that networks take.

        Args:
            index: The numbers of the graphs, in any order and any number of times, on the set's device; None
                stands for all graphs.
        """
        every = self._batch
        if index is None:
            return every
        nodes, nodes_ptr = members_of(self.nodes_ptr, index)
        edges, edges_ptr = members_of(self.edges_ptr, index)
        moved = (nodes_ptr[:-1] - self.nodes_ptr[index]).repeat_interleave(
            edges_ptr.diff(), output_size=len(edges)
        )
        return GraphBatch(
            nodes=every.nodes[nodes],
            edges=self.edges[:, edges] + moved,
            degrees=every.degrees[nodes],
            owners=owner_of(nodes_ptr),
            labels=self.labels[index],
            roots=None if self.roots is None else self.roots[nodes],
        )

    @classmethod
    def _fields_from(cls, path: Path, content: SetContent, stored: Mapping[str, Tensor]) -> dict[str, Any]:
        own = cast(GraphContent, content)
        dense, both = own["nodes"]["encoding"] == "dense", own["edges"] == "both"
        if wrong := find_stored_form_error(stored, dense=dense):
            raise Refused(wrong)
        read = {
            name: tensor if tensor.dtype in (torch.float32, torch.bool) else tensor.long()
            for name, tensor in stored.items()
        }
        edges, edges_ptr, edge_labels = as_messages(
            read["edges"], read["edges_ptr"], read["nodes_ptr"], read.get("edge_labels"), both=both
        )
        return read | {"edges": edges, "edges_ptr": edges_ptr, "edge_labels": edge_labels}

    def _find_tensor_error(self) -> str | None:
        return find_graph_tensor_error(self)

    def _write_card(self, provenance: Mapping[str, object]) -> str:
        return graph_card(self.content, provenance)

    def _bring_into_form(self) -> None:
        _set = object.__setattr__
        zeros = torch.zeros_like(self.edges[0])
        edges, labels = in_order(self.edges, zeros if self.edge_labels is None else self.edge_labels)
        _set(self, "edges", edges)
        _set(self, "edge_labels", labels if labels.any() else None)
        if self.weights is not None and are_counts(self.weights):
            _set(self, "weights", self.weights.long())
        if self.degrees is not None and torch.equal(self.degrees, self._shown_degrees):
            _set(self, "degrees", None)

    def _derived(self) -> dict[str, object]:
        return super()._derived() | {"dense_bytes": self.dense_bytes}

    @cached_property
    def _shown_degrees(self) -> Int64[Tensor, " z"]:
        return torch.bincount(self.edges[1], minlength=len(self.nodes))

    @cached_property
    def _batch(self) -> GraphBatch:
        dense = self.nodes.is_floating_point()
        return GraphBatch(
            nodes=self.nodes if dense else multi_hot(self.nodes, self.content["dataset"]["features"]),
            edges=self.edges,
            degrees=self._shown_degrees if self.degrees is None else self.degrees,
            owners=owner_of(self.nodes_ptr),
            labels=self.labels,
            roots=self.roots,
        )

    @cached_property
    def _stored(self) -> dict[str, Tensor]:
        both = self.content["edges"] == "both"
        edges, edges_ptr, edge_labels = as_pairs(
            self.edges, self.edges_ptr, self.nodes_ptr, self.edge_labels, both=both
        )
        stored = self._tensor_fields() | {"edges": edges, "edges_ptr": edges_ptr}
        if edge_labels is not None:
            stored["edge_labels"] = edge_labels
        plain = (torch.float32, torch.bool)
        return {name: held if held.dtype in plain else narrowed(held) for name, held in stored.items()}
