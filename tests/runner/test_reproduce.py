"""Rows that are done again: the comparison, how a row is found, and what is refused."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from condense.errors import Refused
from condense.evaluation import Outcome
from condense.records.folder import read_records
from condense.records.record import Record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.reproduce import Reproduced, agreement, find_row, reproduce
from condense.runner.run import run_cell

CPU = Machine(torch.device("cpu"))
CELL = CellSpec(method="dm", dataset="digits", params={"iterations": 2, "network": "convnet-w32"},
                student="convnet-w32")  # fmt: skip
scores = st.lists(st.floats(0, 100), min_size=2, max_size=8).filter(
    lambda found: max(found) - min(found) > 0.1
)


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[int, float]]:
    """What students reach by their seed, instead of a training; 50 % and a tenth of the seed otherwise."""
    given: dict[int, float] = {}

    def outcome(student: object, seed: int, *_: object) -> Outcome:
        return Outcome(given.get(seed, 50.0 + seed / 10), 0.0)

    monkeypatch.setattr("condense.evaluation.student.ImageStudent.outcome", outcome)
    yield given


@pytest.fixture
def paths(tmp_path: Path, home: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


def again(record: Record, paths: Paths, **how: object) -> Reproduced:
    found, row = find_row(str(record.path(paths.results)), paths.results)
    assert found == record
    return reproduce(found, row, paths, CPU, **how)  # type: ignore[arg-type]


@given(scores, scores)
def test_two_groups_are_compared_by_welch_s_test(stored: list[float], new: list[float]) -> None:
    wanted = stats.ttest_ind(new, stored, equal_var=False)
    z, chance = agreement(stored, new)
    assert z == pytest.approx(wanted.statistic, rel=1e-6, abs=1e-9)
    assert chance == pytest.approx(wanted.pvalue, rel=1e-5, abs=1e-12)


def test_a_file_brings_the_valid_records_of_its_row_and_reads_no_others(
    paths: Paths, made: Callable[..., Record]
) -> None:
    first, second = made(seed=0), made(seed=1)
    place, beside = first.write(paths.results), second.write(paths.results)
    for strange in (place.parent, paths.results / "other"):
        strange.mkdir(exist_ok=True)
        (strange / "strange.json").write_text('{"a": 1}')
    assert find_row(str(place), paths.results) == (first, [first, second])
    beside.write_text("damaged")
    assert find_row(str(place), paths.results) == (first, [first])
    alone = place.rename(place.parent / "downloaded.json")
    second.write(paths.results / "again")
    assert find_row(str(alone), paths.results) == (first, [first])


@given(scores, st.floats(0, 100))
def test_a_single_score_is_one_more_draw(stored: list[float], new: float) -> None:
    n = len(stored)
    wanted = (new - sum(stored) / n) / (stats.tstd(stored) * (1 + 1 / n) ** 0.5)
    z, chance = agreement(stored, [new])
    assert z == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    tail = stats.t.sf(abs(wanted), n - 1)  # type: ignore[attr-defined]
    assert chance == pytest.approx(2 * tail, rel=1e-4, abs=1e-9)
    assert agreement([new], stored)[1] == pytest.approx(chance, rel=1e-6)


def test_equal_scores_agree_and_two_other_single_ones_do_not() -> None:
    assert agreement([50.0], [50.0]) == (0.0, 1.0)
    assert agreement([50.0], [51.0])[1] == 0.0 and agreement([50.0, 50.0], [51.0])[1] == 0.0


def test_new_students_have_new_seeds_and_leave_no_record(reached: dict[int, float], paths: Paths) -> None:
    (record,) = run_cell(CELL, paths, CPU)
    before = {file: file.read_bytes() for file in paths.results.rglob("*") if file.is_file()}
    found = again(record, paths, students=3)
    assert found.stored == (50.0, 50.1, 50.2, 50.3, 50.4)
    assert found.again == (50.5, 50.6, 50.7)
    assert found.same_set is None and not found.one_set and found.older == ()
    assert before == {file: file.read_bytes() for file in paths.results.rglob("*") if file.is_file()}


def test_a_row_stands_or_not(reached: dict[int, float], paths: Paths) -> None:
    (record,) = run_cell(CELL, paths, CPU)
    reached |= {5: 50.1, 6: 50.3, 7: 50.2}
    found = again(record, paths, students=3)
    assert found.stands and str(found).endswith("the row stands")
    reached |= {5: 56.1, 6: 56.2, 7: 56.3}
    found = again(record, paths, students=3)
    assert not found.stands and found.z > 10 and str(found).endswith("the row does not stand")


def test_a_set_that_is_not_at_hand_is_distilled_again_on_request(
    reached: dict[int, float], paths: Paths
) -> None:
    (record,) = run_cell(CELL, paths, CPU)
    shutil.rmtree(paths.out)
    with pytest.raises(Refused, match="full=True distils it again"):
        again(record, paths)
    found = again(record, paths, full=True)
    assert found.same_set is True and len(found.again) == 5 and not paths.out.exists()


def test_a_row_of_several_sets_is_that_of_one_more_set(reached: dict[int, float], paths: Paths) -> None:
    cell = replace(CELL, method="random_subset", params={}, seeds=(0, 1, 2))
    first, *_ = run_cell(cell, paths, CPU)
    found = again(first, paths, students=2)
    assert found.one_set and found.stored == (50.0, 50.1, 50.2) and found.again == (50.5, 50.6)
    assert found.chance == pytest.approx(agreement(found.stored, (50.55,))[1])


@pytest.mark.parametrize("name", ["whole", "majority"])
def test_references_are_done_again(name: str, reached: dict[int, float], paths: Paths) -> None:
    graphs = name == "majority"
    cell = CellSpec(method=name, dataset="mutag" if graphs else "digits",
                    student=None if graphs else "convnet-w32")  # fmt: skip
    (record,) = run_cell(cell, paths, CPU)
    found = again(record, paths, students=2)
    assert found.stands and len(found.again) == (1 if graphs else 2)


def test_trainings_without_a_set_are_done_again(reached: dict[int, float], paths: Paths) -> None:
    cell = CellSpec(method="random_subset", dataset="digits", fraction=0.5, protocol="prune-short-v1",
                    student="convnet-w32", seeds=(0,))  # fmt: skip
    (record,) = run_cell(cell, paths, CPU)
    assert len(again(record, paths, students=2).again) == 2


def test_rows_are_found_by_their_names(reached: dict[int, float], paths: Paths) -> None:
    (record,) = run_cell(CELL, paths, CPU)
    run_cell(replace(CELL, student="convnet"), paths, CPU)
    assert find_row("digits/dm/ipc1", paths.results, student="convnet-w32")[0] == record
    assert find_row(record.path(Path()).stem, paths.results)[0] == record
    for name, more, words in [
        ("digits/dm/ipc1", {}, "2 rows have this name: dm-ipc1-seed0-hard-v1-convnet-"),
        ("digits/dn/ipc1", {}, "known: digits/dm/ipc1"),
        ("digits/dm/ipc1", {"protocol": "soft-v2"}, "no such protocol or student"),
    ]:
        with pytest.raises(Refused, match=words):
            find_row(name, paths.results, **more)
    with pytest.raises(Refused):
        find_row(str(paths.results / "digits" / "none.json"), paths.results)


def test_other_data_and_older_versions_are_told(
    reached: dict[int, float], paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    (record,) = run_cell(CELL, paths, CPU)
    (link,) = record.method.chain
    older = replace(record, method=replace(record.method, chain=({**link, "version": 0},)))
    assert reproduce(older, [older], paths, CPU, students=2).older == (
        f"the row is of version 0 of dm, which has version {link['version']} now",
    )
    with pytest.raises(Refused, match="what is distilled now is another row"):
        reproduce(older, [older], paths, CPU, full=True)
    other = replace(record, dataset=replace(record.dataset, test_hash="0" * 64))
    with pytest.raises(Refused, match="the row was tested on 00000000"):
        reproduce(other, [other], paths, CPU)
    changed = replace(record, key="1" + record.key[1:])
    with pytest.raises(Refused, match="the settings of"):
        reproduce(changed, [changed], paths, CPU, full=True)
    assert len(read_records(paths.results)) == 1
