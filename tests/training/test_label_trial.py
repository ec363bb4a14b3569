"""Trials of labels: short trainings on labelled images of a part, judged on the images that are held out."""

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import LabelTrial
from condense.networks import build_network
from condense.protocols import LABEL_V1
from condense.resources import Budget
from condense.store.targets import Mixed, Soft
from condense.training.image_training import divided
from condense.training.pretrained import pretrained

HELD_OUT = 0.2


def by_brightness(images: Tensor) -> Tensor:
    """Labels that are a function of the images alone."""
    return torch.stack([images.mean((1, 2, 3)) * scale for scale in (1.0, -1.0, 0.5)], 1).softmax(1)


def trial(**changes: Any) -> LabelTrial:
    usual: dict[str, Any] = {
        "network": "mlp", "labels": "a" * 64, "counts": (2, 3, 1), "steps": 4, "held_out": HELD_OUT,
        "label": by_brightness,
    }  # fmt: skip
    return LabelTrial(**(usual | changes))


def test_a_student_sees_as_many_images_of_each_class_and_none_that_is_held_out(toy: ImageDataset) -> None:
    train = toy.train.in_space(toy.space("normalized"))
    job = trial().job(train, toy.spec, "normalized")
    kept, held_out = divided(train, HELD_OUT, 0)
    assert torch.bincount(train.labels[job.positions]).tolist() == [2, 3, 1]
    assert set(job.positions.tolist()) <= set(kept.tolist()) and torch.equal(job.held_out, held_out)
    assert len(set(job.positions.tolist())) == 6
    # Another network's labels are tried on the same images, by the same student.
    other = trial(labels="b" * 64).job(train, toy.spec, "normalized")
    assert torch.equal(other.positions, job.positions) and other.key() != job.key()
    few = trial(counts=(99, 1, 1)).job(train, toy.spec, "normalized")
    assert torch.bincount(train.labels[few.positions]).tolist() == [16, 1, 1]


def test_each_step_is_towards_the_labels_of_its_images_at_the_rate_of_label_v1(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("condense.training.label_trial")
    seen: list[tuple[float, Soft]] = []

    def noted(network: Any, optimizer: Any, images: Tensor, target: Any) -> Tensor:
        # label-v1 pastes boxes into every batch.
        assert isinstance(target, Mixed) and isinstance(target.first, Soft)
        seen.append((optimizer.param_groups[0]["lr"], target.first))
        return torch.zeros(())

    monkeypatch.setattr(module, "train_step", noted)
    train = toy.train.in_space(toy.space("normalized"))
    job = trial().job(train, toy.spec, "normalized")
    pretrained(trial(), train, toy.spec, "normalized", cache=tmp_path, budget=Budget())
    labels = {tuple(row) for row in by_brightness(train.images[job.positions]).tolist()}
    for _, target in seen:
        assert {tuple(row) for row in target.probabilities.tolist()} == labels
    assert LABEL_V1.lr == 1e-3
    wanted = [1e-3 * 0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert [rate for rate, _ in seen] == pytest.approx(wanted)


def test_the_accuracy_is_that_on_the_held_out_images_and_is_found_again(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = toy.train.in_space(toy.space("normalized"))
    given = train, toy.spec, "normalized"
    found = pretrained(trial(steps=30), *given, cache=tmp_path, budget=Budget())
    held_out = divided(train, HELD_OUT, 0)[1]
    with torch.no_grad():
        right = found.network(train.images[held_out]).argmax(1) == train.labels[held_out]
    assert found.accuracy == pytest.approx(100 * float(right.double().mean()))
    start = build_network("mlp", toy.spec.shape, 3, torch.Generator().manual_seed(0))
    assert not torch.equal(found.network.classifier.weight, start.classifier.weight)
    monkeypatch.setattr("condense.training.label_trial.train_step", None)
    assert pretrained(trial(steps=30), *given, cache=tmp_path, budget=Budget()).hash == found.hash
