"""Splits of graph datasets, and what is wrong with a user's or is worth a note."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Int64

from condense.data.graphs.spec import Graphs
from condense.data.notes import few, on_test_split
from condense.errors import Refused
from condense.files import digest

PARTS = ("train", "valid", "test")
"""Names of the splits."""

Column = Int64[np.ndarray, " _"]


def seeded_split(count: int) -> dict[str, Column]:
    """Splits graphs at random: a tenth to test, a tenth to validate (both rounded up), the rest to train.

    The random order is ``torch.randperm(count)`` with seed 0 on the CPU. Its first tenth becomes the test
    split and its second tenth the validation split, as in the scripts of Mirage and DosCond for TUDataset.

    Returns:
        The positions of each split's graphs, ascending.
    """
    order = _order(count)
    return {part: np.sort(index) for part, index in _tenths(order).items()}


def stratified_split(labels: Column) -> dict[str, Column]:
    """Splits each class as `seeded_split` splits all graphs, in one random order of all graphs.

    Args:
        labels: Class id of each graph; of a class with fewer than three graphs some splits get none.

    Returns:
        The positions of each split's graphs, ascending.
    """
    order = _order(len(labels))
    of_class = [_tenths(order[labels[order] == label]) for label in np.unique(labels)]
    return {part: np.sort(np.concatenate([parts[part] for parts in of_class])) for part in PARTS}


def _order(count: int) -> Column:
    order: Column = torch.randperm(count, generator=torch.Generator().manual_seed(0)).numpy()
    return order


def _tenths(order: Column) -> dict[str, Column]:
    tenth = -(-len(order) // 10)
    return {"train": order[2 * tenth :], "valid": order[tenth : 2 * tenth], "test": order[:tenth]}


def split_hash(split: Mapping[str, Column]) -> str:
    """Returns the SHA-256 of the positions in each split."""
    return digest({part: index.tolist() for part, index in split.items()})


def require_classes(parts: Mapping[str, Graphs], classes: Sequence[str], where: str) -> None:
    """Refuses a split that lacks a class: it cannot be learned, chosen by or scored.

    Args:
        parts: The graphs of each split.
        classes: Names of the classes.
        where: Source of the graphs, for the refusal.
    """
    for part, graphs in parts.items():
        missing = [name for name, count in zip(classes, graphs.counts(), strict=True) if not count]
        if missing:
            total = [sum(counts) for counts in zip(*(one.counts() for one in parts.values()), strict=True)]
            rare = total[list(classes).index(missing[0])]
            raise Refused(
                f"the {part} split of {where} has no graph of {len(missing)} of {len(classes)} classes: "
                f"{few(missing)} (class {missing[0]} has {rare} graphs in all)"
            )


def notes_on_splits(parts: Mapping[str, Graphs], classes: Sequence[str]) -> list[str]:
    """Says what the test split has few of, or shares with the training split, and what no class tells apart.

    Graphs are equal if they have the same nodes in the same order, with the same features and edges.
    """
    notes = on_test_split(parts["test"].counts(), classes, "graph")
    known: dict[bytes, set[int]] = {}
    for found, label in _hashes(parts["train"]):
        known.setdefault(found, set()).add(label)
    shared = [(label, known[found]) for found, label in _hashes(parts["test"]) if found in known]
    if shared:
        other = sum(label not in labels for label, labels in shared)
        notes.append(
            f"{len(shared)} of {len(parts['test'])} test graphs are equal to training graphs"
            + (f", {other} of them to graphs of other classes only" if other else "")
        )
    if torn := sum(len(labels) > 1 for labels in known.values()):
        notes.append(f"{torn} training graphs occur in several classes")
    return notes


def _hashes(graphs: Graphs) -> list[tuple[bytes, int]]:
    """Returns a hash and the class id of each graph."""
    nodes, edges = graphs.nodes_ptr.tolist(), graphs.edges_ptr.tolist()
    features, ends, values = (
        one.cpu().numpy() for one in (graphs.node_features, graphs.edges, graphs.edge_labels)
    )
    found = []
    for position, label in enumerate(graphs.labels.tolist()):
        first, last = nodes[position : position + 2]
        begin, end = edges[position : position + 2]
        hashed = hashlib.sha256(features[first:last].tobytes())
        hashed.update((ends[:, begin:end] - first).tobytes())
        hashed.update(values[begin:end].tobytes())
        found.append((hashed.digest(), label))
    return found
