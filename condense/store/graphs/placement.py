"""Places for the nodes of a small graph on paper, in inches, with y downwards."""

from collections.abc import Sequence

import networkx
import numpy as np
from jaxtyping import Float, Int

Places = Float[np.ndarray, "n 2"]
"""The places of n nodes: x and y in inches."""
Edges = Int[np.ndarray, "2 e"]
"""Source and target of e edges."""

NEAR = 0.29
"""Median distance from a node to the node nearest to it, in inches."""
SIBLING = 0.2
"""Distance between two leaves of a tree, in inches."""
LEVEL = 0.42
"""Distance between two levels of a tree, in inches."""
APART = 0.16
"""Distance between two trees, in addition to that between two leaves, in inches."""
WIDE = 2.6
"""Width after which the connected parts of a graph continue in the next line, in inches."""


def place_trees(edges: Edges, nodes: int) -> Places:
    """Places trees side by side, each with its root on top. Edges lead from child to parent."""
    parent = np.full(nodes, -1)
    parent[edges[0]] = edges[1]
    children: list[list[int]] = [[] for _ in range(nodes)]
    for child in edges[0].tolist():
        children[parent[child]].append(child)
    places, right = np.zeros((nodes, 2)), 0.0
    for root in np.flatnonzero(parent < 0).tolist():
        if right:
            right += APART
        order, depth = [root], {root: 0}
        stack = [root]
        while stack:  # parents before their children, siblings from left to right
            node = stack.pop()
            order.append(node)
            for child in reversed(children[node]):
                depth[child] = depth[node] + 1
                stack.append(child)
        for node in order[1:]:
            if not children[node]:
                places[node, 0], right = right, right + SIBLING
        for node in reversed(order[1:]):
            if below := children[node]:
                places[node, 0] = places[below, 0].mean()
            places[node, 1] = LEVEL * depth[node]
    return places


def place_graph(edges: Edges, nodes: int) -> Places:
    """Places each connected part of a graph by the forces of Kamada and Kawai, with its long side level."""
    whole = networkx.Graph()
    whole.add_nodes_from(range(nodes))
    whole.add_edges_from(edges.T.tolist())
    parts = sorted((sorted(part) for part in networkx.connected_components(whole)), key=len, reverse=True)
    places = np.zeros((nodes, 2))
    x, y, high = 0.0, 0.0, 0.0
    for part in parts:
        own = _part(whole, part)
        wide, tall = own.max(0)
        if x and x + wide > WIDE:
            x, y, high = 0.0, y + high + NEAR, 0.0
        places[part] = own + (x, y)
        x, high = x + wide + NEAR, max(high, tall)
    return places


def _part(whole: networkx.Graph, part: Sequence[int]) -> Places:
    """Places one connected part, with the corner at (0, 0)."""
    if len(part) == 1:
        return np.zeros((1, 2))
    drawn = networkx.kamada_kawai_layout(whole.subgraph(part))
    places = np.stack([drawn[node] for node in part])
    places = places - places.mean(0)
    axes = np.linalg.svd(places, full_matrices=False)[2]
    places = places @ axes.T
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.diag(np.full(len(part), np.inf))
    places = places * (NEAR / max(float(np.median(gaps.min(1))), 1e-9))
    places = places * min(1.0, 1.5 * WIDE / max(float(np.ptp(places, axis=0).max()), 1e-9))
    return np.asarray(places - places.min(0))
