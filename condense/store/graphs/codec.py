"""How graphs are stored: as the narrowest integers that hold them, with each edge once.

A tensor of whole numbers is stored as uint8 if all of them are at most 255, else as uint16, int32 or int64.
An edge is stored by the numbers of its nodes within their graph, which are small. An edge that carries
messages both ways is stored once, from the node with the lower number. Labels of edges are left out if all of
them are 0. Nothing is lost: `as_messages` is the inverse of `as_pairs`.
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

INTEGERS = (torch.uint8, torch.uint16, torch.int32, torch.int64)
"""The types of stored whole numbers, narrowest first."""


def narrowed(values: Int64[Tensor, "*_"]) -> Shaped[Tensor, "*_"]:
    """Returns whole numbers of at least 0 in the narrowest type that holds them."""
    largest = int(values.max()) if values.numel() else 0
    return values.to(next(dtype for dtype in INTEGERS if largest <= torch.iinfo(dtype).max))


def are_counts(values: Shaped[Tensor, "*_"]) -> bool:
    """Says whether all numbers are whole and at least 0, as `narrowed` needs them."""
    if not values.is_floating_point():
        return bool((values >= 0).all())
    return bool(((values >= 0) & (values < 2**31) & (values == values.floor())).all())


def in_order(
    edges: Int64[Tensor, "2 e"], labels: Int64[Tensor, " e"]
) -> tuple[Int64[Tensor, "2 e"], Int64[Tensor, " e"]]:
    """Sorts messages by source and target, with their labels; every set has its messages in this order."""
    order = edges[1].argsort(stable=True)
    order = order[edges[0][order].argsort(stable=True)]
    return edges[:, order], labels[order]


def owner_of(ptr: Int64[Tensor, " g_plus_1"]) -> Int64[Tensor, " m"]:
    """Returns for each of m nodes or edges the graph that it belongs to."""
    return torch.arange(len(ptr) - 1, device=ptr.device).repeat_interleave(ptr.diff())


def as_pairs(
    edges: Int64[Tensor, "2 e"],
    edges_ptr: Int64[Tensor, " g_plus_1"],
    nodes_ptr: Int64[Tensor, " g_plus_1"],
    labels: Int64[Tensor, " e"] | None,
    *,
    both: bool,
) -> tuple[Int64[Tensor, "2 p"], Int64[Tensor, " g_plus_1"], Int64[Tensor, " p"] | None]:
    """Returns edges as they are stored: with nodes numbered within their graph.

    Args:
        edges: Messages between nodes numbered over all graphs, in order.
        edges_ptr: The positions at which each graph's messages begin.
        nodes_ptr: The positions at which each graph's nodes begin.
        labels: Labels of the messages, if any of them is not 0.
        both: Whether each message comes in both directions; then one of the two is left out.

    Returns:
        The edges, the positions at which the edges of each graph begin, and the labels of the edges.
    """
    local = edges - nodes_ptr[:-1].repeat_interleave(edges_ptr.diff())
    if not both:
        return local, edges_ptr, labels
    once = local[0] < local[1]
    return local[:, once], edges_ptr // 2, None if labels is None else labels[once]


def as_messages(
    stored: Int64[Tensor, "2 p"],
    stored_ptr: Int64[Tensor, " g_plus_1"],
    nodes_ptr: Int64[Tensor, " g_plus_1"],
    labels: Int64[Tensor, " p"] | None,
    *,
    both: bool,
) -> tuple[Int64[Tensor, "2 e"], Int64[Tensor, " g_plus_1"], Int64[Tensor, " e"] | None]:
    """Returns the messages from which `as_pairs` made its results; those of one graph come in any order.

    Args:
        stored: Pairs of nodes numbered within their graph.
        stored_ptr: Where each graph's pairs begin.
        nodes_ptr: Where each graph's nodes begin.
        labels: Labels of the pairs, if there are any.
        both: Whether each pair is two messages.
    """
    edges = stored + nodes_ptr[:-1].repeat_interleave(stored_ptr.diff())
    if not both:
        return edges, stored_ptr, labels
    order = owner_of(stored_ptr).repeat(2).argsort(stable=True)
    twice = torch.cat([edges, edges.flip(0)], dim=1)[:, order]
    return twice, stored_ptr * 2, None if labels is None else labels.repeat(2)[order]
