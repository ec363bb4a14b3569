"""Students whose rate follows a schedule, whose batches are averaged, and whom a teacher labels."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from condense.augment import cutmix, mixup, named_augmentation
from condense.data import ImageDataset, Images
from condense.errors import Refused
from condense.evaluation import ImageSource, ImageStudent, Labeller, WholeImages
from condense.networks import Network, build_network
from condense.protocol import Protocol, Stage
from condense.protocols import REPLAY_V1, SOFT_V1
from condense.store.targets import Hard, Target, TeacherLogits

module = import_module("condense.evaluation.student")

SHORT = replace(SOFT_V1, name="short", batch=40, stages=(Stage(epochs=4),))
"""Batches of 40 and 20 of the 60 images."""
PLAIN = replace(SHORT, labels=None, cutmix=None)


@pytest.fixture
def students(monkeypatch: pytest.MonkeyPatch) -> list[Network]:
    """The students as they are when they are tested."""
    seen: list[Network] = []

    def noted(network: Network, images: Tensor, labels: Tensor) -> float:
        seen.append(network)
        return 0.0

    monkeypatch.setattr(module, "accuracy", noted)
    return seen


@pytest.fixture
def source(toy: ImageDataset) -> WholeImages:
    return WholeImages(toy.train.in_space(toy.space("normalized")))


@pytest.fixture
def unseen(toy: ImageDataset) -> Images:
    return toy.test.in_space(toy.space("normalized"))


TeacherMethod = Callable[..., Tensor]


@pytest.fixture
def taught(toy: ImageDataset, unseen: Images, students: list[Network]) -> TeacherMethod:
    """Trains a student and gives its weights."""

    def train(
        source: ImageSource, protocol: Protocol, labeller: Labeller | None = None, seed: int = 0
    ) -> Tensor:
        ImageStudent(
            source=source, test=unseen, spec=toy.spec, protocol=protocol, labeller=labeller, network="mlp"
        ).outcome(seed)
        return weights(students[-1])

    return train


def weights(network: Network) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def teacher() -> Network:
    return build_network("mlp", (1, 8, 8), 3, torch.Generator().manual_seed(77)).requires_grad_(False)


def label(images: Tensor, target: Target) -> Target:
    return TeacherLogits(2 * teacher()(images), target.ids, 20.0)


def naive(
    source: ImageSource, dsa: str, protocol: Protocol, heat: float | None = None, seed: int = 0
) -> Tensor:
    """A plain loop with the rates, the mixing, the loss and both optimisers written out."""
    rng = torch.Generator().manual_seed(seed)
    network = build_network("mlp", (1, 8, 8), 3, rng)
    parameters = list(network.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    assert protocol.lr is not None
    epochs, epoch, steps = sum(stage.epochs for stage in protocol.stages), 0, 0
    for stage in protocol.stages:
        beta = protocol.momentum if stage.momentum is None else stage.momentum
        for _ in range(stage.epochs):
            turn = torch.tensor({"cosine": 1.0, "half-cosine": 0.5, None: 0.0}[protocol.schedule])
            fall = 0.5 * (1 + torch.cos(torch.pi * turn * epoch / epochs))
            rate = protocol.lr * stage.scale * float(fall)
            for images, target in source.batches(epoch, protocol, rng):
                x = named_augmentation(protocol.augment, dsa)(images, rng)
                p = one_hot(target.ids, 3).float()
                if protocol.cutmix is not None:
                    torch.rand((), generator=rng)  # the coin, which always falls on one side here
                    box = cutmix.draw_cutmix(len(x), (8, 8), rng)
                    x, p = box(x), box.share * p + (1 - box.share) * p[box.order]
                if protocol.mixup is not None:
                    order, share = mixup.draw_mixup(len(x), protocol.mixup, rng)
                    x = torch.stack([share * x[i] + (1 - share) * x[j] for i, j in enumerate(order)])
                    p = share * p + (1 - share) * p[order]
                z = network(x)
                if heat is None:
                    loss = -(p * z.log_softmax(1)).sum() / len(x)
                else:
                    softened = (2 * teacher()(x) / heat).softmax(1)
                    loss = (softened * (softened.log() - (z / heat).log_softmax(1))).sum() / len(x)
                gradients = torch.autograd.grad(loss, parameters)
                steps += 1
                with torch.no_grad():
                    for w, v, u, g in zip(parameters, first, second, gradients, strict=True):
                        spared = protocol.decay == "weights" and w.ndim == 1
                        decay = 0.0 if spared else protocol.weight_decay
                        if protocol.optimizer == "sgd":
                            v.mul_(beta).add_(g + decay * w)
                            w.sub_(rate * v)
                            continue
                        w.mul_(1 - rate * decay)
                        v.mul_(beta).add_((1 - beta) * g)
                        u.mul_(0.999).add_(0.001 * g**2)
                        mean, square = v / (1 - beta**steps), u / (1 - 0.999**steps)
                        w.sub_(rate * mean / (square.sqrt() + 1e-8))
            epoch += 1
    return weights(network)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-5)


SGD = replace(PLAIN, optimizer="sgd", lr=0.05, momentum=0.9, weight_decay=0.05)
CASES = {
    "soft-v1's": replace(PLAIN, cutmix=1.0, lr=0.01, weight_decay=0.3),
    "half-cosine": replace(PLAIN, schedule="half-cosine", lr=0.01, weight_decay=0.3),
    "decay everywhere": replace(PLAIN, decay=None, lr=0.01, weight_decay=0.3),
    "averaged": replace(PLAIN, mixup=0.8, lr=0.01),
    "sgd": SGD,
    "stages under a cosine": replace(SGD, stages=(Stage(epochs=1), Stage(epochs=3, scale=0.5))),
    "a stage's own momentum": replace(SGD, stages=(Stage(epochs=2), Stage(epochs=2, momentum=0.5))),
    "a stage's own beta": replace(PLAIN, lr=0.01, stages=(Stage(epochs=2), Stage(epochs=2, momentum=0.5))),
}


@pytest.mark.parametrize("case", CASES)
def test_a_student_is_what_a_plain_loop_gives(
    case: str, source: WholeImages, toy: ImageDataset, taught: TeacherMethod
) -> None:
    close(taught(source, CASES[case]), naive(source, toy.spec.dsa, CASES[case]))


def test_the_cases_above_all_differ(source: WholeImages, toy: ImageDataset) -> None:
    # Else one of them would be passed by a student that is trained like another one.
    found = [naive(source, toy.spec.dsa, protocol) for protocol in CASES.values()]
    for number, one in enumerate(found):
        assert all(float((one - other).abs().max()) > 1e-3 for other in found[:number])


@pytest.mark.parametrize("mixing", ["cutmix", "mixup"])
def test_a_teacher_labels_the_very_images_that_the_student_sees(
    mixing: str, source: WholeImages, toy: ImageDataset, taught: TeacherMethod
) -> None:
    protocol = replace(SHORT, lr=0.01, **({} if mixing == "cutmix" else {"cutmix": None, "mixup": 0.8}))  # type: ignore[arg-type]
    close(taught(source, protocol, label), naive(source, toy.spec.dsa, protocol, 20.0))


def test_a_teachers_labels_need_no_draws_and_no_labels_of_the_sets(
    source: WholeImages, taught: TeacherMethod
) -> None:
    # With class ids in another order the student is the same: the teacher's answers are all that it learns.
    train = source.train
    other = WholeImages(replace(train, labels=train.labels.flip(0)))
    assert torch.equal(taught(source, SHORT, label), taught(other, SHORT, label))
    unlabelled = replace(SHORT, labels=None)
    assert not torch.equal(taught(source, unlabelled), taught(other, unlabelled))


def test_without_a_teacher_a_protocol_with_one_is_refused(source: WholeImages, taught: TeacherMethod) -> None:
    for labels in ("fixed", "own"):
        with pytest.raises(Refused, match="under short a teacher labels .*, and there is no"):
            taught(source, replace(SHORT, labels=labels))


class Stored:
    """Views and labels of three epochs, one batch each, for one epoch after the other."""

    learned_lr = None
    epochs = 3

    def __init__(self, images: Tensor) -> None:
        self.seen: list[int] = []
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def batches_in_epoch(self, protocol: Protocol) -> int:
        return 1

    def batches(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Target]]:
        self.seen.append(epoch)
        x = self.images.roll(epoch, 3)
        yield x, label(x, Hard(torch.zeros(len(x), dtype=torch.long)))


def test_training_on_stored_labels_lasts_as_long_as_there_are_labels(
    source: WholeImages, toy: ImageDataset, taught: TeacherMethod
) -> None:
    stored = Stored(source.train.images[:20])
    found = taught(stored, REPLAY_V1)
    assert stored.seen == [0, 1, 2]
    given = replace(REPLAY_V1, stages=(Stage(epochs=3),))
    close(found, naive(stored, toy.spec.dsa, given, 20.0))
    with pytest.raises(Refused, match="replay-v1 lasts as long as a set's stored labels do"):
        taught(source, REPLAY_V1)
