"""The distilled set of graphs: what graph methods make, disks keep and graph networks train on."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.utils.data import Dataset

from condense.data.graphs.batch import GraphBatch, multi_hot
from condense.data.graphs.spec import members_of
from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.store import folder
from condense.store.graphs.card import card
from condense.store.graphs.check import find_inconsistency, ill_formed, unstored
from condense.store.graphs.codec import in_order, least, messages, owner_of, pairs, whole
from condense.store.graphs.manifest import PART_OF, PARTS, GraphContent, unreadable
from condense.store.manifest import described

if TYPE_CHECKING:
    from torch_geometric.data import Data


@dataclass(frozen=True, eq=False, kw_only=True)
class GraphSet(Dataset["Data"]):
    """A distilled set of g graphs with z nodes and e messages in all, in memory.

    As a `torch.utils.data.Dataset` it gives torch_geometric's ``Data``, which its ``DataLoader`` batches.

    Tensors are kept in one form, so that equal sets have equal hashes: messages ascend by source and target,
    labels of edges that are all 0 and degrees that the edges show are left out, whole weights are integers.

    Attributes:
        nodes: The nodes of all graphs, graph after graph: columns of integers, or learned float features.
        edges: Source and target of each message, numbered over all graphs; each edge in both directions, or
            in trees from child to parent.
        edge_labels: Of the messages; all 0 if None.
        nodes_ptr: Where each graph's nodes begin, and z.
        edges_ptr: Where each graph's messages begin, and e.
        labels: The graphs' classes.
        weights: How much each graph counts, positive; all the same if None.
        roots: The nodes whose embeddings make that of their graph; all of them if None.
        degrees: How many neighbours each node has where it comes from; as the edges show if None.
        content: The manifest's content; the tensors' list and all bytes are filled in here.
        provenance: Where the set came from; never part of its hash.
    """

    nodes: Int64[Tensor, "z f"] | Float32[Tensor, "z d"]
    edges: Int64[Tensor, "2 e"]
    edge_labels: Int64[Tensor, " e"] | None = None
    nodes_ptr: Int64[Tensor, " g+1"]
    edges_ptr: Int64[Tensor, " g+1"]
    labels: Int64[Tensor, " g"]
    weights: Int64[Tensor, " g"] | Float32[Tensor, " g"] | None = None
    roots: Bool[Tensor, " z"] | None = None
    degrees: Int64[Tensor, " z"] | None = None
    content: GraphContent
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Makes the content plain JSON, brings the tensors into their one form, and checks what must agree.

        Raises:
            Refused: if tensors and manifest do not go together.
        """
        _set = object.__setattr__
        for name in PART_OF:
            if (tensor := getattr(self, name)) is not None:
                _set(self, name, tensor.detach())
        try:
            _set(self, "content", json.loads(canonical(self.content)))
        except ValueError as error:
            raise Refused(f"the manifest of a set holds a value that JSON cannot: {error}") from error
        filled = {**self.content, "bytes": {}, "dense_bytes": 0, "tensors": []}
        if wrong := unreadable(filled) or ill_formed(self):
            raise Refused(f"this is no set of graphs: {wrong}")
        zeros = torch.zeros_like(self.edges[0])
        edges, labels = in_order(self.edges, zeros if self.edge_labels is None else self.edge_labels)
        _set(self, "edges", edges)
        _set(self, "edge_labels", labels if labels.any() else None)
        if self.weights is not None and whole(self.weights):
            _set(self, "weights", self.weights.long())
        if self.degrees is not None and torch.equal(self.degrees, self._shown):
            _set(self, "degrees", None)
        self.content["bytes"] = self.nbytes()
        self.content["dense_bytes"] = self.dense_bytes
        self.content["tensors"] = described(self.tensors())

    @property
    def num_classes(self) -> int:
        """Number of classes k of the data that the set stands for."""
        return len(self.content["dataset"]["classes"])

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.nodes.device

    @property
    def hash(self) -> str:
        """The content hash: over the manifest's content and the tensors, nothing else."""
        return hash_tensors(self.tensors(), prefix=canonical(self.content))

    @property
    def weighting(self) -> Float[Tensor, " g"]:
        """How much each graph counts in a loss, as float32; all of them together 1."""
        weights = torch.ones_like(self.labels) if self.weights is None else self.weights
        return (weights.double() / weights.double().sum()).float()

    @property
    def dense_bytes(self) -> int:
        """What the graphs take as float32 features with a float32 adjacency matrix each."""
        sizes = self.nodes_ptr.diff()
        return 4 * int((sizes * self.content["nodes"]["width"] + sizes**2).sum())

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, as they are stored: see `condense.store.graphs.codec`."""
        return dict(self._stored)

    def nbytes(self) -> dict[str, int]:
        """The stored bytes by part: graphs, and labels with weights."""
        parts = dict.fromkeys(PARTS, 0)
        for name, tensor in self._stored.items():
            parts[PART_OF[name]] += tensor.numel() * tensor.element_size()
        return parts

    def __len__(self) -> int:
        """How many graphs there are: g."""
        return len(self.labels)

    def __getitem__(self, index: int) -> "Data":
        """One graph as torch_geometric's ``Data``, with n nodes and m messages.

        Its ``x`` is (n, d) float32, multi-hot where nodes are columns of integers; ``edge_index`` (2, m);
        ``edge_label`` (m,); ``y`` (1,) its class; ``weight`` (1,) its part of `weighting`; ``roots`` (n,) is
        true for the nodes that stand for it; ``degrees`` (n,) counts their neighbours where they come from.

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
                "a graph is given as torch_geometric's Data: install the extra graph, "
                "pip install 'condense-bench[graph]'"
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
        """Some of the graphs as networks take them, in the order asked for, and as often.

        Args:
            index: Which, on the set's device; all if None.
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

    def to(self, device: torch.device | str) -> "GraphSet":
        """The same set on a device."""
        held = {name: getattr(self, name) for name in PART_OF}
        moved = {name: tensor.to(device) for name, tensor in held.items() if tensor is not None}
        return replace(self, **moved)

    def save(self, path: Path | str) -> str:
        """Stores the set as a folder, which appears whole or not at all; an older set there is replaced.

        Args:
            path: The folder.

        Returns:
            The content hash.

        Raises:
            Refused: if the set contradicts itself, holds numbers that are not finite, or cannot be written.
        """
        if wrong := self.find_inconsistency():
            raise Refused(f"this set cannot be stored: {wrong}")
        stored = {name: tensor.cpu().contiguous() for name, tensor in self._stored.items()}
        content_hash = hash_tensors(stored, prefix=canonical(self.content))
        provenance = {**self.provenance, "hash": content_hash}
        manifest = canonical({"content": self.content, "provenance": provenance}, indent=2) + "\n"
        from condense.store.graphs.gallery import gallery  # here, as only this waits for matplotlib

        pictures = gallery(self.to("cpu"))
        readme = card(self.content, provenance).encode()
        folder.write(Path(path), stored, manifest, {"README.md": readme, "gallery.png": pictures})
        return content_hash

    @classmethod
    def load(cls, path: Path | str) -> "GraphSet":
        """Reads a stored set and checks all of it: form, hash, counts, edges, labels, finite numbers.

        Args:
            path: The set's folder.

        Returns:
            The set, on the CPU.

        Raises:
            Refused: naming the file and what is wrong with it.
        """
        path = Path(path)
        found, provenance, stored = folder.read(path, "graphs")
        content = cast(GraphContent, found)
        dense, both = content["nodes"]["encoding"] == "dense", content["edges"] == "both"
        if wrong := unstored(stored, dense=dense):
            raise Refused(f"{path / folder.DATA}: {wrong}")
        read = {
            name: tensor.long() if tensor.dtype not in (torch.float32, torch.bool) else tensor
            for name, tensor in stored.items()
        }
        edges, edges_ptr, edge_labels = messages(
            read.pop("edges"),
            read.pop("edges_ptr"),
            read["nodes_ptr"],
            read.pop("edge_labels", None),
            both=both,
        )
        try:
            loaded = cls(
                **read,
                edges=edges,
                edges_ptr=edges_ptr,
                edge_labels=edge_labels,
                content=content,
                provenance=provenance,
            )
        except Refused as error:
            raise Refused(f"{path / folder.DATA}: {error}") from error
        for key in ("tensors", "bytes", "dense_bytes"):
            if {**loaded.content}[key] != {**content}[key]:
                raise Refused(f"{path / folder.MANIFEST}: content.{key} does not agree with the tensors")
        if wrong := loaded.find_inconsistency():
            raise Refused(f"{path / folder.MANIFEST}: {wrong}")
        if loaded.hash != provenance["hash"]:
            raise Refused(
                f"{path / folder.DATA} holds its graphs in another form than the one that is stored"
            )
        return loaded

    def find_inconsistency(self) -> str | None:
        """Says what in the set is not true of its tensors, or None: see `condense.store.graphs.check`."""
        return find_inconsistency(self)

    @cached_property
    def _shown(self) -> Int64[Tensor, " z"]:
        """How many messages come to each node."""
        return torch.bincount(self.edges[1], minlength=len(self.nodes))

    @cached_property
    def _batch(self) -> GraphBatch:
        """All graphs as networks take them."""
        dense = self.nodes.is_floating_point()
        return GraphBatch(
            nodes=self.nodes if dense else multi_hot(self.nodes, self.content["dataset"]["features"]),
            edges=self.edges,
            degrees=self._shown if self.degrees is None else self.degrees,
            owners=owner_of(self.nodes_ptr),
            labels=self.labels,
            roots=self.roots,
        )

    @cached_property
    def _stored(self) -> dict[str, Tensor]:
        both = self.content["edges"] == "both"
        edges, edges_ptr, edge_labels = pairs(
            self.edges, self.edges_ptr, self.nodes_ptr, self.edge_labels, both=both
        )
        plain = {
            "edges": edges,
            "edge_labels": edge_labels,
            "nodes_ptr": self.nodes_ptr,
            "edges_ptr": edges_ptr,
            "labels": self.labels,
            "degrees": self.degrees,
            "nodes": self.nodes,
            "weights": self.weights,
        }
        stored = {
            name: tensor if tensor.is_floating_point() else least(tensor)
            for name, tensor in plain.items()
            if tensor is not None
        }
        return stored if self.roots is None else stored | {"roots": self.roots}
