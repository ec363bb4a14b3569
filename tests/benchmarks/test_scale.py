"""The tables of docs/scale.md are those that the script computes, and its label bytes are the store's."""

from pathlib import Path

import pytest

from condense.benchmarks.scale import CLASSES, hour_table, label_bytes, label_table, unit_table
from condense.protocols import REPLAY_V2

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"


@pytest.mark.parametrize(
    ("name", "table"), [("units", unit_table()), ("hours", hour_table()), ("labels", label_table())]
)
def test_the_page_holds_the_computed_tables(name: str, table: str) -> None:
    text = PAGE.read_text()
    assert text.split(f"<!-- {name} -->\n")[1].split("<!-- end -->")[0] == table


def test_labels_take_the_bytes_of_the_formula() -> None:
    views, epochs = CLASSES * 50, 300
    batches = -(-views // REPLAY_V2.batch_for(views))
    assert label_bytes(50, epochs) == epochs * (views * (17 + 2 * CLASSES) + 12 * batches)


def test_a_faster_gpu_takes_proportionally_less() -> None:
    assert hour_table(60.0) != hour_table(30.0)
