"""The table of floors: what is counted of a step, and what the page says of it."""

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.benchmarks import floors
from condense.benchmarks.floors import Finished, Step, Watched, image_methods, loop_name, page, published
from condense.resources import Budget
from condense.training import progress
from condense.training.loop import Loop
from condense.training.rehearsal import rehearsing


def test_a_watched_loop_counts_the_operations_of_its_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "SIDE", 64)
    monkeypatch.setattr(progress, "_TIMED_SECONDS", 0.01)
    rng = torch.Generator()
    loop = Loop(None, rng, device=torch.device("cpu"), budget=Budget(), title="made", remedy="")
    left, right, made = torch.rand(20, 30), torch.rand(30, 40, requires_grad=True), 0
    with rehearsing(Watched()) as rehearsal:
        for made in loop.steps(1000, {}):  # noqa: B007
            time.sleep(0.004)
            (left @ right).exp().sum().backward()  # type: ignore[no-untyped-call]
    assert isinstance(rehearsal, Watched)
    (step,) = rehearsal.steps
    assert made < 100, "the loop is left as soon as a step was timed, counted and profiled"
    assert step.operations == 2 * (2 * 20 * 30 * 40), (
        "forward and one gradient, and nothing for the exponential"
    )
    assert step.seconds >= 0.004 and 0 < step.in_products < 1
    assert step.floor == step.operations / step.rate and step.gap == step.seconds / step.floor
    assert step.rest and not any("mm" in name for name, _ in step.rest)


def test_the_rest_is_named_where_a_step_is_far_above_its_floor() -> None:
    near = Step("near", 1.0, 10**9, 1e9, 0.9, [("relu", 0.1)])
    rows = page(
        [near, replace(near, title="far", seconds=2.0), replace(near, title="none", operations=0)], "X"
    )
    lines: dict[str, Any] = {
        cells[0].strip(): [one.strip() for one in cells[1:]]
        for line in rows.splitlines()
        if (cells := line.strip("|").split("|"))[0].strip() in ("near", "far", "none")
    }
    assert lines["near"] == ["1", "1", "1", "1.00", "0.90", ""]
    assert lines["far"] == ["2", "1", "1", "2.00", "1.80", "10 %: relu 10 %"]
    assert lines["none"][3:] == ["-", "-", "10 %: relu 10 %"]


def test_what_is_done_is_read_back_and_not_done_again(tmp_path: Path) -> None:
    path, step = tmp_path / "floors.jsonl", Step("dm: distil", 1.0, 10**9, 1e9, 0.9, [("relu", 0.1)])
    first = Finished(path)
    first.add(kind="a", steps=[asdict(step)])
    first.add(method="dm")
    again = Finished(path)
    assert (again.kinds, again.methods) == ({"a"}, {"dm"})
    assert page([*again.steps.values()], "X") == page([step], "X")


def test_every_method_with_stored_sets_is_watched_at_its_published_settings() -> None:
    names = image_methods()
    assert {"dm", "mtt", "sre2l", "rcig", "herding"} <= set(names) and "rs2" not in names
    assert published("dm")["batch_real"] == 256 and published("dsa")["outer_steps"] == 1
    fixed = published("cda")
    assert (fixed["teacher"], fixed["network"]) == ("trained", "convnet-w32-bn"), (
        "made images have no fixed one"
    )
    assert published("rded")["network"] == "resnet18-bn"


def test_the_page_names_loops_without_repetitions() -> None:
    assert loop_name("dm: dm on floors distil") == "dm: distil"
    assert loop_name("dm: convnet 0 train") == "dm: student of convnet, train"
    assert loop_name("dwa: resnet18-bn on floors train") == "dwa: resnet18-bn train"
    assert loop_name("infer: infer on floors recover 0") == "infer: recover 0"
    assert loop_name("expert batch of 256") == "expert batch of 256"
