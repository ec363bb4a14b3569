"""What a resumed run takes over from an unfinished one is checked, and made again where it is damaged."""

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.resources import Budget, Machine

LABELS = ("random_subset+fkd", {"fkd.epochs": "4", "fkd.batch": "8"})
SHORT = {
    "iterations": "1", "syn_steps": "2", "expert_epochs": "1", "max_start_epoch": "2", "experts": "1",
    "batch_experts": "256", "network": "mlp",
}  # fmt: skip
EXPERTS = ("mtt", SHORT)
Spent = Callable[[int], Budget]
Damage = Callable[[bytes, random.Random], bytes]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """One bit is another one."""
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


DAMAGES: dict[str, Damage] = {
    "flipped": flipped,
    "cut short": lambda data, rng: data[: rng.randrange(len(data))],
    "emptied": lambda data, rng: b"",
    "overwritten": lambda data, rng: bytes(len(data)),
}


def distilled(which: tuple[str, dict[str, str]], data: ImageDataset, cache: Path, budget: Budget) -> str:
    method, _ = build(which[0], data.spec.name, 2, which[1])
    made, _ = distill(method, data, ipc=2, cache=cache, machine=Machine(budget=budget))
    return str(made.hash)


@pytest.mark.parametrize(("which", "asked"), [(LABELS, 2), (EXPERTS, 9)], ids=["labels", "experts"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))
def test_each_file_of_an_unfinished_run_may_be_damaged_and_the_set_stays_equal(
    which: tuple[str, dict[str, str]],
    asked: int,
    damage: Damage,
    digits: ImageDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spent_after: Spent,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0")
    whole = distilled(which, digits, tmp_path / "whole", Budget())
    with pytest.raises(Stopped):
        distilled(which, digits, tmp_path / "stopped", spent_after(asked))
    files = [path for path in (tmp_path / "stopped").rglob("*") if path.is_file() and path.stat().st_size]
    assert {path.suffix for path in files} >= {".safetensors"} and len(files) >= 3
    rng = random.Random(0)
    for damaged in [*([path] for path in files), files]:
        again = tmp_path / "again"
        shutil.copytree(tmp_path / "stopped", again)
        for path in damaged:
            target = again / path.relative_to(tmp_path / "stopped")
            target.write_bytes(damage(target.read_bytes(), rng))
        capsys.readouterr()
        assert distilled(which, digits, again, Budget()) == whole, damaged
        said = re.search("damaged|altered|truncated|ten again", capsys.readouterr().err) is not None
        assert said == any(is_read(path) for path in damaged), damaged
        shutil.rmtree(again)


def is_read(path: Path) -> bool:
    """Whether a file is read if all others are as they should be: of two checkpoints, the newer one is."""
    return path == max(path.parent.glob("checkpoint-*"), default=path) or "checkpoint" not in path.name


@pytest.mark.parametrize("name", ["mtt", "ftd", "datm"])
@pytest.mark.parametrize("lr_images", ["1e38", "1e30"])
def test_images_that_have_diverged_make_no_set(
    name: str, lr_images: str, digits: ImageDataset, tmp_path: Path
) -> None:
    fields = {key: value for key, value in SHORT.items() if key in methods()[name]().config()}
    method, _ = build(name, "digits", 1, fields | {"lr_images": lr_images})
    with pytest.raises(Refused, match="diverged|not finite|undone"):
        distill(method, digits, ipc=1, cache=tmp_path)


def test_numbers_that_single_precision_cannot_hold_are_refused() -> None:
    assert build("dm", "digits", 1, {"lr_images": "3e38"})[0].config()["lr_images"] == 3e38
    for value in ("1e39", 1e39):
        with pytest.raises(Refused, match="dm's lr_images is too large for float32"):
            build("dm", "digits", 1, {"lr_images": value})
