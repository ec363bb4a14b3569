"""Small sets of graphs of every form, without any method."""

from collections.abc import Mapping, Sequence
from typing import cast

import torch

from condense.store import GraphContent, GraphSet


def content(
    labels: torch.Tensor,
    features: Sequence[int],
    *,
    edges: str = "both",
    encoding: str = "columns",
    classes: int = 2,
    **more: object,
) -> GraphContent:
    """The manifest's content of a set with these labels; `more` overrides top-level keys."""
    n = len(labels)
    values: dict[str, object] = {
        "format": "condense-set",
        "version": 1,
        "kind": "graphs",
        "key": "k" * 64,
        "dataset": {
            "name": "toy",
            "classes": [f"class {i}" for i in range(classes)],
            "features": list(features),
            "split": "seeded",
            "train_hash": "t" * 64,
        },
        "ipc": 2,
        "counts": {
            "stored": n,
            "effective": n,
            "per_class": torch.bincount(labels, minlength=classes).tolist(),
        },
        "nodes": {"encoding": encoding, "width": sum(features)},
        "edges": edges,
        "label": {"kind": "hard", "temperature": 1.0, "teacher": None},
        "protocol": None,
        "method": {
            "name": "mirage",
            "chain": [{"name": "mirage", "version": 1, "config": {"hops": 2}}],
            "source": None,
        },
        "seed": 0,
    }
    return cast(GraphContent, values | more)


def fields(
    *,
    seed: int = 0,
    trees: bool = False,
    dense: bool = False,
    graphs: int = 4,
    largest: int = 6,
    features: Sequence[int] = (3, 4),
    edge_labels: int = 3,
    weights: str | None = None,
    classes: int = 2,
) -> dict[str, object]:
    """What a random `GraphSet` is made of.

    Args:
        seed: Of all draws.
        trees: Several trees a graph, with roots and degrees; else graphs with edges in both directions.
        dense: Learned features; else columns of integers.
        graphs: How many graphs.
        largest: The most nodes that a graph has.
        features: Values of each column.
        edge_labels: How many there are; 0 for none.
        weights: ``whole``, ``float`` or None.
        classes: How many there are.
    """
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, largest + 1, (graphs,), generator=draw).tolist()
    edges, counts, labels_of_edges = [], [], []
    begin = 0
    for n in sizes:
        if trees:
            child = torch.arange(1, n)
            parent = torch.tensor(
                [int(torch.randint(0, i, (1,), generator=draw)) for i in range(1, n)], dtype=torch.long
            )
            kept = torch.rand(n - 1, generator=draw) < 0.8
            pair = torch.stack([child, parent])[:, kept]
            label = torch.randint(0, max(edge_labels, 1), (pair.shape[1],), generator=draw)
        else:
            half = (torch.rand(n, n, generator=draw) < 0.5).triu(1).nonzero().T
            label = torch.randint(0, max(edge_labels, 1), (half.shape[1],), generator=draw).repeat(2)
            pair = torch.cat([half, half.flip(0)], dim=1)
        shuffle = torch.randperm(pair.shape[1], generator=draw)
        edges.append(pair[:, shuffle] + begin)
        labels_of_edges.append(label[shuffle])
        counts.append(pair.shape[1])
        begin += n
    z, all_edges = begin, torch.cat(edges, dim=1)
    columns = [torch.randint(0, width, (z,), generator=draw) for width in features]
    labels = torch.randint(0, classes, (graphs,), generator=draw)
    made: dict[str, object] = {
        "nodes": torch.randn(z, sum(features), generator=draw) if dense else torch.stack(columns, dim=1),
        "edges": all_edges,
        "edge_labels": torch.cat(labels_of_edges) if edge_labels else None,
        "nodes_ptr": torch.tensor([0, *sizes]).cumsum(0),
        "edges_ptr": torch.tensor([0, *counts]).cumsum(0),
        "labels": labels,
        "content": content(
            labels,
            features,
            edges="to-parent" if trees else "both",
            encoding="dense" if dense else "columns",
            classes=classes,
        ),
        "provenance": {"device": "cpu", "seconds": 1.5},
    }
    if weights == "whole":
        made["weights"] = torch.randint(1, 1000, (graphs,), generator=draw)
    elif weights == "float":
        made["weights"] = torch.rand(graphs, generator=draw) + 0.01
    if trees:
        made["roots"] = torch.ones(z, dtype=torch.bool).index_fill_(0, all_edges[0], 0)
        made["degrees"] = torch.randint(1, 5, (z,), generator=draw) + torch.bincount(
            all_edges[1], minlength=z
        )
    return made


def make(values: Mapping[str, object] | None = None, **chosen: object) -> GraphSet:
    """A random set: `chosen` as for `fields`, `values` instead of what it gives."""
    return GraphSet(**{**fields(**chosen), **(values or {})})  # type: ignore[arg-type]
