"""condense on systems without the modules and calls that only Unix has, and on GPUs of Apple."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from condense.errors import Refused
from condense.runner.cell import machine_named

ROOT = Path(__file__).parents[1]

ELSEWHERE = """
import os, sys
from dataclasses import replace
import psutil  # on this system it needs what others lack

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("resource", "fcntl"):
            raise ImportError(f"this system has no {name}")

sys.meta_path.insert(0, Missing())
for name in ("resource", "fcntl"):
    sys.modules.pop(name, None)
opened = os.open

def files_only(path, *arguments, **named):
    if isinstance(path, (str, os.PathLike)) and os.path.isdir(path):
        raise PermissionError(13, "Permission denied", str(path))
    return opened(path, *arguments, **named)

os.open = files_only
from condense import protocols
from condense.protocol import Stage
short = replace(protocols.HARD_V1, stages=(Stage(epochs=2),))
protocols.PROTOCOLS = {**protocols.PROTOCOLS, short.name: short}
from condense.__main__ import main
main()
"""
"""The command where there is neither ``resource`` nor ``fcntl``, and no folder can be opened."""

FORBIDDEN = re.compile(r'[<>:"|?*\\\\\x00-\x1f]|[. ]$')
"""What no name on Windows holds."""


def test_a_run_needs_nothing_that_only_unix_has(toy_file: Path, tmp_path: Path) -> None:
    settings = {**os.environ, "CONDENSE_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    folder = tmp_path / "work"
    folder.mkdir()
    given = f"--dataset {toy_file} --classes 0,2 --method dm+fyi --param iterations=2 --param batch_real=4"
    more = "--student mlp --seed 0 --eval-seeds 1 --no-baselines"
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", ELSEWHERE, "run", *f"{given} {more}".split()],
        cwd=folder, env=settings, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (record,) = (folder / "results").glob("*/*.json")
    assert json.loads(record.read_text())["set"]["peak_bytes"] > 2**20
    names = [path.name for path in tmp_path.rglob("*")]
    assert any("[0,2]" in name or "_0_2_" in name for name in names)
    assert [name for name in names if FORBIDDEN.search(name)] == []


def test_the_rule_for_names_sees_what_windows_forbids() -> None:
    assert all(FORBIDDEN.search(name) for name in ("a:b", "a?", "a.", "a ", "a|b", "a\\b", 'a"b'))
    assert not any(FORBIDDEN.search(name) for name in ("cifar10[cat,dog]", "dm+fyi", ".digits.lock"))


def test_a_gpu_of_apple_is_taken_where_there_is_one_and_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(Refused, match="device='mps': this torch finds no GPU of Apple"):
        machine_named("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made: list[str] = []

    def zeros(*_: object, device: torch.device) -> torch.Tensor:
        made.append(str(device))
        return torch.ones(())

    monkeypatch.setattr(torch, "zeros", zeros)
    assert str(machine_named("mps").device) == "mps" and made == ["mps"]
    assert str(machine_named("auto").device) == "cpu"
