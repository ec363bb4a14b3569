"""SRe2L: its fields reach the inversion, and its set is bytes that name the inverted teacher."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import ImageRun, distill
from condense.distillation.inversion.invert import Inversion
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.store import ImageSet

SRe2L = methods()["sre2l"]
sre2l = import_module(SRe2L.__module__)

TAUGHT = {
    "network": "convnet-w32-bn",
    "teacher": "trained",
    "teacher_epochs": 15,
    "teacher_batch": 16,
    "teacher_lr": 0.05,
}
"""A teacher for the toy dataset: a second's worth."""


def method(name: str, **settings: object) -> Any:
    return build(name, "toy", 1, {key: str(value) for key, value in (TAUGHT | settings).items()})[0]


def made_by(name: str, toy: ImageDataset, cache: Path, ipc: int = 2, **settings: object) -> ImageSet:
    made: ImageSet = distill(method(name, **{"iterations": 5, **settings}), toy, ipc=ipc, cache=cache)[0]
    return made


def test_the_set_is_bytes_and_names_the_teacher_that_was_inverted(toy: ImageDataset, tmp_path: Path) -> None:
    made = made_by("sre2l", toy, tmp_path)
    assert made.images.dtype == torch.uint8 and made.content["pixels"]["space"] == "raw"
    assert made.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.content["label"]["kind"] == "hard" and made.content["label"]["teacher"] is None
    assert made.content["hints"]["augment"] == "none"
    assert made.content["teacher"]["network"] == "convnet-w32-bn"
    assert made.nbytes()["images"] == 6 * 64


def test_images_may_be_stored_as_files_and_are_then_what_these_hold(
    toy: ImageDataset, tmp_path: Path
) -> None:
    plain, png, jpeg = (made_by("sre2l", toy, tmp_path, encode=name) for name in ("none", "png", "jpeg"))
    assert torch.equal(png.images, plain.images) and png.encoded is not None and plain.encoded is None
    assert jpeg.encoded is not None and not torch.equal(jpeg.images, plain.images)


def test_every_field_reaches_the_inversion(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[Inversion, int]] = []

    def noted(
        run: ImageRun, network: object, settings: Inversion, start: object, *, block: int, pass_network: None
    ) -> Tensor:
        given.append((settings, block))
        return torch.zeros(3, 1, 8, 8)

    monkeypatch.setattr(sre2l, "invert", noted)
    values: dict[str, Any] = {
        "iterations": 7, "lr_images": 0.3, "bn_weight": 0.2, "variance_weight": 2.0, "first_bn": 4.0,
        "tv_weight": 0.1, "l2_weight": 0.6, "crop_min": 0.5, "flip": True, "roll": 3, "roll_both": True,
        "block": 2,
    }  # fmt: skip
    made_by("sre2l", toy, tmp_path, 1, **values)
    expected = Inversion(
        lr=0.3, bn_weight=0.2, variance_weight=2.0, first_bn=4.0, tv_weight=0.1, l2_weight=0.6,
        crop_mins=(0.5,) * 7, flip=True, roll=3, roll_both=True,
    )  # fmt: skip
    assert given == [(expected, 2)]


def test_images_come_nearer_to_the_teachers_statistics_and_to_its_classes(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[float] = []
    monkeypatch.setattr(ImageRun, "log", lambda self, *, loss: losses.append(float(loss)))
    made_by("sre2l", toy, tmp_path, iterations=150, lr_images=0.1, roll=0)
    assert losses[-1] < 0.25 * losses[-150]


def test_the_images_of_a_small_ipc_are_the_first_ones_of_a_larger_ipc(
    toy: ImageDataset, tmp_path: Path
) -> None:
    for init in ("noise", "real"):
        two = made_by("sre2l", toy, tmp_path, 2, init=init).images.view(3, 2, 64).int()
        three = made_by("sre2l", toy, tmp_path, 3, init=init).images.view(3, 3, 64).int()
        assert (two - three[:, :2]).abs().max() <= 1  # the last bit may round the other way
        assert (two[:, 0] - two[:, 1]).abs().max() > 1


def test_real_starts_are_training_images_of_their_class(toy: ImageDataset, tmp_path: Path) -> None:
    made = made_by("sre2l", toy, tmp_path, 4, init="real", iterations=1, lr_images=1e-6)
    for label in range(3):
        real = toy.train.images[toy.train.of_class(label)].flatten(1)
        found = made.images[4 * label : 4 * label + 4].flatten(1)
        matches = (found[:, None] == real).all(2)
        assert matches.any(1).all() and (matches.sum(0) <= 1).all()  # each at most once


def test_only_real_starts_need_as_many_real_images() -> None:
    assert method("sre2l", init="real").needs_real and not method("sre2l").needs_real


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("init", "smooth", "unknown init"),
        ("crop_min", 0, "share of an image is above 0"),
        ("crop_min", 1.5, "share of an image is above 0"),
        ("block", 0, "at least 1"),
        ("encode", "gif", "unknown image encoding"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_mean_nothing_are_refused(field: str, value: object, why: str) -> None:
    with pytest.raises(Refused, match=why):
        method("sre2l", **{field: value})


def test_a_teacher_without_batch_norm_is_refused(toy: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="and convnet-w32 has none"):
        made_by("sre2l", toy, tmp_path, network="convnet-w32")


def test_the_recipes_are_the_authors_settings() -> None:
    for (name, ipc), recipe in SRe2L.recipes.items():
        config, protocol = recipe.method.config(), recipe.protocol
        assert protocol is not None
        assert config["network"] == "resnet18-bn" and config["teacher"] == "trained"
        assert config["init"] == "noise" and config["first_bn"] == 10 and config["block"] == 100
        assert config["tv_weight"] == config["l2_weight"] == 0 and config["roll"] == 4
        assert config["encode"] == "jpeg" and protocol.labels == "own" and ipc in (1, 10, 50, 100)
        tiny = name == "tiny-imagenet"
        assert (config["iterations"], config["lr_images"], config["bn_weight"]) == (
            (4000, 0.1, 1.0) if tiny else (1000, 0.25, 0.01)
        )
        assert (config["crop_min"], config["flip"], config["roll_both"]) == (
            (0.08, True, True) if tiny else (1.0, False, False)
        )
        assert config["teacher_epochs"] == (50 if tiny else 200)


def test_the_published_evaluations_are_the_authors() -> None:
    cifar, tiny = (SRe2L.recipes[name, 50].protocol for name in ("cifar100", "tiny-imagenet"))
    assert cifar is not None and tiny is not None
    assert (cifar.optimizer, cifar.lr, cifar.weight_decay, cifar.decay) == ("adamw", 1e-3, 0.01, None)
    assert (cifar.epochs, cifar.batch, cifar.schedule, cifar.mixup) == (400, 128, "cosine", 0.8)
    assert (cifar.temperature, cifar.squared, cifar.teacher_mode) == (30, None, "train")
    assert cifar.factor(200, 400) == pytest.approx(0.5)
    assert (tiny.optimizer, tiny.lr, tiny.momentum, tiny.weight_decay) == ("sgd", 0.2, 0.9, 1e-4)
    assert (tiny.epochs, tiny.batch, tiny.warmup, tiny.augment) == (100, 256, 5, "resized-flip")
    assert (tiny.temperature, tiny.squared, tiny.teacher_mode) == (20, True, None)
    assert not tiny.mixup and not tiny.cutmix and not cifar.cutmix
