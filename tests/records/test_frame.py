"""The table of all records: a row for each entry, and nothing that a record states is changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest

from condense.protocols import REPLAY_V1, WHOLE_V1
from condense.records.frame import DTYPES, frame, results
from condense.records.record import Paper, Record
from condense.store.manifest import settings
from tests.board_records import RESULTS, board_records

Make = Callable[..., Record]


def test_a_folder_without_records_gives_every_column_and_no_row(tmp_path: Path) -> None:
    for empty in (results(tmp_path), results(tmp_path / "nowhere"), frame([])):
        assert empty.shape == (0, len(DTYPES)) and list(empty.columns) == list(DTYPES)
        assert {name: str(dtype) for name, dtype in empty.dtypes.items()} == DTYPES


def test_every_entry_of_the_committed_records_has_a_row() -> None:
    records, entries = board_records(), results(RESULTS)
    keys = [record.evaluation_key(entry.seed) for record in records for entry in record.entries]
    assert list(entries["evaluation_key"]) == keys and entries["evaluation_key"].is_unique
    pd.testing.assert_frame_equal(entries, frame(records))


def test_a_row_repeats_what_the_record_states(made: Make) -> None:
    paper = Paper(value=63.0, error=None, source="a table", verified=False, protocol="its own")
    record = made(
        "mtt+fyi", ipc=10, seed=3, paper=paper, protocol=REPLAY_V1, teacher="f" * 64, label="replayed",
        replay=5, copies=4, accuracies=(70.0, 72.0), seeds=(1, 4),
    )  # fmt: skip
    first, last = frame([record]).to_dict("records")
    assert (first["eval_seed"], first["accuracy"], last["eval_seed"], last["score"]) == (1, 70.0, 4, 72.0)
    assert (first["dataset"], first["kind"], first["method"]) == ("digits", "images", "mtt+fyi")
    assert (first["ipc"], first["seed"], first["reference"]) == (10, 3, False)
    assert (first["stored"], first["effective"], first["label"]) == (100, 400, "replayed")
    assert first["bytes"] == first["bytes_images"] + first["bytes_labels"] + 5 and first["bytes_replay"] == 5
    assert (first["distil_seconds"], first["peak_bytes"]) == (20.0, 100 * 2**20)
    assert (first["stored_labels"], first["teacher"]) == (True, "f" * 64) and pd.isna(first["teacher_bytes"])
    assert (first["paper"], first["paper_source"], first["paper_verified"]) == (63.0, "a table", False)
    assert first["settings"] == "version=1 lr_img=1.0"
    assert json.loads(first["chain"]) == [dict(link) for link in record.method.chain]
    assert first["record_key"] == last["record_key"] == record.evaluation_key()
    assert first["run_key"] == record.key and first["evaluation_key"] == record.evaluation_key(1)


def test_what_does_not_apply_is_missing(made: Make) -> None:
    whole = made("whole", ipc=0, kind="reference", protocol=WHOLE_V1)
    entries = frame([whole, made()])
    for column in ("set_hash", "label", "stored", "bytes", "bytes_images", "distil_seconds", "paper", "auc"):
        assert entries[entries["reference"]][column].isna().all()
    assert entries[~entries["reference"]]["bytes_images"].eq(640).all()


def test_validation_data_count_among_the_bytes(made: Make) -> None:
    (size,) = set(frame([replace(made(), valid_bytes=1234)])["bytes"])
    assert size == 640 + 10 + 1234


def test_the_settings_of_wrappers_have_the_name_of_their_link() -> None:
    chain = [
        {"name": "mtt", "version": 2, "config": {"zca": True, "lr": 0.5}},
        {"name": "fyi", "version": 1, "config": {}},
    ]
    assert settings(chain[1:]) == {"version": "1"}
    assert settings(chain) == {
        "mtt.version": "2", "mtt.lr": "0.5", "mtt.zca": "true", "fyi.version": "1",
    }  # fmt: skip


def test_grouping_gives_the_means_of_the_records(made: Make) -> None:
    records = [made(seed=seed, accuracies=(60.0 + seed, 70.0)) for seed in range(3)]
    means = frame(records).groupby(["method", "seed"])["score"].mean()
    for record in records:
        expected = fmean(entry.score for entry in record.entries)
        assert means["dm", record.seed] == pytest.approx(expected)
