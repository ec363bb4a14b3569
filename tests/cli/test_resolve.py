"""Refusals in the words of the command line."""

import pytest

from condense.cli.resolve import sentence
from condense.errors import Refused, Remedy


@pytest.mark.parametrize(
    ("setting", "value", "start"),
    [
        ("ipc", 0, "--ipc 0: "),
        ("eval_seeds", 9, "--eval-seeds 9: "),
        ("size", None, "--size: "),
        ("data_dir", "my data", "--data-dir 'my data': "),
        ("skip_unreadable", True, "--skip-unreadable: "),
        ("undirected", True, "--undirected: "),
        ("baselines", False, "--no-baselines: "),
        ("params.lr", 0.0, "--param lr=0.0: "),
        ("params.fyi.flip_first", True, "--param fyi.flip_first=true: "),
        (None, None, ""),
    ],
)
def test_a_setting_becomes_an_option(setting: str | None, value: object, start: str) -> None:
    assert sentence(Refused("this is wrong", setting=setting, value=value), {}) == f"{start}this is wrong"


@pytest.mark.parametrize(
    ("remedy", "text"),
    [
        (
            Remedy(settings={"size": None}, effect="works"),
            "--size N works",
        ),
        (Remedy(settings={"params.network": None}), "--param network=VALUE"),
        (Remedy(settings={"ipc": 2, "seed": 1}, effect="works"), "--ipc 2 --seed 1 works"),
        (Remedy(effect="ask for less"), "ask for less"),
        (Remedy(command="leaderboard", effect="writes it"), "condense leaderboard writes it"),
    ],
)
def test_a_remedy_names_options_and_commands(remedy: Remedy, text: str) -> None:
    assert sentence(Refused("wrong", remedies=[remedy]), {}) == f"wrong; {text}"


def test_a_remedy_that_is_a_command_uses_the_users_own_data_options() -> None:
    teach = Remedy(settings={"dataset": "toy@6", "pin": True}, command="teach", effect="makes one")
    error = Refused("there is none", remedies=[teach])
    given = {"dataset": "a b.npz", "size": 6, "skip_unreadable": False, "data_dir": None, "ipc": 3}
    assert sentence(error, given) == (
        "there is none; condense teach --dataset 'a b.npz' --pin --size 6 makes one"
    )
    assert sentence(error, {"dataset": None, "size": 6, "data_dir": "data"}) == (
        "there is none; condense teach --dataset toy@6 --pin --data-dir data makes one"
    )
