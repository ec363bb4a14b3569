from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import ExpertTraining, ImageRun, Rollback, distill
from condense.distillation.matching.unrolled import Unrolled
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.store import ImageSet
from condense.training.loop import Loop, State

FTD = methods()["ftd"]
ftd = import_module(FTD.__module__)

TINY: dict[str, object] = {
    "network": "convnet-w32",
    "iterations": 1,
    "syn_steps": 3,
    "expert_epochs": 1,
    "max_start_epoch": 2,
    "experts": 1,
    "batch_experts": 20,
}


def made(toy: ImageDataset, cache: Path, name: str = "ftd", /, **settings: object) -> ImageSet:
    params = {key: str(value) for key, value in (TINY | settings).items()}
    one: ImageSet
    one, run = distill(build(name, "toy", 1, params)[0], toy, ipc=1, cache=cache)
    run.done()
    return one


def decayed(images: list[Tensor], decay: float) -> Tensor:
    """The average of the images after each update, from the initial ones on, by its sum in float64."""
    n = len(images) - 1
    total = decay**n * images[0].double()
    for update in range(1, n + 1):
        total = total + (1 - decay) * decay ** (n - update) * images[update].double()
    return total


def test_the_set_is_the_average_of_the_images_over_the_updates(toy: ImageDataset, tmp_path: Path) -> None:
    images = [made(toy, tmp_path, iterations=n, ema_decay=0).images for n in (1, 2, 3, 4)]
    start = made(toy, tmp_path, lr_images=1e-30).images
    one = made(toy, tmp_path, iterations=4, ema_decay=0.7)
    expected = decayed([start, *images], 0.7)
    torch.testing.assert_close(one.images.double(), expected, rtol=1e-5, atol=1e-6)
    assert (expected - images[-1]).abs().max() > 0.01 and (expected - start).abs().max() > 0.01


def test_the_learned_rate_is_the_last_one_and_no_average(toy: ImageDataset, tmp_path: Path) -> None:
    rates = [made(toy, tmp_path, iterations=4, ema_decay=decay).learned_lr for decay in (0, 0.9)]
    assert rates[0] == rates[1] != 0.01


def test_the_average_is_seen_by_nobody_before_the_end(toy: ImageDataset, tmp_path: Path) -> None:
    """Updates change the images and not the average, so that FTD with MTT's experts equals MTT."""
    flat = made(toy, tmp_path, iterations=3, ema_decay=0, rho=0, alpha=0)
    plain = made(toy, tmp_path, "mtt", iterations=3)
    torch.testing.assert_close(flat.images, plain.images, rtol=1e-3, atol=1e-3)
    assert (made(toy, tmp_path, "mtt").images - plain.images).abs().max() > 0.01


@pytest.fixture
def trail(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """The images and their average after each update that was taken."""
    rollbacks: list[Rollback] = []
    seen: list[tuple[Tensor, Tensor]] = []

    class Kept(Rollback):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            rollbacks.append(self)

    def noted(self: ImageRun, **values: Tensor) -> None:
        images, average = (rollbacks[-1].state[name] for name in ("images", "average"))
        assert isinstance(images, Tensor) and isinstance(average, Tensor)
        seen.append((images.detach().clone(), average.clone()))

    monkeypatch.setattr(ftd, "Rollback", Kept)
    monkeypatch.setattr(ImageRun, "log", noted)
    return seen


def test_a_step_that_is_undone_leaves_no_trace_in_the_average(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trail: list[tuple[Tensor, Tensor]]
) -> None:
    unroll, calls = ftd.unroll, []

    def failing(*arguments: object, **named: object) -> Unrolled:
        calls.append(1)
        end: Unrolled = unroll(*arguments, **named)
        return replace(end, loss=end.loss * float("nan")) if len(calls) == 3 else end

    monkeypatch.setattr(ftd, "unroll", failing)
    one = made(toy, tmp_path, iterations=4, ema_decay=0.5)
    (_, kept), (spoilt, absorbed), (images, average) = trail
    # The second update leads to the third one's infinite loss; the fourth goes on from the first.
    assert one.content["hints"]["rollbacks"] == 1 and torch.equal(one.images, average)
    torch.testing.assert_close(average, 0.5 * kept + 0.5 * images)
    assert not torch.equal(absorbed, kept) and not torch.equal(spoilt, images)


class Killed(Exception):
    """Raised where a run is killed."""


@pytest.mark.parametrize("at", [2, 4])
def test_a_killed_run_ends_in_the_same_bits_of_the_average(
    at: int, toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, object] = {"iterations": 5, "ema_decay": 0.8}
    whole = made(toy, tmp_path / "whole", **settings)
    steps = Loop.steps

    def killed(self: Loop, n: int, state: State, phase: str = "distil", **named: Any) -> Iterator[int]:
        self._every = 0.0
        for step in steps(self, n, state, phase, **named):
            if phase == "distil" and step == at:
                raise Killed
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "steps", killed)
        with pytest.raises(Killed):
            made(toy, tmp_path / "killed", **settings)
    again = made(toy, tmp_path / "killed", **settings)
    assert again.hash == whole.hash


def test_the_experts_are_trained_by_gsam_with_the_fields_of_the_method(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ExpertTraining] = []
    experts = ImageRun.experts

    def noted(self: ImageRun, training: ExpertTraining, *rest: object) -> object:
        asked.append(training)
        return experts(self, training, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ImageRun, "experts", noted)
    made(toy, tmp_path, rho=0.05, alpha=0.4, adaptive="false")
    assert asked == [
        ExpertTraining(network="convnet-w32", batch=20, optimizer="gsam", rho=0.05, alpha=0.4, adaptive=False)
    ]


def test_an_average_that_never_moves_is_refused() -> None:
    with pytest.raises(Refused, match=r"ftd: ema_decay = 1.0 must be below 1"):
        build("ftd", "toy", 1, {"ema_decay": "1"})


def test_the_recipes_are_the_papers_table() -> None:
    assert set(FTD.recipes) == {
        *((dataset, ipc) for dataset in ("cifar10", "cifar100") for ipc in (1, 10, 50)),
        ("tiny-imagenet", 1),
        ("tiny-imagenet", 10),
    }
    for (dataset, ipc), recipe in FTD.recipes.items():
        method, found = build("ftd", dataset, ipc)
        config = method.config()
        assert found is recipe and config["rho"] == 0.01 and config["adaptive"] is True
        assert config["iterations"] == 5000 and config["gradient"] == "exact"
        protocol = recipe.protocol
        assert protocol is not None and protocol.lr is None
        assert [stage.epochs for stage in protocol.stages] == [502, 499]
        assert config["pixel_space"] == ("normalized" if dataset == "tiny-imagenet" else "zca")
    few, many = build("ftd", "cifar10", 10)[0].config(), build("ftd", "cifar100", 50)[0].config()
    assert (few["lr_student"], few["alpha"], few["ema_decay"]) == (0.001, 0.3, 0.9995)
    assert (many["syn_steps"], many["batch_syn"], many["alpha"], many["ema_decay"]) == (80, 1000, 1.0, 0.999)
    # How much of the beginning stays in the average: more than half in one recipe.
    left = {cell: r.method.config()["ema_decay"] ** 5000 for cell, r in FTD.recipes.items()}  # type: ignore[operator]
    assert 0.6 < left.pop(("cifar10", 1)) < 0.61 and max(left.values()) < 0.083
