from collections.abc import Callable, Iterator
from importlib import import_module

import pytest
import torch
from torch import Tensor

from condense.data import Images
from condense.distillation import ExpertTraining
from condense.distillation.matching.trajectory import draw_segment
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.networks import Network
from condense.training.experts import Experts
from tests.stand_ins import stand_in

DATM = methods()["datm"]
datm = import_module(DATM.__module__)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def windows(**settings: object) -> Callable[[int], tuple[int, int]]:
    params = {key: str(value) for key, value in settings.items()}
    window: Callable[[int], tuple[int, int]] = build("datm", "toy", 1, params)[0].window  # type: ignore[attr-defined]
    return window


@pytest.mark.parametrize(
    ("step", "upper"), [(0, 10), (99, 10), (100, 11), (550, 15), (999, 19), (1000, 20), (9999, 20)]
)
def test_the_window_widens_from_10_to_20_epochs_over_a_thousand_updates(step: int, upper: int) -> None:
    window = windows(current_max_start_epoch=10, max_start_epoch=20, expansion_end_epoch=1000)
    assert window(step) == (0, upper)


@pytest.mark.parametrize(
    ("least", "current", "last", "end"), [(0, 30, 50, 2000), (3, 15, 20, 7), (0, 4, 4, 1)]
)
def test_the_window_is_the_formula_at_every_update(least: int, current: int, last: int, end: int) -> None:
    window = windows(
        min_start_epoch=least, current_max_start_epoch=current, max_start_epoch=last, expansion_end_epoch=end
    )
    for step in range(2 * end + 2):
        assert window(step) == (least, min(last, int(current + (last - current) * (step / end) + 1e-9)))


def test_without_a_first_upper_end_the_whole_window_is_open_at_once() -> None:
    window = windows(min_start_epoch=40, max_start_epoch=60)
    assert {window(step) for step in (0, 1, 500, 10000)} == {(40, 60)}


class Numbered(Experts):
    """Experts whose snapshots hold the number of their epoch."""

    def __init__(self) -> None:
        pass

    def __len__(self) -> int:
        return 1

    def at(self, expert: int, epoch: int) -> Tensor:
        return torch.full((3,), float(epoch))


def test_starts_are_drawn_from_the_whole_window_and_from_nowhere_else() -> None:
    window = {"min_start_epoch": 2, "current_max_start_epoch": 4, "max_start_epoch": 6}
    params = {name: str(value) for name, value in window.items()}
    method, _ = build("datm", "toy", 1, {**params, "expansion_end_epoch": "100"})
    rng = torch.Generator().manual_seed(0)
    for step, epochs in ((0, {2, 3}), (50, {2, 3, 4}), (100, {2, 3, 4, 5})):
        span = method.window(step)  # type: ignore[attr-defined]
        segments = [draw_segment(Numbered(), span, 2, rng) for _ in range(80)]
        assert {segment.epoch for segment in segments} == epochs
        assert all(float(segment.start[0]) == segment.epoch for segment in segments)
        assert all(float(segment.goal[0]) == segment.epoch + 2 for segment in segments)


@pytest.mark.parametrize(
    "settings",
    [
        {"min_start_epoch": 10, "max_start_epoch": 10},
        {"min_start_epoch": 5, "current_max_start_epoch": 5, "max_start_epoch": 10},
        {"current_max_start_epoch": 11, "max_start_epoch": 10},
    ],
)
def test_a_window_that_is_empty_or_shrinks_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(
        Refused, match="min_start_epoch < current_max_start_epoch <= max_start_epoch must hold"
    ):
        windows(**settings)


def test_a_published_window_can_be_moved_as_a_whole() -> None:
    params = {"max_start_epoch": "20", "min_start_epoch": "0"}  # each alone would be empty for a moment
    method, _ = build("datm", "cifar10", 500, params)
    assert method.window(0) == (0, 20)  # type: ignore[attr-defined]


def test_initial_labels_are_the_mean_logits_of_those_that_are_right() -> None:
    logits, labels = 2 * drawn(7, 30, 4), torch.arange(30) % 4
    got = datm.agreed(iter(logits), labels, 4)
    seen = set()
    for image in range(30):
        right = [one[image] for one in logits if int(one[image].argmax()) == int(labels[image])]
        seen.add(len(right))
        if right:
            torch.testing.assert_close(got[image], sum(right, torch.zeros(4)) / len(right), check_dtype=False)
    assert len(seen) > 2


def test_where_no_expert_is_right_the_true_class_takes_the_largest_mean() -> None:
    logits = torch.tensor([[[3.0, 1.0, 2.0]], [[5.0, 0.0, 4.0]]])
    got = datm.agreed(logits, torch.tensor([1]), 3)
    assert got.tolist() == [[0.5, 4.0, 3.0]]


def test_where_no_expert_is_right_but_their_mean_is_the_mean_stays() -> None:
    logits = torch.tensor([[[3.0, 2.0, 0.0]], [[0.0, 2.0, 3.0]]])
    assert datm.agreed(logits, torch.tensor([1]), 3).tolist() == [[1.5, 2.0, 1.5]]


class Known(Experts):
    """Experts that recognise some images, told apart by their one pixel."""

    epochs = 4

    def __init__(self, *known: set[int]) -> None:
        self.known = known

    def __len__(self) -> int:
        return len(self.known)

    def at(self, expert: int, epoch: int) -> Tensor:
        assert epoch == 4
        return torch.tensor(sorted(self.known[expert]), dtype=torch.float32)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The batch sizes that experts see; an expert predicts class 1 for what it recognises, else 0."""
    numbers: list[int] = []

    def said(network: object, known: Tensor, images: Tensor) -> Tensor:
        numbers.append(len(images))
        right = [bool((known == image).any()) for image in images.flatten()]
        return torch.nn.functional.one_hot(torch.tensor(right).long(), 3).float()

    monkeypatch.setattr(datm, "predict", said)
    yield numbers


def asked(experts: Known, count: int, seed: int = 0, images: int = 40) -> list[int]:
    """Returns the positions found in class 1, to which every second image belongs."""
    labels = torch.arange(images) % 2
    train = Images(torch.arange(images).float().view(-1, 1, 1, 1), labels, "", 3)
    rng = torch.Generator().manual_seed(seed)
    found = datm.recognised(train, 1, count, experts, stand_in(Network), rng).tolist()
    assert len(found) == len({*found}) == count and all(position % 2 for position in found)
    return [int(position) for position in found]


def test_initial_images_are_random_ones_that_the_first_expert_recognises(shown: list[int]) -> None:
    known = {1, 3, 5, 7, 9, 11}
    found = [asked(Known(known, {13}), 3, seed) for seed in range(8)]
    assert all({*one} <= known for one in found)
    assert {position for one in found for position in one} == known
    assert asked(Known(known), 3) == found[0] and {*shown} == {20}


def test_the_next_experts_are_asked_for_what_the_first_do_not_recognise(shown: list[int]) -> None:
    found = asked(Known({1, 3}, {3, 5, 7}, {9, 11, 13}), 6)
    assert {*found[:2]} == {1, 3} and {*found[2:4]} == {5, 7} and {*found[4:]} <= {9, 11, 13}
    assert shown == [20, 18, 16]


def test_images_that_nobody_recognises_make_up_for_what_is_missing(shown: list[int]) -> None:
    found = asked(Known({1}, {3}), 20)
    assert found[:2] == [1, 3] and {*found} == {*range(1, 40, 2)}
    assert asked(Known({1}, {3}), 5) == found[:5]


def test_an_expert_is_shown_no_more_images_than_are_needed(
    shown: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datm, "BLOCK", 4)
    asked(Known({*range(40)}), 5)
    assert shown == [4, 4]


def test_the_experts_are_ftds_with_the_readmes_constants() -> None:
    training = DATM().training()  # type: ignore[attr-defined]
    assert training == ExpertTraining(
        network="convnet", lr=0.01, momentum=0.0, batch=256, optimizer="gsam", rho=0.01, alpha=0.3
    )
    ftd = build("ftd", "toy", 1, {"alpha": "0.3"})[0]
    assert training == ftd.training()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cell", "settings"),
    [
        (("cifar10", 1), {"syn_steps": 80, "lr_images": 100.0, "lr_lr": 1e-7, "lr_labels": 5.0,
                          "max_start_epoch": 4, "current_max_start_epoch": None, "threshold": 1.1}),
        (("cifar10", 10), {"lr_labels": 2.0, "current_max_start_epoch": 10, "max_start_epoch": 20,
                           "expansion_end_epoch": 1000, "threshold": 1.0, "init": "correct"}),
        (("cifar10", 1000), {"syn_steps": 100, "batch_syn": 1000, "min_start_epoch": 40, "lr_images": 50.0}),
        (("cifar100", 1), {"expert_epochs": 3, "syn_steps": 40, "lr_labels": 10.0, "batch_syn": None}),
        (("cifar100", 50), {"init": "real", "min_start_epoch": 20, "max_start_epoch": 70}),
        (("tiny-imagenet", 10), {"batch_syn": 500, "min_start_epoch": 10, "lr_lr": 1e-4}),
    ],
)  # fmt: skip
def test_the_recipes_are_the_authors_configurations(
    cell: tuple[str, int], settings: dict[str, object]
) -> None:
    recipe = DATM.recipes[cell]
    config = recipe.method.config()
    assert {name: config[name] for name in settings} == settings
    assert config["iterations"] == 10000 and config["pixel_space"] == "zca"
    assert config["momentum_labels"] == 0.9 and config["lr_student"] == 0.01
    assert recipe.method.epochs == 100  # type: ignore[attr-defined]
    protocol = recipe.protocol
    assert protocol is not None
    assert protocol.lr is None and protocol.batch == 128 and protocol.augment == "dsa"
    assert [(stage.epochs, stage.scale) for stage in protocol.stages] == [(502, 1.0), (499, 0.1)]


def test_there_is_a_recipe_for_each_configuration_file() -> None:
    cells = {"cifar10": (1, 10, 50, 500, 1000), "cifar100": (1, 10, 50, 100), "tiny-imagenet": (1, 10, 50)}
    assert {*DATM.recipes} == {(dataset, ipc) for dataset, ipcs in cells.items() for ipc in ipcs}
