"""The manifest of a stored set of graphs: what its `set.json` holds, and how its form is checked.

`condense.store.manifest` has what all sets share, and the one of images.
"""

from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast

from condense.store.manifest import Counts, Label, MethodPart, TensorPart, misfit

PARTS = ("graphs", "labels")
"""What a set's bytes are counted under."""
PART_OF = {
    "nodes": "graphs", "edges": "graphs", "edge_labels": "graphs", "nodes_ptr": "graphs",
    "edges_ptr": "graphs", "roots": "graphs", "degrees": "graphs", "labels": "labels", "weights": "labels",
}  # fmt: skip
"""The tensors of version 1, and the part each one's bytes belong to."""
REQUIRED = ("nodes", "edges", "nodes_ptr", "edges_ptr", "labels")
"""The tensors that every set has."""
ENCODINGS = ("columns", "dense")
EDGES = ("both", "to-parent")


class GraphDatasetPart(TypedDict):
    """The data a set stands for; `features` has the number of values of each column of node features."""

    name: str
    classes: list[str]
    features: list[int]
    split: str
    train_hash: str


class Nodes(TypedDict):
    """What a node is: integers in ``columns``, multi-hot for a student, or the student's ``dense`` input.

    `width` is that of a student's input: the sum of the dataset's `features`.
    """

    encoding: str
    width: int


class GraphContent(TypedDict):
    """All of `set.json` that the content hash covers.

    ``edges`` is ``both`` where each edge is stored once and carries messages in both directions, and
    ``to-parent`` where graphs are trees whose nodes send to their parent only. ``dense_bytes`` is what the
    graphs would take as float32 features with a float32 adjacency matrix each. It, ``bytes`` and ``tensors``
    follow from the tensors: a `GraphSet` fills them in.
    """

    format: str
    version: int
    kind: str
    key: str
    dataset: GraphDatasetPart
    ipc: int
    counts: Counts
    nodes: Nodes
    edges: str
    bytes: NotRequired[dict[str, int]]
    dense_bytes: NotRequired[int]
    label: Label
    protocol: dict[str, object] | None
    method: MethodPart
    seed: int
    tensors: NotRequired[list[TensorPart]]


def unreadable(values: Mapping[str, object]) -> str | None:
    """Says what in a manifest's content is not of its form or unknown to this version, or None."""
    if wrong := misfit(values, GraphContent, "content"):
        return wrong
    if missing := {"bytes", "dense_bytes", "tensors"} - set(values):
        return f"content.{min(missing)} is missing"
    content = cast(GraphContent, values)
    if content["kind"] != "graphs":
        return f"a set of graphs is not one of {content['kind']}"
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
