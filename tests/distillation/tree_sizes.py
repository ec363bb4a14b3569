"""The sizes of computation trees, counted without building them."""

import torch
from jaxtyping import Int
from torch import Tensor


def sizes(edges: Int[Tensor, "2 e"], nodes: int, rounds: int) -> Int[Tensor, " z"]:
    """Returns the number of nodes of each node's tree, by counting walks of at most ``rounds`` edges.

    Args:
        edges: Source and target of each edge.
        nodes: z, the number of nodes of all graphs.
        rounds: L, the trees' depth.
    """
    walks = edges.new_ones(nodes)
    total = walks.clone()
    for _ in range(rounds):
        walks = torch.zeros_like(walks).index_add_(0, edges[1], walks[edges[0]])
        total += walks
    return total
