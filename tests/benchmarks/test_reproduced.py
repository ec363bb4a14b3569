"""The rows that are drawn from the board and done again: which ones, and what the page says of them."""

from collections import Counter
from pathlib import Path

from condense.benchmarks.reproduced import EACH, RESULTS, at_hand, drawn, page
from condense.records.folder import read_records
from condense.records.record import Record
from condense.store.folder import read_manifest

SETS = RESULTS / "sets"


def name(record: Record) -> str:
    return str(record.path(Path()))


def test_only_rows_whose_very_set_is_at_hand_are_drawn(tmp_path: Path) -> None:
    records = read_records(RESULTS)
    (tmp_path / "empty").mkdir()
    assert at_hand(records, tmp_path) == []
    place = next(SETS.glob("mutag-mirage-*"))
    (tmp_path / place.name).symlink_to(place)
    content, provenance = read_manifest(place)
    found = at_hand(records, tmp_path)
    assert found and {(one.key, one.set and one.set.hash) for one in found} == {
        (content["key"], provenance["hash"])
    }


def test_the_draw_has_as_many_images_as_graphs_and_depends_on_its_seed_alone() -> None:
    records = at_hand(read_records(RESULTS), SETS)
    first, again, other = drawn(records, 0), drawn(records, 0), drawn(records, 1)
    assert Counter(one.dataset.kind for one in first) == {"images": EACH, "graphs": EACH}
    assert list(map(name, first)) == list(map(name, again)) != list(map(name, other))
    assert len(drawn(records[:3], 0, each=100)) == 3


def test_the_page_counts_the_rows_that_stand() -> None:
    row = {"stored": [50.0, 52.0], "again": [51.0, 53.0], "z": 0.7071, "p": 0.55, "stands": True}
    told = page({"a/b.json": row, "c.json": row | {"stored": [60.0], "stands": False}})
    assert "1 of 2 rows stand." in told
    line, other = (one for one in told.splitlines() if ".json`" in one)
    assert [part.strip() for part in line.split("|")[1:-1]] == [
        "`a/b.json`", "51.0 ± 1.4 (2)", "52.0 ± 1.4 (2)", "+0.71", "0.55", "yes",
    ]  # fmt: skip
    assert "| 60.0 " in other and other.rstrip(" |").endswith("no")
