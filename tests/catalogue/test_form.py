"""The form of a catalogue: what is read is what was written, and what could do harm is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from condense.catalogue.form import Catalogue, Score, SetEntry, read_catalogue
from condense.errors import Refused

ROOT = Path(__file__).parents[2]
ENTRY = SetEntry(
    name="toy/dm/ipc2", kind="images", dataset="toy", method="dm", ipc=2, seed=1, key="a" * 64,
    hash="b" * 64, bytes=390, settings={"version": "1", "lr": "0.1"}, folder="toy-dm",
    scores=(
        Score(protocol="hard-v1", student="convnet", students=5, accuracy=70.25),
        Score(protocol="graph-v2", student="gcn", students=2, accuracy=60, auc=65.5, target="b"),
    ),
)  # fmt: skip


def test_a_catalogue_comes_back_as_it_was_with_a_line_for_each_set(tmp_path: Path) -> None:
    bare = replace(ENTRY, name="toy/dm/ipc2-by-class", key="c" * 64, folder=None, scores=())
    for url in (None, "https://example.org/sets"):
        whole = Catalogue(sets=(ENTRY, bare), url=url)
        (tmp_path / "c.json").write_text(whole.text())
        assert read_catalogue(tmp_path / "c.json") == whole
        assert len(whole.text().splitlines()) == 2 + len(whole.sets)
    assert ENTRY.full == "toy/dm/ipc2/aaaaaaaa"


def entry(**change: Any) -> dict[str, Any]:
    """The change of a catalogue's only entry."""
    values = json.loads(Catalogue(sets=(ENTRY,)).text())["sets"][0]
    return {"sets": [values | change]}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": "condense-record"}, "c.json is no condense-catalogue"),
        ({"version": 2}, "this catalogue is of version 2; this condense reads version 1: update condense"),
        ({"version": True}, "True is no version of a condense-catalogue"),
        ({"sets": None}, "c.json: sets is null, not a list"),
        ({"mood": 1}, "c.json: mood is unknown"),
        (entry(mood=1), "c.json: sets[0].mood is unknown"),
        (entry(bytes=-1), "c.json: sets[0].bytes is -1, not a whole number of at least 0"),
        (entry(hash="b" * 63), "not a text of length 64 or more"),
        (entry(key="../" + "b" * 61), "not a text of hexadecimal digits"),
        (entry(name="toy/dm/ipc1"), "c.json: sets[0].name is 'toy/dm/ipc1', not toy/dm/ipc2"),
        (entry(scores=[{"protocol": "x"}]), "c.json: sets[0].scores[0].student is missing"),
        *(
            (entry(folder=folder), "leads out of its place")
            for folder in ("/etc", "..", "../b", "a/../../b", "", "a//b", ".", "a\\..\\b", "c:/x")
        ),
        *(
            ({"url": url}, "which is no address that begins with http or https")
            for url in ("file:///etc", "ftp://a/b", "http://", "a", "http://a b", "http://a:b", "http://a/?q")
        ),
    ],
)
def test_what_is_wrong_with_a_catalogue_is_said(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    values = json.loads(Catalogue(sets=(ENTRY,)).text()) | change
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(Refused) as refusal:
        read_catalogue(tmp_path / "c.json")
    assert sentence in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_catalogue_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(Catalogue(sets=(ENTRY,)).text()[:100])
    with pytest.raises(Refused, match="c.json is not JSON"):
        read_catalogue(tmp_path / "c.json")


def test_the_committed_catalogue_is_small_and_its_folders_are_there() -> None:
    file = ROOT / "results" / "sets" / "catalogue.json"
    assert file.stat().st_size < 500_000
    sets = read_catalogue(file).sets
    assert len({one.full for one in sets}) == len(sets) > 300
    folders = {one.folder for one in sets if one.folder}
    assert folders == {path.parent.name for path in file.parent.glob("*/set.json")}
