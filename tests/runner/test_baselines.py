"""The coresets beside a cell: which they are, how they are judged, and that they can be made."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation.registry import build, wrappers
from condense.errors import Refused
from condense.networks import build_network
from condense.runner.baselines import baselines, beside
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.teachers import Header, Teacher, pin

NAMES = ("random_subset", "herding", "k_center")
LABELS = ("random_subset+expert", "label-v1", "mnist", None)
"""The row of random images with one soft label each, beside cells that are judged with soft labels."""


def told(cell: CellSpec) -> list[tuple[str, str | None, str, int | None]]:
    return [(one.method, one.protocol, one.data, one.eval_seeds) for one in baselines(cell)]


def test_the_baselines_of_a_cell_are_evaluated_like_the_cell() -> None:
    cell = CellSpec(
        method="dm", dataset="mnist", protocol="soft-v1", eval_seeds=1, params={"iterations": "9"}
    )
    assert told(cell) == [*((name, "soft-v1", "mnist", None) for name in NAMES), LABELS]
    assert not any(one.params for one in baselines(cell)[:-1])
    assert told(replace(cell, protocol="published")) == [(name, None, "mnist", None) for name in NAMES]
    labels = {"fkd.epochs": "3", "iterations": "9"}
    stored = replace(cell, method="dm+fkd", protocol="replay-v1", params=labels, teacher="file")
    assert told(stored) == [*((f"{name}+fkd", "replay-v1", "mnist", None) for name in NAMES), LABELS]
    *rows, last = baselines(stored)
    assert all(one.params == {"fkd.epochs": "3"} and one.teacher == "file" for one in rows)
    assert last.teacher is None


def test_beside_soft_labels_stand_random_images_with_labels_of_a_chosen_checkpoint() -> None:
    cell = CellSpec(method="dm", dataset="cifar10", ipc=10, protocol="label-v1", params={"iterations": "9"})
    *rows, last = baselines(cell, network="convnet-w32")
    assert [row.protocol for row in rows] == ["label-v1"] * 3 and last.method == "random_subset+expert"
    method: Any = build(last.method, "cifar10", 10, last.params)[0]
    defaults: Any = wrappers()["expert"](host=method.links()[0])
    assert method.network == "convnet-w32" and method.links()[1].config() == defaults.config()
    for other in ("hard-v1", "published", None):
        assert len(baselines(replace(cell, protocol=other))) == 3
    assert [row.method for row in baselines(replace(cell, method="random_subset+expert"))] == list(NAMES)


def test_a_coreset_is_wrapped_only_by_what_stores_labels() -> None:
    params = {"fyi.flip_first": "true", "fkd.epochs": "3"}
    cell = CellSpec(method="dm+fyi+fkd", dataset="mnist", protocol="replay-v1", params=params)
    assert [row[0] for row in told(cell)] == [*(f"{name}+fkd" for name in NAMES), LABELS[0]]
    assert all(one.params == {"fkd.epochs": "3"} for one in baselines(cell)[:-1])
    assert [row[0] for row in told(replace(cell, protocol=None))] == list(NAMES)


def test_a_coreset_is_labelled_by_the_teacher_of_the_host() -> None:
    params = {"fkd.teacher": "host", "fkd.epochs": "3"}
    cell = CellSpec(method="sre2l+fkd", dataset="mnist", protocol="replay-v1", params=params)
    for inner in ("fixed", "0a" * 32):
        assert all(one.params == params | {"fkd.teacher": inner} for one in baselines(cell, inner)[:-1])
    sentence = "fkd.teacher='host': no baseline can have the teacher that sre2l.fkd trains"
    with pytest.raises(Refused, match=sentence):
        baselines(cell, "trained")
    assert len(baselines(replace(cell, protocol="hard-v1"), "trained")) == 3


@pytest.fixture
def cell(home: Path, toy_file: Path) -> Callable[..., CellSpec]:
    def make(**given: object) -> CellSpec:
        usual: dict[str, object] = {"dataset": str(toy_file), "student": "mlp", "protocol": "hard-v1"}
        return CellSpec(**(usual | given))  # type: ignore[arg-type]

    return make


def prepared(cell: CellSpec, places: Paths) -> list[CellSpec]:
    return [row.cell for row in beside(resolve(cell, places))]


@pytest.fixture
def places(tmp_path: Path) -> Paths:
    return Paths(out=tmp_path / "sets", results=tmp_path / "results")


def test_baselines_that_cannot_work_are_refused_before_any_work(
    cell: Callable[..., CellSpec], places: Paths
) -> None:
    fine = cell(method="dc", ipc=20)
    assert [row.method for row in prepared(fine, places)] == list(NAMES)
    with pytest.raises(Refused, match=r"class '0' .*; baselines=False leaves the baselines out"):
        prepared(replace(fine, ipc=21), places)
    with pytest.raises(Refused, match="unknown method 'dn'"):
        prepared(replace(fine, method="dn"), places)
    assert [row.method for row in prepared(cell(method="whole", protocol=None), places)] == list(NAMES)
    assert not places.out.exists() and not places.results.exists()


def test_the_teacher_of_the_method_goes_by_its_settings(
    cell: Callable[..., CellSpec], places: Paths, toy: ImageDataset
) -> None:
    spec = toy.spec
    header = Header(
        network="convnet-w32-bn", dataset=spec.name, classes=spec.classes, shape=spec.shape, mean=spec.mean,
        std=spec.std, train_hash=toy.train.hash, accuracy=90.0, training={},
    )  # fmt: skip
    network = build_network("convnet-w32-bn", spec.shape, 3, torch.Generator().manual_seed(0))
    pin(Teacher.of(header, network.state_dict(), "cpu"))
    params = {"fkd.teacher": "host", "network": "convnet-w32-bn"}
    wanted = cell(method="sre2l+fkd", protocol="replay-v2", params=params)
    *rows, last = prepared(wanted, places)
    assert [row.params for row in rows] == [{"fkd.teacher": "fixed"}] * 3
    assert last.params["network"] == "mlp" and last.protocol == "label-v1"
    # Checkpoints of networks with batch norms cannot label.
    assert "network" not in prepared(replace(wanted, student="convnet-w32-bn"), places)[-1].params
    trained = replace(wanted, params=params | {"teacher": "trained"})
    with pytest.raises(Refused, match="no baseline can have the teacher that"):
        prepared(trained, places)
