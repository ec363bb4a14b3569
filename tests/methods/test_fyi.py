from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset, Images, ImageSpec
from condense.distillation import ExpertTraining, IdentityView, ImageMethod, ImageRun, LearnableSet, distill
from condense.distillation.matching.protocols import dc_evaluation
from condense.distillation.registry import build, methods, wrappers
from condense.errors import Refused
from condense.networks import build_network
from condense.protocols import HARD_V1
from condense.store import ImageSet
from condense.training.expert_steps import Stacked
from tests.quick import few_steps

FYI = wrappers()["fyi"]
fyi = import_module(FYI.__module__)
FULL = "color_crop_cutout_flip_scale_rotate"
OTHERS = [name for name, cls in methods().items() if not getattr(cls, "through_view")]  # noqa: B009
HOSTS = [name for name in methods() if name not in OTHERS]
SIAMESE = [name for name in HOSTS if not issubclass(methods()[name], methods()["mtt"])]
"""Hosts that augment the images of a class alike; a student's batch has parameters for each image."""


@pytest.fixture
def flipping(toy: ImageDataset) -> ImageDataset:
    """The toy data as data whose mirror images are of their class."""
    return replace(toy, spec=replace(toy.spec, dsa=FULL))


def one_match(host: str, dataset: ImageDataset, cache: Path) -> ImageSet:
    """A host's set after a single step on its images."""
    method, _ = build(f"{host}+fyi", dataset.spec.name, 2, few_steps(methods()[host], 1))
    made: ImageSet = distill(method, dataset, ipc=2, cache=cache)[0]
    return made


def test_the_view_puts_the_mirror_images_and_their_labels_last() -> None:
    images, labels = torch.arange(12.0).view(2, 1, 2, 3), torch.tensor([4, 7])
    seen, ids = fyi.Mirrored()(images, labels)
    assert seen[:, 0, 0].tolist() == [[0, 1, 2], [6, 7, 8], [2, 1, 0], [8, 7, 6]]
    assert ids.tolist() == [4, 7, 4, 7] and fyi.Mirrored.copies == 2


@pytest.mark.parametrize(
    ("host", "strategy"), [(host, "none") for host in HOSTS] + [(host, FULL) for host in SIAMESE]
)
def test_mirroring_the_images_mirrors_what_any_matching_method_learns(
    host: str, strategy: str, toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image and its mirror image are a set that mirroring maps to itself, if both are augmented alike."""
    data = replace(toy, spec=replace(toy.spec, dsa=strategy))
    plain = one_match(host, data, tmp_path / "plain")
    started = LearnableSet.__init__

    def mirrored(self: LearnableSet, images: Tensor, *rest: object, **named: object) -> None:
        started(self, images.flip(-1), *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(LearnableSet, "__init__", mirrored)
    other = one_match(host, data, tmp_path / "mirrored")
    scale = float(plain.images.abs().max())
    torch.testing.assert_close(other.images.flip(-1), plain.images, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("host", HOSTS)
def test_it_wraps_every_matching_method_and_stores_no_more(
    host: str, flipping: ImageDataset, tmp_path: Path
) -> None:
    made = {}
    for name in (host, f"{host}+fyi"):
        method, _ = build(name, "toy", 1, few_steps(methods()[host]))
        made[name], run = distill(method, flipping, ipc=1, cache=tmp_path)
        run.done()
    plain, doubled = made.values()
    assert doubled.nbytes() == plain.nbytes() and doubled.content["counts"] == plain.content["counts"]
    assert doubled.content["method"]["name"] == f"{host}+fyi"
    assert [link["name"] for link in doubled.content["method"]["chain"]] == [host, "fyi"]
    assert not torch.equal(doubled.images, plain.images)


@pytest.mark.parametrize("host", OTHERS)
def test_over_a_method_that_matches_nothing_it_is_refused(host: str) -> None:
    does = "does" if methods()[host].stores else "makes no set"
    sentence = f"fyi wraps a method that matches synthetic images with real ones, and {host} {does}"
    unlabelled = f"fyi goes by classes, and the images of {host} have none"
    with pytest.raises(Refused, match=f"{sentence}|{unlabelled}"):
        build(f"{host}+fyi", "toy", 1)


def test_with_dm_it_matches_the_mean_over_images_and_mirror_images(
    flipping: ImageDataset, tmp_path: Path
) -> None:
    unaugmented = replace(flipping, spec=replace(flipping.spec, dsa="none"))
    settings = {"network": "convnet-w32", "iterations": "1", "batch_real": "12", "lr_images": "0.5"}
    made = distill(build("dm+fyi", "toy", 2, settings)[0], unaugmented, ipc=2, cache=tmp_path)[0]

    rng = torch.Generator().manual_seed(0)
    train = unaugmented.train.in_space(unaugmented.space("normalized"))
    start = train.draw(2, rng).double()
    net = build_network("convnet-w32", (1, 8, 8), 3, rng)  # the run's network, redrawn for the iteration
    net = build_network("convnet-w32", (1, 8, 8), 3, rng).double()
    real = train.draw(12, rng).double()
    for label in range(3):
        images = start[label].clone().requires_grad_()
        mean = (net.features(images).sum(0) + net.features(images.flip(3)).sum(0)) / 4
        loss = (mean - net.features(real[label]).mean(0).detach()).square().sum()
        (gradient,) = torch.autograd.grad(loss, images)
        expected = (images - 0.5 * gradient).detach()
        torch.testing.assert_close(
            made.images[2 * label : 2 * label + 2].double(), expected, rtol=1e-4, atol=1e-5
        )


@dataclass(frozen=True, kw_only=True)
class Watcher(ImageMethod):
    """A method that keeps what it is shown."""

    name = "watcher"
    through_view = True

    seen: ClassVar[list[ImageRun]] = []

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Adds the run to `seen`, and returns random real images."""
        self.seen.append(run)
        syn = LearnableSet.real(train, run)
        return run.distilled(syn.images, syn.labels)


@pytest.mark.parametrize(
    ("flip_first", "strategy"), [(False, FULL), (True, "flip+color_crop_cutout_scale_rotate")]
)
def test_the_host_sees_two_copies_and_if_asked_the_edited_augmentation(
    flip_first: bool,
    strategy: str,
    flipping: ImageDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Watcher.seen.clear()
    method = FYI(host=Watcher(), flip_first=flip_first)  # type: ignore[call-arg]
    made, run = distill(method, flipping, ipc=1, cache=tmp_path)
    (inner,) = Watcher.seen
    assert inner.view.copies == 2 and inner.strategy == strategy
    assert run.view.copies == 1 and run.strategy == FULL and isinstance(run.view, IdentityView)
    assert made.content["dataset"]["dsa"] == FULL and "warning" not in capsys.readouterr().err


def test_on_data_that_does_not_flip_it_warns_in_one_sentence(
    toy: ImageDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = replace(toy, spec=replace(toy.spec, name="digits", dsa="color_crop"))
    distill(FYI(host=Watcher()), digits, ipc=1, cache=tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert said == ["warning: watcher+fyi: mirrored images of digits are of no class, and fyi shows them"]


@pytest.mark.parametrize(
    ("augment", "edited"),
    [
        ("dsa", "dsa-flip-first"),
        ("dsa:color_flip", "dsa:flip+color"),
        ("dsa:color_crop", "dsa:color_crop"),
        ("none", "none"),
        ("dc:crop_scale_rotate", "dc:crop_scale_rotate"),
    ],
)
def test_the_published_evaluation_changes_the_hosts_augmentation_alone(
    augment: str, edited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = methods()["dm"]
    host = cls.recipes["cifar10", 10]
    protocol = dc_evaluation(1000, augment=augment)
    own = replace(host, protocol=protocol)
    monkeypatch.setattr(cls, "recipes", {("cifar10", 10): own})
    method, recipe = build("dm+fyi", "cifar10", 10)
    assert recipe is not None and recipe.protocol == replace(protocol, augment=edited)
    assert method.links()[0] == host.method and method.settings()["fyi.flip_first"] is True
    assert HARD_V1.augment == "dsa"


def test_without_a_recipe_the_hosts_defaults_and_augmentation_stay() -> None:
    method, recipe = build("dm+fyi", "toy", 10)
    assert recipe is None and method.settings() == methods()["dm"]().config() | {
        "fyi.flip_first": False, "fyi.edited_experts": False,
    }  # fmt: skip


def test_around_mtt_the_recipe_is_what_its_authors_ran() -> None:
    host = methods()["mtt"].recipes["cifar10", 10].method.config()
    method, recipe = build("mtt+fyi", "cifar10", 10)
    assert recipe is not None and recipe.method == method
    assert method.links()[0].config() == host | {"gradient": "tesla", "iterations": 10000}
    assert method.links()[1].config() == {"flip_first": True, "edited_experts": True}
    ftd = build("ftd+fyi", "cifar10", 10)[0]
    assert ftd.links()[0] == methods()["ftd"].recipes["cifar10", 10].method
    assert ftd.settings()["fyi.edited_experts"] is False


@pytest.mark.parametrize(
    ("edited", "strategy"), [("false", FULL), ("true", "flip+color_crop_cutout_scale_rotate")]
)
def test_experts_are_trained_under_the_edited_augmentation_if_that_is_asked_for(
    edited: str, strategy: str, flipping: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    stepped = Stacked.__init__

    def started(self: Stacked, training: ExpertTraining, spec: ImageSpec, *rest: object) -> None:
        seen.append(spec.dsa)
        stepped(self, training, spec, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Stacked, "__init__", started)
    quick = {name: str(value) for name, value in methods()["mtt"].quick.items()} | {"iterations": "1"}
    method, _ = build("mtt+fyi", "toy", 1, quick | {"fyi.edited_experts": edited})
    made, _ = distill(method, flipping, ipc=1, cache=tmp_path)
    assert set(seen) == {strategy} and made.content["dataset"]["dsa"] == FULL


def test_over_a_method_without_experts_edited_experts_are_refused() -> None:
    with pytest.raises(Refused, match=r"fyi\.edited_experts=True: dm trains no experts"):
        build("dm+fyi", "toy", 1, {"fyi.edited_experts": True})
