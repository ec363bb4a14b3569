"""What has a name: the list, the page of each thing, completion, and the names kept for them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from condense.cli.names import completing
from condense.distillation.registry import build, registered
from condense.federated.algorithms import ALGORITHMS
from condense.runner.names import described
from tests.cli.command import Condense


@pytest.fixture(autouse=True)
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is asked for is found out, which is quicker here."""
    monkeypatch.setattr("condense.runner.names.everything", dict)


def test_a_page_tells_fields_recipes_and_published_numbers(
    condense: Condense, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in (80, 100):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = condense("list", "dm").out.splitlines()
        assert lines[0] == "dm: method for images, version 1"
        assert max(map(len, lines)) <= columns
        text = " ".join(" ".join(lines).split())
        assert "https://arxiv.org/abs/2110.04181" in text and "Learning rate of the pixels." in text
        assert "iterations int 500 Number of updates, each with a new network" in text
        assert "init real | normal real What the images start from" in text
        assert "cifar10 1, 10, 50 iterations=20000 lr_images=1.0" in text
        assert "cifar10 10 convnet 48.9 ± 0.6 DM paper" in text


PAGES = {
    "herding": ["method", "method"], "fyi": ["wrapper"], "+fyi": ["wrapper"], "dm+fyi": ["method"],
    "fedlgd": ["federated"], "herding+fedavg": ["federated"], "digits": ["dataset"], "mutag": ["dataset"],
    "convnet-w32": ["network"], "gcn-sum": ["network"], "hard-v1": ["protocol"], "published": ["protocol"],
}  # fmt: skip
"""The kinds of what has a name."""


def test_everything_with_a_name_has_a_page_and_json(condense: Condense) -> None:
    for name, kinds in PAGES.items():
        plain, found = condense("list", name), condense("list", name, "--json")
        assert plain.code == found.code == 0 and found.err == ""
        entries = json.loads(found.out)
        assert [one["kind"] for one in entries] == kinds and len({tuple(one) for one in entries}) == 1
        assert plain.out.startswith(f"{entries[0]['name']}: ")


def test_every_setting_has_a_meaning_and_the_name_that_param_takes(condense: Condense) -> None:
    for name in [name for _, name in registered()] + list(ALGORITHMS):
        for entry in described(name):
            assert entry["paper"]
            assert [one["name"] for one in entry["fields"] if not one["meaning"]] == []
    (entry,) = json.loads(condense("list", "dm+fyi", "--json").out)
    params = {one["name"]: one["default"] for one in entry["fields"]}
    method, _ = build("dm+fyi", "toy", 1, params)
    assert method.settings() == build("dm+fyi", "toy", 1)[0].settings() and "fyi.flip_first" in params
    recipe = next(one for one in entry["recipes"] if (one["dataset"], one["ipc"]) == ("cifar10", 10))
    changed, _ = build("dm+fyi", "toy", 10, recipe["settings"])
    assert changed.settings() == build("dm+fyi", "cifar10", 10)[0].settings()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("dn", "unknown name 'dn'; nearest: "),
        ("dm+fy", "unknown link of dm+fy: 'fy'; nearest: fyi"),
        ("mirage+fyi", "mirage distils graphs"),
        ("../..", "nothing is called '../..'; condense list shows all names"),
        ("", "nothing is called ''"),
    ],
)
def test_a_name_that_nothing_has_is_refused(name: str, sentence: str, condense: Condense) -> None:
    ended = condense("list", name)
    assert (ended.code, ended.out) == (2, "") and sentence in ended.err
    assert not Path("home").exists()


def test_names_are_completed_once_they_were_listed_and_forgotten_when_files_change(
    condense: Condense, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = completing("method", "wrapper", "federated")
    assert list(method("d")) == []
    listed = json.loads(condense("list", "--json").out)
    assert {"dm", "dc", "doscond"} <= set(method("d")) and "digits" not in set(method("d"))
    assert list(method("dm+fy")) == ["dm+fyi"] and "random_subset+fedavg" in set(method("random_subset+f"))
    assert list(completing("dataset")("cifar10")) == ["cifar10", "cifar100"]
    monkeypatch.setattr("condense.runner.names.overview", lambda: [])
    assert json.loads(condense("list", "--json").out) == listed
    monkeypatch.setattr("condense.cli.names._key", lambda: "of other files")
    assert json.loads(condense("list", "--json").out) == [] and list(method("d")) == []


def test_a_listing_that_is_damaged_is_made_again(condense: Condense) -> None:
    first = condense("list").out
    for file in Path("home/names").iterdir():
        file.write_text(file.read_text()[:50])
    assert condense("list").out == first


def test_neither_a_kept_listing_nor_a_completion_imports_torch(condense: Condense) -> None:
    condense("list")
    condense("list", "dm")
    script = (
        "import sys\n"
        "from condense.__main__ import main\n"
        "from condense.cli.names import completing\n"
        "assert 'dm' in list(completing('method')('d'))\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'numpy', 'pandas'} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "list", "dm"], capture_output=True, text=True, check=True
    )
    assert done.stderr == "[]\n" and done.stdout.startswith("dm: method for images")
