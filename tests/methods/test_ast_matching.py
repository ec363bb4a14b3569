from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from condense.data import ImageDataset, Images
from condense.distillation import Experts, ExpertTraining, ImageMethod, ImageRun, Method, distill
from condense.distillation.matching.trajectory import Learned, Segment
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.networks import build_network
from condense.store import ImageSet
from condense.training.parameters import as_parameters, flatten

AST = methods()["ast"]
ast = import_module(AST.__module__)

NETWORK, SHAPE = "convnet-w32", (1, 8, 8)

Loss = Callable[[Tensor], Tensor]

LIGHT: dict[str, object] = {
    "network": NETWORK, "iterations": 2, "syn_steps": 5, "expert_epochs": 2, "max_start_epoch": 3,
    "experts": 2, "batch_experts": 20,
}  # fmt: skip
"""Settings of a run that costs next to nothing."""

OFF: dict[str, object] = {
    "init": "real", "balance": False, "student_momentum": 0.0, "intermediate": "none", "perturb": 0.0,
    "lr_lr": 1e-5, "lr_experts": 0.01, "momentum_experts": 0.0, "weight_decay_experts": 0.0,
    "drop_epoch": None, "clipping": False, "gradient_penalty": 0.0,
}  # fmt: skip
"""What makes it MTT."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the experts of `LIGHT` that all tests share."""
    return tmp_path_factory.mktemp("cache")


def made_by(settings: Mapping[str, object], name: str = "ast") -> Method:
    return build(name, "toy", 2, {key: str(value) for key, value in (LIGHT | dict(settings)).items()})[0]


def distilled(
    toy: ImageDataset, cache: Path, settings: Mapping[str, object], name: str = "ast", seed: int = 0
) -> ImageSet:
    made: ImageSet
    made, run = distill(made_by(settings, name), toy, ipc=2, seed=seed, cache=cache)
    run.done()
    return made


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def global_state() -> list[int]:
    """Returns the state of NumPy's global generator."""
    words: list[int] = cast(tuple[str, np.ndarray], np.random.get_state())[1].tolist()
    return words


class Line(Experts):
    """Experts whose snapshots are known: each epoch goes a step further."""

    epochs = 9

    def __init__(self) -> None:
        self.first = flatten(build_network(NETWORK, SHAPE, 3, torch.Generator())).double()

    def __len__(self) -> int:
        return 2

    def at(self, expert: int, epoch: int) -> Tensor:
        return self.first + epoch * drawn(len(self.first), seed=expert) + 0.1 * epoch**2


def matched(settings: Mapping[str, object], seed: int = 0) -> tuple[Segment, dict[int, Loss]]:
    """The segment of an update that follows an expert of `Line`, and the losses of its student."""
    method = made_by({"syn_steps": 7, "expert_epochs": 3, "max_start_epoch": 5, **settings})
    places = ast.convolutions(build_network(NETWORK, SHAPE, 3, torch.Generator()))
    rng = torch.Generator().manual_seed(seed)
    segment: Segment = method.segment(Line(), places, rng)  # type: ignore[attr-defined]
    return segment, method.losses(Line(), segment)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("epoch", "weight"), [(0, 0.557), (9, 0.7325), (10, 1.292), (19, 1.760)])
def test_the_loss_is_weighted_as_in_the_authors_code_for_starts_below_20(epoch: int, weight: float) -> None:
    assert ast.balanced(epoch, 20) == pytest.approx(weight, abs=5e-4)


@pytest.mark.parametrize("limit", [2, 15, 40])
def test_starts_as_far_before_and_behind_the_middle_have_inverse_weights(limit: int) -> None:
    middle = limit // 2
    for distance in range(1, middle + 1):
        product = ast.balanced(middle - distance, limit) * ast.balanced(middle + distance, limit)
        assert product == pytest.approx(1) and ast.balanced(middle - distance, limit) < 1
    assert ast.balanced(middle, limit) == pytest.approx(3 * np.log(2) / np.log(5))


def test_a_perturbation_is_the_formula_and_changes_convolutions_alone() -> None:
    shape = (1, 16, 16)
    net = build_network(NETWORK, shape, 3, torch.Generator()).double().requires_grad_(False)
    start = flatten(net)
    before = start.clone()
    places = ast.convolutions(net)
    moved = as_parameters(net, ast.perturbed(start, places, 0.7, torch.Generator().manual_seed(5)))
    rng = torch.Generator().manual_seed(5)
    for name, w in net.named_parameters():
        if w.ndim == 4:
            d = torch.randn(w.shape, generator=rng).double()
            torch.testing.assert_close(moved[name], w + 0.7 * d / d.square().sum().sqrt() * w)
            assert float((moved[name] / w - 1).norm()) == pytest.approx(0.7)
        else:
            assert torch.equal(moved[name], w)
    assert torch.equal(start, before) and len(places) == 2


@pytest.mark.parametrize(
    ("intermediate", "weights"),
    [("none", {7: 1.0}), ("agg", {2: 1.0, 4: 1.0, 7: 1.0}), ("adaptive", {2: 1 / 3, 4: 2 / 3, 7: 1.0})],
)
def test_on_its_way_a_student_is_compared_with_the_snapshots_between(
    intermediate: str, weights: dict[int, float]
) -> None:
    segment, losses = matched({"intermediate": intermediate})
    assert {*losses} == {*weights}
    experts, theta = Line(), drawn(len(segment.start), seed=9)
    for part, steps in ((1, 2), (2, 4), (3, 7)):
        if steps in weights:
            goal = experts.at(segment.expert, segment.epoch + part)
            left, way = theta - goal, segment.start - goal
            expected = weights[steps] * (left @ left) / (way @ way)
            torch.testing.assert_close(losses[steps](theta), expected)


def test_distances_are_measured_from_the_perturbed_start() -> None:
    (plain, _), (moved, losses) = matched({"perturb": 0.0}), matched({"perturb": 2.0})
    assert (plain.expert, plain.epoch) == (moved.expert, moved.epoch)
    assert torch.equal(plain.start, Line().at(plain.expert, plain.epoch))
    assert float((moved.start - plain.start).norm()) > 0
    for loss in losses.values():
        assert float(loss(moved.start)) == 1 != pytest.approx(float(loss(plain.start)), abs=1e-9)


@pytest.mark.parametrize("intermediate", ["agg", "adaptive"])
def test_an_update_goes_down_the_gradient_through_steps_with_momentum(
    intermediate: str, toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Experts, Segment]] = []
    losses: list[float] = []
    segment, start_of, unroll = AST.segment, AST.initial, ast.unroll  # type: ignore[attr-defined]
    begun: list[Learned] = []

    def started(self: ImageMethod, train: Images, experts: Experts, run: ImageRun) -> Learned:
        begun.append(start_of(self, train, experts, run))
        return begun[0]

    def noted(self: ImageMethod, experts: Experts, *rest: object) -> Segment:
        seen.append((experts, segment(self, experts, *rest)))
        return seen[0][1]

    def naive(
        network: torch.nn.Module, start: Tensor, batches: list[Callable[[], tuple[Tensor, Tensor]]],
        lr: Tensor, *rest: object, **named: object,
    ) -> object:  # fmt: skip
        ((experts, what),) = seen
        theta, velocity = start.clone().requires_grad_(), torch.zeros_like(start)
        scale = ast.balanced(what.epoch, 3)
        total = torch.zeros(())
        for step, batch in enumerate(batches, start=1):
            images, labels = batch()
            weights = as_parameters(network, theta)  # type: ignore[arg-type]
            loss = scale * cross_entropy(functional_call(network, weights, (images,)), labels)
            (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
            velocity = 0.9 * velocity + gradient
            theta = theta - lr * velocity
            share = {2: 1.0 if intermediate == "agg" else 0.5, 5: 1.0}.get(step)
            if share is not None:
                goal = experts.at(what.expert, what.epoch + (1 if step == 2 else 2))
                total = total + share * (theta - goal).square().sum() / (start - goal).square().sum()
        images = begun[0].syn.images
        of_images, of_lr = torch.autograd.grad(total, [images, lr])
        made = unroll(network, start, batches, lr, *rest, **named)
        losses.extend([float(total.detach()), float(made.loss), float(of_images.abs().max())])
        torch.testing.assert_close(images.grad, of_images, rtol=1e-3, atol=1e-4 * losses[2])
        torch.testing.assert_close(lr.grad, of_lr, rtol=1e-3, atol=0)
        return made

    monkeypatch.setattr(AST, "initial", started)
    monkeypatch.setattr(AST, "segment", noted)
    monkeypatch.setattr(ast, "unroll", naive)
    distilled(toy, cache, {"iterations": 1, "intermediate": intermediate, "lr_student": 0.05})
    assert losses[0] == pytest.approx(losses[1], rel=1e-4) and losses[2] > 0


def test_with_all_its_parts_off_it_is_mtt_to_the_last_bit(toy: ImageDataset, cache: Path) -> None:
    ours, theirs = distilled(toy, cache, OFF), distilled(toy, cache, {}, "mtt")
    assert torch.equal(ours.images, theirs.images) and ours.learned_lr == theirs.learned_lr


@pytest.mark.parametrize("part", OFF)
def test_each_part_alone_makes_another_set(part: str, toy: ImageDataset, cache: Path) -> None:
    defaults = AST().config() | {"drop_epoch": 2}
    off = distilled(toy, cache, OFF)
    on = distilled(toy, cache, OFF | {part: defaults[part]})
    assert not torch.equal(off.images, on.images)


def test_of_each_separated_cluster_the_row_nearest_to_its_mean_is_taken() -> None:
    centres = 100 * drawn(4, 6)
    points = (centres[:, None] + drawn(4, 9, 6, seed=1)).flatten(0, 1)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(2))
    rows = ast.representative(points[order], 4, seed=3)
    expected = set()
    for cluster in range(4):
        own = points[9 * cluster : 9 * cluster + 9]
        expected.add(9 * cluster + int((own - own.mean(0)).square().sum(1).argmin()))
    assert {int(order[row]) for row in rows} == expected


@pytest.mark.parametrize("count", [1, 3, 9, 12])
def test_no_row_is_taken_twice_and_equal_seeds_take_the_same(count: int) -> None:
    points = drawn(12, 4)
    state = global_state()
    rows = ast.representative(points, count, seed=1)
    assert len({*rows.tolist()}) == count
    assert torch.equal(rows, ast.representative(points, count, seed=1))
    assert global_state() == state


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_of_rows_that_are_all_alike_several_are_taken_all_the_same() -> None:
    assert sorted(ast.representative(torch.ones(5, 3), 4, seed=0).tolist()) == [0, 1, 2, 3]


def test_initial_images_are_nearest_to_their_class_mean_in_logits(
    toy: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[Experts, Tensor]] = []
    start = AST.initial  # type: ignore[attr-defined]

    def noted(self: ImageMethod, train: Images, experts: Experts, run: ImageRun) -> object:
        learned = start(self, train, experts, run)
        begun.append((experts, learned.syn.images.detach().clone()))
        return learned

    monkeypatch.setattr(AST, "initial", noted)
    made, _ = distill(made_by({"iterations": 1, "experts": 1, "epochs_experts": 7}), toy, ipc=1, cache=cache)
    ((experts, images),) = begun
    assert experts.epochs == 7 and made.content["counts"]["per_class"] == [1, 1, 1]
    train = toy.train.in_space(toy.space("normalized"))
    net = build_network(NETWORK, SHAPE, 3, torch.Generator())
    weights = as_parameters(net, experts.at(0, 7))
    for label in range(3):
        own = train.images[train.labels == label]
        logits = functional_call(net, weights, (own,)).detach().double()
        nearest = (logits - logits.mean(0)).square().sum(1).argmin()
        assert torch.equal(images[label], own[nearest])


def test_the_experts_are_the_authors() -> None:
    training = AST().training()  # type: ignore[attr-defined]
    assert training == ExpertTraining(
        network="convnet", lr=0.003, momentum=0.9, weight_decay=1e-3, batch=256, augment="dsa",
        lr_drop=(27, 0.6), clipping=True, gradient_penalty=2.0,
    )  # fmt: skip
    plain = build("ast", "toy", 1, {key: str(value) for key, value in OFF.items()})[0]
    assert plain.training() == methods()["mtt"]().training()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("least", "epochs"), [(None, 21), (5, 21), (50, 50)])
def test_experts_go_on_to_the_last_snapshot_that_is_asked_for(least: int | None, epochs: int) -> None:
    method = replace(AST(), max_start_epoch=20, expert_epochs=2, epochs_experts=least)  # type: ignore[call-arg]
    assert method.epochs == epochs  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"intermediate": "ag"}, "unknown intermediate of ast; nearest: agg"),
        ({"init": "representativ"}, "nearest: representative"),
        ({"syn_steps": 2, "expert_epochs": 3}, "syn_steps = 2 are too few"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, object], words: str) -> None:
    with pytest.raises(Refused, match=words):
        made_by(settings)


def test_a_student_of_few_steps_may_be_compared_at_the_end_alone() -> None:
    assert {*matched({"syn_steps": 2, "intermediate": "none"})[1]} == {2}


@pytest.mark.parametrize(
    ("cell", "settings"),
    [
        (("cifar100", 1), {"syn_steps": 20, "expert_epochs": 3, "max_start_epoch": 20, "balance": True,
                           "intermediate": "agg", "perturb": 1.0, "pixel_space": "zca", "batch_syn": None}),
        (("cifar100", 10), {"syn_steps": 20, "max_start_epoch": 30, "batch_syn": 128, "balance": False,
                            "intermediate": "agg", "perturb": 1.0, "pixel_space": "normalized",
                            "lr_images": 567.0}),
        (("cifar100", 50), {"syn_steps": 80, "max_start_epoch": 40, "batch_syn": 700, "balance": False,
                            "intermediate": "none", "perturb": 0.0, "init": "representative",
                            "lr_images": 567.0}),
        (("cifar10", 10), {"init": "real", "lr_images": 1000.0, "lr_lr": 1e-5, "pixel_space": "zca"}),
        (("tiny-imagenet", 1), {"init": "real", "lr_images": 10000.0, "lr_lr": 1e-4, "syn_steps": 10}),
    ],
)  # fmt: skip
def test_the_recipes_are_the_authors_commands(cell: tuple[str, int], settings: dict[str, object]) -> None:
    recipe = AST.recipes[cell]
    config = recipe.method.config()
    assert {name: config[name] for name in settings} == settings
    assert config["iterations"] == 5000 and config["epochs_experts"] == 50 and config["experts"] == 100
    protocol = recipe.protocol
    assert protocol is not None
    assert protocol.lr is None and protocol.weight_decay == 1e-3 and protocol.batch == 256
    stages = [(stage.epochs, stage.scale, stage.momentum) for stage in protocol.stages]
    assert stages == [(502, 1.0, None), (499, 0.5, 0.8)] and protocol.momentum == 0.9
    assert protocol.reset and protocol.augment == "dsa"
