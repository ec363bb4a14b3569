"""Folders in TUDataset's layout, written for tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Arc = tuple[int, int]


@dataclass
class Own:
    """Graphs as a user might write them.

    Attributes:
        sizes: Number of nodes of each graph.
        arcs: Edges as they are listed, between nodes counted from 0 through all graphs.
        labels: Class of each graph.
        nodes: Label of each node; None for no file of them.
        edges: Label of each arc; None for no file of them.
        more: Further files, by name.
    """

    sizes: Sequence[int]
    arcs: Sequence[Arc]
    labels: Sequence[int]
    nodes: Sequence[int] | None = None
    edges: Sequence[int] | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def written(self, folder: Path) -> str:
        """Writes the files, and returns the folder's path."""
        folder.mkdir(parents=True)
        owners = [graph + 1 for graph, size in enumerate(self.sizes) for _ in range(size)]
        columns = {
            "graph_indicator": owners, "graph_labels": self.labels, "node_labels": self.nodes,
            "edge_labels": self.edges,
        }  # fmt: skip
        texts = {f"X_{name}.txt": lines(values) for name, values in columns.items() if values is not None}
        texts["X_A.txt"] = "".join(f"{one + 1}, {other + 1}\n" for one, other in self.arcs)
        for name, text in (texts | dict(self.more)).items():
            (folder / name).write_text(text)
        return str(folder)


def lines(values: Sequence[int]) -> str:
    return "".join(f"{value}\n" for value in values)


def paths(count: int = 30, classes: int = 2) -> Own:
    """Paths of 2, 3, 4... nodes, with classes in turn; every edge is listed in both directions."""
    sizes = [2 + graph for graph in range(count)]
    firsts = [sum(sizes[:graph]) for graph in range(count)]
    arcs = [
        arc
        for first, size in zip(firsts, sizes, strict=True)
        for node in range(first, first + size - 1)
        for arc in ((node, node + 1), (node + 1, node))
    ]
    return Own(sizes, arcs, [graph % classes for graph in range(count)])
