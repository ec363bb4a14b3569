from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from condense.augment import dsa
from condense.data import ImageDataset, Images
from condense.distillation import ExpertTraining, IdentityView, ImageRun, LearnableSet, View, distill
from condense.distillation.matching.unrolled import Unrolled
from condense.distillation.registry import build, methods, wrappers
from condense.errors import Refused
from condense.evaluation import ImageStudent
from condense.networks import Network, build_network
from condense.protocol import Protocol, Stage
from condense.resources import Budget
from condense.store import ImageSet
from condense.training.expert_steps import Stacked
from condense.training.experts import experts
from tests.stand_ins import stand_in

MTT = methods()["mtt"]
mtt = import_module(MTT.__module__)
Mirrored = import_module(wrappers()["fyi"].__module__).Mirrored

TINY: dict[str, object] = {
    "network": "convnet-w32",
    "iterations": 1,
    "syn_steps": 3,
    "batch_syn": 4,
    "expert_epochs": 2,
    "max_start_epoch": 3,
    "experts": 2,
    "batch_experts": 20,
    "lr_student": 0.01,
}


def made(toy: ImageDataset, cache: Path, name: str = "mtt", /, **settings: object) -> ImageSet:
    params = {key: str(value) for key, value in (TINY | settings).items()}
    one: ImageSet
    one, run = distill(build(name, "toy", 2, params)[0], toy, ipc=2, cache=cache)
    run.done()
    return one


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The loss of every update, as it is logged."""
    seen: list[float] = []
    monkeypatch.setattr(ImageRun, "log", lambda self, *, loss, lr: seen.append(float(loss)))
    return seen


def logits(network: Network, theta: Tensor, images: Tensor) -> Tensor:
    """Of the network with a vector for its parameters."""
    weights, at = {}, 0
    for key, parameter in network.named_parameters():
        weights[key] = theta[at : at + parameter.numel()].view(parameter.shape)
        at += parameter.numel()
    found: Tensor = functional_call(network, weights, (images,))
    return found


def test_an_update_equals_plain_backpropagation_in_float64(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    one = made(toy, tmp_path, lr_images=200.0, lr_lr=1e-5)
    # The run's draws in their order: start, network, expert, epoch, and by step an order of the images where
    # the last one is used up, and an augmentation. Six images in fours: two, four, and two of a new order.
    rng = torch.Generator().manual_seed(0)
    train = toy.train.in_space(toy.space("normalized"))
    begun = train.draw(2, rng).flatten(0, 1)
    network = build_network("convnet-w32", toy.spec.shape, 3, rng).double()
    expert, epoch = (int(torch.randint(high, (), generator=rng)) for high in (2, 3))
    training = ExpertTraining(network="convnet-w32", lr=0.01, batch=20)
    found = experts(
        training, 2, 4, train, toy.spec, "normalized", cache=tmp_path, budget=Budget(), say=pytest.fail
    )
    first, goal = found.at(expert, epoch).double(), found.at(expert, epoch + 2).double()

    images = begun.double().requires_grad_()
    lr = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    theta, order = first.clone().requires_grad_(), torch.empty(0, dtype=torch.long)
    for size in (2, 4, 2):
        if len(order) == 0:
            order = torch.randperm(6, generator=rng)
        chosen, order = order[-size:], order[:-size]
        augmentation = dsa.draw(toy.spec.dsa, (8, 8), rng, per_group=size)
        batch = augmentation(images[chosen][None])[0]
        loss = cross_entropy(logits(network, theta, batch), chosen // 2)
        theta = theta - lr * torch.autograd.grad(loss, theta, create_graph=True)[0]
    matched = (theta - goal).square().sum() / (first - goal).square().sum()
    of_images, of_lr = torch.autograd.grad(matched, [images, lr])

    assert losses == [pytest.approx(float(matched.detach()), rel=1e-4)]
    moved = one.images.double() - begun.double()
    assert 0.1 < moved.abs().max() < 10
    torch.testing.assert_close(moved, -200 * of_images, rtol=1e-3, atol=1e-4)
    assert one.learned_lr is not None and abs(one.learned_lr - 0.01) > 1e-4
    assert one.learned_lr - 0.01 == pytest.approx(-1e-5 * float(of_lr), rel=1e-3)


def test_a_student_whose_rate_is_zero_has_missed_exactly_the_whole_way(
    toy: ImageDataset, tmp_path: Path, losses: list[float]
) -> None:
    made(toy, tmp_path, iterations=3, lr_student=0, lr_lr=0, max_rollbacks=0)
    assert losses == [1.0] * 3


@dataclass(frozen=True)
class Thrice:
    """A view with three copies."""

    copies: int = 3

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images.repeat(3, 1, 1, 1), labels.repeat(3)


def batches(
    toy: ImageDataset, view: View, *, soft: bool = False, augment: str = "none", **settings: object
) -> list[tuple[list[int], list[int], Tensor, Tensor]]:
    """What a student sees of seven images of three classes: numbers, rounded down, then labels and pixels."""
    numbers = torch.arange(7.0).view(7, 1, 1, 1).expand(7, 1, 8, 8)
    syn = LearnableSet(numbers[:6], 3, view)
    syn.images = (numbers + 0.01 * torch.arange(8)).contiguous()
    syn.labels = torch.arange(7) % 3
    logits = torch.eye(7, 3) if soft else None
    params = {key: str(value) for key, value in ({"augment": augment} | settings).items()}
    method = build("mtt", "toy", 2, params)[0]
    run = stand_in(
        ImageRun,
        rng=torch.Generator().manual_seed(1),
        strategy=toy.spec.dsa,
        spec=toy.spec,
        device=torch.device("cpu"),
    )
    found = method.batches(mtt.Learned(syn, 0.1, logits), run)  # type: ignore[attr-defined]
    seen = []
    for batch in found:
        images, labels = batch()
        assert torch.equal(batch()[0], images)
        seen.append((images[:, 0, 0].amin(1).int().tolist(), labels.tolist(), labels, images))
    return seen


def test_every_image_is_seen_once_before_one_is_seen_again(
    toy: ImageDataset,
) -> None:
    seen = batches(toy, IdentityView(), batch_syn=3, syn_steps=7)
    assert [len(numbers) for numbers, *_ in seen] == [1, 3, 3, 1, 3, 3, 1]
    first, second = ([one for numbers, *_ in part for one in numbers] for part in (seen[:3], seen[3:6]))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    assert all(labels == [number % 3 for number in numbers] for numbers, labels, *_ in seen)


def test_without_a_batch_size_or_with_a_large_one_a_step_sees_all_images(toy: ImageDataset) -> None:
    for size in (None, 7, 1000):
        for numbers, *_ in batches(toy, IdentityView(), batch_syn=size, syn_steps=3):
            assert sorted(numbers) == list(range(7))


@pytest.mark.parametrize(
    ("view", "size", "stored"),
    [(Mirrored(), 6, 3), (Mirrored(), 5, 2), (Mirrored(), None, 3), (Thrice(), 6, 2), (Thrice(), 1, 1)],
    ids=lambda value: str(value) if isinstance(value, int | None) else type(value).__name__,
)
def test_a_view_with_copies_divides_the_stored_images_of_a_step(
    toy: ImageDataset, view: View, size: int | None, stored: int
) -> None:
    """As many images as without it go through the student: the copies count."""
    odd = 7 % stored or stored
    (first, labels, _, pixels), (second, *_) = batches(toy, view, batch_syn=size, syn_steps=2)
    assert len(first) == odd * view.copies and len(second) == stored * view.copies
    assert first == first[:odd] * view.copies and labels == [number % 3 for number in first]
    if isinstance(view, type(Mirrored())):
        assert torch.equal(pixels[odd:], pixels[:odd].flip(-1)) and not torch.equal(
            pixels[odd:], pixels[:odd]
        )


def test_soft_labels_go_with_their_images_through_any_view(toy: ImageDataset) -> None:
    probabilities = torch.eye(7, 3).softmax(1)
    for view in (IdentityView(), Mirrored()):
        for numbers, _, labels, _ in batches(toy, view, soft=True, batch_syn=4, syn_steps=3):
            assert torch.equal(labels, probabilities[numbers])


def test_each_step_draws_one_operation_with_parameters_for_each_image(
    toy: ImageDataset,
) -> None:
    (_, _, _, one), (_, _, _, two) = batches(toy, IdentityView(), augment="dsa:color", syn_steps=2)
    brightness = [sorted((images[:, 0, 0, 0]).tolist()) for images in (one, two)]
    assert brightness[0] != brightness[1]
    assert len({round(float(image.std()), 5) for image in one}) == 7


def test_the_learned_rate_is_stored_and_the_paper_protocol_uses_it(toy: ImageDataset, tmp_path: Path) -> None:
    one = made(toy, tmp_path, iterations=3, lr_lr=1e-5)
    lr = one.content["hints"]["lr"]
    assert lr is not None and lr == one.learned_lr and abs(lr - 0.01) > 1e-4
    protocol = replace(MTT.recipes["cifar10", 10].protocol, stages=(Stage(epochs=10),))
    assert protocol.lr is None and one.content["hints"]["augment"] == "dsa"

    def accuracy(protocol: Protocol) -> float:
        space = toy.space("normalized")
        seen = toy.test.in_space(space)
        return (
            ImageStudent(
                source=one.in_space(space), test=seen, spec=toy.spec, protocol=protocol, network="convnet-w32"
            )
            .outcome(0)
            .accuracy
        )

    assert accuracy(protocol) == accuracy(replace(protocol, lr=lr)) != accuracy(replace(protocol, lr=1e-9))


def test_steps_that_are_taken_back_are_counted_in_the_sets_hints(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = made(toy, tmp_path, iterations=4)
    assert plain.content["hints"]["rollbacks"] == 0
    calls = []
    unroll = mtt.unroll

    def failing(*arguments: object, **named: object) -> Unrolled:
        end: Unrolled = unroll(*arguments, **named)
        calls.append(end)
        return replace(end, loss=end.loss * float("inf")) if len(calls) in (2, 4) else end

    monkeypatch.setattr(mtt, "unroll", failing)
    other = made(toy, tmp_path, iterations=4)
    assert other.content["hints"]["rollbacks"] == 2
    # The first of four is undone by the second, the third by the fourth: these are the initial images.
    start = made(toy, tmp_path, lr_images=1e-30)
    assert torch.equal(other.images, start.images) and not torch.equal(plain.images, start.images)


def test_a_learned_rate_is_kept_positive_or_the_run_is_refused(toy: ImageDataset, tmp_path: Path) -> None:
    one = made(toy, tmp_path, lr_student=0.05, lr_lr=0.002)
    assert one.learned_lr == pytest.approx(0.05) and one.content["hints"]["rollbacks"] == 1
    with pytest.raises(Refused, match="lower lr_images or lr_lr, as in --param lr_images=10"):
        made(toy, tmp_path, iterations=9, lr_student=0.05, lr_lr=2.0)


def test_methods_that_ask_for_the_same_experts_train_them_once(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = Stacked.step

    def counted(self: Stacked, train: Images, epoch: int, batch: int) -> Tensor:
        steps.append(epoch)
        return step(self, train, epoch, batch)

    monkeypatch.setattr(Stacked, "step", counted)
    made(toy, tmp_path)
    after_mtt = len(steps)
    made(toy, tmp_path, "tesla")
    assert len(steps) == after_mtt > 2 * 4 * 3  # experts, epochs, steps: and some to tell the time by
    made(toy, tmp_path, "ftd")
    assert len(steps) > after_mtt  # flat ones are others


@pytest.mark.parametrize("field", ["init", "gradient", "augment"])
def test_an_unknown_name_is_refused(field: str) -> None:
    with pytest.raises(Refused, match="nothing-like-it"):
        build("mtt", "toy", 1, {field: "nothing-like-it"})


def test_the_experts_are_trained_up_to_the_last_possible_goal() -> None:
    method = build("mtt", "cifar10", 10)[0]
    assert (method.max_start_epoch, method.expert_epochs, method.epochs) == (20, 2, 21)  # type: ignore[attr-defined]


def test_the_recipes_are_the_authors_commands_and_use_the_learned_rate() -> None:
    datasets = {"cifar10", "cifar100", "tiny-imagenet"}
    assert set(MTT.recipes) == {(dataset, ipc) for dataset in datasets for ipc in (1, 10, 50)}
    for (dataset, ipc), recipe in MTT.recipes.items():
        method, found = build("mtt", dataset, ipc)
        assert found is recipe and method == recipe.method
        config = method.config()
        assert config["iterations"] == 5000 and config["experts"] == 100 and config["gradient"] == "exact"
        assert [stage.epochs for stage in recipe.protocol.stages] == [502, 499]
        assert recipe.protocol.lr is None and recipe.protocol.augment == "dsa"
    small, large = (
        build("mtt", dataset, ipc)[0].config() for dataset, ipc in (("cifar10", 1), ("cifar100", 50))
    )
    assert (small["syn_steps"], small["max_start_epoch"], small["lr_lr"]) == (50, 2, 1e-7)
    assert (large["syn_steps"], large["batch_syn"], large["pixel_space"]) == (80, 125, "zca")
