"""Reads graphs from TUDataset's text files or OGB's tables, in a folder or a zip file.

Both layouts become the same arrays. The copies of a dataset that are in use differ in details, yet all must
get the same data hash. The edges are therefore sorted, repeated edges and self-loops are dropped (as in
torch_geometric), and an edge that is listed in one direction is added in the other. If two nodes have several
edge labels between them, the first one listed is taken. Node features of very large values are numbered. All
of this is counted in notes; so are the files that nothing is read from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from condense.data.graphs.spec import Graphs
from condense.data.graphs.splits import PARTS, Column
from condense.data.graphs.text import Files, open_files
from condense.data.notes import few, is_leftover
from condense.errors import Refused

WIDEST = 2**16
"""Largest number of values that all columns of node features may have together: a network's input."""

MOST_NODES = 10**8
"""Largest number of nodes of all graphs together."""

CONTINUOUS = "continuous attributes are not supported"
"""What the refusal of a feature that is not a whole number adds."""

Rows = Int64[np.ndarray, "_ _"]


@dataclass(frozen=True)
class EdgeCounts:
    """How the edges of all graphs are listed.

    Attributes:
        lines: Number of lines of the edge file.
        loops: Lines that join a node to itself.
        repeated: Lines that list an edge in a direction in which an earlier line has listed it.
        edges: Different edges, whatever their direction.
        one_way: Edges that are listed in one direction only.
        ambiguous: Edges that are listed with several labels.
    """

    lines: int
    loops: int
    repeated: int
    edges: int
    one_way: int
    ambiguous: int

    def notes(self, file: str) -> list[str]:
        """Says what of the lines of a file is lost when edges have no direction, each once."""
        told = (
            (self.loops, f"of {self.lines} lines of {file} join a node to itself and were left out"),
            (self.repeated, f"of {self.lines} lines of {file} repeat an edge and were left out"),
            (self.one_way, f"of {self.edges} edges are listed in one direction and used in both"),
            (self.ambiguous, f"of {self.edges} edges are listed with several labels; the first was taken"),
        )
        return [f"{count} {what}" for count, what in told if count]


@dataclass(frozen=True, eq=False)
class RawGraphs:
    """All graphs of a folder or zip file, before they are split.

    Attributes:
        graphs: The graphs.
        classes: Number in the file that each class id stands for, ascending.
        edge_values: Tuple of edge features that each edge label stands for.
        split: Positions of the graphs of each of `PARTS`, ascending; None if the source has no split.
        where: The folder or zip file, for error messages.
        edge_counts: How the files list the edges.
        both_ways: Whether the layout lists every edge in both directions.
        notes: What the reader left out, changed or chose: see `condense.data.DatasetSpec`.
    """

    graphs: Graphs
    classes: tuple[int, ...]
    edge_values: tuple[tuple[int, ...], ...]
    split: Mapping[str, Column] | None
    where: str
    edge_counts: EdgeCounts
    both_ways: bool
    notes: tuple[str, ...] = ()


def read_graphs(path: Path) -> RawGraphs:
    """Reads a folder or a zip file in either layout.

    Raises:
        Refused: If it has neither layout, or if a file is missing or damaged.
    """
    files = open_files(path)
    names = sorted(name.removesuffix("_A.txt") for name in files.names if name.endswith("_A.txt"))
    names = [name for name in names if not is_leftover(name)]
    if len(names) > 1:
        raise Refused(f"{path} holds several datasets: {', '.join(names)}")
    if names:
        raw = _tu(files, names[0])
    elif "edge.csv.gz" in files:
        raw = _ogb(files)
    else:
        raise Refused(f"{path} holds neither NAME_A.txt (TUDataset) nor raw/edge.csv.gz (OGB)")
    return replace(raw, notes=(*_unread(files), *raw.notes))


def _unread(files: Files) -> list[str]:
    """Says which files nothing was read from, and which was chosen where several have one name."""
    others = sorted(set(files.names) - files.read)
    notes = [f"left out: {len(others)} other files: {few(others)}"] if others else []
    return notes + [
        f"of {len(places)} files called {name} {files.names[name]} was taken"
        for name, places in sorted(files.places.items())
        if name in files.read and len(places) > 1
    ]


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
    features, source = None, ""
    for file in (f"{name}_node_labels.txt", f"{name}_node_attributes.txt"):
        if features is None and file in files:
            features, source = _rows_like(files, file, len(owners), indicator), file
    values = None
    if (file := f"{name}_edge_labels.txt") in files:
        values = _rows_like(files, file, len(arcs), adjacency)
    raw = _raw(str(where), adjacency, sizes, arcs, (features, source), values, labels, both_ways=True)
    if source.endswith("_node_attributes.txt"):
        told = f"the whole numbers of {source} are taken as categories, since there are no node labels"
        raw = replace(raw, notes=(told, *raw.notes))
    return raw


def _ogb(files: Files) -> RawGraphs:
    """Reads OGB's layout, which counts nodes from 0 within each graph and lists each edge once.

    Node features are the columns of ``node-feat``, or else the degree.
    """
    where = files.where
    sizes, bonds = files.column(counted := "num-node-list.csv.gz"), files.column("num-edge-list.csv.gz")
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
    if sizes.astype(float).sum() > MOST_NODES:
        raise Refused(f"{counted} in {where} asks for more than {MOST_NODES} nodes")
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
    if (source := "node-feat.csv.gz") in files:
        features = _rows_like(files, source, int(sizes.sum()), "num-node-list.csv.gz")
    if "edge-feat.csv.gz" in files:
        values = _rows_like(files, "edge-feat.csv.gz", len(edges), "edge.csv.gz")
    arcs = edges + (np.cumsum(sizes) - sizes)[owners, None]
    raw = _raw(
        str(where), "edge.csv.gz", sizes, arcs, (features, source), values, labels[:, 0], both_ways=False
    )
    return replace(raw, split=_split(files, len(sizes)))


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
    rows = files.rows(name, columns, f"; {CONTINUOUS}" if columns is None else "")
    if len(rows) != lines:
        raise Refused(f"{name} in {files.where} has {len(rows)} lines, but {other} asks for {lines}")
    return rows


def _pair(numbers: Column) -> str:
    return f"{numbers[0]} and {numbers[1]}"


def _raw(
    where: str,
    adjacency: str,
    sizes: Int64[np.ndarray, " g"],
    arcs: Int64[np.ndarray, "m 2"],
    featured: tuple[Int64[np.ndarray, "n f"] | None, str],
    values: Int64[np.ndarray, "m v"] | None,
    labels: Int64[np.ndarray, " g"],
    *,
    both_ways: bool,
) -> RawGraphs:
    """Brings what was read into the form that both layouts share; node numbers count through all graphs.

    Without features (``featured``, with the name of their file) a node's feature is its degree; without
    ``values``, edges have no features.
    """
    nodes, (features, source) = int(sizes.sum()), featured
    line, edges, counts = _both_ways(arcs, nodes, values)
    notes = counts.notes(adjacency)
    if features is None:
        features, source = np.bincount(edges[0], minlength=nodes)[:, None], "the degree"
        notes.append("the feature of a node is its number of neighbours, since no file has others")
    for what, rows in (("node", features), ("edge", values)):
        if rows is not None and rows.size and rows.min() < 0:
            raise Refused(f"the {what} features in {where} go down to {rows.min()}; they must be 0 or more")
    features, numbered = _narrowed(features, source, where)
    notes += numbered
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
    edge_values = tuple(map(tuple, tuples.tolist()))
    names = tuple(classes.tolist())
    return RawGraphs(graphs, names, edge_values, None, where, counts, both_ways, tuple(notes))


def _narrowed(features: Rows, source: str, where: str) -> tuple[Rows, list[str]]:
    """Numbers the values of each column, and says so, if a network's input would be too wide for them.

    Raises:
        Refused: If there are too many different values all the same.
    """
    largest = features.max(0).astype(float)
    if (largest + 1).sum() <= WIDEST:
        return features, []
    found = [np.unique(column, return_inverse=True) for column in features.T]
    width = sum(len(values) for values, _ in found)
    if width > WIDEST:
        reason = f"{source} in {where} has {width} different values of nodes; at most {WIDEST} can be used"
        raise Refused(reason)
    notes = [
        f"the {len(values)} different values of column {number} of {source} (up to {values[-1]}) were "
        "numbered from 0, ascending"
        for number, (values, ids) in enumerate(found, 1)
        if len(values) <= values[-1]
    ]
    return np.stack([ids for _, ids in found], 1), notes


def _both_ways(
    arcs: Rows, nodes: int, values: Rows | None
) -> tuple[Column, Int64[np.ndarray, "2 e"], EdgeCounts]:
    """Lists every edge once in each direction, sorted by source and target.

    Returns:
        The first line of the edge file that lists each edge, the edge's source and target, and counts.
    """
    low, high = np.minimum(arcs[:, 0], arcs[:, 1]), np.maximum(arcs[:, 0], arcs[:, 1])
    proper = np.flatnonzero(low < high)
    keys, first, of = np.unique(low[proper] * nodes + high[proper], return_index=True, return_inverse=True)
    directed = len(np.unique(arcs[proper, 0] * nodes + arcs[proper, 1]))
    ambiguous = 0
    if values is not None:
        kinds, _ = tuple_ids(values[proper])
        ambiguous = len(np.unique(of[kinds != kinds[first][of]]))
    counts = EdgeCounts(
        lines=len(arcs),
        loops=len(arcs) - len(proper),
        repeated=len(proper) - directed,
        edges=len(keys),
        one_way=2 * len(keys) - directed,
        ambiguous=ambiguous,
    )
    low, high = np.divmod(keys, nodes)
    keys = np.concatenate([keys, high * nodes + low])
    order = np.argsort(keys)  # all keys are different
    return np.tile(proper[first], 2)[order], np.stack(np.divmod(keys[order], nodes)), counts


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
