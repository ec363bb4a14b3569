"""Forgetting, EL2N and GraNd: their formulas, what they keep, and scores of a user's own."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from condense.data import ImageDataset
from condense.distillation.engine import distill
from condense.distillation.registry import build, methods
from condense.distillation.scored import errors_and_norms
from condense.errors import Refused
from condense.networks import build_network
from condense.training.validation import parted
from tests.trainings import left, sampling

QUICK: dict[str, object] = {"network": "mlp", "networks": 1, "epochs": 2}


def test_an_event_of_forgetting_is_correct_and_then_wrong() -> None:
    events = import_module(methods()["forgetting"].__module__).events
    seen = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]]).bool().T
    assert events(seen).tolist() == [2, 0, 0, 2]


def test_the_closed_form_of_grand_equals_autograd(digits: ImageDataset) -> None:
    network = build_network("mlp", (1, 8, 8), 10, torch.Generator().manual_seed(0)).double()
    images = digits.train.images[:7].double() / 255
    labels = digits.train.labels[:7]
    errors, norms = errors_and_norms(network, images, labels)
    for place in range(7):
        network.zero_grad()
        loss = cross_entropy(network(images[place : place + 1]), labels[place : place + 1])
        torch.autograd.backward(loss)
        parts = [part.grad for part in network.classifier.parameters() if part.grad is not None]
        norm = torch.cat([part.flatten() for part in parts]).norm()
        assert float(errors[place] * norms[place]) == pytest.approx(float(norm), rel=1e-9)
    wrong = network(images).softmax(1) - torch.eye(10).double()[labels]
    assert torch.allclose(errors, wrong.norm(dim=1))


@pytest.mark.parametrize("name", ["forgetting", "el2n", "grand"])
def test_scores_come_from_the_same_networks_for_sets_and_fractions(
    name: str, toy: ImageDataset, tmp_path: Path
) -> None:
    made, _ = distill(build(name, "toy", 2, QUICK)[0], toy, ipc=2, cache=tmp_path)
    assert torch.bincount(made.labels).tolist() == [2, 2, 2]
    chosen = sampling(name, toy, tmp_path, fraction=0.3, params=QUICK)
    assert chosen.size == 3 * round(0.3 * 19)
    competing = sampling(name, toy, tmp_path, fraction=0.3, params=QUICK | {"balance": False})
    assert competing.size == round(0.3 * left(toy))


def test_scores_of_a_file_choose_and_their_hash_is_in_the_key(toy: ImageDataset, tmp_path: Path) -> None:
    path, scores = tmp_path / "scores.npy", np.arange(60.0)
    np.save(path, scores)
    params: dict[str, object] = {"scores": str(path), "balance": False}
    chosen = sampling("el2n", toy, tmp_path, fraction=0.2, params=params)
    kept, _ = parted(toy.train)
    assert kept[chosen.chosen(0)].tolist() == kept[-chosen.size :].tolist()
    lowest = sampling("el2n", toy, tmp_path, fraction=0.2, params=params | {"keep": "lowest"})
    assert kept[lowest.chosen(0)].tolist() == kept[: lowest.size].tolist()
    key = build("el2n", "toy", 1, params)[0].run_key("1" * 64, 0, 0)
    np.save(tmp_path / "same.npy", scores)
    same = build("el2n", "toy", 1, params | {"scores": str(tmp_path / "same.npy")})[0]
    assert same.run_key("1" * 64, 0, 0) == key
    np.save(path, -scores)
    assert build("el2n", "toy", 1, params)[0].run_key("1" * 64, 0, 0) != key


def test_what_cannot_score_is_refused_in_a_sentence(toy: ImageDataset, tmp_path: Path) -> None:
    long, text, infinite, complex_ = (tmp_path / f"{n}.npy" for n in ("long", "text", "infinite", "complex"))
    np.save(complex_, np.full(60, 1j))
    np.save(long, np.zeros(61))
    np.save(infinite, np.full(60, np.inf))
    text.write_text("1 2 3")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"scores": str(long)}, r"scores of shape \(61,\), not one for each of the 60 training images"),
        ({"scores": str(infinite)}, "some scores are not finite"),
        ({"scores": str(complex_)}, "scores are real numbers, not complex128"),
        ({"scores": "ab" * 32}, "this is the hash of a file of scores, as records hold it, and not a file"),
        ({"scores": str(text)}, "is no .npy file of numbers"),
        ({"network": "convnet-w32-bn"}, "batch norms score the images of a batch together"),
        ({"balance": False}, "a set of el2n has so many images of each class"),
    ]
    for params, reason in cases:
        with pytest.raises(Refused, match=reason):
            distill(build("el2n", "toy", 1, params)[0], toy, ipc=1, cache=tmp_path)
