"""Events: one file for each task that tells one computation, and functions that hear each event."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import condense
from condense.events import Event, Teller, hearing, telling
from condense.protocol import Stage
from condense.protocols import HARD_V1, PROTOCOLS
from condense.resources import Budget
from condense.training.loop import Loop

SHORT = {"iterations": 4, "batch_real": 4, "network": "convnet-w32"}


def lines(file: Path) -> list[Event]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def teller(folder: Path) -> Teller:
    with telling("a run", folder):
        return Teller("convnet 0")


def steps(file: Path) -> list[tuple[str, int]]:
    return [(event["phase"], event["step"]) for event in lines(file) if event["event"] == "step"]


def test_a_phase_that_goes_on_drops_what_was_lost_and_tells_no_step_twice(tmp_path: Path) -> None:
    first = teller(tmp_path)
    first.begin("warm", 0, 2)
    first.step("warm", 2, 2, {"loss": 1.0})
    first.begin("train", 0, 9)
    for step in (2, 4, 6):
        first.step("train", step, 9, {"loss": 1.0 / step})
    assert first.file == tmp_path / "a_run" / "convnet_0.jsonl"
    with first.file.open("a") as file:
        file.write('{"event": "step", "phase": "train", "st')  # killed while it wrote
    second = teller(tmp_path)
    second.begin("train", 4, 9)
    second.step("train", 6, 9, {"loss": 0.5})
    assert steps(first.file) == [("warm", 2), ("train", 2), ("train", 4), ("train", 6)]
    begun = [(event["phase"], event["step"]) for event in lines(first.file) if event["event"] == "begin"]
    assert begun == [("warm", 0), ("train", 0), ("train", 4)]
    assert lines(first.file)[-1]["values"] == {"loss": 0.5}


def test_a_long_name_is_cut_off_and_stays_a_name_of_its_own(tmp_path: Path) -> None:
    files = []
    for run in ("é" * 200 + "a", "é" * 200 + "b", "é" * 200 + "a"):
        with telling(run, tmp_path):
            found = Teller("task " * 60)
        found.begin("train", 0, 1)
        found.begin("train", 0, 1)  # it goes on, and the file is written anew
        files.append(found.file)
    first, second, again = files
    assert first is not None and first == again != second and first.suffix == ".jsonl"
    assert max(len(name.encode()) for name in first.parts[-2:]) == 240


JUNK = ["[]\n", "7\n", "{}\n", "\n", "{" * 5000 + "\n", '{"phase": 3, "step": "x"}']


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
def test_a_phase_that_begins_anew_replaces_its_lines_and_drops_what_is_no_event(
    tmp_path: Path, junk: str
) -> None:
    one = teller(tmp_path)
    assert one.file is not None
    for loss in (1.0, 2.0):
        one.begin("train", 0, 3)
        one.step("train", 3, 3, {"loss": loss})
        with one.file.open("a") as file:
            file.write(junk)
    one.begin("test", 0, 1)
    assert [event["values"] for event in lines(one.file)] == [{}, {"loss": 2.0}, {}]


def test_values_that_are_not_finite_are_left_out_and_every_line_is_json(tmp_path: Path) -> None:
    one = teller(tmp_path)
    one.step("test", 1, 1, {"accuracy": 50.0, "auc": float("nan"), "other": float("inf")})
    assert one.file is not None and lines(one.file)[0]["values"] == {"accuracy": 50.0}


def test_hearers_get_copies_and_only_of_work_that_starts_in_their_block(tmp_path: Path) -> None:
    outer: list[Event] = []
    inner: list[Event] = []

    def spoils(event: Event) -> None:
        event["values"]["loss"] = event["run"] = "spoilt"

    with hearing(spoils), hearing(outer.append):
        with hearing(inner.append):
            both = teller(tmp_path)
        one = Teller("alone")
    both.step("train", 1, 2, {"loss": 1.0})
    one.step("train", 2, 2, {})
    assert [event["step"] for event in outer] == [1, 2] and [event["step"] for event in inner] == [1]
    assert outer[0]["values"] == {"loss": 1.0} and outer[1]["run"] == "alone" and one.file is None
    assert both.file is not None and lines(both.file) == inner


def test_a_run_is_heard_and_written_from_its_first_step_to_its_score(
    toy_file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    short = replace(HARD_V1, stages=(Stage(epochs=7),))
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {**PROTOCOLS, short.name: short})
    heard: list[Event] = []
    given: dict[str, Any] = SHORT | {"dataset": toy_file, "student": "mlp", "eval_seeds": 1, "seed": 0}
    table = condense.run("dm", on_event=heard.append, **given)
    written = [event for file in (home / "events").rglob("*.jsonl") for event in lines(file)]
    assert sorted(map(str, written)) == sorted(map(str, heard))
    (folder,) = Path("sets").iterdir()
    (record,) = Path("results/toy").glob("*.json")
    distil, train, test = (
        [event for event in heard if event["phase"] == phase] for phase in ("distil", "train", "test")
    )
    assert {event["run"] for event in distil} == {folder.name}
    assert {event["run"] for event in train + test} == {f"toy-{record.stem}"}
    assert {event["task"] for event in train + test} == {"mlp 0"}
    assert distil[0]["event"] == "begin" and (distil[-1]["step"], distil[-1]["of"]) == (4, 4)
    assert distil[-1]["values"]["loss"] > 0
    assert train[-1]["step"] == train[-1]["of"] == 7 and train[-1]["values"].keys() == {"loss", "lr"}
    assert test[-1]["values"]["accuracy"] == table["accuracy"][0]
    heard.clear()
    assert condense.run("dm", on_event=heard.append, **given).equals(table) and heard == []


def test_an_exception_of_a_hearer_ends_the_run_and_the_next_call_goes_on(
    toy_file: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("condense.training.progress._EVENT_SECONDS", 0.0)

    def fails(event: Event) -> None:
        if event["step"] == 3:
            raise ZeroDivisionError("of the user")

    given: dict[str, Any] = SHORT | {"dataset": toy_file, "out": "sets"}
    with pytest.raises(ZeroDivisionError, match="of the user") as raised:
        condense.distill("dm", on_event=fails, **given)
    assert any(entry.name == "fails" for entry in raised.traceback)
    heard: list[Event] = []
    made = condense.distill("dm", on_event=heard.append, **given)
    assert [event["step"] for event in heard][:1] != [0] and heard[-1]["step"] == 4
    (file,) = (home / "events").rglob("*.jsonl")
    assert steps(file) == [("distil", step) for step in (1, 2, 3, 4)]
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path / "other"))
    assert condense.distill("dm", **(given | {"out": "others"})).hash == made.hash


def test_what_is_measured_on_the_way_is_told_at_once(tmp_path: Path) -> None:
    heard: list[Event] = []
    with hearing(heard.append):
        cpu, rng = torch.device("cpu"), torch.Generator()
        loop = Loop(None, rng, device=cpu, budget=Budget(), title="x", remedy="")
    for step in loop.steps(3, {}, "train"):
        if step == 1:
            loop.measured(2, validation_accuracy=40.0)
    assert [(event["step"], event["values"]) for event in heard if event["values"]] == [
        (2, {"validation_accuracy": 40.0})
    ]
    loop.measured(3, validation_accuracy=50.0)
    assert len(heard) == 3


def test_the_lines_of_the_documentation_log_to_wandb_and_read_a_file(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Path(__file__).parents[1] / "docs" / "events.md"
    reading, logging = re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    logged: dict[str, float] = {}
    projects: list[str] = []
    stand_in = SimpleNamespace(log=logged.update, init=lambda project: projects.append(project))
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.chdir(tmp_path)
    short = replace(HARD_V1, stages=(Stage(epochs=2),), seeds=1)
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {short.name: short})
    quick = "ipc=1, student='mlp', iterations=2, batch_real=4, network='convnet-w32',"
    few = logging.replace("ipc=1,", quick)
    assert few != logging
    exec(few, {})
    assert projects == ["distilled-sets"]
    assert logged.keys() == {
        "dm on digits/distil/loss", "mlp 0/train/loss", "mlp 0/train/lr", "mlp 0/test/accuracy",
    }  # fmt: skip
    (file,) = (home / "events").glob("digits-dm-*/dm_on_digits.jsonl")
    room: dict[str, Any] = {"file": file}
    exec(reading, room)
    assert room["losses"][2] == logged["dm on digits/distil/loss"]
