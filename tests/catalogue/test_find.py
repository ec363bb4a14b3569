"""Sets are found by path and by name, and a name that stands for no set, or for several, is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

import condense
from condense.catalogue.find import locate, tell_apart
from condense.catalogue.form import SHIPPED, Score
from condense.errors import Refused
from tests.catalogue.conftest import MakeSet, listed, write

SETS = Path("results") / "sets"
SCORE = Score(protocol="hard-v1", student="convnet", students=5, accuracy=70.0)


def refusal(name: str | Path) -> str:
    """The one sentence that a name is refused with."""
    with pytest.raises(Refused) as caught:
        condense.load(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_set_is_found_by_its_short_and_its_full_name(here: Path, toy_sets: MakeSet) -> None:
    made = toy_sets()
    made.save(SETS / "one")
    entry = listed(made, "one")
    write(SETS, [entry, listed(toy_sets(ipc=2))])
    for name in ("toy/random_subset/ipc1", entry.full, Path(entry.full), str(SETS / "one")):
        assert condense.load(name).hash == made.hash == condense.verify(name)
    assert locate(entry.full) == SETS / "one"


def test_a_path_that_is_there_wins(here: Path, toy_sets: MakeSet) -> None:
    toy_sets().save(SETS / "one")
    write(SETS, [listed(toy_sets(), "one")])
    other = toy_sets(ipc=2)
    other.save("toy/random_subset/ipc1")
    assert condense.load("toy/random_subset/ipc1").hash == other.hash
    Path("mine").mkdir()
    assert "there is no set.json in it" in refusal("mine")


def test_a_name_of_several_sets_is_refused_with_what_tells_them_apart(here: Path, toy_sets: MakeSet) -> None:
    entries = [listed(toy_sets(seed)) for seed in (0, 1)]
    write(SETS, entries)
    told = refusal("toy/random_subset/ipc1")
    assert told.startswith("toy/random_subset/ipc1 stands for 2 sets: ")
    assert all(f"{entry.full} (seed {entry.seed})" in told for entry in entries)
    many = [replace(entries[0], key=f"{seed:064x}"[::-1], seed=seed) for seed in range(7)]
    write(SETS, many)
    told = refusal("toy/random_subset/ipc1")
    assert told.count("(seed ") == 5 and "condense sets toy/random_subset/ipc1 lists them all" in told


def test_sets_of_one_run_are_found_by_their_hashes(here: Path, toy_sets: MakeSet) -> None:
    made, other = toy_sets(), toy_sets(1)
    made.save(SETS / "one")
    mine = replace(listed(made, "one"), twin=True)
    write(SETS, [mine, replace(listed(other), key=mine.key, twin=True)])
    assert condense.load(f"toy/random_subset/ipc1/{made.hash[:8]}").hash == made.hash
    told = refusal(f"toy/random_subset/ipc1/{mine.key[:8]}")
    assert "stands for 2 sets" in told and f"/{other.hash[:8]} (" in told
    assert len(condense.sets()) == 2  # that in the folder is the catalogue's


def test_differing_settings_tell_sets_apart_the_most_telling_first(toy_sets: MakeSet) -> None:
    base = listed(toy_sets())
    entries = [
        replace(base, key=f"{n}" * 64, settings={"lr": f"{n}", "zca": f"{n > 1}", "same": "1"} | more)
        for n, more in enumerate(({"a": "x", "b": "y"}, {"a": "x", "b": "y"}, {"a": "x"}))
    ]
    told = tell_apart(entries)
    assert list(told.values()) == ["lr=0, b=y, zca=False", "lr=1, b=y, zca=False", "lr=2, no b, zca=True"]
    (alone,) = {*tell_apart([replace(base, seed=1)]).values()}
    assert alone == f"hash {base.hash[:8]}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("toy/random_subet/ipc1", "is known; nearest: toy/random_subset/ipc1"),
        ("toy/random_subset/ipc1/00000000", "is known; nearest: toy/random_subset/ipc1"),
        ("sets/mine", "no folder sets/mine, and no set of that name is known; condense sets lists"),
        ("x" * 5000, "there is no folder xxx"),
        ("a\0b/c/ipc1", "there is no folder a"),
        ("toy//random_subset/../ipc1", "there is no folder toy/random_subset/../ipc1"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(
    name: str, told: str, here: Path, toy_sets: MakeSet
) -> None:
    write(SETS, [listed(toy_sets())])
    assert told in refusal(name)


def test_a_path_that_can_be_no_name_is_looked_up_nowhere(here: Path) -> None:
    SETS.mkdir(parents=True)
    (SETS / "catalogue.json").write_text("{")
    assert refusal(here / "gone") == f"there is no folder {here / 'gone'}"
    assert refusal("../gone") == "there is no folder ../gone"
    assert "results/sets/catalogue.json is not JSON" in refusal("toy/dm/ipc1")


def test_a_folder_that_holds_another_set_than_its_catalogue_names_is_refused(
    here: Path, toy_sets: MakeSet
) -> None:
    toy_sets(1).save(SETS / "one")
    write(SETS, [listed(toy_sets(0), "one")])
    held, named = toy_sets(1).hash[:8], toy_sets(0).hash[:8]
    told = f"results/sets/one holds the set {held}, but results/sets/catalogue.json names {named} as toy/"
    assert told in refusal("toy/random_subset/ipc1")


def test_a_set_without_files_is_refused_and_its_settings_are_named(here: Path, toy_sets: MakeSet) -> None:
    for folder in (None, "gone"):
        write(SETS, [listed(toy_sets(), folder)])
        told = refusal("toy/random_subset/ipc1")
        assert "is known by its hash alone: results/sets/catalogue.json names no files for it" in told
    assert list(condense.sets()["where"].isna()) == [True]


def test_sets_in_the_home_folder_are_known_by_their_manifests(
    here: Path, home: Path, toy_sets: MakeSet
) -> None:
    made = toy_sets()
    made.save(home / "sets" / "any")
    (home / "sets" / "bad").mkdir()
    (home / "sets" / "bad" / "set.json").write_text("{")
    assert condense.load("toy/random_subset/ipc1").hash == made.hash
    write(SETS, [replace(listed(made), scores=(SCORE,))])
    (row,) = condense.sets().itertuples()
    assert (row.where, row.accuracy, row.bytes) == (str(home / "sets" / "any"), 70.0, 195)


def nobodys_home() -> Path:
    raise RuntimeError


def test_the_sets_of_the_package_load_where_there_is_nothing_else(
    here: Path, tmp_path: Path, toy_sets: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "source" / "condense" / "shipped"
    toy_sets().save(shipped / "one")
    write(shipped, [listed(toy_sets(), "one")], name=SHIPPED)
    for name in ("CONDENSE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", nobodys_home)
    assert condense.load("toy/random_subset/ipc1").hash == toy_sets().hash
    assert list(here.iterdir()) == []


def test_the_catalogue_of_the_source_tree_is_read_anywhere(
    here: Path, tmp_path: Path, toy_sets: MakeSet
) -> None:
    source = tmp_path / "source"
    toy_sets().save(source / SETS / "one")
    write(source / SETS, [listed(toy_sets(), "one")])
    assert "there is no folder toy/" in refusal("toy/random_subset/ipc1")
    (source / "pyproject.toml").touch()
    assert condense.load("toy/random_subset/ipc1").hash == toy_sets().hash


def test_catalogues_that_disagree_about_a_name_are_refused(
    here: Path, tmp_path: Path, toy_sets: MakeSet
) -> None:
    entry, source = listed(toy_sets()), tmp_path / "source"
    write(SETS, [entry])
    write(source / SETS, [replace(entry, hash="0" * 64)])
    (source / "pyproject.toml").touch()
    told = refusal("toy/random_subset/ipc1")
    assert f"results/sets/catalogue.json names {entry.hash[:8]} and " in told
    assert f"names 00000000 as {entry.full}: give the folder" in told
    assert list(condense.sets()["name"]) == [entry.full] * 2
