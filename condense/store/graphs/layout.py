"""Where the nodes of a small graph go on paper, in inches, with y downwards."""

from collections.abc import Sequence

import networkx
import numpy as np
from jaxtyping import Float, Int

Paths = Float[np.ndarray, "n 2"]
Edges = Int[np.ndarray, "2 e"]

NEAR = 0.29
"""Inches from a node to the one that is nearest to it, at the median."""
SIBLING = 0.2
"""Inches between two leaves of a tree."""
LEVEL = 0.42
"""Inches from one level of a tree to the next."""
APART = 0.16
"""Inches between two trees, besides those between two leaves."""
WIDE = 2.6
"""Inches after which the parts of a graph go on in the next line."""


def trees(edges: Edges, nodes: int) -> Paths:
    """Each tree with its root on top and its leaves side by side, one tree after the other.

    Args:
        edges: Child and parent.
        nodes: How many nodes there are.
    """
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


def graph(edges: Edges, nodes: int) -> Paths:
    """Each connected part by the forces of Kamada and Kawai, its long side level; the parts in lines.

    Args:
        edges: Pairs of nodes, once or in both directions.
        nodes: How many nodes there are.
    """
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


def _part(whole: networkx.Graph, part: Sequence[int]) -> Paths:
    """A connected part from (0, 0) on."""
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
