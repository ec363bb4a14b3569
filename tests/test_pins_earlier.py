"""Keys, records and sets of earlier versions of methods, with which their records and stored sets agree.

Version 1 of Mirage weighted the loss by raw supports, and had no field that says so.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pins

SETS = [
    (2, {}, "9992c2d5120f247044623215f981cdbdec797741c0caeab7adf6a729336a3f4a"),
    (
        1, {"hops": "1", "exclusive": "true"},
        "3f3489d6594c875fd8254f06ebd8b7d99bc5f5ef863e5f67080543486af05de5"),
    (
        1, {"hops": "1", "drop_isolated": "true", "edge_labels": "false"},
        "97117cdc0042d8462b465f0c1e346e0e70e169c8a26c52c2dbbe98db00b1f6bb",
    ),
]  # fmt: skip
"""IPC, settings and hash of sets of MUTAG."""

RECORDS = {
    ("graph-v1", "gcn-sum"): (
        "3174560c52e750b51b2d87e58d0384d0b115ab4c6bdcba9e2bb5c510d2f69277",
        "results/mutag/mirage-ipc2-seed0-graph-v1-gcn-sum-3174560c.json",
    ),
    ("graph-select-v1", "gin-mean"): (
        "19ae0f1e1f49cae830455ed6b46561b3486e6d83714c6807157d6a45432162f3",
        "results/mutag/mirage-ipc2-seed0-graph-select-v1-gin-mean-19ae0f1e.json",
    ),
}
"""Evaluation key and place of the records of the first of them, by protocol and student."""


@pytest.fixture(autouse=True)
def first() -> Iterator[None]:
    with pins.first_mirage():
        yield


def test_the_run_keys_of_the_first_mirage() -> None:
    assert pins.key("mirage", kind="graphs")[:16] == "9efe628bf35c2ab8"
    recipes = pins.recipes("mirage", "graphs")
    keys = pins.digest([[dataset, ipc, key] for dataset, ipc, key, _, _ in recipes])[:16]
    assert (len(recipes), keys) == (7, "726e4e58d0403f6c")
    full = "c1f61275d27ac9bc10d775a8face39c9e20d60f72119d83dc493cef5e833b717"
    assert pins.key("mirage", "dd", 28, "graphs") == full


@pytest.mark.parametrize(("ipc", "params", "expected"), SETS)
def test_raw_weights_give_the_sets_of_the_first_mirage(
    ipc: int, params: dict[str, str], expected: str, tmp_path: Path
) -> None:
    assert pins.selected("mirage", "graphs", tmp_path, ipc, weights="raw", **params)[0].hash == expected


@pytest.mark.parametrize(("protocol", "student"), RECORDS)
def test_records_of_the_first_mirage_have_their_keys_and_files(
    protocol: str, student: str, tmp_path: Path
) -> None:
    made, _ = pins.selected("mirage", "graphs", tmp_path, 2, weights="raw")
    assert pins.placed(pins.judged(made, protocol, student)) == RECORDS[protocol, student]


def test_a_set_of_the_first_mirage_is_stored_in_its_folder(tmp_path: Path) -> None:
    assert pins.folder_of("mirage", "mutag", 2, 0, tmp_path) == "mutag-mirage-ipc2-seed0-f96674d1"
