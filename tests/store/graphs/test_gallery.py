"""The gallery of graphs: where nodes lie, and that sets of every form are drawn."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from condense.store import GraphSet
from condense.store.graphs import placement
from condense.store.graphs.gallery import CLASSES, COLOURS, ITEMS, NODES, OTHER, draw_graphs
from tests.store.graph_sets import make


def sheet(made: GraphSet) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(Image.open(io.BytesIO(draw_graphs(made))).convert("RGB"))


def has(drawn: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", colour: str) -> bool:
    """Whether a colour is there."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((drawn == rgb).all(-1).any())


def test_a_tree_grows_down_and_parents_are_above_their_children() -> None:
    edges = np.array([[1, 2, 3, 4, 5, 7], [0, 0, 1, 1, 2, 6]])
    places = placement.place_trees(edges, 8)
    assert places[:, 1].tolist() == [placement.LEVEL * level for level in (0, 1, 1, 2, 2, 2, 0, 1)]
    assert np.allclose(places[1, 0], places[[3, 4], 0].mean()) and np.allclose(places[2, 0], places[5, 0])
    leaves = places[[3, 4, 5, 7], 0]
    assert (np.diff(leaves) >= placement.SIBLING - 1e-9).all()
    assert places[6, 0] == places[7, 0] > places[:6, 0].max()


def test_no_two_nodes_of_a_small_graph_lie_on_each_other() -> None:
    ring = [[i, (i + 1) % 6] for i in range(6)]
    edges = np.array([*ring, [6, 7], [7, 8]]).T
    places = placement.place_graph(edges, 14)
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.eye(14)
    assert gaps.min() > 0.16 and places.min() >= -1e-9
    np.testing.assert_array_equal(places, placement.place_graph(edges, 14))


@pytest.mark.parametrize("edges", [[], [(i, j) for i in range(9) for j in range(9) if i < j]])
def test_graphs_without_edges_and_with_all_are_laid_out(edges: list[tuple[int, int]]) -> None:
    places = placement.place_graph(np.array(edges, dtype=np.int64).reshape(-1, 2).T, 9)
    assert len({tuple(place) for place in places.round(3).tolist()}) == 9 and np.isfinite(places).all()


@pytest.mark.parametrize("trees", [False, True])
def test_equal_sets_give_equal_pictures_and_each_class_adds_to_them(trees: bool) -> None:
    made = make(trees=trees, weights="whole", seed=4)
    assert draw_graphs(made) == draw_graphs(make(trees=trees, weights="whole", seed=4))
    one = make({"labels": torch.zeros(4, dtype=torch.long)}, trees=trees, classes=1, seed=4)
    assert sheet(made).shape[1] == sheet(one).shape[1] == 1440 and len(sheet(made)) > 100


def test_the_first_ten_kinds_of_nodes_have_colours_and_the_others_grey() -> None:
    few = sheet(make(features=(2,), largest=12, edge_labels=9))
    assert has(few, COLOURS[0]) and has(few, COLOURS[1])
    assert not has(few, COLOURS[2]) and not has(few, OTHER)
    many = sheet(make(features=(40,), largest=30, graphs=8))
    assert all(has(many, colour) for colour in (*COLOURS, OTHER))


def test_large_sets_of_large_graphs_of_many_classes_are_drawn_in_part() -> None:
    large = make(largest=3 * NODES, graphs=3, dense=True, features=(5,))
    assert len(sheet(large)) < 2500
    wood = make(largest=6 * NODES, graphs=3, trees=True)
    assert len(sheet(wood)) < 6000
    drawn = [len(sheet(make(graphs=n, largest=2, features=(2,)))) for n in (5 * ITEMS, 10 * ITEMS)]
    assert drawn[0] == drawn[1]
    drawn = [len(sheet(make(graphs=30, largest=1, features=(2,), classes=k))) for k in (CLASSES + 2, 30)]
    assert drawn[1] < 1.5 * drawn[0]
