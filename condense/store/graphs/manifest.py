"""The manifest of a stored set of graphs."""

from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from condense.schema import Name, ReadOnly, Whole
from condense.store.manifest import DatasetPart, SetContent

PARTS = ("graphs", "labels")
"""Names under which a set's bytes are counted."""
PART_OF = {
    "nodes": "graphs", "edges": "graphs", "edge_labels": "graphs", "nodes_ptr": "graphs",
    "edges_ptr": "graphs", "roots": "graphs", "degrees": "graphs", "labels": "labels", "weights": "labels",
}  # fmt: skip
"""The tensors of version 1, each with the part that its bytes count under."""
REQUIRED = ("nodes", "edges", "nodes_ptr", "edges_ptr", "labels")
"""The tensors that every set has."""
MAX_WIDTH = 2**20
"""Largest width of a node's features; those of real data are far narrower."""
ENCODINGS = ("columns", "dense")
EDGES = ("both", "to-parent")


class GraphDatasetPart(DatasetPart):
    """The dataset of a set of graphs; `features` is the number of values of each column of node features."""

    features: Annotated[list[Annotated[int, Meta(ge=1, le=MAX_WIDTH)]], Meta(min_length=1)]
    split: Name


class NodesPart(TypedDict):
    """The form of the nodes: ``columns`` of integers, multi-hot for a student, or its ``dense`` input.

    `width` is the width of a student's input: the sum of the dataset's `features`.
    """

    encoding: Name
    width: Annotated[int, Meta(ge=1, le=MAX_WIDTH)]


class GraphContent(SetContent):
    """The part of `set.json` that the content hash of a set of graphs covers.

    ``edges`` is ``both`` if each edge is stored once and carries messages in both directions, and
    ``to-parent`` if the graphs are trees whose nodes send messages to their parent only. ``dense_bytes`` is
    the size of the graphs as float32 features with a float32 adjacency matrix each; it follows from the
    tensors, and a `GraphSet` fills it in.
    """

    dataset: ReadOnly[GraphDatasetPart]
    nodes: NodesPart
    edges: Name
    dense_bytes: NotRequired[Whole]


def find_graph_content_error(content: GraphContent) -> str | None:
    """Says what in a content of the right form is unknown to this version or contradicts itself, or None."""
    if (kind := content["label"]["kind"]) != "hard":
        return f"unknown label kind {kind!r} of graphs; known: hard"
    nodes, features = content["nodes"], content["dataset"]["features"]
    if nodes["encoding"] not in ENCODINGS:
        return f"unknown encoding of nodes {nodes['encoding']!r}; known: {', '.join(ENCODINGS)}"
    if nodes["width"] != sum(features):
        return f"content.nodes.width is {nodes['width']}, but the dataset's features are {sum(features)} wide"
    if content["edges"] not in EDGES:
        return f"unknown direction of edges {content['edges']!r}; known: {', '.join(EDGES)}"
    return None
