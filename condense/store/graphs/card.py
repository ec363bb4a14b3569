"""The card of a stored set of graphs: a README for whoever finds the folder without the suite."""

from collections.abc import Mapping

from condense.files import canonical
from condense.store.graphs.manifest import GraphContent


def card(content: GraphContent, provenance: Mapping[str, object]) -> str:
    """Writes the card.

    Args:
        content: The manifest's content, complete.
        provenance: The manifest's provenance, with the hash.

    Returns:
        Markdown.
    """
    dataset, counts, method = content["dataset"], content["counts"], content["method"]
    shapes = {part["name"]: part["shape"] for part in content["tensors"]}
    trees = content["edges"] == "to-parent"
    sizes = {part: size for part, size in content["bytes"].items() if size}
    rows = [
        ("Dataset", f"{dataset['name']}, {len(dataset['classes'])} classes, {dataset['split']} split"),
        ("Train split", f"`{dataset['train_hash']}`"),
        ("Method", method["name"]),
        ("Published recipe", method["source"] or "none"),
        (
            "Graphs per class",
            f"{content['ipc']}, {counts['stored']} stored: {', '.join(map(str, counts['per_class']))}",
        ),
        ("Size", f"{shapes['nodes'][0]} nodes and {shapes['edges'][1]} edges in all"),
        ("Nodes", _nodes(content)),
        ("Edges", _TREES if trees else "each is stored once and carries messages in both directions"),
        ("Labels of edges", _EDGE_LABELS if "edge_labels" in shapes else "none"),
        ("Weights", _WEIGHTS if "weights" in shapes else "none: each graph counts the same"),
        ("Roots", _ROOTS if "roots" in shapes else "none: a graph's embedding is made of all its nodes"),
        ("Degrees", _DEGREES if "degrees" in shapes else "those that the edges show"),
        (
            "Bytes",
            f"{', '.join(f'{part} {size}' for part, size in sizes.items())}; {sum(sizes.values())} in all; "
            f"{content['dense_bytes']} as float32 features with a float32 adjacency matrix each",
        ),
        ("Labels", "class ids"),
        ("Distil seed", str(content["seed"])),
        *(
            (name.capitalize(), str(provenance[name]))
            for name in ("device", "seconds", "time")
            if name in provenance
        ),
        ("Content hash", f"`{provenance['hash']}`"),
    ]
    return _CARD.format(
        title=f"{dataset['name']} distilled by {method['name']}",
        total=f"{counts['stored']} {'sets of trees' if trees else 'graphs'}",
        name=dataset["name"],
        table="\n".join(f"| {name} | {' '.join(value.split())} |" for name, value in rows),
        chain="\n".join(
            f"{link['name']} {link['version']}: {canonical(link['config'])}" for link in method["chain"]
        ),
        plain=plain_reader(content),
        owner="pool the roots only" if "roots" in shapes else "pool all nodes",
        degrees=_AFTER_DEGREES if "degrees" in shapes else "",
    )


def plain_reader(content: GraphContent) -> str:
    """Python that reads a set from inside its folder with json, NumPy and safetensors.

    It ends with the union of all graphs: ``x`` float32 features of the nodes, ``edges`` source and target of
    each message, ``owner`` the graph of each node, ``y`` the graphs' classes, ``weight`` how much each
    counts; and where they are stored ``edge_label``, ``roots``, ``degrees``.
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


def _nodes(content: GraphContent) -> str:
    features, width = content["dataset"]["features"], content["nodes"]["width"]
    if content["nodes"]["encoding"] == "dense":
        return f"learned float32 features, {width} wide"
    if len(features) == 1:
        return f"one of {width} labels, one-hot for a student"
    columns = ", ".join(map(str, features))
    return f"{len(features)} columns of {columns} values, for a student one-hot side by side: {width} wide"


_TREES = "each graph is one tree or several: messages go from child to parent, and never back"
_EDGE_LABELS = "one for each edge: the number of its features among those of the dataset"
_WEIGHTS = "one for each graph: what it counts in a student's loss, in proportion to the others"
_ROOTS = "marked: a graph's embedding is made of its roots' embeddings only"
_DEGREES = "stored: each node's number of neighbours in the graph that it comes from, more than it has here"
_AFTER_DEGREES = (
    "\nThe trees are cut off at their leaves, so a layer that divides by degrees (GCN) takes `degrees`, not\n"
    "what the edges show.\n"
)

_CARD = """\
# {title}

{total} that stand for the training set of {name}: a graph network trained on them alone should do
well on the real test graphs. Made with condense (`pip install condense-bench`).

![Some of the graphs of each class](gallery.png)

| | |
| --- | --- |
{table}

The method with all its settings:

```
{chain}
```

## Load it

```python
import condense

data = condense.load(".")  # this folder; data.batch() has all graphs as tensors
```

It is a torch Dataset of torch_geometric's `Data`, if that is installed
(`pip install 'condense-bench[graph]'`).

Without condense, from inside this folder:

```python
{plain}
```

These are all graphs side by side: `x` has a row for each node, `edges` (2, e) the source and target of each
message, `owner` the graph of each node, `y` and `weight` the class of each graph and its part of the loss.
For a graph's embedding, {owner}; on real graphs, all nodes.
{degrees}
The order of the classes is `content["dataset"]["classes"]`.

## Check it

`condense verify .` recomputes the content hash, which covers the `content` of `set.json` and every tensor of
`data.safetensors`, name, type, shape and bytes, and nothing else.
"""
