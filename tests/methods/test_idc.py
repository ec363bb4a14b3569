from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from condense.augment import dsa
from condense.data import Images, load_images
from condense.data.images.pixels import affine
from condense.distillation import ChainedView, DecodedView, ImageRun, LearnableSet, distill, tiled
from condense.distillation.images.view import IdentityView
from condense.distillation.registry import build as build_method
from condense.distillation.registry import methods
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.store import ImageSet, MultiFormation
from tests.stand_ins import stand_in

IDC = methods()["idc"]
idc = import_module(IDC.__module__)

LIGHT = {"network": "convnet-w32", "batch_real": "4", "batch_train": "8", "train_images": "8", "matches": "2"}
"""Settings of a run that costs next to nothing."""


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(seed: int = 0) -> list[Tensor]:
    """Returns gradients shaped as those of a convolution, its bias and a linear layer."""
    return [drawn(4, 2, 3, 3, seed=seed), drawn(4, seed=seed + 1), drawn(3, 5, seed=seed + 2)]


def network(name: str = "convnet-w32") -> Network:
    return build_network(name, (2, 8, 8), 3, torch.Generator().manual_seed(1)).double()


def before(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, see: Callable[..., object]) -> None:
    """Replaces a function by one that first passes its arguments to `see`."""
    function = getattr(owner, name)

    def both(*arguments: object, **named: object) -> object:
        see(*arguments, **named)
        return function(*arguments, **named)

    monkeypatch.setattr(owner, name, both)


def distilled(cache: Path, settings: dict[str, str] | None = None, ipc: int = 1) -> ImageSet:
    method, _ = build_method("idc", "digits", ipc, LIGHT | (settings or {}))
    made: ImageSet = distill(method, load_images("digits"), ipc=ipc, cache=cache)[0]
    return made


def test_the_distances_are_sums_over_the_convolutions_gradients_alone() -> None:
    a, b = gradients(), gradients(seed=7)
    gap = (a[0] - b[0]).reshape(-1)
    assert idc.METRICS["mse"](a, b) == pytest.approx(float(gap @ gap))
    assert idc.METRICS["l1"](a, b) == pytest.approx(float(gap.abs().sum()))


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_biases_and_linear_layers_have_no_effect_on_the_distance(metric: str) -> None:
    a, b = gradients(), gradients(seed=7)
    other = [b[0], 1e6 * b[1], -b[2]]
    assert idc.METRICS[metric](a, other) == idc.METRICS[metric](a, b) > 0


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_classes_side_by_side_match_as_they_do_one_after_the_other(metric: str) -> None:
    net, real, synthetic = network(), drawn(3, 5, 2, 8, 8), drawn(3, 4, 2, 8, 8, seed=1)
    sides = [
        idc.match(net, real, synthetic, idc.METRICS[metric], together=together) for together in (False, True)
    ]
    torch.testing.assert_close(sides[0], sides[1], rtol=1e-9, atol=1e-12)


MEAN, STD = (0.3, 0.6), (0.2, 0.5)


def surroundings() -> ImageRun:
    """Returns a run for a match of three classes of 8 x 8 pixels in two channels, in float64."""
    spec = SimpleNamespace(height=8, width=8, num_classes=3)
    normalize = affine("normalized", MEAN, STD).encode
    rng = torch.Generator().manual_seed(5)
    return stand_in(ImageRun, spec=spec, normalize=normalize, rng=rng, device=torch.device("cpu"))


def naive(
    net: Network, metric: str, train: Images, stored: Tensor, rng: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Each class's loss and the stored pixels' gradient by plain double differentiation, tile by tile.

    Both sides of a match are augmented as one batch, as in the authors' code.
    """
    stored = stored.clone().requires_grad_()
    draw = dsa.siamese("color+crop+cutout", (8, 8), 3, rng)
    real = train.draw(6, rng)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1) for values in (MEAN, STD))
    batches = []
    for label in range(3):
        own = stored[2 * label : 2 * label + 2]
        corners = [own[:, :, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)]
        decoded = [interpolate(tile, size=(8, 8), mode="bilinear", align_corners=False) for tile in corners]
        batches.append((torch.cat([real[label], *decoded]) - mean) / std)
    losses = torch.zeros(3, dtype=torch.float64)
    for label, batch in enumerate(draw(torch.stack(batches))):
        sides = []
        for images in (batch[:6], batch[6:]):
            loss = cross_entropy(net(images), torch.full((len(images),), label))
            sides.append(torch.autograd.grad(loss, list(net.parameters()), create_graph=True))
        for a, b in zip(*sides, strict=True):
            if a.ndim == 4:
                gap = b - a.detach()
                losses[label] = losses[label] + (gap.abs() if metric == "l1" else gap**2).sum()
    return losses.detach(), torch.autograd.grad(losses.sum(), stored)[0]


@pytest.mark.parametrize("metric", ["mse", "l1"])
def test_a_match_through_decoding_and_augmentation_equals_a_naive_one(
    metric: str,
) -> None:
    net, start, run = network(), pixels(6, 2, 8, 8), surroundings()
    train = Images(pixels(30, 2, 8, 8, seed=1), torch.arange(30) % 3, "", 3)
    stored, velocity, expected = start.clone(), drawn(6, 2, 8, 8, seed=3), 0.0
    syn = LearnableSet(start, (2,) * 3, ChainedView(DecodedView(MultiFormation(2)), IdentityView()))
    turns = idc.Turns(syn, lr=0.1, momentum=0.5)
    turns.velocity.copy_(velocity)
    for label in range(3):  # a class's turn
        losses, gradient = naive(net, metric, train, stored, run.rng.clone_state())
        expected += float(losses[label])
        velocity *= 0.5
        velocity[2 * label : 2 * label + 2] += gradient[2 * label : 2 * label + 2]
        stored -= 0.1 * velocity
    loss = idc.IDC(metric=metric, batch_real=6)._match(net, syn, turns, train, run)
    assert loss.item() == pytest.approx(expected, rel=1e-10)
    torch.testing.assert_close(syn.images.detach(), stored, rtol=1e-10, atol=1e-12)


def test_of_many_decoded_images_distinct_random_ones_are_matched() -> None:
    images = torch.arange(3 * 20.0).view(3, 20, 1, 1, 1).requires_grad_()
    rng = torch.Generator().manual_seed(0)
    chosen, _ = idc.sampled(images, None, 8, rng)
    (counts,) = torch.autograd.grad(chosen.sum(), images)
    assert chosen.shape == (3, 8, 1, 1, 1) and set(counts.flatten().tolist()) == {0, 1}
    assert counts.sum((1, 2, 3, 4)).tolist() == [8, 8, 8]
    assert not torch.equal(counts[0], counts[1])
    assert idc.sampled(images, None, 20, rng)[0] is images


class Enough(Exception):
    """Raised to end a run early, after the test has seen enough."""


@pytest.mark.parametrize(("ipc", "rate"), [(1, 0.002), (10, 0.02), (25, 0.05)])
def test_the_rate_of_the_pixels_grows_with_the_images_per_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ipc: int, rate: float
) -> None:
    def turns(syn: LearnableSet, *, lr: float, momentum: float) -> None:
        assert lr == pytest.approx(rate) and momentum == 0.5
        raise Enough

    monkeypatch.setattr(idc, "Turns", turns)
    with pytest.raises(Enough):
        distilled(tmp_path, {"lr_images": "0.02"}, ipc)


def test_each_tile_starts_as_another_down_scaled_real_image_of_its_class(
    tmp_path: Path,
) -> None:
    made = distilled(tmp_path, {"lr_images": "0", "iterations": "1"}, ipc=3)
    train = load_images("digits").train
    small = (train.images[:, :, ::2, ::2] / 255).flatten(1)
    taken: set[int] = set()
    for image, label in zip(made.images, made.labels, strict=True):
        for tile in (image[:, y : y + 4, x : x + 4] for y in (0, 4) for x in (0, 4)):
            distance = (small - tile.flatten()).abs().amax(1)
            assert distance.min() < 1e-6
            same = {int(i) for i in (distance < 1e-6).nonzero() if train.labels[i] == label}
            assert same - taken
            taken.add(min(same - taken))
    assert len(taken) == 10 * 3 * 4


def test_tiles_are_filled_row_by_row_with_the_images_of_a_class_in_order() -> None:
    images = pixels(2, 4 * 3, 1, 6, 8)
    whole = tiled(images, 2).view(2, 3, 1, 6, 8)
    for t, (y, x) in enumerate([(0, 0), (0, 4), (3, 0), (3, 4)]):
        expected = images[:, 3 * t : 3 * t + 3, :, ::2, ::2]
        assert torch.equal(whole[..., y : y + 3, x : x + 4], expected)


@pytest.mark.parametrize(("side", "factor"), [(7, 2), (28, 3), (8, 3)])
def test_tiles_are_placed_where_they_are_cut_if_the_factor_divides_no_side(side: int, factor: int) -> None:
    """A constant image for each tile comes back from decoding constant, but for the grey beyond the image."""
    levels = 1 + torch.arange(factor**2, dtype=torch.float64)
    start = tiled(levels.view(1, -1, 1, 1, 1).expand(1, -1, 1, side, side), factor)
    assert start.shape == (1, 1, side, side)
    decoded = MultiFormation(factor)(start)
    torch.testing.assert_close(decoded[:, 0, 0, 0], levels)
    inner = [row * factor + column for row in range(factor - 1) for column in range(factor - 1)]
    for t in inner:
        torch.testing.assert_close(decoded[t], levels[t].expand(1, side, side))


def test_with_factor_one_mixed_tiles_are_random_real_images(tmp_path: Path) -> None:
    settings = {"lr_images": "0", "iterations": "1", "factor": "1"}
    mix, whole = (distilled(tmp_path, settings | {"init": init}) for init in ("mix", "random"))
    assert torch.equal(mix.images, whole.images)
    train = load_images("digits").train.images / 255
    for image in whole.images:
        assert (train - image).abs().amax((1, 2, 3)).min() < 1e-6


def test_noise_is_normal_around_grey_and_needs_no_real_images(tmp_path: Path) -> None:
    noise = distilled(tmp_path, {"lr_images": "0", "iterations": "1", "init": "noise"}, ipc=10).images
    assert noise.min() == 0 and noise.max() == 1
    assert noise.mean() == pytest.approx(0.5, abs=0.02) and noise.std() == pytest.approx(0.25, abs=0.02)
    assert idc.IDC().needs_real and not idc.IDC(init="noise").needs_real


def test_a_network_is_trained_on_whole_batches_between_matches_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    for name in ("initialise_", "match"):
        before(monkeypatch, idc, name, lambda *_, name=name, **__: events.append(name))
    before(monkeypatch, idc, "train_step", lambda net, trainer, images, _: events.append(len(images)))
    distilled(tmp_path, {"iterations": "2", "matches": "3", "train_images": "9"})
    # Nine images are two batches of eight.
    assert events == ["initialise_", "match", 8, 8, "match", 8, 8, "match"] * 2
    events.clear()
    distilled(tmp_path, {"iterations": "1", "matches": "2", "train_images": "0"})
    assert events == ["initialise_", "match", "match"]


def test_a_new_network_starts_without_the_momentum_of_the_one_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    before(monkeypatch, idc, "train_step", lambda _, trainer, *__: held.append(len(trainer.state)))
    distilled(tmp_path, {"iterations": "2", "matches": "3"})
    parameters = len(list(build_network("convnet-w32", (1, 8, 8), 10, torch.Generator()).parameters()))
    assert held == [0, parameters] * 2


def test_the_network_learns_from_mixed_augmented_normalised_real_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def augmented(images: Tensor, strategy: str, rng: torch.Generator) -> None:
        asked.append((strategy, bool(images.min() < -0.5)))  # the background is 0 in [0, 1]

    before(monkeypatch, dsa, "augment", augmented)
    before(monkeypatch, idc, "cutmix", lambda *arguments: asked.append(arguments[-1]))
    distilled(tmp_path, {"iterations": "1", "cutmix": "0.25"})
    assert asked == [("color+crop", True), 0.25]


def test_pixels_are_clamped_when_a_network_is_new_and_when_they_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside: list[bool] = []

    def matched(method: object, net: Network, syn: LearnableSet, *rest: object) -> None:
        inside.append(bool(syn.images.min() >= 0 and syn.images.max() <= 1))

    before(monkeypatch, idc.IDC, "_match", matched)
    made = distilled(tmp_path, {"iterations": "2", "matches": "3", "lr_images": "100"})
    assert inside == [True, False, False] * 2
    assert made.images.min() == 0 and made.images.max() == 1


def test_with_batch_norm_classes_are_matched_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    before(monkeypatch, idc, "match", lambda *_, together, **__: asked.append(together))
    for name in ("convnet-w32", "convnet-w32-bn"):
        distilled(tmp_path, {"network": name, "iterations": "1", "matches": "1"})
    assert asked == [None, False]


def test_the_stored_set_says_how_it_is_decoded_and_students_see_every_tile(tmp_path: Path) -> None:
    made = distilled(tmp_path, {"iterations": "1", "factor": "2"}, ipc=2)
    assert made.content["decode"] == [{"name": "multi_formation", "version": 1, "factor": 2}]
    assert len(made.images) == 20 and len(made) == 80
    assert made.content["pixels"]["space"] == "raw"
    plain = distilled(tmp_path, {"iterations": "1", "factor": "1"}, ipc=2)
    assert plain.content["decode"] == [] and len(plain) == 20


def test_a_wrapper_sees_the_decoded_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: set[tuple[int, ...]] = set()
    before(monkeypatch, idc, "match", lambda net, real, synthetic, *_, **__: shapes.add(synthetic.shape))
    method, _ = build_method(
        "idc+fyi", "digits", 2, {f"idc.{k}": v for k, v in LIGHT.items()} | {"idc.iterations": "1"}
    )
    made, _ = distill(method, load_images("digits"), ipc=2, cache=tmp_path)
    assert shapes == {(10, 2 * 4 * 2, 1, 8, 8)}
    assert len(made) == 80


@pytest.mark.parametrize("field", ["metric", "init", "augment", "augment_network"])
@pytest.mark.usefixtures("unchecked_shapes")
def test_an_unknown_name_is_refused_with_the_known_ones(field: str) -> None:
    with pytest.raises(Refused, match="nothing-like-it"):
        build_method("idc", "digits", 1, {field: "nothing-like-it"})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"factor": "5"}, "factor 5 cuts a side of 8"),
        ({"factor": "9"}, "factor 9 cuts a side of 8"),
        ({"factor": "0"}, "factor=0: factor of idc must be at least 1"),
        ({"pixel_space": "normalized"}, "unknown pixel_space of idc"),
        ({"cutmix": "1.5"}, "cutmix=1.5"),
        ({"network": "mlp"}, "mlp has none"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_cannot_work_are_refused_in_one_sentence(
    tmp_path: Path, settings: dict[str, str], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        distilled(tmp_path, settings)


def test_the_recipes_are_the_cells_of_the_readmes_tables() -> None:
    datasets = ("mnist", "fashion-mnist", "svhn", "cifar10")
    cells = {(dataset, ipc) for dataset in datasets for ipc in (1, 10, 50)}
    assert set(IDC.recipes) == cells | {("cifar100", 10), ("cifar100", 20)}


@pytest.mark.parametrize(
    ("dataset", "metric", "rate", "train_images", "augment", "cutmix"),
    [
        ("cifar10", "mse", 5e-3, 2000, "dsa:flip+color+crop_scale_rotate", 0.5),
        ("cifar100", "mse", 5e-3, 2000, "dsa:flip+color+crop_scale_rotate", 0.5),
        ("svhn", "mse", 5e-3, 500, "dsa:color+crop_scale_rotate", 0.5),
        ("mnist", "l1", 1e-4, 500, "dsa:color+crop_scale_rotate", None),
        ("fashion-mnist", "l1", 1e-4 * 0.765625, 500, "dsa:flip+color+crop_scale_rotate", 0.5),
    ],
)
def test_the_recipes_are_the_authors_commands_and_their_evaluation(
    dataset: str, metric: str, rate: float, train_images: int, augment: str, cutmix: float | None
) -> None:
    recipe = IDC.recipes[dataset, 10]
    config = recipe.method.config()
    assert config["metric"] == metric and config["lr_images"] == pytest.approx(rate)
    assert config["train_images"] == train_images and config["factor"] == 2
    assert config["iterations"] == 2000 and config["matches"] == 100
    protocol = recipe.protocol
    assert protocol is not None
    assert [(stage.epochs, stage.scale) for stage in protocol.stages] == [(666, 1), (167, 0.2), (167, 0.04)]
    assert (protocol.batch, protocol.lr, protocol.momentum, protocol.weight_decay) == (64, 0.01, 0.9, 5e-4)
    assert protocol.augment == augment and protocol.cutmix == cutmix
