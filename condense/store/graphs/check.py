"""Checks of a set of graphs against its manifest. Each returns a sentence about the fault, or None."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from condense.store.checks import find_label_error
from condense.store.graphs.codec import INTEGERS, in_order, owner_of
from condense.store.graphs.manifest import PART_OF, REQUIRED, GraphContent


@runtime_checkable
class GraphParts(Protocol):
    """The parts of a set of graphs: see `condense.store.graphs.graph_set.GraphSet`."""

    @property
    def nodes(self) -> Tensor: ...
    @property
    def edges(self) -> Tensor: ...
    @property
    def edge_labels(self) -> Tensor | None: ...
    @property
    def nodes_ptr(self) -> Tensor: ...
    @property
    def edges_ptr(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    @property
    def weights(self) -> Tensor | None: ...
    @property
    def roots(self) -> Tensor | None: ...
    @property
    def degrees(self) -> Tensor | None: ...
    @property
    def content(self) -> GraphContent: ...
    @property
    def weighting(self) -> Tensor: ...


def find_stored_form_error(tensors: Mapping[str, Tensor], *, dense: bool) -> str | None:
    """Says which tensor of a file is missing, unknown, or of a type or shape that is never stored."""
    if missing := set(REQUIRED) - set(tensors):
        return f"there is no tensor {min(missing)!r}"
    if strange := set(tensors) - set(PART_OF):
        return f"there is a tensor {min(strange)!r}, which no set of graphs has"
    for name, tensor in tensors.items():
        if name == "roots":
            known = tensor.dtype == torch.bool
        elif name == "nodes" and dense:
            known = tensor.dtype == torch.float32
        else:
            known = tensor.dtype in INTEGERS or (name == "weights" and tensor.dtype == torch.float32)
        if not known:
            return f"{name} of {tensor.dtype} are not stored"
    if tensors["edges"].ndim != 2 or len(tensors["edges"]) != 2:
        return f"edges of shape {tuple(tensors['edges'].shape)} are not (2, e)"
    for name, dimensions in (("nodes", 2), ("labels", 1)):
        if tensors[name].ndim != dimensions:
            return f"{name} of shape {tuple(tensors[name].shape)} are not stored"
    edges = tensors["edges"].shape[1]
    if "edge_labels" in tensors and tensors["edge_labels"].shape != (edges,):
        return f"edge_labels of shape {tuple(tensors['edge_labels'].shape)} are not those of {edges} edges"
    graphs = tuple(tensors["labels"].shape)
    for ptr, of in (("nodes_ptr", "nodes"), ("edges_ptr", "edges")):
        count = tensors[of].shape[0 if of == "nodes" else 1]
        if wrong := _find_ptr_error(tensors[ptr].long(), ptr, count, of, graphs):
            return wrong
    return None


def find_graph_tensor_error(parts: GraphParts) -> str | None:
    """Says which tensor does not have the type, the shape or the range that the manifest calls for."""
    return _find_shape_error(parts) or _find_range_error(parts) or _find_edge_error(parts)


def find_root_error(parts: GraphParts) -> str | None:
    """Says which graph has no root, or which node of a tree does not have a root above it."""
    if parts.content["edges"] == "to-parent":
        return _find_circle(parts)
    if parts.roots is None:
        return None
    there = torch.bincount(owner_of(parts.nodes_ptr)[parts.roots], minlength=len(parts.labels))
    return f"graph {int(bad[0, 0])} has no root" if len(bad := (there == 0).nonzero()) else None


def _find_shape_error(parts: GraphParts) -> str | None:
    dense, content = parts.content["nodes"]["encoding"] == "dense", parts.content
    wanted = content["nodes"]["width"] if dense else len(content["dataset"]["features"])
    kind = torch.float32 if dense else torch.int64
    if parts.nodes.dtype != kind or parts.nodes.ndim != 2 or parts.nodes.shape[1] != wanted:
        found = f"{parts.nodes.dtype}, {tuple(parts.nodes.shape)}"
        return f"nodes of {found} are no {content['nodes']['encoding']} of {kind}, (z, {wanted})"
    g, z = len(parts.labels), len(parts.nodes)
    if g == 0:
        return "there is no graph in it"
    if parts.edges.dtype != torch.int64 or parts.edges.ndim != 2 or len(parts.edges) != 2:
        return f"edges of {parts.edges.dtype}, {tuple(parts.edges.shape)} are no int64 (2, e)"
    e, one = parts.edges.shape[1], torch.int64
    for name, tensor, count, types in (
        ("labels", parts.labels, g, (one,)),
        ("weights", parts.weights, g, (one, torch.float32)),
        ("edge_labels", parts.edge_labels, e, (one,)),
        ("roots", parts.roots, z, (torch.bool,)),
        ("degrees", parts.degrees, z, (one,)),
    ):
        if tensor is not None and (tensor.dtype not in types or tensor.shape != (count,)):
            found = f"{name} of {tensor.dtype}, {tuple(tensor.shape)}"
            return f"{found} are not those of {g} graphs with {z} nodes and {e} edges"
    return _find_ptr_error(parts.nodes_ptr, "nodes_ptr", z, "nodes", (g,)) or _find_ptr_error(
        parts.edges_ptr, "edges_ptr", e, "edges", (g,)
    )


def _find_ptr_error(ptr: Tensor, name: str, count: int, of: str, graphs: tuple[int, ...]) -> str | None:
    """Says why numbers cannot be the places where the nodes or edges of each graph begin."""
    if ptr.dtype != torch.int64 or ptr.shape != (graphs[0] + 1,):
        return f"{name} of {ptr.dtype}, {tuple(ptr.shape)} are not those of {graphs[0]} graphs"
    if int(ptr[0]) != 0 or int(ptr[-1]) != count:
        return f"{name} run from {int(ptr[0])} to {int(ptr[-1])}, but there are {count} {of}"
    if len(falls := (ptr.diff() < 0).nonzero()):
        return f"{name} are not ascending: graph {int(falls[0])} ends before it begins"
    if of == "nodes" and len(empty := (ptr.diff() == 0).nonzero()):
        return f"graph {int(empty[0])} has no nodes"
    return None


def _find_range_error(parts: GraphParts) -> str | None:
    if wrong := find_label_error(parts.labels, len(parts.content["dataset"]["classes"])):
        return wrong
    if not parts.nodes.is_floating_point():
        for column, width in enumerate(parts.content["dataset"]["features"]):
            values = parts.nodes[:, column]
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= width:
                return f"node features run from {low} to {high} in column {column}, but it has {width} values"
    for name, tensor in (("edge_labels", parts.edge_labels), ("degrees", parts.degrees)):
        if tensor is not None and len(tensor) and (low := int(tensor.min())) < 0:
            return f"{name} go down to {low}: they count from 0"
    if (weights := parts.weights) is not None and not bool(((weights > 0) & weights.isfinite()).all()):
        return "there are weights that are no positive finite numbers"
    return None


def _find_edge_error(parts: GraphParts) -> str | None:
    """Says which edge leaves its graph, or has no place in graphs or trees as the manifest calls for them."""
    owner = owner_of(parts.edges_ptr)
    begin, end = parts.nodes_ptr[owner], parts.nodes_ptr[owner + 1]
    outside = ((parts.edges < begin) | (parts.edges >= end)).any(0)
    if len(bad := outside.nonzero()):
        graph = int(owner[bad[0, 0]])
        source, target = (parts.edges[:, bad[0, 0]] - parts.nodes_ptr[graph]).tolist()
        nodes = int(parts.nodes_ptr.diff()[graph])
        return f"graph {graph} has an edge from node {source} to {target}, but {nodes} nodes"
    if parts.content["edges"] == "to-parent":
        twice = torch.bincount(parts.edges[0], minlength=len(parts.nodes)) > 1
        if len(bad := twice.nonzero()):
            return f"node {_local(parts, int(bad[0, 0]))} has more than one parent, so this is no tree"
        return None
    if len(bad := (parts.edges[0] == parts.edges[1]).nonzero()):
        return f"node {_local(parts, int(parts.edges[0, bad[0, 0]]))} has an edge to itself"
    labels = torch.zeros_like(parts.edges[0]) if parts.edge_labels is None else parts.edge_labels
    forth, labelled = in_order(parts.edges, labels)
    if len(bad := (forth.diff(dim=1) == 0).all(0).nonzero()):
        return f"node {_local(parts, int(forth[0, bad[0, 0]]))} has an edge twice"
    back, labelled_back = in_order(parts.edges.flip(0), labels)
    if not torch.equal(forth, back):
        place = int((forth != back).any(0).nonzero()[0, 0])
        least = min(int(forth[0, place]), int(back[0, place]))
        return f"node {_local(parts, least)} has an edge in one direction only"
    if not torch.equal(labelled, labelled_back):
        place = int((labelled != labelled_back).nonzero()[0, 0])
        return f"an edge of node {_local(parts, int(forth[0, place]))} has two labels"
    return None


def _local(parts: GraphParts, node: int) -> str:
    """Returns a node's number within its graph, and the number of its graph, in words."""
    graph = int(torch.searchsorted(parts.nodes_ptr.contiguous(), node, right=True)) - 1
    return f"{node - int(parts.nodes_ptr[graph])} of graph {graph}"


def _find_circle(parts: GraphParts) -> str | None:
    """Says from which node the way along parents runs in a circle, or does not end at a root."""
    parent = torch.arange(len(parts.nodes), device=parts.nodes.device)
    parent[parts.edges[0]] = parts.edges[1]
    top = parent == torch.arange(len(parent), device=parent.device)
    for _ in range(len(parent).bit_length()):
        parent = parent[parent]
    if len(bad := (~top[parent]).nonzero()):
        return f"node {_local(parts, int(bad[0, 0]))} has no root above it"
    if parts.roots is not None and len(bad := (parts.roots != top).nonzero()):
        return f"node {_local(parts, int(bad[0, 0]))} is a root with a parent, or has no parent and is none"
    return None
