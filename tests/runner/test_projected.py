"""Cells whose labels are projected: the default protocol, the encoder's file, and what stands beside them."""

from dataclasses import replace
from pathlib import Path

import pytest

from condense import protocols
from condense.errors import Refused
from condense.files import home as home_folder
from condense.protocol import Stage
from condense.protocols import HARD_V1, LABEL_V1, PROJECTED_V1, SOFT_V2
from condense.records.record import BASELINES, NO_DISTILLATION, Record
from condense.resources import Machine
from condense.runner.baselines import baselines, beside
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.runner.reevaluate import reevaluate
from condense.runner.run import run_cell
from condense.runner.sets import make_set
from condense.store import ImageSet
from condense.teachers import Teacher, find_teacher

QUICK = {
    "teacher": "trained", "network": "convnet-w32-bn", "teacher_epochs": "2", "pool": "8", "crops": "2",
    "weak_teachers": "1", "weak_epochs": "1", "projector_steps": "3", "update_steps": "1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def short(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol in two epochs, and a home of the test's own."""
    tiny = replace(PROJECTED_V1, stages=(Stage(epochs=2),), least_steps=None, seeds=1)
    monkeypatch.setattr(protocols, "PROTOCOLS", {**protocols.PROTOCOLS, tiny.name: tiny})


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


def cell(toy_file: Path, **given: object) -> CellSpec:
    usual = {"method": "hello", "dataset": str(toy_file), "student": "mlp", "params": QUICK}
    return CellSpec(**(usual | given))  # type: ignore[arg-type]


def made(toy_file: Path, places: Paths) -> tuple[ImageSet, Teacher]:
    """A stored set, and its encoder."""
    stored, _ = make_set(resolve(cell(toy_file), places), 0, Machine())
    assert isinstance(stored, ImageSet)
    return stored, find_teacher(stored.content["teacher"]["hash"])


def test_a_cell_is_judged_as_its_labels_are_and_found_again(
    toy_file: Path, places: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    def once() -> list[Record]:
        return run_cell(cell(toy_file), places, Machine())

    (first,) = once()
    assert first.protocol.name == "projected-v1" and first.set is not None and first.set.label == "projected"
    assert first.teacher is not None and len(first.entries) == 1
    capsys.readouterr()
    assert once() == [first] and "up to date" in capsys.readouterr().err
    (other,) = [setup.protocol for setup in resolve(cell(toy_file, protocol="hard-v1"), places).setups]
    assert other == HARD_V1


def test_a_stored_set_takes_its_encoder_from_a_file_and_no_other(
    toy_file: Path, places: Paths, tmp_path: Path
) -> None:
    stored, encoder = made(toy_file, places)
    file = tmp_path / "encoder.safetensors"
    encoder.save(file)
    kept = home_folder() / "teachers" / "kept" / f"{encoder.hash}.safetensors"
    kept.unlink()
    asked = CellSpec(dataset=str(toy_file), student="mlp")
    with pytest.raises(Refused, match=f"the teacher {encoder.hash[:8]} is not here"):
        reevaluate(stored, asked, places, Machine())
    (record,) = reevaluate(stored, replace(asked, teacher=str(file)), places, Machine())
    assert record.protocol.name == "projected-v1" and record.teacher == encoder.hash and kept.exists()
    head = encoder.network.classifier.bias
    head.data.add_(1.0)
    assert encoder.header is not None
    other = Teacher.of(encoder.header, encoder.network.state_dict(), "cpu")
    other.save(file)
    with pytest.raises(Refused, match=f"{other.hash[:8]}; the set was made with {encoder.hash[:8]}"):
        reevaluate(stored, replace(asked, teacher=str(file)), places, Machine())


def test_projected_labels_of_other_data_are_refused(toy_file: Path, places: Paths) -> None:
    stored, _ = made(toy_file, places)
    with pytest.raises(Refused, match="the set was made of toy.* with training split .*; digits.* has"):
        reevaluate(stored, CellSpec(dataset="digits", student="mlp"), places, Machine())


def test_a_teacher_labels_the_coresets_beside_projected_labels(places: Paths) -> None:
    named = baselines(CellSpec(method="hello", dataset="digits", protocol=PROJECTED_V1.name))
    usual = beside(resolve(CellSpec(method="hello", dataset="digits"), places))
    expected = dict.fromkeys(BASELINES, SOFT_V2.name) | {NO_DISTILLATION: LABEL_V1.name}
    assert {row.method: row.protocol for row in named} == expected
    assert {job.cell.method: job.setups[0].protocol.name for job in usual} == expected


def test_a_coreset_has_no_labels_to_project(toy_file: Path, places: Paths) -> None:
    asked = cell(toy_file, method="random_subset", params={}, protocol="projected-v1")
    with pytest.raises(Refused, match="a set of random_subset stores none") as caught:
        resolve(asked, places)
    assert dict(caught.value.remedies[0].settings) == {"method": "hello"}


@pytest.mark.parametrize(
    ("wrapper", "kind", "more"),
    [
        ("fkd", "replayed", {"fkd.teacher": "host", "fkd.epochs": "2", "fkd.batch": "2"}),
        ("expert", "soft", {"expert.epoch": "1", "expert.longest": "1", "network": "convnet-w32"}),
    ],
)
def test_labels_of_a_wrapper_take_the_place_of_the_adapters(
    wrapper: str, kind: str, more: dict[str, str], toy_file: Path, places: Paths
) -> None:
    asked = cell(toy_file, method=f"hello+{wrapper}", params=QUICK | more, protocol="hard-v1")
    stored, _ = make_set(resolve(asked, places), 0, Machine())
    assert isinstance(stored, ImageSet)
    assert stored.projector is None and stored.content["label"]["kind"] == kind
    assert stored.nbytes()["teacher"] == 0
