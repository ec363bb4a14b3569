"""Reads graphs from TUDataset's text files or OGB's tables, in a folder or a zip file.

Both layouts become the same arrays. The copies of a dataset that are in use differ in details, yet all must
get the same data hash. The edges are therefore sorted, repeated edges and self-loops are dropped (as in
torch_geometric), and an edge that is listed in one direction is added in the other. If two nodes have several
edge labels between them, the first one listed is taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from condense.data.graphs.spec import Graphs
from condense.data.graphs.text import Files, open_files
from condense.errors import Refused

PARTS = ("train", "valid", "test")
"""Names of the splits."""

Rows = Int64[np.ndarray, "_ _"]
Column = Int64[np.ndarray, " _"]


@dataclass(frozen=True, eq=False)
class RawGraphs:
    """All graphs of a folder or zip file, before they are split.

    Attributes:
        graphs: The graphs.
        classes: Number in the file that each class id stands for, ascending.
        edge_values: Tuple of edge features that each edge label stands for.
        split: Positions of the graphs of each of `PARTS`, ascending; None if the source has no split.
        where: The folder or zip file, for error messages.
        notes: What the reader left out, changed or chose: see `condense.data.DatasetSpec`.
    """

    graphs: Graphs
    classes: tuple[int, ...]
    edge_values: tuple[tuple[int, ...], ...]
    split: Mapping[str, Column] | None
    where: str
    notes: tuple[str, ...] = ()


def read_graphs(path: Path) -> RawGraphs:
    """Reads a folder or a zip file in either layout.

    Raises:
        Refused: If it has neither layout, or if a file is missing or damaged.
    """
    files = open_files(path)
    names = sorted(name.removesuffix("_A.txt") for name in files.names if name.endswith("_A.txt"))
    if len(names) > 1:
        raise Refused(f"{path} holds several datasets: {', '.join(names)}")
    if names:
        return _tu(files, names[0])
    if "edge.csv.gz" in files:
        return _ogb(files)
    raise Refused(f"{path} holds neither NAME_A.txt (TUDataset) nor raw/edge.csv.gz (OGB)")


def _tu(files: Files, name: str) -> RawGraphs:
    """Reads TUDataset's layout, which counts nodes and graphs from 1 and lists all edges in one file.

    Node features are the columns of ``_node_labels``, or else of ``_node_attributes`` (whole numbers), or
    else the degree.
    """
    where = files.where
    indicator, table, adjacency = (f"{name}_{kind}.txt" for kind in ("graph_indicator", "graph_labels", "A"))
    owners, labels = files.column(indicator) - 1, files.column(table)
    if not len(owners):
        raise Refused(f"{indicator} in {where} is empty: there are no nodes")
    if (back := np.diff(owners) < 0).any():
        raise Refused(
            f"line {int(back.argmax()) + 2} of {indicator} in {where} goes back to an earlier graph"
        )
    if owners[0] < 0 or owners[-1] + 1 != len(labels):
        raise Refused(
            f"{indicator} in {where} has nodes of the graphs {owners[0] + 1} to {owners[-1] + 1}, "
            f"but {table} has {len(labels)} lines"
        )
    sizes = np.bincount(owners)
    if not sizes.all():
        raise Refused(f"graph {int(sizes.argmin()) + 1} (counted from 1) in {where} has no nodes")
    arcs = files.rows(adjacency, 2) - 1
    outside = ((arcs < 0) | (arcs >= len(owners))).any(1)
    if outside.any():
        line = int(outside.argmax())
        raise Refused(
            f"line {line + 1} of {adjacency} in {where} joins the nodes {_pair(arcs[line] + 1)}, "
            f"but {indicator} has {len(owners)} lines"
        )
    ends = owners[arcs]
    if (apart := ends[:, 0] != ends[:, 1]).any():
        line = int(apart.argmax())
        raise Refused(
            f"line {line + 1} of {adjacency} in {where} joins the nodes {_pair(arcs[line] + 1)} "
            f"of the graphs {_pair(ends[line] + 1)}"
        )
    features = None
    for file in (f"{name}_node_labels.txt", f"{name}_node_attributes.txt"):
        if features is None and file in files:
            features = _rows_like(files, file, len(owners), indicator)
    values = None
    if (file := f"{name}_edge_labels.txt") in files:
        values = _rows_like(files, file, len(arcs), adjacency)
    return _raw(str(where), sizes, arcs, features, values, labels, None)


def _ogb(files: Files) -> RawGraphs:
    """Reads OGB's layout, which counts nodes from 0 within each graph and lists each edge once.

    Node features are the columns of ``node-feat``, or else the degree.
    """
    where = files.where
    sizes, bonds = files.column("num-node-list.csv.gz"), files.column("num-edge-list.csv.gz")
    labels = files.rows("graph-label.csv.gz")
    if labels.shape[1] > 1:
        raise Refused(f"graph-label.csv.gz in {where} holds {labels.shape[1]} labels for each graph, not one")
    for name, column in (("num-edge-list.csv.gz", bonds), ("graph-label.csv.gz", labels)):
        if len(column) != len(sizes):
            raise Refused(
                f"{name} in {where} has {len(column)} lines, but num-node-list.csv.gz has {len(sizes)}"
            )
    if not len(sizes):
        raise Refused(f"num-node-list.csv.gz in {where} is empty: there are no graphs")
    if sizes.min() < 1:
        raise Refused(f"graph {int(sizes.argmin())} (counted from 0) in {where} has no nodes")
    if bonds.min() < 0:
        raise Refused(f"graph {int(bonds.argmin())} (counted from 0) in {where} has {bonds.min()} edges")
    edges = _rows_like(files, "edge.csv.gz", int(bonds.sum()), "num-edge-list.csv.gz", 2)
    owners = np.repeat(np.arange(len(sizes)), bonds)
    outside = ((edges < 0) | (edges >= sizes[owners, None])).any(1)
    if outside.any():
        line = int(outside.argmax())
        raise Refused(
            f"line {line + 1} of edge.csv.gz in {where} joins the nodes {_pair(edges[line])} of graph "
            f"{owners[line]} (counted from 0), which has {sizes[owners[line]]} nodes"
        )
    features = values = None
    if "node-feat.csv.gz" in files:
        features = _rows_like(files, "node-feat.csv.gz", int(sizes.sum()), "num-node-list.csv.gz")
    if "edge-feat.csv.gz" in files:
        values = _rows_like(files, "edge-feat.csv.gz", len(edges), "edge.csv.gz")
    arcs = edges + (np.cumsum(sizes) - sizes)[owners, None]
    return _raw(str(where), sizes, arcs, features, values, labels[:, 0], _split(files, len(sizes)))


def _split(files: Files, count: int) -> Mapping[str, Column] | None:
    """Reads OGB's split, which must contain every graph once; returns None if there is none."""
    names = {part: f"{part}.csv.gz" for part in PARTS}
    if not any(name in files for name in names.values()):
        return None
    split = {part: np.sort(files.column(name)) for part, name in names.items()}
    everything = np.sort(np.concatenate(list(split.values())))
    if not np.array_equal(everything, np.arange(count)):
        lines = ", ".join(f"{names[part]} {len(index)}" for part, index in split.items())
        raise Refused(
            f"the split in {files.where} does not contain each of the {count} graphs once ({lines} lines)"
        )
    return split


def _rows_like(files: Files, name: str, lines: int, other: str, columns: int | None = None) -> Rows:
    """Reads a file that must have a number of lines; ``other`` is the file that this number comes from."""
    rows = files.rows(name, columns)
    if len(rows) != lines:
        raise Refused(f"{name} in {files.where} has {len(rows)} lines, but {other} asks for {lines}")
    return rows


def _pair(numbers: Column) -> str:
    return f"{numbers[0]} and {numbers[1]}"


def _raw(
    where: str,
    sizes: Int64[np.ndarray, " g"],
    arcs: Int64[np.ndarray, "m 2"],
    features: Int64[np.ndarray, "n f"] | None,
    values: Int64[np.ndarray, "m v"] | None,
    labels: Int64[np.ndarray, " g"],
    split: Mapping[str, Column] | None,
) -> RawGraphs:
    """Brings what was read into the form that both layouts share; node numbers count through all graphs.

    Without ``features``, a node's feature is its degree; without ``values``, edges have no features.
    """
    nodes = int(sizes.sum())
    line, edges = _both_ways(arcs, nodes)
    if features is None:
        features = np.bincount(edges[0], minlength=nodes)[:, None]
    for what, rows in (("node", features), ("edge", values)):
        if rows is not None and rows.size and rows.min() < 0:
            raise Refused(f"the {what} features in {where} go down to {rows.min()}; they must be 0 or more")
    node_labels, _ = tuple_ids(features)
    edge_labels, tuples = tuple_ids(np.zeros((len(line), 0), np.int64) if values is None else values[line])
    classes, class_ids = np.unique(labels, return_inverse=True)
    nodes_ptr = np.concatenate([[0], np.cumsum(sizes)])
    graphs = Graphs(
        node_labels=torch.from_numpy(node_labels),
        node_features=torch.from_numpy(np.ascontiguousarray(features)),
        edges=torch.from_numpy(edges),
        edge_labels=torch.from_numpy(edge_labels),
        nodes_ptr=torch.from_numpy(nodes_ptr),
        edges_ptr=torch.from_numpy(np.searchsorted(edges[0], nodes_ptr)),
        labels=torch.from_numpy(class_ids),
        num_classes=len(classes),
    )
    return RawGraphs(graphs, tuple(classes.tolist()), tuple(map(tuple, tuples.tolist())), split, where)


def _both_ways(arcs: Rows, nodes: int) -> tuple[Column, Int64[np.ndarray, "2 e"]]:
    """Lists every edge once in each direction, sorted by source and target.

    Returns:
        The first line of the edge file that lists each edge, and the edge's source and target.
    """
    low, high = np.minimum(arcs[:, 0], arcs[:, 1]), np.maximum(arcs[:, 0], arcs[:, 1])
    proper = np.flatnonzero(low < high)
    keys, first = np.unique(low[proper] * nodes + high[proper], return_index=True)
    low, high = np.divmod(keys, nodes)
    keys = np.concatenate([keys, high * nodes + low])
    order = np.argsort(keys)  # all keys are different
    return np.tile(proper[first], 2)[order], np.stack(np.divmod(keys[order], nodes))


def tuple_ids(rows: Rows) -> tuple[Column, Rows]:
    """Numbers the different rows of a table in lexicographic order.

    Returns:
        The id of each row, and the row that each id stands for.
    """
    # Unlike np.unique(axis=0), sorting by one column after the other compares plain numbers.
    order = np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))
    ordered = rows[order]
    first = np.ones(len(rows), bool)  # whether a row is the first of its kind
    first[1:] = (ordered[1:] != ordered[:-1]).any(1)
    ids = np.empty(len(rows), np.int64)
    ids[order] = np.cumsum(first) - 1
    return ids, ordered[first]
