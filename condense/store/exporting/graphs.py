"""Sets of graphs as plain tensors for torch_geometric, and as the text files of TUDataset."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from condense.errors import Refused
from condense.files import canonical, write_atomic
from condense.store.exporting.report import Exported, about, as_torch
from condense.store.graphs.graph_set import GraphSet

NAME = "DISTILLED"
"""Name of the dataset in TUDataset's files."""


def to_pt(made: GraphSet, to: Path) -> Exported:
    """Writes a dictionary of plain tensors, which ``torch.load(weights_only=True)`` reads.

    ``x``, ``edge_index``, ``edge_label``, ``y``, ``weight``, ``roots`` and ``degrees`` are those of
    torch_geometric's ``Data`` for all graphs, graph after graph; ``nodes_ptr`` and ``edges_ptr`` are where
    each begins.
    """
    batch = made.batch()
    labels = torch.zeros_like(made.edges[0]) if made.edge_labels is None else made.edge_labels
    tensors = {
        "x": batch.nodes, "edge_index": made.edges, "edge_label": labels, "y": made.labels,
        "weight": made.weighting, "degrees": batch.degrees, "nodes_ptr": made.nodes_ptr,
        "edges_ptr": made.edges_ptr,
        "roots": torch.ones_like(batch.owners, dtype=torch.bool) if made.roots is None else made.roots,
    }  # fmt: skip
    write_atomic(to, as_torch({**tensors, **about(made)}))
    return Exported(to, lossless=True)


def to_tudataset(made: GraphSet, to: Path) -> Exported:
    """Writes a folder of TUDataset's text files; weights are in a file of their own, which TUDataset lacks.

    Raises:
        Refused: if the nodes have learned features, which whole numbers cannot hold.
    """
    if made.nodes.is_floating_point():
        raise Refused("TUDataset's labels are whole numbers; the nodes of this set have learned features")
    owners = torch.repeat_interleave(torch.arange(len(made)), made.nodes_ptr.diff())
    files: dict[str, Tensor] = {
        "A": made.edges.T + 1,
        "graph_indicator": owners[:, None] + 1,
        "graph_labels": made.labels[:, None],
        "node_labels": made.nodes,
    }
    if made.edge_labels is not None:
        files["edge_labels"] = made.edge_labels[:, None]
    for name, table in files.items():
        write_atomic(to / f"{NAME}_{name}.txt", _text(table.tolist()))
    notes: list[str] = []
    if made.weights is not None:
        write_atomic(to / f"{NAME}_graph_weights.txt", _text([[value] for value in made.weighting.tolist()]))
        notes.append(f"weights are in {NAME}_graph_weights.txt, which readers of TUDataset do not know")
    if made.roots is not None or made.degrees is not None:
        notes.append("roots and original degrees are left out: TUDataset has no place for them")
    write_atomic(to / "about.json", canonical(about(made)))
    return Exported(to, lossless=not notes, notes=tuple(notes))


def _text(rows: Sequence[Sequence[float]]) -> str:
    return "".join(", ".join(map(str, row)) + "\n" for row in rows)


GRAPH_FORMS: Mapping[str, Callable[[GraphSet, Path], Exported]] = {"pt": to_pt, "tudataset": to_tudataset}
"""The forms of sets of graphs, the default first."""
