"""How graphs are stored: the least integers that hold them, and each edge once.

What is stored is what is counted, for every method by this one rule: whole numbers as uint8 where all of a
tensor are at most 255, else uint16, int32 or int64; an edge by its nodes' numbers within their graph, which
are small; an edge that carries messages both ways once, from its lesser node; no labels of edges where all
are 0. Nothing is lost: `messages` gives back what `pairs` was made from.
"""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

INTEGERS = (torch.uint8, torch.uint16, torch.int32, torch.int64)
"""What whole numbers are stored as, narrowest first."""


def least(values: Int64[Tensor, "*_"]) -> Shaped[Tensor, "*_"]:
    """Whole numbers from 0 in the narrowest type that holds them."""
    largest = int(values.max()) if values.numel() else 0
    return values.to(next(dtype for dtype in INTEGERS if largest <= torch.iinfo(dtype).max))


def whole(values: Shaped[Tensor, "*_"]) -> bool:
    """Whether numbers are those of `least`: whole, from 0."""
    if not values.is_floating_point():
        return bool((values >= 0).all())
    return bool(((values >= 0) & (values < 2**31) & (values == values.floor())).all())


def in_order(
    edges: Int64[Tensor, "2 e"], labels: Int64[Tensor, " e"]
) -> tuple[Int64[Tensor, "2 e"], Int64[Tensor, " e"]]:
    """Messages ascending by source and target, with their labels: the order that every set has them in."""
    order = edges[1].argsort(stable=True)
    order = order[edges[0][order].argsort(stable=True)]
    return edges[:, order], labels[order]


def owner_of(ptr: Int64[Tensor, " g+1"]) -> Int64[Tensor, " m"]:
    """For each of m things the graph that it belongs to."""
    return torch.arange(len(ptr) - 1, device=ptr.device).repeat_interleave(ptr.diff())


def pairs(
    edges: Int64[Tensor, "2 e"],
    edges_ptr: Int64[Tensor, " g+1"],
    nodes_ptr: Int64[Tensor, " g+1"],
    labels: Int64[Tensor, " e"] | None,
    *,
    both: bool,
) -> tuple[Int64[Tensor, "2 p"], Int64[Tensor, " g+1"], Int64[Tensor, " p"] | None]:
    """Edges as they are stored, with nodes numbered within their graph, where each graph's begin, and labels.

    Args:
        edges: Messages between nodes numbered over all graphs, in order.
        edges_ptr: Where each graph's messages begin.
        nodes_ptr: Where each graph's nodes begin.
        labels: Of the messages, if any is not 0.
        both: Whether each message comes in both directions; then one of the two is left out.
    """
    local = edges - nodes_ptr[:-1].repeat_interleave(edges_ptr.diff())
    if not both:
        return local, edges_ptr, labels
    once = local[0] < local[1]
    return local[:, once], edges_ptr // 2, None if labels is None else labels[once]


def messages(
    stored: Int64[Tensor, "2 p"],
    stored_ptr: Int64[Tensor, " g+1"],
    nodes_ptr: Int64[Tensor, " g+1"],
    labels: Int64[Tensor, " p"] | None,
    *,
    both: bool,
) -> tuple[Int64[Tensor, "2 e"], Int64[Tensor, " g+1"], Int64[Tensor, " e"] | None]:
    """What `pairs` was made from, graph after graph; within a graph in any order.

    Args:
        stored: Pairs of nodes numbered within their graph.
        stored_ptr: Where each graph's pairs begin.
        nodes_ptr: Where each graph's nodes begin.
        labels: Of the pairs, if there are any.
        both: Whether each pair is two messages.
    """
    edges = stored + nodes_ptr[:-1].repeat_interleave(stored_ptr.diff())
    if not both:
        return edges, stored_ptr, labels
    order = owner_of(stored_ptr).repeat(2).argsort(stable=True)
    twice = torch.cat([edges, edges.flip(0)], dim=1)[:, order]
    return twice, stored_ptr * 2, None if labels is None else labels.repeat(2)[order]
