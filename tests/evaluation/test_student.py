from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.augment import dsa
from condense.data import ImageDataset, Images
from condense.distillation import distill
from condense.distillation.registry import build as build_method
from condense.errors import Refused, Stopped
from condense.evaluation import ImageSource, ImageStudent, Outcome, WholeImages, optimizers
from condense.networks import Network, build_network
from condense.protocol import OPTIMIZERS, Protocol, Stage
from condense.resources import Budget
from condense.store import ImageSet
from condense.store.targets import Hard, Target

module = import_module("condense.evaluation.student")

STUDENT = "convnet-w32"
TINY = Protocol(
    name="tiny", lr=0.05, momentum=0.9, weight_decay=0.01, batch=40,
    stages=(Stage(epochs=2), Stage(epochs=2, scale=0.5), Stage(epochs=1, scale=0.1)),
)  # fmt: skip
"""Batches of 40 and 20 of the 60 images: one is larger than a chunk."""


@pytest.fixture(scope="module")
def run_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def everything(toy: ImageDataset, run_cache: Path) -> ImageSet:
    """A set of all 60 training images, in the space of evaluation."""
    made: ImageSet
    made, _ = distill(build_method("random_subset", "toy", 20)[0], toy, ipc=20, cache=run_cache)
    return made.in_space(toy.space("normalized"))


@pytest.fixture
def unseen(toy: ImageDataset) -> Images:
    return toy.test.in_space(toy.space("normalized"))


@pytest.fixture
def students(monkeypatch: pytest.MonkeyPatch) -> list[Network]:
    """The students as they are when they are tested."""
    seen: list[Network] = []
    accuracy = module.accuracy

    def noted(network: Network, images: Tensor, labels: Tensor) -> float:
        seen.append(network)
        return float(accuracy(network, images, labels))

    monkeypatch.setattr(module, "accuracy", noted)
    return seen


def weights(network: Network) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def naive(
    source: ImageSource, spec_dsa: str, protocol: Protocol, seed: int, student: str = STUDENT
) -> Tensor:
    """The weights after a plain loop: whole batches, with mixing, SGD and AdamW written out."""
    rng = torch.Generator().manual_seed(seed)
    network = build_network(student, (1, 8, 8), 3, rng)
    parameters = list(network.parameters())
    assert protocol.lr is not None
    for number, stage in enumerate(protocol.stages):
        if not number or protocol.reset:
            steps, first, second = 0, *([torch.zeros_like(p) for p in parameters] for _ in range(2))
        for _ in range(stage.epochs):
            for images, target in source.batches(0, protocol, rng):
                x = dsa.augment(images, spec_dsa, rng)
                p = getattr(target, "probabilities", None)
                p = torch.nn.functional.one_hot(target.ids, 3).float() if p is None else p
                if protocol.cutmix is not None:
                    x, p = naive_mixture(x, p, protocol.cutmix, rng)
                loss = -(p * network(x).log_softmax(1)).sum() / len(images)
                gradients = torch.autograd.grad(loss, parameters)
                steps += 1
                rate, decay, beta = protocol.lr * stage.scale, protocol.weight_decay, protocol.momentum
                with torch.no_grad():
                    for w, v, u, g in zip(parameters, first, second, gradients, strict=True):
                        if protocol.optimizer == "sgd":
                            v.mul_(beta).add_(g + decay * w)
                            w.sub_(rate * v)
                        else:
                            w.mul_(1 - rate * decay)
                            v.mul_(beta).add_((1 - beta) * g)
                            u.mul_(0.999).add_(0.001 * g**2)
                            mean, square = v / (1 - beta**steps), u / (1 - 0.999**steps)
                            w.sub_(rate * mean / (square.sqrt() + 1e-8))
    return weights(network)


def naive_mixture(x: Tensor, p: Tensor, probability: float, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """CutMix by a mask, and the labels mixed themselves in place of their losses."""
    if torch.rand((), generator=rng) >= probability:
        return x, p
    area, row, column = torch.rand(3, generator=rng, dtype=torch.float64)
    order = torch.randperm(len(x), generator=rng)
    half, pixels = (8 * area.sqrt()).floor() // 2, torch.arange(8)
    rows, columns = (
        (pixels >= centre - half) & (pixels < centre + half)
        for centre in ((8 * row).floor(), (8 * column).floor())
    )
    mask = rows[:, None] & columns
    share = 1 - mask.float().mean()
    return torch.where(mask, x[order], x), share * p + (1 - share) * p[order]


def trained(
    source: ImageSource,
    unseen: Images,
    toy: ImageDataset,
    protocol: Protocol,
    seed: int = 0,
    budget: Budget | None = None,
    student: str = STUDENT,
) -> Outcome:
    return ImageStudent(
        source=source,
        test=unseen,
        spec=toy.spec,
        protocol=protocol,
        budget=budget or Budget(),
        network=student,
    ).outcome(seed)


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_student_equals_a_plain_loop_with_momentum_and_weight_decay(
    everything: ImageSet, unseen: Images, toy: ImageDataset, students: list[Network], reset: bool, seed: int
) -> None:
    protocol = replace(TINY, reset=reset)
    trained(everything, unseen, toy, protocol, seed)
    torch.testing.assert_close(
        weights(students[0]), naive(everything, toy.spec.dsa, protocol, seed), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("probability", [1.0, 0.5])
def test_a_student_of_mixed_batches_is_what_masks_and_mixed_labels_give(
    everything: ImageSet,
    unseen: Images,
    toy: ImageDataset,
    students: list[Network],
    probability: float,
    seed: int,
) -> None:
    protocol = replace(TINY, cutmix=probability)
    trained(everything, unseen, toy, protocol, seed)
    trained(everything, unseen, toy, TINY, seed)
    expected = naive(everything, toy.spec.dsa, protocol, seed)
    torch.testing.assert_close(weights(students[0]), expected, rtol=1e-4, atol=1e-5)
    assert (weights(students[0]) - weights(students[1])).abs().max() > 1e-3


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("cutmix", [None, 0.5])
def test_a_student_under_adamw_is_what_its_formulas_give(
    everything: ImageSet,
    unseen: Images,
    toy: ImageDataset,
    students: list[Network],
    reset: bool,
    cutmix: float | None,
) -> None:
    # A norm would cancel the biases before it: their gradient is rounding, which AdamW blows up to a step.
    student = "mlp"
    protocol = replace(
        TINY, optimizer="adamw", lr=0.01, momentum=0.8, weight_decay=0.3, reset=reset, cutmix=cutmix
    )
    trained(everything, unseen, toy, protocol, student=student)
    expected = naive(everything, toy.spec.dsa, protocol, 0, student)
    torch.testing.assert_close(weights(students[0]), expected, rtol=1e-3, atol=1e-5)
    for change in (
        replace(protocol, momentum=0.9),
        replace(protocol, weight_decay=0.01),
        replace(protocol, reset=not reset),
        replace(protocol, optimizer="sgd"),
    ):
        trained(everything, unseen, toy, change, student=student)
        assert (weights(students[-1]) - expected).abs().max() > 1e-3


def test_every_optimizer_that_trains_networks_is_built_by_its_name(
    everything: ImageSet, unseen: Images, toy: ImageDataset
) -> None:
    assert {*optimizers.OPTIMIZERS, "lbfgs"} == set(OPTIMIZERS)
    with pytest.raises(Refused, match="tiny: lbfgs does not train networks"):
        trained(everything, unseen, toy, replace(TINY, optimizer="lbfgs"), student="mlp")


def test_rate_momentum_and_weight_decay_each_change_the_weights(
    everything: ImageSet, unseen: Images, toy: ImageDataset, students: list[Network]
) -> None:
    protocols = (
        TINY,
        replace(TINY, reset=True),
        replace(TINY, stages=(Stage(epochs=2), Stage(epochs=3, scale=0.5))),
        replace(TINY, momentum=0.8),
        replace(TINY, weight_decay=0.0),
    )
    for protocol in protocols:
        trained(everything, unseen, toy, protocol)
    for number, student in enumerate(students):
        for other in students[:number]:
            assert (weights(student) - weights(other)).abs().max() > 1e-3


def test_a_stage_split_in_two_at_one_rate_is_one_stage(
    everything: ImageSet, unseen: Images, toy: ImageDataset, students: list[Network]
) -> None:
    for stages in ((Stage(epochs=4),), (Stage(epochs=1), Stage(epochs=3))):
        trained(everything, unseen, toy, replace(TINY, stages=stages))
    assert torch.equal(weights(students[0]), weights(students[1]))


def test_a_reset_forgets_the_momentum_of_the_stage_before(
    toy: ImageDataset, unseen: Images, students: list[Network]
) -> None:
    zero = Stage(epochs=3, scale=0.0)
    for reset, stages in ((True, (zero, Stage(epochs=1))), (False, (zero, Stage(epochs=1)))):
        protocol = replace(TINY, reset=reset, stages=stages, augment="none", weight_decay=0.0)
        trained(Repeated(toy), unseen, toy, protocol)
    fresh = build_network(STUDENT, (1, 8, 8), 3, torch.Generator().manual_seed(0))
    images, target = Repeated(toy).batch
    gradients = torch.autograd.grad(target.loss(fresh(images)), list(fresh.parameters()))
    gradient = torch.cat([g.flatten() for g in gradients])
    # Three steps at rate 0 leave the momentum 1 + 0.9 + 0.81 of the gradient; the fourth adds 1 to 0.9 of it.
    for student, factor in zip(students, (1.0, 1 + 0.9 + 0.81 + 0.729), strict=True):
        expected = weights(fresh) - 0.05 * factor * gradient
        torch.testing.assert_close(weights(student), expected, rtol=1e-4, atol=1e-6)


class Repeated:
    """The same batch every epoch, without a draw; a learned rate on demand."""

    def __init__(self, toy: ImageDataset, learned_lr: float | None = None) -> None:
        train = toy.train.in_space(toy.space("normalized"))
        self.batch = train.images[:16], Hard(train.labels[:16])
        self.learned_lr = learned_lr
        self.epochs: int | None = None
        self.seen: list[int] = []

    def __len__(self) -> int:
        return 16

    def batches_in_epoch(self, protocol: Protocol) -> int:
        return 1

    def batches(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Target]]:
        self.seen.append(epoch)
        yield self.batch


def test_epochs_are_counted_through_over_the_stages(toy: ImageDataset, unseen: Images) -> None:
    source = Repeated(toy)
    trained(source, unseen, toy, TINY)
    assert source.seen == [0, 1, 2, 3, 4]


def test_a_student_makes_no_fewer_steps_than_the_protocol_asks_for(toy: ImageDataset, unseen: Images) -> None:
    source = Repeated(toy)
    trained(source, unseen, toy, replace(TINY, least_steps=7))
    # TINY has 3 and 2 epochs of one step each: 7 / 5 as many are 4.2 and 2.8, in whole epochs 5 and 3.
    assert source.seen == list(range(8))


def test_a_student_depends_on_its_seed_alone(
    everything: ImageSet, unseen: Images, toy: ImageDataset, students: list[Network]
) -> None:
    for seed in (2, 0, 1, 2):
        torch.manual_seed(seed + len(students))
        trained(everything, unseen, toy, TINY, seed)
    assert torch.equal(weights(students[0]), weights(students[3]))
    assert not torch.equal(weights(students[0]), weights(students[1]))


def test_a_student_leaves_the_set_and_the_global_generator_alone(
    everything: ImageSet, unseen: Images, toy: ImageDataset
) -> None:
    before, state = everything.hash, torch.random.get_rng_state()
    trained(everything, unseen, toy, TINY)
    assert everything.hash == before and torch.equal(torch.random.get_rng_state(), state)


def test_the_test_split_is_read_once_after_the_last_step(
    everything: ImageSet, unseen: Images, toy: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = trained(everything, unseen, toy, TINY).accuracy
    events: list[str] = []
    hidden = replace(
        unseen, images=torch.full_like(unseen.images, torch.nan), labels=torch.zeros_like(unseen.labels)
    )
    step, accuracy = module.train_step, module.accuracy

    def noted_step(*arguments: object) -> Tensor:
        events.append("step")
        if len(events) == 2 * TINY.epochs:  # the last step: only now is there anything to be read
            hidden.images.copy_(unseen.images)
            hidden.labels.copy_(unseen.labels)
        loss: Tensor = step(*arguments)
        return loss

    def noted_accuracy(*arguments: object) -> float:
        events.append("test")
        return float(accuracy(*arguments))

    monkeypatch.setattr(module, "train_step", noted_step)
    monkeypatch.setattr(module, "accuracy", noted_accuracy)
    assert trained(everything, hidden, toy, TINY).accuracy == expected
    assert events == ["step"] * 2 * TINY.epochs + ["test"]


def test_soft_labels_are_trained_towards_by_soft_cross_entropy(
    everything: ImageSet, unseen: Images, toy: ImageDataset, students: list[Network]
) -> None:
    soft = torch.rand(60, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    label = {**everything.content["label"], "kind": "soft"}
    softened = replace(everything, soft=soft, content={**everything.content, "label": label})  # type: ignore[typeddict-item]
    trained(softened, unseen, toy, TINY)
    trained(everything, unseen, toy, TINY)
    expected = naive(softened, toy.spec.dsa, TINY, 0)
    torch.testing.assert_close(weights(students[0]), expected, rtol=1e-4, atol=1e-5)
    assert (weights(students[0]) - weights(students[1])).abs().max() > 1e-3


def test_a_protocol_without_a_rate_takes_the_one_that_the_set_learned(
    toy: ImageDataset, unseen: Images, students: list[Network]
) -> None:
    own = replace(TINY, lr=None)
    trained(Repeated(toy, learned_lr=0.02), unseen, toy, own)
    trained(Repeated(toy), unseen, toy, replace(TINY, lr=0.02))
    trained(Repeated(toy, learned_lr=0.02), unseen, toy, TINY)
    trained(Repeated(toy), unseen, toy, TINY)
    assert torch.equal(weights(students[0]), weights(students[1]))
    assert torch.equal(weights(students[2]), weights(students[3]))
    assert not torch.equal(weights(students[0]), weights(students[2]))


def test_a_protocol_without_a_rate_refuses_a_set_that_learned_none(
    toy: ImageDataset, unseen: Images, everything: ImageSet
) -> None:
    for source in (everything, WholeImages(unseen)):
        with pytest.raises(Refused, match="this set has none"):
            trained(source, unseen, toy, replace(TINY, lr=None))


def test_an_epoch_of_the_whole_training_set_has_every_image_once(
    toy: ImageDataset,
) -> None:
    train = toy.train.in_space(toy.space("normalized"))
    rng = torch.Generator().manual_seed(0)
    epochs = [list(WholeImages(train).batches(epoch, TINY, rng)) for epoch in (0, 1)]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    images = torch.cat([x for x, _ in epochs[0]])
    assert [len(x) for x, _ in epochs[0]] == [40, 20]
    assert torch.equal(images, train.images[order])
    assert torch.equal(torch.cat([target.ids for _, target in epochs[0]]), train.labels[order])
    assert not torch.equal(torch.cat([x for x, _ in epochs[1]]), images)


def test_a_student_learns_what_the_images_show(toy: ImageDataset, unseen: Images) -> None:
    train = toy.train.in_space(toy.space("normalized"))
    long = replace(TINY, augment="none", stages=(Stage(epochs=30),))
    taught = trained(WholeImages(train), unseen, toy, long)
    assert taught.accuracy > 60 and taught.seconds > 0


def test_a_spent_budget_stops_a_student_between_steps(
    toy: ImageDataset, unseen: Images, spent_after: Callable[[int], Budget]
) -> None:
    source = Repeated(toy)
    with pytest.raises(Stopped, match=f"{STUDENT} 7, phase train, step 3 of 5"):
        trained(source, unseen, toy, TINY, seed=7, budget=spent_after(2))
    assert source.seen == [0, 1, 2]


def test_an_unknown_student_or_augmentation_is_refused(toy: ImageDataset, unseen: Images) -> None:
    with pytest.raises(Refused, match="unknown network 'convnot'; nearest: convnet"):
        ImageStudent(
            source=Repeated(toy), test=unseen, spec=toy.spec, protocol=TINY, network="convnot"
        ).outcome(0)
    with pytest.raises(Refused, match="unknown augmentation 'dda'"):
        trained(Repeated(toy), unseen, toy, replace(TINY, augment="dda"))
