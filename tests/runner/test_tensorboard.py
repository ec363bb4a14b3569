"""Scalars of events, as TensorBoard itself reads them back."""

import importlib.util
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from condense.errors import Refused
from condense.events import Teller, hearing, telling
from condense.runner.tensorboard import TensorBoard, on_tensorboard
from tests.cli.command import Condense
from tests.cli.conftest import condense

__all__ = ["condense"]


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    found = EventAccumulator(str(folder))
    found.Reload()
    return [(one.step, round(one.value, 4)) for one in found.Scalars(name)]


def test_scalars_of_a_phase_come_back_by_run_and_lost_steps_are_forgotten(tmp_path: Path) -> None:
    for start, stop in ((0, 6), (3, 9)):
        time.sleep(1.1 if start else 0)  # TensorBoard goes by the second in the names of files
        board = TensorBoard(tmp_path)
        with hearing(board), telling("one", None):
            teller = Teller("convnet 0")
        teller.begin("train", start, 8)
        for step in range(start + 1, stop):
            teller.step("train", step, 8, {"loss": step + start / 10, "lr": 0.5})
        board.close()
    folder = tmp_path / "one" / "convnet_0" / "train"
    told = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.3), (5, 5.3), (6, 6.3), (7, 7.3), (8, 8.3)]
    assert scalars(folder, "loss") == told
    assert scalars(folder, "lr") == [(step, 0.5) for step, _ in told]


def test_tasks_that_take_turns_keep_all_of_their_scalars(tmp_path: Path) -> None:
    with on_tensorboard(tmp_path), telling("one", None):
        tellers = [Teller("a"), Teller("b")]
        for one in tellers:
            one.begin("train", 0, 9)
        for step in range(1, 5):
            for one in tellers:
                one.step("train", step, 9, {"loss": step})
    for name in "ab":
        assert scalars(tmp_path / "one" / name / "train", "loss") == [(step, step) for step in range(1, 5)]


def test_a_command_writes_the_scalars_of_its_set_and_of_its_student(
    condense: Condense, toy_file: Path, tmp_path: Path
) -> None:
    fields = ("--param", "iterations=3", "--param", "network=convnet-w32", "--param", "batch_real=4")
    ended = condense(
        "run", "--method", "dm", "--dataset", toy_file, "--student", "mlp", "--eval-seeds", 1, "--seed", 0,
        "--no-baselines", "--tensorboard", "board", *fields,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    phases = {path.parent for path in (tmp_path / "board").rglob("*tfevents*")}
    (made,) = (tmp_path / "sets").iterdir()
    assert {path.name for path in phases} == {"distil", "train", "test"}
    assert [step for step, _ in scalars(tmp_path / "board" / made.name / "dm_on_toy" / "distil", "loss")] == [
        3
    ]
    (test,) = (path for path in phases if path.name == "test")
    ((step, value),) = scalars(test, "accuracy")
    assert step == 1 and f"{value:.2f} % in" in ended.err


def test_a_missing_extra_and_a_file_in_place_of_the_folder_are_one_sentence(
    condense: Condense, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    ended = condense("distill", "--tensorboard", tmp_path / "file")
    assert ended.code == 2 and ended.err.count("\n") == 1 and "is not a folder" in ended.err
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else find(name, *rest)
    )
    ended = condense("distill", "--tensorboard", "board")
    assert ended.code == 2 and not (tmp_path / "board").exists() and not (tmp_path / "sets").exists()
    refused = "condense: --tensorboard board: tensorboard is not installed: "
    assert ended.err == f"{refused}pip install -e '.[tensorboard]' in a checkout of condense\n"
    with pytest.raises(Refused):
        TensorBoard(tmp_path)
