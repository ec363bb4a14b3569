from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condense.augment import dsa
from condense.data import ImageDataset
from condense.distillation import ImageRun, LearnableSet, Method, Training, distill
from condense.distillation.images.view import DecodedView
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.networks import Network, build_network
from condense.resources import Budget, Machine
from condense.store import ImageSet, MultiFormation
from condense.training.pretrained import pretrained
from tests.stand_ins import stand_in

NCFM = methods()["ncfm"]
ncfm = import_module(NCFM.__module__)

Settings = Mapping[str, object]

LIGHT: dict[str, object] = {
    "network": "convnet-w32", "networks": 2, "network_epochs": 2, "batch_real": 8, "frequencies": 16,
    "iterations": 2,
}  # fmt: skip
"""Settings of a run that costs next to nothing."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the feature networks of `LIGHT` that all tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The loss and the calibration of every iteration, as they are logged."""
    seen: list[tuple[float, float]] = []
    monkeypatch.setattr(
        ImageRun, "log", lambda self, *, loss, calibration: seen.append((float(loss), float(calibration)))
    )
    return seen


def made_by(settings: Settings | None = None, name: str = "ncfm", ipc: int = 2) -> Method:
    params = {key: str(value) for key, value in (LIGHT | dict(settings or {})).items()}
    return build(name, "toy", ipc, params)[0]


def distilled(
    toy: ImageDataset, cache: Path, settings: Settings, *, name: str = "ncfm", ipc: int = 2
) -> ImageSet:
    made: ImageSet
    made, run = distill(made_by(settings, name, ipc), toy, ipc=ipc, cache=cache)
    run.done()
    return made


def start_of(toy: ImageDataset, rng: torch.Generator) -> Tensor:
    """Returns the initial images of a run: two of each class, of 2 x 2 tiles each."""
    run = stand_in(ImageRun, counts=(2, 2, 2), rng=rng, spec=toy.spec, device=torch.device("cpu"))
    train = toy.train.in_space(toy.space("raw"))
    return LearnableSet.mixed(train, run, 2, DecodedView(MultiFormation(2))).images.detach()


def ends_of(toy: ImageDataset, cache: Path, seed: int) -> tuple[Network, Network]:
    """Returns a feature network before and after its training."""
    training = made_by().training(seed)  # type: ignore[attr-defined]
    assert isinstance(training, Training)
    train = toy.train.in_space(toy.space("raw"))
    end = pretrained(training, train, toy.spec, "raw", cache=cache, budget=Budget()).network
    start, _ = training.start(toy.spec, torch.device("cpu"))
    return start.eval().requires_grad_(False), end


def test_the_first_update_is_that_of_a_naive_derivation_in_float64(
    toy: ImageDataset, cache: Path, losses: list[tuple[float, float]]
) -> None:
    made = distilled(
        toy, cache, {"iterations": 1, "optimizer": "sgd", "lr_images": 0.01, "calib_weight": 7.0}
    )
    rng = torch.Generator().manual_seed(0)  # the run's draws, in their order
    x = start_of(toy, rng).double().requires_grad_()
    start, end = ends_of(toy, cache, int(torch.randint(2, (), generator=rng)))
    share = float(torch.rand((), generator=rng))
    network = build_network("convnet-w32", toy.spec.shape, 3, torch.Generator()).double()
    with torch.no_grad():
        for parameter, a, b in zip(network.parameters(), start.parameters(), end.parameters(), strict=True):
            parameter.copy_(share * a.double() + (1 - share) * b.double())
    end = end.double()
    t = torch.randn(16, network.feature_dim, generator=rng).double()
    train = toy.train.in_space(toy.space("raw"))
    mean, std = toy.spec.mean[0], toy.spec.std[0]
    optimizer = torch.optim.SGD([x], lr=0.01, momentum=0.5)  # of all images, whosever turn it is
    totals = [0.0, 0.0]

    def seen(draw: dsa.Drawn, images: Tensor) -> Tensor:
        return draw(((images - mean) / std)[None])[0]

    def tiles(label: int) -> Tensor:
        own = x[2 * label : 2 * label + 2]
        parts = [own[..., r : r + 4, c : c + 4] for r in (0, 4) for c in (0, 4)]
        return nn.functional.interpolate(torch.cat(parts), size=(8, 8), mode="bilinear")

    def unit_length(rows: Tensor) -> Tensor:
        return rows / rows.square().sum(1, keepdim=True).sqrt()

    for label in range(3):
        draw = dsa.siamese("color+crop+cutout", (8, 8), 1, rng)
        real = unit_length(network.features(seen(draw, train.draw(8, rng, [label])[0].double())))
        own = unit_length(network.features(seen(draw, tiles(label))))
        p = torch.exp(1j * (t @ real.detach().T)).mean(1)
        q = torch.exp(1j * (t @ own.T)).mean(1)
        phase = 2 * p.abs() * q.abs() * (1 - torch.cos(p.angle() - q.angle()))
        loss = 300 * (0.5 * (p.abs() - q.abs()) ** 2 + 0.5 * phase).sqrt().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        totals[0] += float(loss.detach()) / 3
    for label in range(3):
        draw = dsa.siamese("color+crop+cutout", (8, 8), 1, rng)
        loss = 7 * cross_entropy(end(seen(draw, tiles(label))), torch.full((8,), label))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        totals[1] += float(loss.detach()) / 3
    assert len(losses) == 1 and losses[0] == pytest.approx(totals, rel=1e-4)
    expected = x.detach().clamp(0, 1)
    torch.testing.assert_close(made.images.double(), expected, rtol=0, atol=2e-3)
    assert (expected - start_of(toy, torch.Generator().manual_seed(0))).abs().max() > 0.2


def test_all_real_images_have_no_distance_from_themselves(
    toy: ImageDataset, cache: Path, losses: list[tuple[float, float]]
) -> None:
    settings = {"factor": 1, "lr_images": 1e-30, "batch_real": 20, "iterations": 4}
    distilled(toy, cache, settings, ipc=20)
    distilled(toy, cache, settings, ipc=19)
    assert max(loss for loss, _ in losses[:4]) < 0.2 < 1 < min(loss for loss, _ in losses[4:])


@pytest.mark.parametrize(("calib_weight", "turns"), [(1.0, 6), (0.0, 3)])
def test_every_class_has_its_turn_while_the_others_coast(
    toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch, calib_weight: float, turns: int
) -> None:
    update: Callable[..., Tensor] = ncfm.update
    moved: list[list[bool]] = []

    def noted(loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> Tensor:
        images: Tensor = optimizers[0].param_groups[0]["params"][0]
        before = images.detach().clone()
        value = update(loss, optimizers)
        moved.append((images.detach() != before).view(3, -1).any(1).tolist())
        return value

    monkeypatch.setattr(ncfm, "update", noted)
    distilled(toy, cache, {"iterations": 2, "weight_decay": 0, "calib_weight": calib_weight})
    assert len(moved) == 2 * turns
    assert moved[:3] == [[True, False, False], [True, True, False], [True, True, True]]
    assert moved[turns:] == [[True, True, True]] * turns


def test_each_iteration_blends_a_trained_network_with_its_own_start(
    toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(ncfm, "blend_", lambda network, *ends_and_share: drawn.append(ends_and_share))
    distilled(toy, cache, {"iterations": 12})
    shares = [share for _, _, share in drawn]
    assert len(set(shares)) == 12 and 0 <= min(shares) < 0.3 < 0.7 < max(shares) <= 1
    pairs = {(start, end) for start, end, _ in drawn}
    assert len(pairs) == 2
    for start, end in pairs:  # two steps of training do not lead from one start to near another
        others = [other for other, _ in pairs]
        assert min(others, key=lambda other: gap(end, other)) is start


def gap(a: Network, b: Network) -> float:
    """The distance of two networks' parameters."""
    vectors = [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in (a, b)]
    return float((vectors[0] - vectors[1]).norm())


def test_the_sampling_network_raises_the_loss_of_images_that_stand_still(
    toy: ImageDataset, cache: Path, losses: list[tuple[float, float]]
) -> None:
    for rate in (1e-30, 1e-4):  # a much longer step would overshoot: it raises the loss either way
        settings = {"iterations": 4, "lr_images": 1e-30, "sampling_net": True, "lr_sampling_net": rate}
        distilled(toy, cache, settings)
    assert losses[4][1] == losses[0][1]  # the calibration has no part in it
    assert sum(loss for loss, _ in losses[4:]) > 1.15 * sum(loss for loss, _ in losses[:4])


def test_pixels_leave_zero_and_one_only_until_the_next_iteration(
    toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    of_class: Callable[..., tuple[Tensor, Tensor]] = LearnableSet.of_class

    def noted(syn: LearnableSet, label: int) -> tuple[Tensor, Tensor]:
        seen.append(float((syn.images.detach() - 0.5).abs().max()))
        return of_class(syn, label)

    monkeypatch.setattr(LearnableSet, "of_class", noted)
    distilled(toy, cache, {"iterations": 3, "lr_images": 0.5})
    assert max(seen[::6]) <= 0.5 and min(max(seen[turn : turn + 6]) for turn in (0, 6, 12)) > 0.7


@pytest.mark.parametrize("psi", [True, False])
def test_a_plateau_longer_than_the_patience_halves_the_images_rate_alone(
    toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch, psi: bool
) -> None:
    seen: list[list[float]] = []

    def still(loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> Tensor:
        seen.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return torch.tensor(5.0 if len(seen) <= 6 else 4.0)  # of six turns an iteration: better once

    monkeypatch.setattr(ncfm, "update", still)
    settings = {"iterations": 9, "patience": 2, "lr_images": 0.08}
    distilled(toy, cache, settings | {"sampling_net": psi, "lr_sampling_net": 0.5})
    rates = [rates[0] for rates in seen[::6]]
    assert rates == [0.08] * 5 + [0.04] * 3 + [0.02]
    assert all(rates[1:] == ([0.5] if psi else []) for rates in seen[::6])


@pytest.mark.parametrize("psi", [True, False])
def test_a_stopped_run_goes_on_to_the_same_set(
    toy: ImageDataset, cache: Path, tmp_path: Path, spent_after: Callable[[int], Budget], psi: bool
) -> None:
    settings = {"iterations": 6, "patience": 1, "sampling_net": psi, "lr_images": 0.01}
    whole = distilled(toy, cache, settings)
    method = made_by(settings)
    distill(made_by({"iterations": 1}), toy, ipc=2, cache=tmp_path)  # makes the feature networks
    for times in (1, 2):
        with pytest.raises(Stopped):
            distill(method, toy, ipc=2, cache=tmp_path, machine=Machine(budget=spent_after(times)))
    again, _ = distill(method, toy, ipc=2, cache=tmp_path)
    assert again.hash == whole.hash
    assert distilled(toy, cache, settings | {"sampling_net": not psi}).hash != whole.hash


def test_the_set_holds_pixels_in_0_to_1_that_decode_to_four_images_each(
    toy: ImageDataset, cache: Path
) -> None:
    made = distilled(toy, cache, {"lr_images": 0.5})
    assert made.content["pixels"]["space"] == "raw" and made.images.min() >= 0 and made.images.max() <= 1
    assert made.content["decode"] == [{"name": "multi_formation", "version": 1, "factor": 2}]
    assert made.content["counts"] == {"stored": 6, "effective": 24, "per_class": [2, 2, 2]}
    assert len(made) == 24
    assert len(distilled(toy, cache, {"factor": 1})) == 6


@pytest.mark.parametrize(("name", "seen"), [("ncfm", 8), ("ncfm+fyi", 16)])
def test_a_class_is_seen_through_its_tiles_and_through_the_runs_view(
    toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, seen: int
) -> None:
    counts = []

    def noted(target: Tensor, learned: Tensor, *rest: object) -> Tensor:
        counts.append((len(target), len(learned)))
        return learned.square().sum()

    monkeypatch.setattr(ncfm, "cf_loss", noted)
    distilled(toy, cache, {"iterations": 1, "batch_real": 1024}, name=name)
    assert counts == [(20, seen)] * 3


def test_feature_networks_are_trained_as_published_each_with_its_own_seed() -> None:
    made = made_by({"networks": 2, "network_epochs": 60}).training(1)  # type: ignore[attr-defined]
    assert made == Training(
        network="convnet-w32", epochs=60, batch=128, lr=0.01, momentum=0.9, weight_decay=5e-4, seed=1,
        milestones=(2 / 3, 5 / 6), gamma=0.2, augment="dsa:color+crop", cutmix=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"optimizer": "adam"}, "optimizer"),
        ({"pixel_space": "normalized"}, "unknown pixel_space of ncfm"),
        ({"augment": "color+crop+blur"}, "blur"),
        ({"sampling_net": True, "frequencies": 1}, "at least 2"),
        ({"factor": 9}, "factor 9"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_training(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, said: str
) -> None:
    monkeypatch.setattr(ImageRun, "pretrained", lambda *_: pytest.fail("trained a network"))
    with pytest.raises(Refused, match=said):
        distilled(toy, tmp_path, settings)


def test_the_recipes_are_the_authors_configuration_files() -> None:
    recipes = NCFM.recipes
    assert set(recipes) == {(d, ipc) for d in ("cifar10", "cifar100", "tiny-imagenet") for ipc in (1, 10, 50)}
    for cell, recipe in recipes.items():
        config = recipe.method.config()
        by_sgd = cell == ("cifar100", 10)
        assert config["optimizer"] == ("sgd" if by_sgd else "adamw")
        assert config["lr_images"] == (0.01 if by_sgd else 0.001)
        assert (config["iterations"], config["networks"], config["network_epochs"]) == (20000, 20, 60)
        assert (config["batch_real"], config["frequencies"], config["sampling_net"]) == (1024, 4096, False)
        assert (config["alpha"], config["beta"], config["calib_weight"]) == (0.5, 0.5, 1.0)
        assert (config["weight_decay"], config["momentum"], config["patience"]) == (5e-4, 0.5, 500)
        epochs = {("tiny-imagenet", 10): 300, ("tiny-imagenet", 50): 40}.get(cell, 2000)
        protocol = recipe.protocol
        assert protocol is not None
        assert [stage.epochs for stage in protocol.stages] == [epochs // 5] * 5
        assert [stage.scale for stage in protocol.stages] == [1, 0.5, 0.25, 0.125, 0.0625]
        assert (protocol.optimizer, protocol.lr, protocol.weight_decay) == ("adamw", 0.001, 0.01)
        assert (protocol.batch, protocol.cutmix, protocol.seeds) == (128, 0.5, 10)
        assert protocol.augment == "dsa:flip+color+crop_scale_rotate" and not protocol.reset
    assert recipes["tiny-imagenet", 10].source.endswith("config/ipc10/tinyimagenet.yaml")
