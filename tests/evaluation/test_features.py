"""Students of sets whose labels are vectors that their outputs are to equal."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation.registry import build
from condense.errors import Refused
from condense.evaluation.evaluate import evaluate_set
from condense.evaluation.kinds import Setup
from condense.networks import build_network
from condense.protocol import Protocol, Stage
from condense.protocols import HARD_V1, SOFT_V1
from condense.resources import Machine
from condense.store import ImageSet
from tests.stand_ins import start

SHORT = replace(HARD_V1, name="short", stages=(Stage(epochs=60),), augment="none")
REGRESSED = replace(SHORT, name="regressed", optimizer="adam")


def regressed(toy: ImageDataset, cache: Path, dim: int = 3) -> ImageSet:
    """Real images, with their centred one-hot labels as vectors, or with zeros in front of them."""
    train, run = start(build("random_subset", "toy", 8)[0], toy, ipc=8, cache=cache)
    indices = torch.cat([train.of_class(label)[:8] for label in range(3)])
    vectors = torch.eye(3)[run.labels()] - 1 / 3
    vectors = torch.cat([torch.zeros(len(vectors), dim - 3), vectors], 1)
    return cast(ImageSet, run.distilled(train.images[indices], run.labels(), features=vectors))


def setup(toy: ImageDataset, protocol: Protocol = REGRESSED) -> Setup[ImageDataset]:
    return Setup(toy, protocol, "mlp")


def test_a_set_with_a_number_for_each_class_is_judged_by_its_largest_output(
    toy: ImageDataset, tmp_path: Path
) -> None:
    made = regressed(toy, tmp_path)
    label: Mapping[str, object] = {**made.content["label"]}
    assert (label["kind"], label["dim"], label["scale"]) == ("features", 3, 0.5)
    record = evaluate_set(made, setup(toy), [0], None, Machine())
    assert record.entries[0].accuracy > 60
    assert record.set is not None and record.set.label == "features"


def test_students_learn_the_vectors_and_not_the_class_ids(toy: ImageDataset, tmp_path: Path) -> None:
    made = regressed(toy, tmp_path)
    assert made.features is not None
    turned = replace(made, features=made.features.roll(1, dims=1))
    record = evaluate_set(turned, setup(toy), [0], None, Machine())
    assert record.entries[0].accuracy < 30


def test_with_sgd_students_learn_the_class_ids_whatever_the_vectors_are(
    toy: ImageDataset, tmp_path: Path
) -> None:
    made = regressed(toy, tmp_path)
    assert made.features is not None
    turned = replace(made, features=made.features.roll(1, dims=1))
    found = [evaluate_set(one, setup(toy, SHORT), [0], None, Machine()) for one in (made, turned)]
    ids = [record.entries[0].accuracy for record in found]
    assert ids[0] == ids[1] > 60
    assert HARD_V1.regresses is False and build("rcig", "cifar10", 1)[1].protocol.regresses  # type: ignore[union-attr]


def test_squared_differences_diverge_under_the_rate_of_hard_v1() -> None:
    """The reason: the curvature of the last layer's loss is that of the features that the ConvNet gives."""
    rng = torch.Generator().manual_seed(0)
    network = build_network("convnet", (3, 32, 32), 10, rng)
    with torch.no_grad():
        inputs = network.features(torch.randn(10, 3, 32, 32, generator=rng)).double()
    assert HARD_V1.lr is not None
    largest = float(torch.linalg.eigvalsh(inputs @ inputs.T / len(inputs))[-1])
    assert HARD_V1.lr * largest > 2 * (1 + HARD_V1.momentum), "heavy-ball SGD diverges above this"


@pytest.mark.parametrize("protocol", [HARD_V1, SOFT_V1])
def test_vectors_of_another_length_than_the_classes_are_refused(
    toy: ImageDataset, tmp_path: Path, protocol: Protocol
) -> None:
    made = regressed(toy, tmp_path, dim=4)
    sentence = (
        f"{protocol.name} takes the largest of 3 outputs as the class; the labels of this set of "
        "random_subset are vectors of 4 numbers"
    )
    with pytest.raises(Refused, match=sentence):
        evaluate_set(made, setup(toy, protocol), [0], None, Machine())


def test_features_that_are_not_finite_are_no_set(toy: ImageDataset, tmp_path: Path) -> None:
    train, run = start(build("random_subset", "toy", 8)[0], toy, ipc=8, cache=tmp_path)
    vectors = torch.zeros(3, 2)
    vectors[1, 1] = float("nan")
    with pytest.raises(Refused, match="the features have diverged: 1 of 6 values"):
        run.distilled(train.images[:3], torch.arange(3), features=vectors)
