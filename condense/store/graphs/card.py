"""The parts of a card that only sets of graphs have."""

from collections.abc import Mapping

from condense.store.card import CardText, write_card
from condense.store.graphs.manifest import GraphContent


def graph_card(content: GraphContent, provenance: Mapping[str, object]) -> str:
    """Returns the card of a set of graphs in Markdown.

    Args:
        content: The manifest's content, complete.
        provenance: The manifest's provenance, with the hash.
    """
    dataset, counts = content["dataset"], content["counts"]
    shapes = {part["name"]: part["shape"] for part in content["tensors"]}
    trees = content["edges"] == "to-parent"
    text = CardText(
        samples=f"{counts['stored']} {'sets of trees' if trees else 'graphs'}",
        student="a graph network",
        test="test graphs",
        pictures="Some of the graphs of each class",
        rows=[
            ("Split", dataset["split"]),
            ("Stored graphs of each class", ", ".join(map(str, counts["per_class"]))),
            ("Size", f"{shapes['nodes'][0]} nodes and {shapes['edges'][1]} edges in all"),
            ("Bytes as dense graphs", f"{content['dense_bytes']}{_DENSE}"),
            ("Nodes", _describe_nodes(content)),
            ("Edges", _TREES if trees else "each is stored once and carries messages in both directions"),
            ("Labels of edges", _EDGE_LABELS if "edge_labels" in shapes else "none"),
            ("Weights", _WEIGHTS if "weights" in shapes else "none: each graph counts the same"),
            (
                "Roots",
                _ROOTS if "roots" in shapes else "none: all nodes make the embedding of a graph",
            ),
            ("Degrees", _DEGREES if "degrees" in shapes else "those that the edges show"),
            ("Labels", "class ids"),
        ],
        loading="this folder; data.batch() has all graphs as tensors",
        loading_note=_LOADING_NOTE,
        reader=graph_reader(content),
        reader_note=_READER_NOTE.format(
            pooled="pool the roots only" if "roots" in shapes else "pool all nodes",
            degrees=_DEGREES_NOTE if "degrees" in shapes else "",
        ),
    )
    return write_card(content, provenance, text)


def graph_reader(content: GraphContent) -> str:
    """Returns Python code that reads a set from inside its folder with json, NumPy and safetensors.

    Its results are the union of all graphs: ``x`` float32 features of the nodes, ``edges`` source and target
    of each message, ``owner`` the graph of each node, ``y`` the class of each graph, ``weight`` the part of
    each graph in the loss; and ``edge_label``, ``roots`` and ``degrees`` if they are stored.
    """
    names = {part["name"] for part in content["tensors"]}
    both = content["edges"] == "both"
    lines = [
        "import json",
        "import numpy as np",
        "from safetensors.numpy import load_file",
        'content, stored = json.load(open("set.json"))["content"], load_file("data.safetensors")',
    ]
    if content["nodes"]["encoding"] == "dense":
        lines.append('x = stored["nodes"]')
    else:
        lines += [
            'starts = np.cumsum([0, *content["dataset"]["features"][:-1]])',
            'x = np.zeros((len(stored["nodes"]), content["nodes"]["width"]), "float32")',
            'np.put_along_axis(x, stored["nodes"] + starts, 1, axis=1)',
        ]
    lines += [
        'begin, ends = stored["nodes_ptr"].astype(int), stored["edges_ptr"].astype(int)',
        'edges = stored["edges"].astype(int) + np.repeat(begin[:-1], np.diff(ends))',
        *(["edges = np.hstack([edges, edges[::-1]])"] if both else []),
        'y, owner = stored["labels"].astype(int), np.repeat(np.arange(len(begin) - 1), np.diff(begin))',
        'weight = stored["weights"] / stored["weights"].sum()'
        if "weights" in names
        else "weight = np.full(len(y), 1 / len(y))",
    ]
    if "edge_labels" in names:
        lines.append(f"edge_label = {'np.tile(%s, 2)' if both else '%s'}" % 'stored["edge_labels"]')
    return "\n".join(lines + [f'{name} = stored["{name}"]' for name in ("roots", "degrees") if name in names])


def _describe_nodes(content: GraphContent) -> str:
    features, width = content["dataset"]["features"], content["nodes"]["width"]
    if content["nodes"]["encoding"] == "dense":
        return f"learned float32 features, {width} wide"
    if len(features) == 1:
        return f"one of {width} labels, one-hot for a student"
    columns = ", ".join(map(str, features))
    return f"{len(features)} columns of {columns} values, for a student one-hot side by side: {width} wide"


_DENSE = ", with float32 features and a float32 adjacency matrix for each graph"
_TREES = "each graph is one tree or several: messages go from child to parent, and never back"
_EDGE_LABELS = "one for each edge: the number of its features among those of the dataset"
_WEIGHTS = "one for each graph: its part of a student's loss, in proportion to the others"
_ROOTS = "marked: the embedding of a graph is made of the embeddings of its roots only"
_DEGREES = "stored: the number of neighbours of each node in the graph that it comes from"
_DEGREES_NOTE = """
The trees are cut off at their leaves, so a layer that divides by degrees (GCN) needs `degrees` in place of
the degrees that the edges show.
"""
_LOADING_NOTE = """
It is a torch Dataset of torch_geometric's `Data`, if that is installed
(`pip install -e '.[graph]'` in a checkout of condense).
"""
_READER_NOTE = """\
These are all graphs side by side: `x` has a row for each node, `edges` (2, e) the source and target of each
message, `owner` the graph of each node, `y` and `weight` the class of each graph and its part of the loss.
For the embedding of a graph, {pooled}; for a real graph, pool all nodes.
{degrees}"""
