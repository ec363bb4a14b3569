"""The catalogue that the records give: an entry for each set with its scores, and the index of sets."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from condense.board.catalogue import catalogue_files, index_text, list_sets, stored_folders
from condense.board.publish import refresh, require_current
from condense.catalogue.form import Catalogue, read_catalogue
from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.evaluate import record_of
from condense.protocols import HARD_V1, SOFT_V1, SOFT_V2
from condense.records.frame import frame
from condense.records.record import Record, TargetUsed

Make = Callable[..., Record]


def test_each_set_of_a_record_has_an_entry_and_references_have_none(made: Make) -> None:
    records = [
        made("dm", seed=1),
        made("dm", student="mlp"),
        made("dm"),
        made("dc", ipc=10),
        made("dc", ipc=2),
    ]
    found = list_sets(frame([*records, made("whole", kind="reference")]), {"x": "y"})
    assert [one.full for one in found] == [
        f"digits/{name}/{key[:8]}"
        for name, key in (
            ("dc/ipc2", records[4].key),
            ("dc/ipc10", records[3].key),
            ("dm/ipc1", records[2].key),
            ("dm/ipc1", records[0].key),
        )
    ]
    assert found[1].bytes == 64 * 100 + 100 and found[1].folder is None
    assert found[1].settings == {"version": "1", "lr_img": "1.0"}
    by_class = replace(made("dm"), asked=(1,) * 9 + (2,))
    assert [one.name for one in list_sets(frame([by_class]), {})] == ["digits/dm/ipc1-by-class"]


def test_sets_of_one_run_that_two_machines_made_are_named_by_their_hashes(made: Make) -> None:
    one, alone = made("dm"), made("dc")
    assert one.set is not None
    other = replace(made("dm", protocol=SOFT_V2), set=replace(one.set, hash="5" * 64))
    found = list_sets(frame([one, other, alone]), {})
    assert [entry.full for entry in found] == [
        f"digits/dc/ipc1/{alone.key[:8]}", f"digits/dm/ipc1/{one.set.hash[:8]}", "digits/dm/ipc1/55555555"
    ]  # fmt: skip
    assert [entry.of_run for entry in found[1:]] == [f"digits/dm/ipc1/{one.key[:8]}"] * 2
    assert [line.count('"twin":true') for line in Catalogue(sets=found).text().splitlines()[1:4]] == [0, 1, 1]


def test_the_score_of_a_protocol_is_that_of_the_network_with_most_students(made: Make) -> None:
    records = [
        made("dm", student="convnet", accuracies=(60.0, 61.0)),
        made("dm", student="vgg11", accuracies=(50.0, 51.0, 51.5)),
        made("dm", student="mlp", accuracies=(40.0, 41.0, 41.2)),
        made("dm", protocol=SOFT_V1, accuracies=(1.0,) * 4),
        made("dm", protocol=SOFT_V2, accuracies=(2.0,)),
    ]
    (entry,) = list_sets(frame(records), {})
    told = [(one.protocol, one.student, one.students, one.accuracy) for one in entry.scores]
    assert told == [
        ("hard-v1", "mlp", 3, 40.73), ("soft-v2", "convnet", 1, 2.0), ("soft-v1", "convnet", 4, 1.0)
    ]  # fmt: skip


def test_graphs_have_their_auc_and_validation_data_are_no_part_of_a_set(graphs: Make) -> None:
    record = replace(graphs(), valid_bytes=999)
    (entry,) = list_sets(frame([record]), {})
    assert (entry.kind, entry.bytes) == ("graphs", 304)
    assert (entry.scores[0].accuracy, entry.scores[0].auc) == (61.0, 71.0)


def test_a_score_on_other_data_names_them(made: Make) -> None:
    target = TargetUsed(name="mnist", train_hash="3" * 64, test_hash="4" * 64)
    (entry,) = list_sets(frame([replace(made("dm"), kind="transfer", target=target), made("dm")]), {})
    assert [one.target for one in entry.scores] == [None, "mnist"]


def test_the_index_shows_stored_sets_and_counts_the_others(made: Make) -> None:
    records = [made("dm", accuracies=(70.0,)), made("dc"), made("dc", seed=1), made("a+b", dataset="x@2")]
    assert records[0].set is not None and records[3].set is not None
    text = index_text(list_sets(frame(records), {records[0].set.hash: "a b", records[3].set.hash: "x@2+"}))
    assert "| `digits/dm/ipc1` | 1   | 70.0 (hard-v1, convnet, 1 student)  | 650 B |" in text
    assert "[card](a%20b/README.md), [gallery](a%20b/gallery.png)" in text
    assert "[card](x@2+/README.md)" in text
    assert "2 more sets are named by their hash alone: 2 of dc." in text


@pytest.fixture
def results(toy: ImageDataset, tmp_path: Path, made: Make, entry: Callable[..., object]) -> Path:
    """Records of a stored set and of another one."""
    folder = tmp_path / "results"
    stored, _ = distill(build("random_subset", "toy", 1)[0], toy, ipc=1, cache=tmp_path / "cache")
    stored.save(folder / "sets" / "mine")
    record_of(stored, toy, HARD_V1, "convnet").with_entry(entry(0, 50.0)).write(folder)  # type: ignore[arg-type]
    made("dm").write(folder)
    return folder


def test_the_board_writes_the_catalogue_and_checks_it(results: Path) -> None:
    file, index = results / "sets" / "catalogue.json", results / "sets" / "INDEX.md"
    refresh(results)
    assert [one.folder for one in read_catalogue(file).sets] == [None, "mine"]
    assert "`toy/random_subset/ipc1`" in index.read_text()
    times = [path.stat().st_mtime_ns for path in (file, index)]
    refresh(results)
    assert [path.stat().st_mtime_ns for path in (file, index)] == times
    require_current(results)
    index.write_text(index.read_text().replace("toy", "boy"))
    with pytest.raises(Refused, match="INDEX.md is not what the records in .* give; condense leaderboard"):
        require_current(results)
    file.unlink()
    with pytest.raises(Refused, match="catalogue.json is not what the records"):
        require_current(results)


def test_without_a_folder_of_sets_there_is_no_catalogue(made: Make, tmp_path: Path) -> None:
    made().write(tmp_path / "results")
    refresh(tmp_path / "results")
    require_current(tmp_path / "results")
    assert not (tmp_path / "results" / "sets").exists()


def test_a_catalogue_keeps_its_address_and_is_mended_if_damaged(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = results / "sets" / "catalogue.json"
    refresh(results)
    file.write_text(replace(read_catalogue(file), url="https://example.org").text())
    refresh(results)
    assert read_catalogue(file).url == "https://example.org"
    file.write_text("<<<<<<< HEAD\n")
    refresh(results)
    assert read_catalogue(file).url is None
    assert "catalogue.json is not JSON" in capsys.readouterr().err


def test_the_packages_catalogue_keeps_its_choice_of_sets(results: Path) -> None:
    shipped, sets = results / "sets" / "shipped.json", results / "sets"
    refresh(results)
    assert not shipped.exists()
    chosen = [one for one in read_catalogue(sets / "catalogue.json").sets if one.folder]
    shipped.write_text(Catalogue(sets=tuple(replace(one, scores=()) for one in chosen)).text())
    with pytest.raises(Refused, match="shipped.json is not what the records"):
        require_current(results)
    refresh(results)
    assert list(read_catalogue(shipped).sets) == chosen


def test_a_damaged_set_is_not_at_hand(results: Path) -> None:
    (results / "sets" / "mine" / "set.json").write_text("{")
    assert stored_folders(results / "sets") == {}
    files = catalogue_files(frame([]), results / "sets")
    assert "None is at hand." in files[results / "sets" / "INDEX.md"]


def test_a_board_with_stored_sets_does_not_wait_for_torch(results: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from condense.board.publish import refresh\n"
        "refresh(Path(sys.argv[1]), plots=True)\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script, str(results)], check=True)
    assert stored_folders(results / "sets") and (results.parent / "leaderboard.md").is_file()
