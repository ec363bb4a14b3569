"""Queues, and above all those that come with the suite."""

from pathlib import Path

import pytest

from condense.data import GRAPH_NAMES, IMAGE_NAMES, holds_graphs
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.federated.algorithms import chain
from condense.networks import GRAPH_NETWORKS, NETWORKS
from condense.protocols import PROTOCOLS
from condense.runner.queue import read_queue

SHIPPED = sorted((Path(__file__).parents[2] / "benchmarks").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_cell_of_a_shipped_queue_names_what_exists_and_comes_once(path: Path) -> None:
    cells = read_queue(path)
    assert len({(cell.title, str(cell.params), cell.seeds) for cell in cells}) == len(cells)
    for cell in cells:
        graphs = holds_graphs(cell.data)
        assert cell.data in (GRAPH_NAMES if graphs else IMAGE_NAMES)
        assert cell.student in (None, *(GRAPH_NETWORKS if graphs else NETWORKS))
        if cell.reference:
            continue
        if cell.federated:
            chain(cell.method, cell.data, cell.ipc, cell.params, str(cell.student))
            assert cell.protocol in PROTOCOLS
            continue
        kind = "graphs" if graphs else "images"
        _, recipe = build(cell.method, cell.data, cell.ipc, dict(cell.params), kind=kind)
        assert recipe if cell.protocol == "published" else cell.protocol in (None, *PROTOCOLS)


def test_the_quick_queue_holds_every_method_at_1_and_10_images_per_class() -> None:
    (path,) = [path for path in SHIPPED if path.name == "quick.toml"]
    cells = read_queue(path)
    ours = {name: cls for name, cls in methods().items() if cls.__module__.startswith("condense.methods.")}
    possible = {(name, ipc) for name, cls in ours.items() for ipc in (1, 10) if cls().per_class(ipc, 10)}
    assert {(cell.method, cell.ipc) for cell in cells} >= possible and len(possible) > 2 * len(ours) - 3


def test_a_list_stands_for_one_cell_an_item_in_order(tmp_path: Path) -> None:
    file = tmp_path / "queue.toml"
    file.write_text(
        '[[cell]]\nmethod = ["dm", "dc"]\nipc = [1, 10]\nparams = { iterations = 7 }\nseeds = [3]\n'
    )
    cells = read_queue(file)
    assert [(cell.method, cell.ipc) for cell in cells] == [("dm", 1), ("dm", 10), ("dc", 1), ("dc", 10)]
    assert all(cell.params == {"iterations": "7"} and cell.seeds == (3,) for cell in cells)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", r"queue.toml holds no \[\[cell\]\]"),
        ("cell = 3", r"holds no \[\[cell\]\]"),
        ("cell = [3]", r"cell = 3 is not a table; write \[\[cell\]\]"),
        ("[[cell]\n", "is not TOML: "),
        ("[[cell]]\nmethd = 'dm'", "unknown field of a cell in .*: 'methd'; nearest: method"),
        ("[[cell]]\nipc = 'one'", "ipc = 'one' is not a whole number"),
        ("[[cell]]\nipc = [1, 2.5]", "ipc = 2.5 is not a whole number"),
        ("[[cell]]\nipc = true", "ipc = True is not a whole number"),
        ("[[cell]]\nmethod = 3", "method = 3 is not text"),
        ("[[cell]]\nskip_unreadable = 1", "skip_unreadable = 1 is not a boolean"),
        ("[[cell]]\nundirected = 1", "undirected = 1 is not a boolean"),
        ("[[cell]]\nseeds = 3", "seeds = 3 is not a list of whole numbers"),
        ("[[cell]]\nseeds = []", r"queue.toml: seeds = \[\] stands for no work"),
        ("[[cell]]\nmethod = 'dm'\ndataset = []", r"queue.toml: dataset = \[\] stands for no work"),
        ("[[cell]]\nclasses = []", r"queue.toml: classes = \[\] stands for no work"),
        ("[[cell]]\n[[cell]]\nfraction = [0.5, 2]", r"queue.toml: cell 2: fraction=2: a fraction is above 0"),
        ("[[cell]]\nimbalanced = 'kep'", r"queue.toml: cell 1: imbalanced='kep': unknown treatment"),
        ("[[cell]]\nparams = 'iterations=3'", "params = 'iterations=3' is not a table"),
    ],
)
def test_a_wrong_queue_is_refused_with_the_file_and_the_value_at_fault(
    text: str, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "queue.toml"
    file.write_text(text)
    with pytest.raises(Refused, match=sentence):
        read_queue(file)
