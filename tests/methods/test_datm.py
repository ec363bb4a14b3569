from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import log_softmax

from condense.data import ImageDataset, Images
from condense.distillation import Experts, ImageMethod, ImageRun, Method, distill
from condense.distillation.matching.unrolled import Unrolled
from condense.distillation.registry import build, methods
from condense.networks import build_network
from condense.store import ImageSet
from condense.training.parameters import as_parameters

DATM = methods()["datm"]
datm = import_module(DATM.__module__)

NETWORK, SHAPE = "convnet-w32", (1, 8, 8)

Begun = list[tuple[SimpleNamespace, dict[str, Tensor], Experts]]
"""Of each run what is learned, a copy of it as it begins, and the experts."""

LIGHT: dict[str, object] = {
    "network": NETWORK, "iterations": 2, "syn_steps": 4, "max_start_epoch": 3, "experts": 2,
    "batch_experts": 20, "lr_student": 0.05, "threshold": None,
}  # fmt: skip
"""Settings of a run that costs next to nothing."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the experts of `LIGHT` that all tests share."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> Begun:
    """A list to which each run adds what it starts from."""
    found: Begun = []
    start = DATM.initial  # type: ignore[attr-defined]

    def noted(self: ImageMethod, train: Images, experts: Experts, run: ImageRun) -> SimpleNamespace:
        learned: SimpleNamespace = start(self, train, experts, run)
        copies = {name: leaf.detach().clone() for name, leaf in learned.tensors.items()}
        found.append((learned, copies, experts))
        return learned

    monkeypatch.setattr(DATM, "initial", noted)
    return found


def made_by(settings: Mapping[str, object], name: str = "datm", ipc: int = 2) -> Method:
    params = {key: str(value) for key, value in (LIGHT | dict(settings)).items()}
    return build(name, "toy", ipc, params)[0]


def distilled(
    toy: ImageDataset, cache: Path, settings: Mapping[str, object], name: str = "datm", ipc: int = 2
) -> ImageSet:
    made: ImageSet
    made, run = distill(made_by(settings, name, ipc), toy, ipc=ipc, cache=cache)
    run.done()
    return made


def test_images_and_labels_start_from_the_experts_last_answers(
    toy: ImageDataset, cache: Path, begun: Begun
) -> None:
    distilled(toy, cache, {"iterations": 1, "epochs_experts": 6})
    ((learned, copies, experts),) = begun
    assert experts.epochs == 6
    train = toy.train.in_space(toy.space("normalized"))
    net = build_network(NETWORK, SHAPE, 3, torch.Generator())
    said = [functional_call(net, as_parameters(net, experts.at(e, 6)), (copies["images"],)) for e in (0, 1)]
    for image, label in enumerate(learned.syn.labels.tolist()):
        own = train.images[train.labels == label]
        assert any(torch.equal(copies["images"][image], one) for one in own)
        right = [logits[image].detach() for logits in said if int(logits[image].argmax()) == label]
        assert right and int(said[0][image].argmax()) == label
        torch.testing.assert_close(copies["logits"][image], sum(right, torch.zeros(3)) / len(right))


def test_initial_labels_are_for_what_the_view_shows_of_an_image(
    toy: ImageDataset, cache: Path, begun: Begun
) -> None:
    distilled(toy, cache, {"iterations": 1, "experts": 1}, "datm+fyi")
    ((learned, copies, experts),) = begun
    net = build_network(NETWORK, SHAPE, 3, torch.Generator())
    weights, images = as_parameters(net, experts.at(0, experts.epochs)), copies["images"]
    mean = (functional_call(net, weights, (images,)) + functional_call(net, weights, (images.flip(3),))) / 2
    right = mean.argmax(1) == learned.syn.labels
    assert bool(right.any())
    torch.testing.assert_close(copies["logits"][right], mean[right].detach())


def test_an_update_goes_down_the_gradient_in_images_labels_and_rate(
    toy: ImageDataset, cache: Path, begun: Begun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[Tensor] = []
    unroll = datm.unroll

    def naive(
        network: torch.nn.Module, start: Tensor, batches: list[Callable[[], tuple[Tensor, Tensor]]],
        lr: Tensor, losses: Mapping[int, Callable[[Tensor], Tensor]], **named: object,
    ) -> object:  # fmt: skip
        learned = begun[0][0]
        theta = start.clone().requires_grad_()
        for batch in batches:
            images, labels = batch()
            logits = functional_call(network, as_parameters(network, theta), (images,))  # type: ignore[arg-type]
            # every image, in an order of the batch's, has the softmax of its logits
            rows = torch.cdist(labels.detach(), learned.logits.detach().softmax(1)).argmin(1)
            assert sorted(rows.tolist()) == list(range(6))
            p = learned.logits.exp() / learned.logits.exp().sum(1, keepdim=True)
            loss = -(p[rows] * log_softmax(logits, 1)).sum() / len(images)
            (gradient,) = torch.autograd.grad(loss, theta, create_graph=True)
            theta = theta - lr * gradient
        leaves = [learned.syn.images, learned.logits, lr]
        seen.extend(torch.autograd.grad(losses[len(batches)](theta), leaves))
        return unroll(network, start, batches, lr, losses, **named)

    monkeypatch.setattr(datm, "unroll", naive)
    rates = {"lr_images": 50.0, "lr_labels": 3.0, "lr_lr": 1e-3}
    made = distilled(toy, cache, {"iterations": 1, **rates})
    ((learned, before, _),) = begun
    for gradient, name, rate in zip(seen, ("images", "logits", "lr"), rates.values(), strict=True):
        moved = learned.tensors[name].detach() - before[name]
        largest = float(moved.abs().max())
        assert largest > 0
        torch.testing.assert_close(moved, -rate * gradient, rtol=1e-3, atol=2e-3 * largest)
    torch.testing.assert_close(made.images, learned.syn.images.detach())


def test_the_set_stores_the_softmax_of_the_logits_beside_the_class_ids(
    toy: ImageDataset, cache: Path, begun: Begun
) -> None:
    made = distilled(toy, cache, {})
    ((learned, before, _),) = begun
    assert made.soft is not None and made.content["label"]["kind"] == "soft"
    expected = learned.logits.detach().exp() / learned.logits.detach().exp().sum(1, keepdim=True)
    torch.testing.assert_close(made.soft, expected)
    assert not torch.equal(made.soft, before["logits"].softmax(1))
    assert made.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.learned_lr == float(learned.lr.detach())


@pytest.fixture
def ones(monkeypatch: pytest.MonkeyPatch, begun: Begun) -> list[float]:
    """Losses of the updates to come, whose gradients are all 1."""
    losses: list[float] = []

    def unroll(*arguments: object, **named: object) -> Unrolled:
        for leaf in begun[-1][0].tensors.values():
            leaf.grad = torch.ones_like(leaf)
        loss, unless = torch.tensor(losses.pop(0)), named["unless"]
        assert callable(unless)
        return Unrolled(loss, torch.zeros(1), rejected=unless(loss))

    monkeypatch.setattr(datm, "unroll", unroll)
    return losses


def ways(begun: Begun) -> dict[str, Tensor]:
    """The change of each learned tensor over the last run."""
    learned, before, _ = begun[-1]
    return {name: learned.tensors[name].detach() - before[name] for name in before}


RATES = {"lr_images": 8.0, "lr_labels": 2.0, "lr_lr": 1e-3}


def test_labels_have_a_momentum_of_their_own(
    toy: ImageDataset, cache: Path, begun: Begun,
    ones: list[float],
) -> None:  # fmt: skip
    ones.extend([0.5, 0.5, 0.5])
    distilled(toy, cache, {"iterations": 3, **RATES, "lr_student": 1.0})
    way = ways(begun)
    far = 1 + 1.5 + 1.75  # v <- 0.5 v + 1
    torch.testing.assert_close(way["images"], torch.full_like(way["images"], -8 * far))
    torch.testing.assert_close(float(way["lr"]), -1e-3 * far, rtol=1e-3, atol=0)
    labels = 1 + 1.9 + 2.71  # v <- 0.9 v + 1
    torch.testing.assert_close(way["logits"], torch.full_like(way["logits"], -2 * labels))


@pytest.mark.parametrize("bad", [1.01, 50.0, float("inf"), float("nan")])
def test_a_rejected_update_leaves_everything_as_it_was_momentum_too(
    bad: float, toy: ImageDataset, cache: Path, ones: list[float],
    begun: Begun, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = {"threshold": 1.0, "lr_student": 1.0, **RATES}
    ones.extend([0.5, 1.0])
    without = distilled(toy, cache, {**settings, "iterations": 2})
    ones.extend([bad, 0.5, bad, 1.0])
    made = distilled(toy, cache, {**settings, "iterations": 4})
    assert ones == [] and made.soft is not None and without.soft is not None
    assert torch.equal(made.images, without.images) and torch.equal(made.soft, without.soft)
    assert made.learned_lr == without.learned_lr and made.content["hints"]["rollbacks"] == 0
    assert float(ways(begun)["images"].abs().max()) > 0
    assert "rejected" not in capsys.readouterr().err


def test_a_run_that_rejects_its_updates_ends_where_it_began_and_says_so(
    toy: ImageDataset, cache: Path, capsys: pytest.CaptureFixture[str],
    begun: Begun,
) -> None:  # fmt: skip
    distilled(toy, cache, {"threshold": 1e-6, "iterations": 3})
    assert all(float(way.abs().max()) == 0 for way in ways(begun).values())
    assert "warning: datm: 3 of 3 updates were rejected\n" in capsys.readouterr().err


def test_without_a_threshold_a_large_loss_is_followed(
    toy: ImageDataset, cache: Path, ones: list[float],
    begun: Begun,
) -> None:  # fmt: skip
    ones.append(50.0)
    distilled(toy, cache, {"iterations": 1, "threshold": None, **RATES})
    torch.testing.assert_close(ways(begun)["images"], torch.full((6, 1, 8, 8), -8.0))
