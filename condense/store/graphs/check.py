"""What a set of graphs and its manifest must agree on, each check an answer in words or None."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int64
from torch import Tensor

from condense.store.graphs.codec import INTEGERS, in_order, owner_of
from condense.store.graphs.manifest import PART_OF, REQUIRED

if TYPE_CHECKING:
    from condense.store.graphs.graph_set import GraphSet


def unstored(tensors: Mapping[str, Tensor], *, dense: bool) -> str | None:
    """Says which tensor of a file is missing, unknown, or of no type that it is stored as."""
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
        if wrong := _unpointed(tensors[ptr].long(), ptr, count, of, graphs):
            return wrong
    return None


def ill_formed(held: "GraphSet") -> str | None:
    """Says which tensor has not the type, the shape or the range that graphs call for."""
    return _misshaped(held) or _out_of_range(held) or _astray(held)


def find_inconsistency(held: "GraphSet") -> str | None:
    """Says what in a set is not true of its tensors: counts, finite numbers, trees that are none."""
    counts, stored = held.content["counts"], len(held)
    for name in ("stored", "effective"):
        if (told := {**counts}[name]) != stored:
            return f"content.counts.{name} is {told}, but there are {stored} graphs"
    if counts["per_class"] != torch.bincount(held.labels, minlength=held.num_classes).tolist():
        return "content.counts.per_class does not agree with the labels"
    if held.nodes.is_floating_point() and (bad := int((~held.nodes.isfinite()).sum())):
        return f"{bad} numbers of the nodes are not finite"
    return _circular(held) if held.content["edges"] == "to-parent" else _rootless(held)


def _misshaped(held: "GraphSet") -> str | None:
    dense, content = held.content["nodes"]["encoding"] == "dense", held.content
    wanted = content["nodes"]["width"] if dense else len(content["dataset"]["features"])
    kind = torch.float32 if dense else torch.int64
    if held.nodes.dtype != kind or held.nodes.ndim != 2 or held.nodes.shape[1] != wanted:
        found = f"{held.nodes.dtype}, {tuple(held.nodes.shape)}"
        return f"nodes of {found} are no {content['nodes']['encoding']} of {kind}, (z, {wanted})"
    g, z = len(held.labels), len(held.nodes)
    if g == 0:
        return "there is no graph in it"
    if held.edges.dtype != torch.int64 or held.edges.ndim != 2 or len(held.edges) != 2:
        return f"edges of {held.edges.dtype}, {tuple(held.edges.shape)} are no int64 (2, e)"
    e, one = held.edges.shape[1], torch.int64
    for name, tensor, count, types in (
        ("labels", held.labels, g, (one,)),
        ("weights", held.weights, g, (one, torch.float32)),
        ("edge_labels", held.edge_labels, e, (one,)),
        ("roots", held.roots, z, (torch.bool,)),
        ("degrees", held.degrees, z, (one,)),
    ):
        if tensor is not None and (tensor.dtype not in types or tensor.shape != (count,)):
            found = f"{name} of {tensor.dtype}, {tuple(tensor.shape)}"
            return f"{found} are not those of {g} graphs with {z} nodes and {e} edges"
    return _unpointed(held.nodes_ptr, "nodes_ptr", z, "nodes", (g,)) or _unpointed(
        held.edges_ptr, "edges_ptr", e, "edges", (g,)
    )


def _unpointed(
    ptr: Int64[Tensor, " g+1"], name: str, count: int, of: str, graphs: tuple[int, ...]
) -> str | None:
    """Says why numbers do not tell where each graph's nodes or edges begin."""
    if ptr.dtype != torch.int64 or ptr.shape != (graphs[0] + 1,):
        return f"{name} of {ptr.dtype}, {tuple(ptr.shape)} are not those of {graphs[0]} graphs"
    if int(ptr[0]) != 0 or int(ptr[-1]) != count:
        return f"{name} run from {int(ptr[0])} to {int(ptr[-1])}, but there are {count} {of}"
    if len(falls := (ptr.diff() < 0).nonzero()):
        return f"{name} are not ascending: graph {int(falls[0])} ends before it begins"
    if of == "nodes" and len(empty := (ptr.diff() == 0).nonzero()):
        return f"graph {int(empty[0])} has no nodes"
    return None


def _out_of_range(held: "GraphSet") -> str | None:
    k = held.num_classes
    low, high = int(held.labels.min()), int(held.labels.max())
    if low < 0 or high >= k:
        return f"class ids run from {low} to {high}, but there are {k} classes"
    if not held.nodes.is_floating_point():
        for column, width in enumerate(held.content["dataset"]["features"]):
            values = held.nodes[:, column]
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= width:
                return f"node features run from {low} to {high} in column {column}, but it has {width} values"
    for name, tensor in (("edge_labels", held.edge_labels), ("degrees", held.degrees)):
        if tensor is not None and len(tensor) and (low := int(tensor.min())) < 0:
            return f"{name} go down to {low}: they count from 0"
    if (weights := held.weights) is not None and not bool(((weights > 0) & weights.isfinite()).all()):
        return "there are weights that are no positive finite numbers"
    return None


def _astray(held: "GraphSet") -> str | None:
    """Says which edge is none of its graph, or not there as the manifest has it."""
    owner = owner_of(held.edges_ptr)
    begin, end = held.nodes_ptr[owner], held.nodes_ptr[owner + 1]
    outside = ((held.edges < begin) | (held.edges >= end)).any(0)
    if len(bad := outside.nonzero()):
        graph = int(owner[bad[0, 0]])
        source, target = (held.edges[:, bad[0, 0]] - held.nodes_ptr[graph]).tolist()
        nodes = int(held.nodes_ptr.diff()[graph])
        return f"graph {graph} has an edge from node {source} to {target}, but {nodes} nodes"
    if held.content["edges"] == "to-parent":
        twice = torch.bincount(held.edges[0], minlength=len(held.nodes)) > 1
        if len(bad := twice.nonzero()):
            return f"node {_local(held, int(bad[0, 0]))} has more than one parent, so this is no tree"
        return None
    if len(bad := (held.edges[0] == held.edges[1]).nonzero()):
        return f"node {_local(held, int(held.edges[0, bad[0, 0]]))} has an edge to itself"
    labels = torch.zeros_like(held.edges[0]) if held.edge_labels is None else held.edge_labels
    forth, labelled = in_order(held.edges, labels)
    if len(bad := (forth.diff(dim=1) == 0).all(0).nonzero()):
        return f"node {_local(held, int(forth[0, bad[0, 0]]))} has an edge twice"
    back, labelled_back = in_order(held.edges.flip(0), labels)
    if not torch.equal(forth, back):
        place = int((forth != back).any(0).nonzero()[0, 0])
        least = min(int(forth[0, place]), int(back[0, place]))
        return f"node {_local(held, least)} has an edge in one direction only"
    if not torch.equal(labelled, labelled_back):
        place = int((labelled != labelled_back).nonzero()[0, 0])
        return f"an edge of node {_local(held, int(forth[0, place]))} has two labels"
    return None


def _local(held: "GraphSet", node: int) -> str:
    """A node's number within its graph, and its graph, in words."""
    graph = int(torch.searchsorted(held.nodes_ptr.contiguous(), node, right=True)) - 1
    return f"{node - int(held.nodes_ptr[graph])} of graph {graph}"


def _rootless(held: "GraphSet") -> str | None:
    """Says which graph has no node that stands for it."""
    if held.roots is None:
        return None
    there = torch.bincount(owner_of(held.nodes_ptr)[held.roots], minlength=len(held))
    return f"graph {int(bad[0, 0])} has no root" if len(bad := (there == 0).nonzero()) else None


def _circular(held: "GraphSet") -> str | None:
    """Says that following parents leads round in a circle from some node, or to no root."""
    parent = torch.arange(len(held.nodes), device=held.device)
    parent[held.edges[0]] = held.edges[1]
    top = parent == torch.arange(len(parent), device=parent.device)
    for _ in range(len(parent).bit_length()):
        parent = parent[parent]
    if len(bad := (~top[parent]).nonzero()):
        return f"node {_local(held, int(bad[0, 0]))} has no root above it"
    if held.roots is not None and len(bad := (held.roots != top).nonzero()):
        return f"node {_local(held, int(bad[0, 0]))} is a root with a parent, or has no parent and is none"
    return None
