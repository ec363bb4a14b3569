"""The card of a set of graphs: true words, and code that works as printed."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.store.graph_sets import make

FORMS: list[dict[str, Any]] = [
    {},
    {"edge_labels": 0, "weights": "whole", "largest": 1},
    {"dense": True, "weights": "float"},
    {"trees": True, "weights": "whole"},
    {"features": (300, 2), "largest": 40},
]


def blocks(folder: Path) -> tuple[str, list[str]]:
    """The card and its code."""
    card = (folder / "README.md").read_text()
    return card, re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


def test_the_card_states_weights_roots_degrees_bytes_and_hash(tmp_path: Path) -> None:
    trees, plain = make(trees=True, weights="whole"), make(edge_labels=0)
    trees.save(tmp_path / "trees")
    plain.save(tmp_path / "plain")
    card, _ = blocks(tmp_path / "trees")
    parts = trees.nbytes()
    for part in (
        trees.hash,
        "4 sets of trees that stand for the training set of toy",
        'mirage 1: {"hops":2}',
        f"graphs {parts['graphs']}, labels {parts['labels']}; {sum(parts.values())} in all |",
        f"| {trees.dense_bytes}, with float32 features",
        f"| {len(trees.nodes)} nodes and {trees.edges.shape[1]} edges in all |",
        "| Edges | each graph is one tree or several: messages go from child to parent",
        "| Weights | one for each graph",
        "| Roots | marked",
        "| Degrees | stored",
        "pool the roots only",
        "a layer that divides by degrees (GCN) needs `degrees`",
        "2 columns of 3, 4 values",
        "| Labels of edges | one for each edge",
    ):
        assert part in card
    card, _ = blocks(tmp_path / "plain")
    for part in (
        "4 graphs that stand for",
        "| Edges | each is stored once and carries messages in both directions",
        "| Weights | none: each graph counts the same |",
        "| Roots | none",
        "| Degrees | those that the edges show |",
        "| Labels of edges | none |",
        "pool all nodes",
    ):
        assert part in card
    assert "GCN" not in card and "{" not in card.split("```")[0] and "condense verify" in card


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_the_cards_plain_code_reads_what_a_network_sees(
    form: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(**form)
    made.save(tmp_path / "set")
    _, (_, plain) = blocks(tmp_path / "set")
    assert len(plain.splitlines()) <= 16 and "condense" not in plain and "torch" not in plain
    monkeypatch.chdir(tmp_path / "set")
    read: dict[str, Any] = {}
    exec(plain, read)
    batch = made.batch()
    assert read["x"].dtype == np.float32 and np.array_equal(read["x"], batch.nodes.numpy())
    assert read["owner"].tolist() == batch.owners.tolist() and read["y"].tolist() == made.labels.tolist()
    np.testing.assert_allclose(read["weight"], made.weighting.numpy(), rtol=1e-6)
    for name, own in (("roots", made.roots), ("degrees", made.degrees)):
        assert name not in read if own is None else read[name].tolist() == own.tolist()
    labels = torch.zeros_like(made.edges[0]) if made.edge_labels is None else made.edge_labels
    given = read["edge_label"] if made.edge_labels is not None else np.zeros_like(read["edges"][0])
    ours = sorted(zip(*made.edges.tolist(), labels.tolist(), strict=True))
    assert sorted(zip(*read["edges"].tolist(), given.tolist(), strict=True)) == ours


def test_the_cards_code_runs_as_printed_without_torch_where_it_says_so(tmp_path: Path) -> None:
    make(trees=True).save(tmp_path / "set")
    _, (with_condense, plain) = blocks(tmp_path / "set")
    for code in (
        with_condense + "\nprint(len(data.batch()))",
        plain + "\nprint(len(y))\nimport sys; assert 'torch' not in sys.modules",
    ):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path / "set", capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "4"
