"""The commands of a row: they name every setting, and do the row again."""

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from condense.board.web.commands import run_command, same_again
from condense.protocols import WHOLE_V1
from condense.records.record import Record
from condense.store.manifest import ChainLinkPart

Make = Callable[..., Record]


def test_a_record_is_named_by_its_file(made: Make) -> None:
    record = made()
    command = same_again(record, "results")
    assert command is not None and shlex.split(command)[:2] == ["condense", "reproduce"]
    assert Path(shlex.split(command)[2]) == record.path(Path("results"))


def test_the_parts_of_a_datasets_name_are_options(made: Make) -> None:
    command = run_command(made(dataset="cifar10@16[cat,dog]~none", config={"init": None, "decay": "a b"}))
    assert command == (
        "condense run --method dm --dataset cifar10 --size 16 --classes cat,dog --augment none --ipc 1 "
        "--protocol hard-v1 --student convnet --seed 0 --param 'decay=a b' --param init=none"
    )


def test_a_wrappers_fields_have_its_name_in_front(made: Make) -> None:
    record = made()
    around: ChainLinkPart = {"name": "fyi", "version": 1, "config": {"flip_first": True}}
    chain = (*record.method.chain, around)
    command = run_command(replace(record, method=replace(record.method, name="dm+fyi", chain=chain)))
    assert command is not None and command.endswith("--param lr_img=1.0 --param fyi.flip_first=true")


def test_references_and_fractions_have_commands_of_their_own(made: Make) -> None:
    whole = made("whole", ipc=0, protocol=WHOLE_V1, kind="reference")
    whole = replace(whole, method=replace(whole.method, chain=()))
    assert run_command(whole) == (
        "condense evaluate --reference whole --dataset digits --protocol whole-v1 --student convnet"
    )
    part = run_command(replace(made(), ipc=0, fraction=0.1))
    assert part is not None and "--fraction 0.1" in part and "--ipc" not in part


@pytest.mark.parametrize("fraction", [1 / 3, 1e-7, 0.1, 1.0])
def test_the_fraction_of_a_command_is_that_of_the_record(made: Make, fraction: float) -> None:
    words = shlex.split(run_command(replace(made(), ipc=0, fraction=fraction)) or "")
    assert float(words[words.index("--fraction") + 1]) == fraction


def test_a_setting_that_is_a_file_is_told_with_its_hash(made: Make) -> None:
    record = made("el2n", config={"scores": "ab" * 32, "epochs": 10})
    command = run_command(record)
    assert command is not None
    assert command.endswith(f"--param scores=FILE  # the SHA-256 of the file of scores is {'ab' * 32}")
    assert shlex.split(command, comments=True)[-1] == "scores=FILE"
    assert "FILE" not in (run_command(made("el2n", config={"scores": None})) or "")


def test_what_no_command_gives_has_none(made: Make) -> None:
    assert run_command(made("imported-dm")) is None
    assert run_command(replace(made(), asked=(1,) * 10)) is None
    assert same_again(replace(made(), kind="federated"), "results") is None
