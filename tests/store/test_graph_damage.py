"""A set of graphs that is damaged, forged or wrongly made: refused in one sentence that names the file."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.store import GraphSet, ImageSet, load, verify
from tests.store.graph_sets import content, make

Tensors = dict[str, torch.Tensor]


@pytest.fixture(params=[False, True], ids=["graphs", "trees"])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A set on disk, and one of trees."""
    make(trees=request.param, weights="whole", seed=3).save(tmp_path / "set")
    return tmp_path / "set"


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    """A set on disk."""
    make(weights="float", seed=3).save(tmp_path / "set")
    return tmp_path / "set"


def forge(
    folder: Path,
    tensors: Callable[[Tensors], object] = lambda held: None,
    manifest: Callable[[dict[str, object]], object] = lambda content: None,
) -> None:
    """Changes a set as a careful forger would: with the list of tensors and the hash that go with it."""
    held = load_file(folder / "data.safetensors")
    whole = json.loads((folder / "set.json").read_text())
    tensors(held)
    whole["content"]["tensors"] = [
        {"name": name, "dtype": str(held[name].dtype)[6:], "shape": list(held[name].shape)}
        for name in sorted(held)
    ]
    manifest(whole["content"])
    whole["provenance"]["hash"] = hash_tensors(held, prefix=canonical(whole["content"]))
    save_file(held, folder / "data.safetensors")
    (folder / "set.json").write_text(json.dumps(whole))


def refusal(folder: Path) -> str:
    """The one sentence that loading and verifying a folder are refused with."""
    with pytest.raises(Refused) as caught:
        load(folder)
    with pytest.raises(Refused) as again:
        verify(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence and str(folder) in sentence and sentence == str(again.value)
    return sentence


def at(name: str, place: int | tuple[int, int], value: float) -> Callable[[Tensors], None]:
    """The change of one number of a tensor."""

    def change(held: Tensors) -> None:
        wide = held[name].clone() if held[name].is_floating_point() else held[name].long()
        wide[place] = value
        held[name] = wide.to(held[name].dtype)

    return change


def test_a_rewritten_set_without_changes_is_loaded(stored: Path) -> None:
    before = load(stored).hash
    forge(stored)
    assert load(stored).hash == before


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_truncated_file_is_named(stored: Path, length: int) -> None:
    data = (stored / "data.safetensors").read_bytes()
    (stored / "data.safetensors").write_bytes(data[:length])
    assert "data.safetensors is truncated or damaged" in refusal(stored)


def test_a_missing_file_is_named(stored: Path) -> None:
    (stored / "data.safetensors").unlink()
    assert "data.safetensors is missing" in refusal(stored)


def test_an_altered_byte_is_noticed(stored: Path) -> None:
    data = bytearray((stored / "data.safetensors").read_bytes())
    data[-1] ^= 1
    (stored / "data.safetensors").write_bytes(data)
    assert "data.safetensors or set.json was altered: their content hash is" in refusal(stored)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        ("version", 2, "this set is of version 2; this condense reads version 1: update condense"),
        ("kind", "texts", "reads sets of images and graphs, not of texts"),
        ("label", {"kind": "soft", "temperature": 1.0, "teacher": None}, "unknown label kind 'soft'"),
        ("nodes", {"encoding": "sparse", "width": 7}, "unknown encoding of nodes 'sparse'"),
        ("nodes", {"encoding": "columns", "width": 8}, "width is 8, but the dataset's features are 7 wide"),
        ("edges", "up", "unknown direction of edges 'up'; known: both, to-parent"),
        ("edges", None, "content.edges is null, not a text"),
        ("dense_bytes", 1, "set.json: content.dense_bytes does not agree with the tensors"),
        ("bytes", {"graphs": 1}, "set.json: content.bytes does not agree with the tensors"),
        ("tensors", [], "holds a tensor '.*' that set.json does not list"),
        (
            "counts",
            {"stored": 5, "effective": 4, "per_class": [2, 2]},
            "set.json: content.counts.stored is 5, but there are 4 graphs",
        ),
        (
            "counts",
            {"stored": 4, "effective": 4, "per_class": [4, 0]},
            "set.json: content.counts.per_class does not agree with the labels",
        ),
    ],
)
def test_a_manifest_that_is_not_true_or_not_known_is_named(
    stored: Path, place: str, value: object, sentence: str
) -> None:
    forge(stored, manifest=lambda held: held.update({place: value}))
    assert re.search(sentence, refusal(stored)) and "set.json" in refusal(stored)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (at("edges", (0, 0), 200), r"graph \d has an edge from node .*200.*, but \d nodes"),
        (at("edges", (1, 0), 200), r"graph \d has an edge from node .*200.*, but \d nodes"),
        (at("nodes_ptr", 0, 1), "nodes_ptr run from 1 to"),
        (at("nodes_ptr", -1, 255), "nodes_ptr run from 0 to 255, but there are"),
        (at("nodes_ptr", 1, 250), "nodes_ptr are not ascending: graph 1 ends before it begins"),
        (at("nodes_ptr", 1, 0), "graph 0 has no nodes"),
        (at("edges_ptr", 2, 250), "edges_ptr are not ascending: graph 2 ends before it begins"),
        (at("labels", 1, 2), "class ids run from . to 2, but there are 2 classes"),
        (at("nodes", (0, 1), 4), "node features run from 0 to 4 in column 1, but it has 4 values"),
        (at("weights", 0, 0), "weights that are no positive finite numbers"),
        (lambda held: held.pop("labels"), "there is no tensor 'labels'"),
        (
            lambda held: held.update(more=torch.ones(1)),
            "there is a tensor 'more', which no set of graphs has",
        ),
        (lambda held: held.update(edges=held["edges"].flatten()), "edges of shape .* are not"),
        (lambda held: held.update(labels=held["labels"][None]), "labels of shape .* are not stored"),
        (
            lambda held: held.update(labels=held["labels"][:-1].clone()),
            "nodes_ptr .* are not those of 3 graphs",
        ),
        (lambda held: held.update(nodes=held["nodes"].float()), "nodes of torch.float32 are not stored"),
        (lambda held: held.update(nodes=held["nodes"][:, :1].clone()), "nodes of .* are no columns"),
        (lambda held: held.update(edge_labels=held["edge_labels"][1:].clone()), r"not those of \d+ edges"),
        (lambda held: held.update(weights=held["weights"][1:].clone()), "weights of .* are not those of 4"),
        (lambda held: held.update(labels=held["labels"].long()), "content.tensors does not agree"),
        (
            lambda held: held.update(edges=held["edges"].flip(1), edge_labels=held["edge_labels"].flip(0)),
            "edge|form",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_tensors_that_are_no_graphs_are_named(
    stored: Path, change: Callable[[Tensors], object], sentence: str
) -> None:
    forge(stored, change)
    assert re.search(sentence, refusal(stored)), refusal(stored)
    assert "data.safetensors" in refusal(stored) or "set.json" in refusal(stored)


def test_weights_that_are_not_finite_are_named(graphs: Path) -> None:
    for value in (torch.nan, torch.inf, -1.0):
        forge(graphs, at("weights", 0, value))
        assert "data.safetensors: this is no set of graphs: there are weights" in refusal(graphs)


def test_learned_features_that_are_not_finite_are_named(tmp_path: Path) -> None:
    make(dense=True).save(tmp_path / "set")
    forge(tmp_path / "set", at("nodes", (0, 0), torch.inf))
    assert "set.json: 1 numbers of the nodes are not finite" in refusal(tmp_path / "set")


def test_a_set_of_graphs_is_not_read_as_images(graphs: Path) -> None:
    with pytest.raises(Refused, match="set is a set of graphs, not of images"):
        ImageSet.load(graphs)


PATH = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def of(edges: torch.Tensor, direction: str = "both", **more: object) -> GraphSet:
    """One graph of three nodes, after another of one."""
    labels = torch.tensor([0, 1])
    return GraphSet(
        nodes=torch.zeros(4, 1, dtype=torch.long),
        edges=edges + 1,
        nodes_ptr=torch.tensor([0, 1, 4]),
        edges_ptr=torch.tensor([0, 0, edges.shape[1]]),
        labels=labels,
        content=content(labels, [2], edges=direction),
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("edges", "sentence"),
    [
        (PATH[:, :3], "node 1 of graph 1 has an edge in one direction only"),
        (torch.cat([PATH, PATH[:, :2]], dim=1), "node 0 of graph 1 has an edge twice"),
        (torch.cat([PATH, torch.tensor([[2], [2]])], dim=1), "node 2 of graph 1 has an edge to itself"),
        (torch.tensor([[0, -1], [-1, 0]]), "graph 1 has an edge from node 0 to -1, but 3 nodes"),
        (PATH.float(), "edges of torch.float32"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_edges_that_are_not_there_in_both_directions_once_are_refused(
    edges: torch.Tensor, sentence: str
) -> None:
    assert len(of(PATH)) == 2
    with pytest.raises(Refused, match=f"this is no set of graphs: {sentence}"):
        of(edges)


def test_an_edge_has_one_label_in_both_directions() -> None:
    assert of(PATH, edge_labels=torch.tensor([1, 1, 0, 0])).edge_labels is not None
    with pytest.raises(Refused, match="an edge of node 0 of graph 1 has two labels"):
        of(PATH, edge_labels=torch.tensor([1, 0, 0, 0]))


def test_every_graph_has_a_node_that_stands_for_it(tmp_path: Path) -> None:
    made = make(graphs=3)
    roots = torch.zeros(len(made.nodes), dtype=torch.bool)
    roots[made.nodes_ptr[[0, 2]]] = True  # the mean over no root would be no number
    assert make({"roots": roots}, graphs=3).find_inconsistency() == "graph 1 has no root"
    roots[made.nodes_ptr[1]] = True
    again = make({"roots": roots}, graphs=3)
    again.save(tmp_path / "set")
    assert again.find_inconsistency() is None and load(tmp_path / "set").hash == again.hash


def test_trees_have_one_parent_a_node_and_their_roots_on_top(tmp_path: Path) -> None:
    chain = torch.tensor([[1, 2], [0, 1]])
    roots = torch.tensor([True, True, False, False])
    of(chain, "to-parent", roots=roots).save(tmp_path / "set")
    with pytest.raises(Refused, match="node 2 of graph 1 has more than one parent, so this is no tree"):
        of(torch.tensor([[2, 2], [0, 1]]), "to-parent")
    for edges, sentence in (
        (torch.tensor([[1, 2], [2, 1]]), "node 1 of graph 1 has no root above it"),
        (torch.tensor([[1], [0]]), "node 2 of graph 1 is a root with a parent, or has no parent and is none"),
    ):
        with pytest.raises(Refused, match=sentence):
            of(edges, "to-parent", roots=roots).save(tmp_path / "other")
    assert load(tmp_path / "set").hash and not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"nodes": torch.zeros(3, 2, dtype=torch.long)}, "nodes_ptr run from 0 to"),
        ({"weights": torch.tensor([1, 2, 3])}, "weights of torch.int64, .3,. are not those of 4 graphs"),
        ({"degrees": torch.tensor([1])}, "degrees of"),
        ({"roots": torch.tensor([1])}, "roots of torch.int64"),
        ({"labels": torch.tensor([0, 1, 0, -1])}, "class ids run from -1 to 1"),
        ({"provenance": {}, "content": {}}, "content.format is missing"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_a_set_that_is_wrongly_made_is_refused_at_once(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refused, match=f"this is no set of graphs: {sentence}"):
        make(values)


def test_saving_replaces_an_older_set_and_nothing_else(tmp_path: Path) -> None:
    make(trees=True).save(tmp_path / "set")
    second = make(seed=5)
    second.save(tmp_path / "set")
    assert load(tmp_path / "set").hash == second.hash
    assert sorted(file.name for file in (tmp_path / "set").iterdir()) == [
        "README.md", "data.safetensors", "gallery.png", "set.json",
    ]  # fmt: skip
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(Refused, match="it holds notes.txt"):
        second.save(tmp_path / "mine")
