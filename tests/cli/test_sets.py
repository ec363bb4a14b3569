"""`condense sets`, and the names of sets in every command that takes a folder of one."""

import json
from pathlib import Path

import pytest

from condense.catalogue.form import CATALOGUE
from condense.store import DistilledSet
from tests.catalogue.conftest import MakeSet, here, listed, toy_sets, write
from tests.cli.command import Condense

__all__ = ["here", "toy_sets"]
NAME = "toy/random_subset/ipc1"
SETS = Path("results") / "sets"


@pytest.fixture
def stored(
    condense: Condense, here: Path, toy_sets: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> DistilledSet:
    """A stored set of a catalogue that names another one too."""
    monkeypatch.chdir(here)
    made = toy_sets()
    made.save(SETS / "one")
    write(SETS, [listed(made, "one"), listed(toy_sets(ipc=2))])
    return made


def test_sets_are_listed_with_their_place_and_chosen_by_words(
    condense: Condense, stored: DistilledSet
) -> None:
    line = f"{NAME}  ipc 1  -  195 B  results/sets/one"
    assert condense("sets").out.splitlines() == [
        line, "1 set to load, 1 known by hash alone: --all lists them",
    ]  # fmt: skip
    assert condense("sets", "--all").out.splitlines() == [
        line, "toy/random_subset/ipc2  ipc 2  -  390 B  -", "1 set to load, 1 known by hash alone (-)",
    ]  # fmt: skip
    assert condense("sets", "TOY", "ipc1").out.splitlines()[1] == "1 set to load"
    assert condense("sets", "nonsense").out == "0 sets to load\n"
    (entry,) = json.loads(condense("sets", "ipc1", "--json").out)
    assert (entry["hash"], entry["where"], entry["shortest"]) == (stored.hash, "results/sets/one", NAME)


def test_what_a_run_made_here_has_a_name(
    condense: Condense, here: Path, toy_sets: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    made = toy_sets()
    made.save(here / "sets" / "mine")
    assert condense("sets").out.splitlines()[0].endswith(" sets/mine")
    assert condense("verify", NAME).out.startswith(f"sets/mine: {made.hash}\n")


def test_what_cannot_be_read_in_the_home_folder_is_told(
    condense: Condense, stored: DistilledSet, home: Path
) -> None:
    (home / "sets" / "bad").mkdir(parents=True)
    (home / "sets" / "bad" / "set.json").write_text("{")
    ended = condense("sets")
    assert ended.code == 0 and "left out: " in ended.err and "bad/set.json is not JSON" in ended.err


def test_every_command_for_a_stored_set_takes_its_name(
    condense: Condense, stored: DistilledSet, toy_file: Path
) -> None:
    assert condense("verify", NAME).out.startswith(f"results/sets/one: {stored.hash}\n")
    assert "pictures: results/sets/one/gallery.png" in condense("show", NAME).out
    assert condense("export", NAME).out == "one.npz\n"
    given = ("--dataset", toy_file, "--student", "mlp", "--eval-seeds", 1)
    assert condense("evaluate", NAME, *given).code == 0
    assert len(list(Path("results/toy").glob("*.json"))) == 1
    assert "hard-v1" in (SETS / CATALOGUE).read_text()


@pytest.mark.parametrize("verb", ["show", "verify", "export", "evaluate"])
def test_a_wrong_name_is_refused_by_every_command(
    verb: str, condense: Condense, stored: DistilledSet
) -> None:
    ended = condense(verb, "toy/random_subset/ipc3")
    assert ended.code == 2 and len(ended.err.splitlines()) == 1
    assert f"; nearest: toy/random_subset/ipc2, {NAME}; condense sets lists" in ended.err
    ended = condense(verb, "toy/random_subset/ipc2")
    assert ended.code == 2 and "--json shows its settings" in ended.err
