"""Command lines that make no sense, drawn at random: exit code 2, one sentence, and nothing is written."""

import random
from pathlib import Path

import pytest

from tests.cli.command import Condense
from tests.cli.test_app import refused

FEW, MANY = 40, 500

COMMANDS = ("run", "distill", "evaluate", "teach", "show", "verify", "leaderboard", "bench")
OPTIONS = {
    "run": ("data", "make", "judge"),
    "distill": ("data", "make"),
    "evaluate": ("data", "judge"),
    "teach": ("data", "teach"),
    "show": (),
    "verify": (),
    "leaderboard": (),
    "bench": (),
}
"""The groups of options that a command takes."""
WRONG: dict[str, tuple[tuple[str, ...], ...]] = {
    "data": (
        ("--dataset", "cifar11"),
        ("--dataset", "digits@abc"),
        ("--dataset", "@99999999"),
        ("--dataset", ""),
        ("--dataset", "digits@99999999"),
        ("--dataset", "imagenet:n1"),
        ("--dataset", "no/such"),
        ("--dataset", "."),
        ("--dataset", "pipe.npz"),
        ("--dataset", "loop.npz"),
        ("--dataset", "empty.npz"),
        ("--dataset", "x" * 300),
        ("--dataset", "y/" * 3000),
        ("--dataset", "\x1b[2J"),
        ("--dataset", "ü\udc80"),
        ("--dataset", "empty"),
        ("--dataset", "/dev/zero"),
        ("--dataset", "text.zip"),
        ("--data-dir", "nowhere"),
        ("--data-dir", "text.zip"),
        ("--size", "0"),
        ("--size", "-8"),
        ("--size", "1000000000000"),
        ("--size", "1e12"),
        ("--size", "8.5"),
        ("--size", "9" * 400),
        ("--device", "tpu"),
        ("--device", "cuda:99"),
        ("--device", ""),
        ("--device", "cpu:x"),
        ("--budget", "soon"),
        ("--budget", "0"),
        ("--budget", "-1h"),
        ("--budget", "1e999h"),
        ("--budget", "nans"),
        ("--budget",),
        ("--dataset",),
        ("--nonsense",),
        ("--size=",),
        ("--ipc", "1", "2", "3"),
    ),
    "make": (
        ("--method", "dn"),
        ("--method", ""),
        ("--method", "+"),
        ("--method", "dm+dm"),
        ("--method", "dm++fyi"),
        ("--method", "x" * 3000),
        ("--method", "../dm"),
        ("--ipc", "0"),
        ("--ipc", "-3"),
        ("--ipc", "one"),
        ("--ipc", "1e3"),
        ("--ipc", "9" * 30),
        ("--ipc", "100000"),
        ("--seed", "-1"),
        ("--seed", "x"),
        ("--seed", "9" * 30),
        ("--param", "iterations"),
        ("--param", "=5"),
        ("--param", "iterations="),
        ("--param", "iterations=nan"),
        ("--param", "iterations=-1"),
        ("--param", "iterations=1e400"),
        ("--param", "lr_images=inf"),
        ("--param", "lr_images=1e39"),
        ("--param", "lr_images=nan"),
        ("--param", "__class__=1"),
        ("--param", "fyi.x=1"),
        ("--param", "network=convnt"),
        ("--teacher", "none.pt"),
        ("--teacher", "pipe.npz"),
        ("--out", "text.zip/sets"),
        ("--out", "loop.npz/x"),
        ("--out", "x" * 300),
    ),
    "judge": (
        ("--protocol", "hard-v9"),
        ("--protocol", ""),
        ("--student", "resnet19"),
        ("--student", ""),
        ("--eval-seeds", "0"),
        ("--eval-seeds", "-1"),
        ("--eval-seeds", "9999"),
        ("--eval-seeds", "x"),
        ("--results", "text.zip/results"),
        ("--results", "loop.npz/x"),
        ("--results", "x" * 300),
    ),
    "teach": (
        ("--epochs", "0"),
        ("--epochs", "-1"),
        ("--epochs", "x"),
        ("--lr", "nan"),
        ("--lr", "-1"),
        ("--lr", "1e39"),
        ("--batch", "0"),
        ("--batch", "-5"),
        ("--network", "convnt"),
        ("--out", "text.zip/t.safetensors"),
    ),
}
"""For each group, options of which each alone makes a command line wrong."""
FINE: dict[str, tuple[tuple[str, ...], ...]] = {
    "data": (("--device", "cpu"), ("--budget", "9m"), ("--skip-unreadable",)),
    "make": (("--method", "dm"), ("--ipc", "1"), ("--seed", "1"), ("--param", "iterations=2")),
    "judge": (("--protocol", "hard-v1"), ("--student", "mlp"), ("--eval-seeds", "1")),
    "teach": (("--epochs", "1"), ("--network", "mlp")),
}
WHOLE: tuple[tuple[str, ...], ...] = (
    ("show",),
    ("show", "none"),
    ("show", "."),
    ("show", "empty"),
    ("show", "text.zip"),
    ("show", "loop.npz"),
    ("show", "pipe.npz"),
    ("verify",),
    ("verify", "none"),
    ("verify", "x" * 300),
    ("verify", "y/" * 3000),
    ("verify", "loop.npz/a"),
    ("verify", "/dev/null"),
    ("verify", "\x1b[2J"),
    ("verify", "a", "b"),
    ("bench",),
    ("bench", "none.toml"),
    ("bench", "pipe.npz"),
    ("bench", "/dev/zero"),
    ("bench", "deep.toml"),
    ("bench", "many.toml"),
    ("bench", "bytes.toml"),
    ("bench", "empty"),
    ("leaderboard", "--results", "none"),
    ("leaderboard", "--results", "text.zip"),
    ("leaderboard", "--check", "--results", "loop.npz"),
    ("evaluate",),
    ("evaluate", "none"),
    ("evaluate", "none", "--reference", "whole"),
    ("evaluate", "--reference", "hole"),
    ("evaluate", "--reference", ""),
    ("lost",),
    ("",),
    ("--nonsense",),
    ("list", "more"),
    ("run", "more"),
    ("teach", "--pin", "--dataset", "none"),
    ("-1",),
    ("run", "--", "--ipc"),
)
"""Complete command lines that are wrong."""


def nonsense(rng: random.Random) -> list[str]:
    """Returns the arguments of a command line that is wrong as a whole, or in one of its options."""
    if rng.random() < 0.3:
        return [*rng.choice(WHOLE)]
    command = rng.choice([name for name in COMMANDS if OPTIONS[name]])
    groups = OPTIONS[command]
    fine = [option for group in groups for option in FINE[group] if rng.random() < 0.3]
    parts = [rng.choice(WRONG[rng.choice(groups)]), *fine]
    rng.shuffle(parts)
    given = {part[0] for part in parts}
    more = [] if command != "evaluate" else ["--reference", "whole"]
    if len(given) < len(parts):  # the same option twice: the last one counts
        return nonsense(rng)
    return [command, *more, *(argument for part in parts for argument in part)]


def lay_out() -> None:
    """Puts files and folders of the wrong kinds into the current folder."""
    import os

    os.mkfifo("pipe.npz")
    Path("loop.npz").symlink_to("loop.npz")
    Path("empty.npz").write_bytes(b"")
    Path("empty").mkdir()
    Path("text.zip").write_text("no archive")
    Path("deep.toml").write_text("a = " + "[" * 100_000)
    Path("many.toml").write_text(f"[[cell]]\nipc = {[1] * 1000}\nmethod = {['dm'] * 1000}\n")
    Path("bytes.toml").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("part", range(4))
def test_nonsense_is_refused_in_one_sentence_and_nothing_is_written(part: int, condense: Condense) -> None:
    show(range(part * FEW // 4, (part + 1) * FEW // 4), condense)


@pytest.mark.slow
def test_hundreds_of_nonsense_command_lines_are_refused(condense: Condense) -> None:
    show(range(MANY), condense)


def show(seeds: range, condense: Condense) -> None:
    lay_out()
    wrong = []
    for seed in seeds:
        arguments = nonsense(random.Random(seed))
        try:
            sentence = refused(condense, *arguments)
            assert len(sentence) < 10_000
        except BaseException as error:
            wrong.append(f"{seed}: {' '.join(arguments)[:200]}: {type(error).__name__} {str(error)[:600]}")
    assert not wrong, "\n\n".join(wrong)
