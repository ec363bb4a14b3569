"""A user's own graphs: whatever reading them changes is counted and said, or refused."""

import gzip
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from condense.data import load_dataset, load_graphs
from condense.data.graphs.files import WIDEST, read_graphs
from condense.data.graphs.sources import MUTAG
from condense.data.graphs.splits import PARTS, stratified_split
from condense.errors import Refused
from tests.data.graphs.tu_folders import Arc, Own, paths

SPLIT = (
    "the test split is a tenth of each class drawn at random, 4 of 30 graphs; the validation split is another"
)
DEGREE = "the feature of a node is its number of neighbours, since no file has others"
FEW = "the test split has fewer than 10 graphs of 2 of 2 classes (2 or more): 0, 1"


def notes_of(own: Own, folder: Path) -> list[str]:
    """What loading says beyond what it says of `paths`."""
    data = load_graphs(own.written(folder))
    assert {SPLIT, FEW} <= set(data.spec.notes) and not data.spec.named
    return [note for note in data.spec.notes if note not in (SPLIT, DEGREE, FEW)]


def test_of_plain_graphs_the_split_and_the_features_alone_are_said(tmp_path: Path) -> None:
    data = load_graphs(paths().written(tmp_path / "own"))
    assert data.spec.notes == (DEGREE, SPLIT, FEW) and data.spec.split == "seeded-v2"
    assert load_graphs("mutag").spec.notes == () and load_graphs("mutag").spec.split == "seeded"


def test_edges_that_are_listed_in_one_direction_are_counted(tmp_path: Path) -> None:
    own = paths()
    told = notes_of(replace(own, arcs=own.arcs[3:]), tmp_path / "own")
    edges = len(own.arcs) // 2
    assert told == [f"1 of {edges - 1} edges are listed in one direction and used in both"]


def test_a_class_that_is_the_direction_of_the_edges_is_refused(tmp_path: Path) -> None:
    own = paths()
    forward = own.arcs[::2]
    class_of = [label for label, size in zip(own.labels, own.sizes, strict=True) for _ in range(size)]
    turned = [arc if class_of[arc[0]] else arc[::-1] for arc in forward]
    count = len(forward)
    folder = replace(own, arcs=turned).written(tmp_path / "own")
    with pytest.raises(
        Refused, match=f"{count} of {count} edges in .*own are listed in one direction only"
    ) as no:
        load_dataset(folder)
    assert str(no.value).endswith("; undirected=True takes each edge in both directions")
    data = load_dataset(folder, undirected=True)
    assert f"{count} of {count} edges are listed in one direction and used in both" in data.spec.notes
    assert data.hash == load_graphs(own.written(tmp_path / "both")).hash
    with pytest.raises(Refused, match="undirected=True: digits holds no graphs, and images have no edges"):
        load_dataset("digits", undirected=True)


def test_self_loops_and_repeated_edges_are_counted_and_their_graphs_are_the_same(tmp_path: Path) -> None:
    own = paths()
    folder = tmp_path / "more"
    more = replace(own, arcs=[(0, 0), (1, 1), *own.arcs, *own.arcs[:3]])
    assert notes_of(more, folder) == [
        f"2 of {len(more.arcs)} lines of X_A.txt join a node to itself and were left out",
        f"3 of {len(more.arcs)} lines of X_A.txt repeat an edge and were left out",
    ]
    assert load_graphs(str(folder)).hash == load_graphs(own.written(tmp_path / "own")).hash


def test_several_labels_of_an_edge_are_counted_and_the_first_is_taken(tmp_path: Path) -> None:
    own = paths()
    labels = [0] * len(own.arcs)
    labels[1] = labels[7] = 5
    told = notes_of(replace(own, edges=labels), tmp_path / "own")
    assert told == [f"2 of {len(own.arcs) // 2} edges are listed with several labels; the first was taken"]


def test_files_that_nothing_is_read_from_are_named(tmp_path: Path) -> None:
    own, nodes = paths(), sum(paths().sizes)
    more = {
        "X_node_attributes.txt": "0.5\n" * nodes,
        "README.txt": "",
        "._X_A.txt": "",
        "X_edge_attributes.txt": "",
    }
    told = notes_of(replace(own, nodes=[1] * nodes, more=more), tmp_path / "own")
    assert told == ["left out: 4 other files: ._X_A.txt, README.txt, X_edge_attributes.txt and 1 more"]


def test_whole_attributes_are_categories_and_continuous_ones_are_not_supported(tmp_path: Path) -> None:
    own, nodes = paths(), sum(paths().sizes)
    whole = replace(own, more={"X_node_attributes.txt": "3, 1\n" * nodes})
    assert notes_of(whole, tmp_path / "whole") == [
        "the whole numbers of X_node_attributes.txt are taken as categories, since there are no node labels"
    ]
    real = replace(own, more={"X_node_attributes.txt": "0.5\n" * nodes})
    sentence = (
        "line 1 of X_node_attributes.txt .* not a whole number; continuous attributes are not supported"
    )
    with pytest.raises(Refused, match=sentence):
        load_graphs(real.written(tmp_path / "real"))


def test_large_node_labels_are_numbered_and_too_many_are_refused(tmp_path: Path) -> None:
    own, nodes = paths(), sum(paths().sizes)
    labels = [7, 2_000_000_000, *[3] * (nodes - 2)]
    folder = tmp_path / "own"
    assert notes_of(replace(own, nodes=labels), folder) == [
        "the 3 different values of column 1 of X_node_labels.txt (up to 2000000000) were numbered from 0, "
        "ascending"
    ]
    data = load_graphs(str(folder))
    assert data.spec.features == (3,) and data.spec.node_labels == 3
    found = torch.cat([getattr(data, part).node_features for part in PARTS])
    assert Counter(found.flatten().tolist()) == {0: nodes - 2, 1: 1, 2: 1}
    one = Own([WIDEST + 1], [], [0], nodes=range(WIDEST + 1))
    with pytest.raises(Refused, match="X_node_labels.txt in .* has 65537 different values of nodes; at most"):
        read_graphs(Path(one.written(tmp_path / "many")))


def test_a_count_of_nodes_beyond_any_memory_is_refused(tmp_path: Path) -> None:
    texts = {"num-node-list": f"{10**17}\n", "num-edge-list": "0\n", "edge": "", "graph-label": "0\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
    with pytest.raises(Refused, match="num-node-list.csv.gz in .* asks for more than 100000000 nodes"):
        read_graphs(tmp_path)


def test_of_several_splits_in_one_archive_the_chosen_one_is_said(tmp_path: Path) -> None:
    bace = Path(__file__).with_name("ogbg_molbace.zip")
    with zipfile.ZipFile(bace) as held, zipfile.ZipFile(tmp_path / "own.zip", "w") as copy:
        for name in held.namelist():
            copy.writestr(name, held.read(name))
            if name.endswith("train.csv.gz"):
                copy.writestr(name.replace("scaffold", "random"), held.read(name))
    notes = load_graphs(str(tmp_path / "own.zip")).spec.notes
    assert "of 2 files called train.csv.gz ogbg_molbace/split/scaffold/train.csv.gz was taken" in notes
    assert any("edges are listed in one direction and used in both" in note for note in notes)
    assert load_graphs(str(bace)).spec.notes == ()


def test_leftovers_of_macos_are_no_second_dataset(tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    with zipfile.ZipFile(MUTAG) as held, zipfile.ZipFile(path, "w") as copy:
        copy.writestr("__MACOSX/MUTAG/._MUTAG_A.txt", b"\0\5\x16\7")
        for name in held.namelist():
            copy.writestr(name, held.read(name))
    assert load_graphs(str(path)).spec.num_classes == 2


def test_graphs_that_training_and_test_share_are_counted(tmp_path: Path) -> None:
    own = Own([2] * 40, [(2 * g + a, 2 * g + 1 - a) for g in range(40) for a in (0, 1)], [0] * 30 + [1] * 10)
    notes = load_graphs(own.written(tmp_path / "own")).spec.notes
    assert notes[-2:] == (
        "4 of 4 test graphs are equal to training graphs",
        "1 training graphs occur in several classes",
    )


def test_each_class_is_split_in_the_order_of_one_draw() -> None:
    labels = np.array([0] * 54 + [1] * 6)
    split = stratified_split(labels)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0)).tolist()
    for label, count in ((0, 6), (1, 1)):
        mine = [position for position in order if labels[position] == label]
        for part, positions in (("test", mine[:count]), ("valid", mine[count : 2 * count])):
            assert [one for one in split[part].tolist() if labels[one] == label] == sorted(positions)
    assert np.array_equal(np.sort(np.concatenate(list(split.values()))), np.arange(60))


def test_a_class_that_is_too_small_for_three_splits_is_refused(tmp_path: Path) -> None:
    own = paths()
    labels = [0] * 28 + [1] * 2
    sentence = r"the train split of .* has no graph of 1 of 2 classes: 1 \(class 1 has 2 graphs in all\)"
    with pytest.raises(Refused, match=sentence):
        load_graphs(replace(own, labels=labels).written(tmp_path / "own"))


# The property: what differs between the files and the graphs that are used is said, with its count.


@st.composite
def owns(draw: st.DrawFn) -> Own:
    """Folders with all that reading may change."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=6, max_size=14))
    total = sum(sizes)
    within = [
        (first + a, first + b)
        for first, size in zip(np.cumsum([0, *sizes[:-1]]).tolist(), sizes, strict=True)
        for a in range(size)
        for b in range(size)
    ]
    arcs = draw(st.lists(st.sampled_from(within), max_size=30))
    if draw(st.integers(0, 3)):
        arcs += [arc[::-1] for arc in arcs]
    rest = draw(st.lists(st.integers(0, 1), min_size=len(sizes) - 6, max_size=len(sizes) - 6))
    labels = draw(st.permutations([0, 0, 0, 1, 1, 1, *rest]))
    value = st.sampled_from([0, 1, 3, 2_000_000_000])
    nodes = draw(st.none() | st.lists(value, min_size=total, max_size=total))
    edges = draw(st.none() | st.lists(st.integers(0, 2), min_size=len(arcs), max_size=len(arcs)))
    more = draw(st.dictionaries(st.sampled_from(["README.txt", "X_edge_attributes.txt"]), st.just("0.5\n")))
    attributes = draw(st.none() | st.sampled_from(["0.5\n", "1\n"]))
    return Own(
        sizes,
        arcs,
        labels,
        nodes,
        edges,
        more | ({} if attributes is None else {ATTRIBUTES: attributes * total}),
    )


ATTRIBUTES = "X_node_attributes.txt"


def told(notes: tuple[str, ...], words: str) -> int:
    """The number at the start of the note that holds some words; 0 if none does."""
    found = [note for note in notes if words in note]
    assert len(found) < 2
    return int(found[0].removeprefix("left out: ").split()[0]) if found else 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(own=owns())
def test_loading_refuses_or_says_every_difference_between_files_and_graphs(own: Own) -> None:
    with TemporaryDirectory() as place:
        try:
            data = load_graphs(own.written(Path(place) / "own"))
        except Refused as error:
            assert "\n" not in str(error)
            return
    notes = data.spec.notes
    split = stratified_split(np.array(own.labels))
    firsts = np.cumsum([0, *own.sizes]).tolist()
    used: set[Arc] = set()
    kinds: dict[Arc, int] = {}
    features: dict[int, list[int]] = {}
    for part in PARTS:
        graphs = getattr(data, part)
        assert graphs.labels.tolist() == [own.labels[at] for at in split[part]]
        for at, position in enumerate(split[part].tolist()):
            one = graphs.select([at])
            arcs = [(a + firsts[position], b + firsts[position]) for a, b in one.edges.T.tolist()]
            used |= set(arcs)
            kinds |= dict(zip(arcs, one.edge_labels.tolist(), strict=True))
            features |= {firsts[position] + node: row for node, row in enumerate(one.node_features.tolist())}
    # Edges: the files' are those that are used, but for what was left out and for directions that were added.
    loops = [arc for arc in own.arcs if arc[0] == arc[1]]
    listed = Counter(arc for arc in own.arcs if arc[0] != arc[1])
    assert told(notes, "join a node to itself") == len(loops)
    assert told(notes, "repeat an edge") == listed.total() - len(listed)
    assert listed.keys() <= used and told(notes, "in one direction") == len(used - listed.keys())
    assert {arc[::-1] for arc in used - listed.keys()} <= listed.keys()
    # Labels of edges: equal to those that are used, but for edges with several.
    seen: dict[Arc, list[int]] = {}
    for arc, label in zip(own.arcs, own.edges or [0] * len(own.arcs), strict=True):
        seen.setdefault((min(arc), max(arc)), []).append(label)
    seen = {arc: labels for arc, labels in seen.items() if arc[0] != arc[1]}
    assert told(notes, "with several labels") == sum(len(set(labels)) > 1 for labels in seen.values())
    for arc, labels in seen.items():
        value = data.spec.edge_values[kinds[arc]] or (0,)
        assert value == (labels[0],) and kinds[arc] == kinds[arc[::-1]]
    # Nodes: their labels, their whole attributes or their degree; large labels by their rank.
    found = [features[node][0] for node in range(sum(own.sizes))]
    if own.nodes is not None:
        numbered = any("numbered from 0" in note for note in notes)
        assert found == ([sorted(set(own.nodes)).index(one) for one in own.nodes] if numbered else own.nodes)
    elif ATTRIBUTES in own.more:
        assert found == [1] * len(found) and any("taken as categories" in note for note in notes)
    else:
        degrees = Counter(arc[0] for arc in used)
        assert found == [degrees[node] for node in range(len(found))] and DEGREE in notes
    unread = [name for name in own.more if name != ATTRIBUTES or own.nodes is not None]
    assert told(notes, "other files") == len(unread)
    assert any(f"{len(data.test)} of {len(own.sizes)} graphs" in note for note in notes)
