"""Which baselines the command adds beside a method, and what it says of them before."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condense import protocols
from condense.protocols import WHOLE_V1
from condense.resources import Machine
from tests.cli.command import Condense


@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ("", ["dm", "random_subset", "herding", "k_center"]),
        ("--method dsa", ["dsa", "random_subset", "herding", "k_center"]),
        ("--method dsa --no-baselines", ["dsa"]),
        ("--method herding", ["herding"]),
        ("--method herding --baselines", ["herding", "random_subset", "herding", "k_center"]),
        ("--method whole", ["whole"]),
    ],
)
def test_a_run_fills_the_rows_of_the_baselines_too(
    arguments: str, rows: list[str], condense: Condense, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from condense.runner.job import Job, resolve
    from condense.runner.run import run_job

    asked: list[str] = []

    def noted(job: Job, machine: Machine) -> object:
        asked.append(job.cell.method)
        small = replace(job.cell, method="random_subset", seeds=(0,), eval_seeds=1, student="mlp")
        return run_job(resolve(replace(small, protocol=None), job.paths), machine)

    known = {**protocols.PROTOCOLS, WHOLE_V1.name: WHOLE_V1}
    monkeypatch.setattr("condense.protocols.PROTOCOLS", known)
    monkeypatch.setattr("condense.runner.run.run_job", noted)
    monkeypatch.setattr("condense.runner.run.of_equal_bytes", lambda *_: [])
    ended = condense("run", "--dataset", toy_file, *arguments.split())
    assert ended.code == 0 and asked == rows
    line = "random_subset (10 trained networks), herding (5 trained networks), k_center (5 trained networks)"
    assert (f"{line}; --no-baselines leaves them out\n" in ended.err) == (len(rows) > 1)


def test_baselines_that_cannot_be_made_do_not_stop_a_method_that_can(
    condense: Condense, toy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noted(job: Any, _: Machine) -> object:
        asked.append(job.cell.method)
        raise KeyboardInterrupt

    monkeypatch.setattr("condense.runner.run.run_job", noted)
    ended = condense("run", "--dataset", toy_file, "--method", "dc", "--ipc", 21)
    assert asked == ["dc"] and "left out beside dc" in ended.err and "20 training images" in ended.err
