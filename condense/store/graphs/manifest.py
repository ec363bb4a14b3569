"""The manifest of a stored set of graphs."""

from typing import NotRequired, TypedDict

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
ENCODINGS = ("columns", "dense")
EDGES = ("both", "to-parent")


class GraphDatasetPart(DatasetPart):
    """The dataset of a set of graphs; `features` is the number of values of each column of node features."""

    features: list[int]
    split: str


class NodesPart(TypedDict):
    """The form of the nodes: ``columns`` of integers, multi-hot for a student, or its ``dense`` input.

    `width` is the width of a student's input: the sum of the dataset's `features`.
    """

    encoding: str
    width: int


class GraphContent(SetContent):
    """The part of `set.json` that the content hash of a set of graphs covers.

    ``edges`` is ``both`` if each edge is stored once and carries messages in both directions, and
    ``to-parent`` if the graphs are trees whose nodes send messages to their parent only. ``dense_bytes`` is
    the size of the graphs as float32 features with a float32 adjacency matrix each; it follows from the
    tensors, and a `GraphSet` fills it in.
    """

    dataset: GraphDatasetPart
    nodes: NodesPart
    edges: str
    dense_bytes: NotRequired[int]


def find_graph_content_error(content: GraphContent) -> str | None:
    """Says what in a content of the right form is unknown to this version or contradicts itself, or None."""
    if (kind := content["label"]["kind"]) != "hard":
        return f"unknown label kind {kind!r} of graphs; known: hard"
    nodes, features = content["nodes"], content["dataset"]["features"]
    if nodes["encoding"] not in ENCODINGS:
        return f"unknown encoding of nodes {nodes['encoding']!r}; known: {', '.join(ENCODINGS)}"
    if not features or min(features) < 1:
        return f"content.dataset.features is {features}, not a number of values for each column"
    if nodes["width"] != sum(features):
        return f"content.nodes.width is {nodes['width']}, but the dataset's features are {sum(features)} wide"
    if content["edges"] not in EDGES:
        return f"unknown direction of edges {content['edges']!r}; known: {', '.join(EDGES)}"
    return None
