"""Pins of kernel regression: run keys, published protocols, vectors as labels, the place of a whitening."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.distillation.registry import build
from tests import pins
from tests.stand_ins import start

METHODS = {
    "frepo": ("6e847260f64412bb", 14, "f0cd39c9b3ba0cf3", "3ccc112c927ec1bf"),
    "rcig": ("d7e325962e9323da", 4, "62c7473c4a4c15e3", "ebf49b2798e02907"),
}
"""Run key at the defaults, number of recipes, and digests of the recipes' run keys and protocols."""


def sawtooth(*shape: int, step: int = 37) -> Tensor:
    """Numbers from -1 to 1 that every machine makes alike."""
    return ((torch.arange(torch.Size(shape).numel()) * step % 129 - 64) / 64).view(shape)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_run_keys_and_protocols_that_it_always_had(name: str) -> None:
    recipes = pins.recipes(name, "images")
    keys = pins.digest([[dataset, ipc, key] for dataset, ipc, key, _, _ in recipes])[:16]
    protocols = pins.digest([protocol for _, _, _, protocol, _ in recipes])[:16]
    assert (pins.key(name)[:16], len(recipes), keys, protocols) == METHODS[name]


def test_a_set_with_vectors_as_labels_has_the_hash_that_it_always_had(tmp_path: Path) -> None:
    _, run = start(build("random_subset", "digits", 1)[0], pins.digits(), ipc=1, cache=tmp_path)
    vectors = sawtooth(10, 12, step=29)
    made = run.distilled(sawtooth(10, 1, 8, 8), torch.arange(10), features=vectors, scale=0.25)
    assert made.hash == "79a8d61535daa1e6af37da4f0a8d5b8072a45990d143177d143d504f041544cb"


def test_the_relative_whitening_of_the_digits_lies_where_it_always_lay(home: Path) -> None:
    found = pins.begun(home, lambda: replace(pins.digits()).space("zca-relative"))
    assert found == ["zca/14dc7ff0ac62250fea5e95d9e27e2b0b494f07f3849cc675effc0e9eb11bcaaf"]
