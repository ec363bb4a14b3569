"""A folder with an unreadable file, from the command line to the record."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from condense.cli.app import app
from condense.data import load_images
from condense.errors import Refused
from condense.protocol import Stage
from condense.protocols import HARD_V1
from condense.records.folder import read_records
from condense.resources import Machine


class Ended(NamedTuple):
    """The error that a command ended with, and its messages."""

    error: BaseException | None
    said: str


Condense = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Writes two classes of three training images and one test image, and a truncated file."""
    noise = np.random.RandomState(0)
    for name in "ab":
        for place in ("train/0", "train/1", "train/2", "test/0"):
            file = tmp_path / "own" / place.replace("/", f"/{name}/")
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.randint(0, 256, (8, 8), np.uint8)).save(file.with_suffix(".png"))
    whole = (tmp_path / "own" / "train" / "b" / "2.png").read_bytes()
    (tmp_path / "own" / "train" / "b" / "cut.png").write_bytes(whole[:50])
    return tmp_path / "own"


@pytest.fixture
def condense(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Condense:
    """Runs commands in a temporary folder, with hard-v1 and whole-v1 shortened to one epoch."""
    short = replace(HARD_V1, stages=(Stage(epochs=1),))
    whole = replace(short, name="whole-v1", whole=True)
    monkeypatch.setattr("condense.protocols.PROTOCOLS", {"hard-v1": short, "whole-v1": whole})
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ended:
        result = CliRunner().invoke(app, [str(one) for one in arguments])
        return Ended(result.exception, result.stderr)

    return call


def test_every_command_refuses_the_file_or_skips_it_on_request(folder: Path, condense: Condense) -> None:
    subset = ("--dataset", folder, "--method", "random_subset", "--seed", 0)
    evaluate_set = ("--student", "mlp", "--eval-seeds", 1)
    told = "1 of 9 files cannot be read as 8-bit images: "
    sets = Path("sets")
    for command in (
        ("distill", *subset),
        ("run", *subset, *evaluate_set),
        ("evaluate", sets, "--dataset", folder, *evaluate_set),
        ("evaluate", "--reference", "whole", "--dataset", folder, *evaluate_set),
    ):
        named = tuple(next(sets.iterdir()) if one is sets else one for one in command)
        refused = condense(*named)
        assert isinstance(refused.error, Refused)
        assert str(refused.error).count(f"{told}{folder}/train/b/cut.png (") == 1
        assert [one.settings for one in refused.error.remedies] == [{"skip_unreadable": True}]
        done = condense(*named, "--skip-unreadable")
        assert done.error is None, done
        assert f"left out: {told}" in done.said
    (folder / "train" / "b" / "cut.png").unlink()
    used = {record.dataset.train_hash for record in read_records(Path("results"))}
    assert used == {load_images(str(folder)).train.hash}


def test_teaching_refuses_the_file_or_skips_it_on_request(folder: Path, condense: Condense) -> None:
    command = ("teach", "--dataset", folder, "--network", "no-such-network")
    assert "1 of 9 files cannot be read" in str(condense(*command).error)
    assert "unknown network 'no-such-network'" in str(condense(*command, "--skip-unreadable").error)


def test_a_cell_of_a_queue_can_skip_files(folder: Path, condense: Condense) -> None:
    cell = f'[[cell]]\ndataset = "{folder}"\nmethod = "random_subset"\nstudent = "mlp"\nseeds = [0]\n'
    Path("queue.toml").write_text(f"{cell}eval_seeds = 1\n")
    refused = condense("bench", "queue.toml")
    assert "1 of the 1 cells of queue.toml were skipped" in str(refused.error)
    Path("queue.toml").write_text(f"{cell}eval_seeds = 1\nskip_unreadable = true\n")
    assert condense("bench", "queue.toml").error is None
    assert len(read_records(Path("results"))) == 1


def test_the_baselines_of_a_run_use_the_same_data(
    folder: Path, condense: Condense, monkeypatch: pytest.MonkeyPatch
) -> None:
    from condense.runner.job import Job, resolve
    from condense.runner.run import run_job

    asked: list[bool] = []

    def noted(job: Job, machine: Machine) -> object:
        asked.append(job.cell.skip_unreadable)
        small = replace(job.cell, method="random_subset", seeds=(0,), eval_seeds=1, student="mlp")
        return run_job(resolve(small, job.paths), machine)

    monkeypatch.setattr("condense.runner.run.run_job", noted)
    assert condense("run", "--dataset", folder, "--skip-unreadable").error is None
    assert asked == [True] * 4
