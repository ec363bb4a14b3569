"""Rehearsals beside a user's own cache: they read what is finished, and change nothing."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from condense.errors import Stopped
from condense.files import locked, write_atomic
from condense.resources import Budget, Machine
from condense.runner import rehearse
from condense.runner.cell import CellSpec, Paths
from condense.runner.plan import plan
from condense.runner.rehearse import Estimate, Scratch, scratch_folders
from condense.runner.run import distil_cell
from condense.runner.units import Unit
from condense.training import progress
from tests.runner.test_run import contents


@pytest.fixture
def paths(home: Path, tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


@pytest.fixture
def cell(toy_file: Path) -> CellSpec:
    """A cell whose set needs a network that is trained on the real data."""
    return CellSpec(
        method="herding", dataset=str(toy_file), params={"network": "mlp"}, student="mlp", eval_seeds=1,
        seeds=(0,),
    )  # fmt: skip


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets rehearsals work in this process instead of a new one, and know a pace at once."""

    def in_process(unit: Unit, scratch: Scratch, machine: Machine) -> Estimate | str:
        with monkeypatch.context() as patch:
            patch.setenv("CONDENSE_HOME", str(scratch.home))
            return rehearse._rehearse(unit, scratch, machine.device, torch.get_num_threads())

    monkeypatch.setattr(progress, "_LEAST_SECONDS", 0.0)
    monkeypatch.setattr(rehearse, "_in_process", in_process)


def distilled(cell: CellSpec, paths: Paths, budget: Budget | None = None) -> None:
    list(distil_cell(cell, paths, Machine(budget=budget or Budget())))


@pytest.mark.usefixtures("here")
def test_a_plan_leaves_an_unfinished_network_and_its_events_as_they_are(
    cell: CellSpec, paths: Paths, home: Path, spent_after: Callable[[int], Budget]
) -> None:
    with pytest.raises(Stopped):
        distilled(cell, paths, spent_after(20))
    (checkpoint,) = home.glob("trained/*/checkpoint-*")
    assert list(home.rglob("*.jsonl")) and not (checkpoint.parent / "about.json").exists()
    before = contents(home)
    made = plan([cell], paths, Machine())
    assert len(made.estimates) == 2 and not made.unknown
    assert contents(home) == before


@pytest.mark.usefixtures("here")
def test_a_plan_leaves_a_damaged_network_and_a_lock_as_they_are(
    cell: CellSpec, paths: Paths, home: Path
) -> None:
    distilled(cell, paths)
    (weights,) = home.glob("trained/*/weights.safetensors")
    weights.write_bytes(b"damaged")
    lock = weights.parent.with_name(f".{weights.parent.name}.lock")
    with locked(weights.parent, what="trains"):  # as a bench in another process may do
        before = contents(home)
        made = plan([replace(cell, ipc=2)], paths, Machine())
        assert contents(home) == before and lock in before
    assert len(made.estimates) == 2 and not made.unknown


def test_what_is_finished_is_read_and_what_is_written_stays_in_the_scratch(paths: Paths, home: Path) -> None:
    finished, unfinished = ("trained/a/w", "teachers/kept/b", "zca/c/z"), ("students/d/w", "trained/a/.lock")
    for name in (*finished, *unfinished):
        write_atomic(home / name, name)
    (home / "experts").symlink_to(home / "zca")  # a roomier disk
    (home / "zca" / "around").symlink_to(home / "zca")
    before = contents(home)
    with scratch_folders(paths) as scratch:
        found = sorted(path.relative_to(scratch.home).as_posix() for path in contents(scratch.home))
        assert found == sorted(["experts/c/z", *finished])
        for name in found:
            with locked(scratch.home / name, what="writes"):
                assert not list(home.rglob(".*.lock*")) and list(scratch.home.rglob(".*.lock"))
                write_atomic(scratch.home / name, "other")
        for folder in ("trained/a", "teachers/kept", "teachers/new"):
            write_atomic(scratch.home / folder / "more", "more")
        assert contents(home) == before and scratch.size() == 4 * len("other") + 3 * len("more")


@pytest.mark.parametrize("refused", [["symlink"], ["symlink", "link"]])
def test_where_links_are_not_allowed_files_are_shared_or_copied(
    refused: list[str], paths: Paths, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("a required privilege is not held by the client")

    write_atomic(home / "trained" / "a" / "weights", "mine")
    write_atomic(paths.out / "stored" / "data", "set")
    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    with scratch_folders(paths) as scratch:
        there = scratch.home / "trained" / "a" / "weights"
        assert there.read_text() == "mine" and not there.is_symlink()
        write_atomic(there, "other")
        rehearse._link(paths.out / "stored", scratch.paths.out / "name")
        assert (scratch.paths.out / "name" / "data").read_text() == "set"
    assert (home / "trained" / "a" / "weights").read_text() == "mine"
