"""Reading graphs from files: both layouts against naive readers, equal copies, and damaged files."""

import gzip
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condense.data.graphs.files import read_graphs, tuple_ids
from condense.data.graphs.sources import MUTAG
from condense.errors import Refused

MOLBACE = Path(__file__).with_name("ogbg_molbace.zip")
Texts = dict[str, str]

TU: Texts = {
    "X_A.txt": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n",
    "X_graph_indicator.txt": "1\n1\n1\n2\n2\n3\n",
    "X_graph_labels.txt": "4\n-1\n4\n",
    "X_node_labels.txt": "5\n0\n5\n0\n2\n2\n",
    "X_edge_labels.txt": "7\n7\n3\n3\n7\n7\n",
}
"""Graphs of 3, 2 and 1 nodes: a path, an edge, a lone node."""

OGB: Texts = {
    "num-node-list.csv.gz": "3\n2\n1\n",
    "num-edge-list.csv.gz": "2\n1\n0\n",
    "edge.csv.gz": "0,1\n1,2\n0,1\n",
    "node-feat.csv.gz": "5\n0\n5\n0\n2\n2\n",
    "edge-feat.csv.gz": "7\n3\n7\n",
    "graph-label.csv.gz": "4\n-1\n4\n",
}
"""The same graphs in the other layout."""


def written(folder: Path, texts: Texts) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        content = text.encode()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return folder


def zipped(path: Path, texts: Texts) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, text in texts.items():
            content = text.encode()
            file.writestr(f"X/raw/{name}", gzip.compress(content) if name.endswith(".gz") else content)
    return path


def test_both_layouts_give_the_same_graphs_in_folders_and_zip_files(tmp_path: Path) -> None:
    places = [
        written(tmp_path / "tu", TU),
        written(tmp_path / "ogb" / "raw", OGB).parent,
        zipped(tmp_path / "tu.zip", TU),
        zipped(tmp_path / "ogb.zip", OGB),
    ]
    for held in map(read_graphs, places):
        graphs = held.graphs
        assert graphs.nodes_ptr.tolist() == [0, 3, 5, 6] and graphs.edges_ptr.tolist() == [0, 4, 6, 6]
        assert graphs.edges.tolist() == [[0, 1, 1, 2, 3, 4], [1, 0, 2, 1, 4, 3]]
        assert graphs.edge_labels.tolist() == [1, 1, 0, 0, 1, 1] and held.edge_values == ((3,), (7,))
        assert graphs.node_features.tolist() == [[5], [0], [5], [0], [2], [2]]
        assert graphs.node_labels.tolist() == [2, 0, 2, 0, 1, 1]
        assert held.classes == (-1, 4) and graphs.labels.tolist() == [1, 0, 1] and graphs.num_classes == 2
        assert held.split is None


COPIES: dict[str, Texts] = {
    "edges in another order": {
        "X_A.txt": "5, 4\n3, 2\n2, 1\n1, 2\n2, 3\n4, 5\n",
        "X_edge_labels.txt": "7\n3\n7\n7\n3\n7\n",
    },
    "every edge twice": {"X_A.txt": TU["X_A.txt"] * 2, "X_edge_labels.txt": TU["X_edge_labels.txt"] * 2},
    "another label the second time": {
        "X_A.txt": TU["X_A.txt"] + "1, 2\n",
        "X_edge_labels.txt": TU["X_edge_labels.txt"] + "3\n",
    },
    "an edge from a node to itself": {
        "X_A.txt": TU["X_A.txt"] + "6, 6\n",
        "X_edge_labels.txt": TU["X_edge_labels.txt"] + "9\n",
    },
    "one direction only": {"X_A.txt": "2, 1\n2, 3\n4, 5\n", "X_edge_labels.txt": "7\n3\n7\n"},
    "no end of the last line": {"X_graph_labels.txt": "4\n-1\n4"},
    "attributes beside the labels": {"X_node_attributes.txt": "0.5\n" * 6},
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_of_the_same_graphs_have_the_same_hash(copy: str, tmp_path: Path) -> None:
    held = read_graphs(written(tmp_path / "copy", TU | COPIES[copy]))
    plain = read_graphs(written(tmp_path / "plain", TU))
    assert held.graphs.hash == plain.graphs.hash and held.edge_values == plain.edge_values


def test_attributes_replace_missing_node_labels_and_degrees_both(
    tmp_path: Path,
) -> None:
    bare = {name: text for name, text in TU.items() if "node" not in name and "edge" not in name}
    held = read_graphs(written(tmp_path / "bare", bare))
    assert held.graphs.node_features[:, 0].tolist() == [1, 2, 1, 1, 1, 0]
    assert held.edge_values == ((),) and not held.graphs.edge_labels.any()
    own = read_graphs(
        written(tmp_path / "own", bare | {"X_node_attributes.txt": "1,9\n0,9\n1,8\n0,9\n0,9\n1,8\n"})
    )
    assert own.graphs.node_features.shape == (6, 2)
    assert own.graphs.node_labels.tolist() == [2, 0, 1, 0, 0, 1]
    with pytest.raises(Refused, match="line 1 of X_node_attributes.txt .* holds '0.5'"):
        read_graphs(written(tmp_path / "real", bare | {"X_node_attributes.txt": "0.5\n" * 6}))
    ogb = {name: text for name, text in OGB.items() if "feat" not in name}
    assert read_graphs(written(tmp_path / "ogb", ogb)).graphs.hash == held.graphs.hash


def test_mutag_equals_what_a_naive_reader_finds() -> None:
    held = read_graphs(MUTAG)
    with zipfile.ZipFile(MUTAG) as file:
        lines = {
            name.split("MUTAG_")[1].removesuffix(".txt"): file.read(name).decode().splitlines()
            for name in file.namelist()
            if "MUTAG_" in name
        }
    owner = [int(line) - 1 for line in lines["graph_indicator"]]
    assert held.graphs.owners.tolist() == owner
    assert held.graphs.node_labels.tolist() == [int(line) for line in lines["node_labels"]]
    assert [held.classes[label] for label in held.graphs.labels.tolist()] == [
        int(line) for line in lines["graph_labels"]
    ]
    edges = {
        (int(line.split(",")[0]) - 1, int(line.split(",")[1]) - 1): int(label)
        for line, label in zip(lines["A"], lines["edge_labels"], strict=True)
    }
    read_edges = zip(*held.graphs.edges.tolist(), held.graphs.edge_labels.tolist(), strict=True)
    assert {(source, target): label for source, target, label in read_edges} == edges
    assert len(edges) == held.graphs.edges.shape[1] == 2 * 3721


def test_molbace_equals_its_files_molecule_by_molecule() -> None:
    held = read_graphs(MOLBACE)
    with zipfile.ZipFile(MOLBACE) as file:
        lines = {
            name: gzip.decompress(file.read(f"ogbg_molbace/raw/{name}.csv.gz")).decode().splitlines()
            for name in ("node-feat", "edge", "edge-feat", "num-node-list", "num-edge-list", "graph-label")
        }
    nodes = edges = 0
    for position in range(40):
        graph = held.graphs.select([position])
        z, e = int(lines["num-node-list"][position]), int(lines["num-edge-list"][position])
        atoms = [[int(one) for one in line.split(",")] for line in lines["node-feat"][nodes : nodes + z]]
        assert graph.node_features.tolist() == atoms
        bonds: Counter[tuple[int, int, tuple[int, ...]]] = Counter()
        for pair, value in zip(
            lines["edge"][edges : edges + e], lines["edge-feat"][edges : edges + e], strict=True
        ):
            source, target = (int(one) for one in pair.split(","))
            kind = tuple(int(one) for one in value.split(","))
            bonds.update([(source, target, kind), (target, source, kind)])
        found = zip(*graph.edges.tolist(), graph.edge_labels.tolist(), strict=True)
        assert Counter((source, target, held.edge_values[label]) for source, target, label in found) == bonds
        assert graph.labels.tolist() == [int(lines["graph-label"][position])]
        nodes, edges = nodes + z, edges + e


@settings(max_examples=60, deadline=None)
@given(
    table=st.integers(0, 4).flatmap(
        lambda width: st.lists(
            st.tuples(*[st.one_of(st.integers(0, 3), st.integers(0, 10**18 - 1))] * width), max_size=12
        )
    )
)
def test_ids_follow_the_order_of_the_different_rows(table: list[tuple[int, ...]]) -> None:
    width = len(table[0]) if table else 2
    ids, rows = tuple_ids(np.array(table, np.int64).reshape(len(table), width))
    different = sorted(set(table))
    assert ids.tolist() == [different.index(row) for row in table]
    assert [tuple(row) for row in rows.tolist()] == different


UNSOUND: dict[str, tuple[Texts, dict[str, str | None], str]] = {
    "no labels": (TU, {"X_graph_labels.txt": None}, "holds no file X_graph_labels.txt"),
    "short node labels": (
        TU,
        {"X_node_labels.txt": "5\n0\n"},
        "X_node_labels.txt in .* has 2 lines, but X_graph_indicator.txt asks for 6",
    ),
    "short edge labels": (
        TU,
        {"X_edge_labels.txt": "7\n"},
        "X_edge_labels.txt in .* has 1 lines, but X_A.txt asks for 6",
    ),
    "short labels": (
        TU,
        {"X_graph_labels.txt": "4\n4\n"},
        "has nodes of the graphs 1 to 3, but X_graph_labels.txt has 2 lines",
    ),
    "short indicator": (TU, {"X_graph_indicator.txt": "1\n1\n"}, "graphs 1 to 1, but .* has 3 lines"),
    "empty indicator": (TU, {"X_graph_indicator.txt": ""}, "X_graph_indicator.txt in .* is empty"),
    "counted from 0": (TU, {"X_graph_indicator.txt": "0\n0\n0\n1\n1\n2\n"}, "graphs 0 to 2"),
    "a wild graph": (TU, {"X_graph_indicator.txt": f"1\n1\n1\n2\n2\n{10**17}\n"}, f"graphs 1 to {10**17}"),
    "back": (
        TU,
        {"X_graph_indicator.txt": "1\n1\n2\n1\n2\n3\n"},
        "line 4 of X_graph_indicator.txt in .* goes back to an earlier graph",
    ),
    "an empty graph": (
        TU,
        {"X_graph_indicator.txt": "1\n1\n1\n3\n3\n3\n"},
        r"graph 2 \(counted from 1\) in .* has no nodes",
    ),
    "a node too many": (
        TU,
        {"X_A.txt": "1, 2\n7, 1\n"},
        "line 2 of X_A.txt in .* joins the nodes 7 and 1, but X_graph_indicator.txt has 6 lines",
    ),
    "node 0": (TU, {"X_A.txt": "1, 0\n"}, "joins the nodes 1 and 0"),
    "across": (
        TU,
        {"X_A.txt": "1, 2\n3, 4\n"},
        "line 2 of X_A.txt in .* joins the nodes 3 and 4 of the graphs 1 and 2",
    ),
    "below zero": (TU, {"X_node_labels.txt": "5\n0\n-5\n0\n2\n2\n"}, "node features in .* go down to -5"),
    "two sets": (TU, {"Y_A.txt": "1, 2\n"}, "holds several datasets: X, Y"),
    "neither": (TU, {"X_A.txt": None}, r"holds neither NAME_A.txt \(TUDataset\) nor raw/edge.csv.gz"),
    "short atoms": (
        OGB,
        {"node-feat.csv.gz": "5\n0\n"},
        "node-feat.csv.gz in .* has 2 lines, but num-node-list.csv.gz asks for 6",
    ),
    "short bonds": (
        OGB,
        {"edge.csv.gz": "0,1\n"},
        "edge.csv.gz in .* has 1 lines, but num-edge-list.csv.gz asks for 3",
    ),
    "short bond features": (
        OGB,
        {"edge-feat.csv.gz": "7\n"},
        "edge-feat.csv.gz in .* has 1 lines, but edge.csv.gz asks for 3",
    ),
    "short edge counts": (
        OGB,
        {"num-edge-list.csv.gz": "2\n1\n"},
        "num-edge-list.csv.gz in .* has 2 lines, but num-node-list.csv.gz has 3",
    ),
    "short classes": (OGB, {"graph-label.csv.gz": "4\n"}, "has 1 lines, but num-node-list.csv.gz has 3"),
    "tasks": (OGB, {"graph-label.csv.gz": "4,1\n1,1\n4,1\n"}, "holds 2 labels for each graph, not one"),
    "unknown class": (OGB, {"graph-label.csv.gz": "4\nnan\n4\n"}, "line 2 of graph-label.csv.gz .* 'nan'"),
    "no atoms": (
        OGB,
        {"num-node-list.csv.gz": "3\n0\n3\n"},
        r"graph 1 \(counted from 0\) in .* has no nodes",
    ),
    "fewer than none": (OGB, {"num-edge-list.csv.gz": "2\n-1\n2\n"}, "graph 1 .* has -1 edges"),
    "no graphs": (
        OGB,
        dict.fromkeys(("num-node-list.csv.gz", "num-edge-list.csv.gz", "graph-label.csv.gz"), ""),
        "num-node-list.csv.gz in .* is empty",
    ),
    "past the molecule": (
        OGB,
        {"edge.csv.gz": "0,1\n1,2\n0,2\n"},
        "line 3 of edge.csv.gz in .* joins the nodes 0 and 2 of graph 1 .* which has 2 nodes",
    ),
    "a graph twice": (
        OGB,
        {"train.csv.gz": "0\n1\n", "valid.csv.gz": "1\n", "test.csv.gz": "2\n"},
        r"does not contain each of the 3 graphs once \(train.csv.gz 2, valid.csv.gz 1, test.csv.gz 1 lines\)",
    ),
    "half a split": (OGB, {"train.csv.gz": "0\n1\n2\n"}, "holds no file valid.csv.gz"),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_contradictory_files_are_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    base, changes, sentence = UNSOUND[case]
    texts = {name: text for name, text in (base | changes).items() if text is not None}
    with pytest.raises(Refused, match=sentence) as refused:
        read_graphs(written(tmp_path / "own", texts))
    assert "\n" not in str(refused.value) and str(tmp_path) in str(refused.value)


def test_the_split_of_the_files_is_kept(tmp_path: Path) -> None:
    split = {"train.csv.gz": "2\n0\n", "valid.csv.gz": "1\n", "test.csv.gz": ""}
    held = read_graphs(zipped(tmp_path / "own.zip", OGB | split))
    assert held.split is not None
    assert {part: index.tolist() for part, index in held.split.items()} == {
        "train": [0, 2],
        "valid": [1],
        "test": [],
    }


def test_damaged_zip_files_are_refused(tmp_path: Path) -> None:
    whole = MUTAG.read_bytes()
    for number, body in enumerate((b"", b"no zip", whole[:9000], whole[:5000] + b"\0" * 99 + whole[5099:])):
        path = tmp_path / f"broken{number}.zip"
        path.write_bytes(body)
        with pytest.raises(Refused, match=rf"broken{number}.zip is (not an intact zip file|damaged)"):
            read_graphs(path)
    with pytest.raises(Refused, match="there is no file"):
        read_graphs(tmp_path / "none.zip")


def test_arrays_share_no_memory_with_each_other(tmp_path: Path) -> None:
    graphs = read_graphs(written(tmp_path, TU)).graphs
    places = {array.untyped_storage().data_ptr() for array in graphs.tensors().values()}
    assert len(places) == len(graphs.tensors())
    assert all(array.is_contiguous() and array.dtype == torch.int64 for array in graphs.tensors().values())


def test_ids_keep_their_order_when_columns_exceed_64_bits_together() -> None:
    table = np.array([[at, 10**18 - 1 - at % 3] for at in range(40)])
    ids, _ = tuple_ids(table)
    assert ids.tolist() == list(range(40))
