from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condense.augment import dsa
from condense.data import ImageDataset, Images
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.training.expert_steps import ExpertTraining, Stacked, ascent, descent

CPU = torch.device("cpu")
PLAIN = ExpertTraining(network="convnet-w32", batch=40)
GSAM = replace(PLAIN, optimizer="gsam", rho=0.3, alpha=0.7)
AST = replace(
    PLAIN, lr=0.05, momentum=0.9, weight_decay=1e-2, clipping=True, gradient_penalty=2.0, lr_drop=(1, 0.6)
)


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def train(toy: ImageDataset) -> Images:
    split = toy.train.in_space(toy.space("normalized"))
    return replace(split, images=split.images.double())


def trained(
    training: ExpertTraining,
    toy: ImageDataset,
    train: Images,
    seeds: list[int],
    epochs: int = 2,
    together: bool | None = None,
) -> Tensor:
    """The parameters (e, p) after some epochs."""
    stacked = Stacked(training, toy.spec, seeds, CPU, together=together)
    for epoch in range(epochs):
        stacked.begin(epoch, len(train))
        for batch in range(-(-len(train) // training.batch)):
            stacked.step(train, epoch, batch)
    return stacked.theta


def penalty(network: Network, images: Tensor) -> Tensor:
    """AST's: each pixel's slope over its channels, for the sum of all logits of all images."""
    images = images.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(network(images).sum(), images, create_graph=True)
    # pixels: (b h w, c)
    pixels = slopes.permute(0, 2, 3, 1).flatten(0, 2)
    return torch.stack([(pixel.square().sum().sqrt() - 1) ** 2 for pixel in pixels]).mean()


def naive(training: ExpertTraining, toy: ImageDataset, train: Images, seed: int, epochs: int = 2) -> Tensor:
    """The parameters (p,) after some epochs of the authors' loops: whole batches, torch's SGD."""
    rng = torch.Generator().manual_seed(seed)
    network = build_network(training.network, toy.spec.shape, 3, rng)
    lr = training.lr

    def loss(images: Tensor, seen: Tensor, labels: Tensor, epoch: int) -> Tensor:
        weight = [0.5, 0.55][epoch] if training.clipping else 1.0
        total = weight * cross_entropy(network(seen), labels)
        if training.gradient_penalty:
            total = total + training.gradient_penalty * penalty(network, images)
        return total

    for epoch in range(epochs):
        if epoch == 0 or (training.lr_drop and epoch == training.lr_drop[0]):
            lr *= training.lr_drop[1] if training.lr_drop and epoch else 1.0
            optimizer = torch.optim.SGD(
                network.parameters(), lr, training.momentum, weight_decay=training.weight_decay
            )
        for chosen in torch.split(torch.randperm(len(train), generator=rng), training.batch):
            images, labels = train.images[chosen], train.labels[chosen]
            seen = dsa.augment(images, toy.spec.dsa, rng)
            optimizer.zero_grad()
            torch.autograd.backward(loss(images, seen, labels, epoch))
            if training.optimizer == "gsam":
                first, ways = climb(network, training)
                optimizer.zero_grad()
                torch.autograd.backward(loss(images, seen, labels, epoch))
                decompose(network, first, training.alpha)
                with torch.no_grad():
                    for p, way in zip(network.parameters(), ways, strict=True):
                        p.sub_(way)
            optimizer.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def total_norm(tensors: list[Tensor]) -> Tensor:
    """Over all values of all tensors."""
    return torch.stack([t.square().sum() for t in tensors]).sum().sqrt()


@torch.no_grad()
def climb(network: Network, training: ExpertTraining) -> tuple[list[Tensor], list[Tensor]]:
    """The gradients, and the way up, taken: rho g / |g|, or rho w^2 g / ||w| g|."""
    parameters = list(network.parameters())
    gradients = [p.grad.clone() for p in parameters if p.grad is not None]
    if training.adaptive:
        scaled = [p.abs() * g for p, g in zip(parameters, gradients, strict=True)]
        norm = total_norm(scaled) + 1e-12
        ways = [training.rho / norm * g * p.square() for p, g in zip(parameters, gradients, strict=True)]
    else:
        ways = [training.rho / (total_norm(gradients) + 1e-12) * g for g in gradients]
    for p, way in zip(parameters, ways, strict=True):
        p.add_(way)
    return gradients, ways


@torch.no_grad()
def decompose(network: Network, first: list[Tensor], alpha: float) -> None:
    """Takes alpha times the part of the first gradient across the second away from the second."""
    second = [p.grad for p in network.parameters() if p.grad is not None]
    norm, old_norm = total_norm(second), total_norm(first)
    inner = torch.stack([(a * b).sum() for a, b in zip(first, second, strict=True)]).sum()
    cosine = inner / (norm * old_norm + 1e-12)
    for old, new in zip(first, second, strict=True):
        new.sub_(alpha * (old - cosine * old_norm * new / (norm + 1e-12)))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    "training",
    [
        PLAIN,
        replace(PLAIN, momentum=0.9, weight_decay=1e-2),
        GSAM,
        replace(GSAM, adaptive=False, momentum=0.5, weight_decay=1e-2),
        AST,
        replace(PLAIN, network="convnet-w32-bn"),
        replace(AST, network="convnet-w32-bn", optimizer="gsam"),
    ],
    ids=["sgd", "momentum and decay", "gsam", "plain sam's way up", "ast", "batch norm", "all at once"],
)
def test_two_epochs_are_those_of_the_authors_loop(
    toy: ImageDataset, train: Images, training: ExpertTraining
) -> None:
    close(trained(training, toy, train, [3])[0], naive(training, toy, train, 3))


@pytest.mark.parametrize(
    "training",
    [replace(PLAIN, momentum=0.9), GSAM, AST, replace(AST, network="convnet-w32-bn", optimizer="gsam")],
    ids=["sgd", "gsam", "ast", "batch norm"],
)
def test_networks_side_by_side_are_trained_as_if_each_were_alone(
    toy: ImageDataset, train: Images, training: ExpertTraining
) -> None:
    side_by_side = trained(training, toy, train, [3, 5], together=True)
    close(side_by_side, torch.cat([trained(training, toy, train, [seed]) for seed in (3, 5)]))
    assert not torch.allclose(side_by_side[0], side_by_side[1])


def test_gsams_norms_are_each_networks_own() -> None:
    theta, g, above = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0)).unbind()
    g[1] *= 100
    for row in range(4):
        one = slice(row, row + 1)
        close(ascent(theta, g, 0.1, True)[one], ascent(theta[one], g[one], 0.1, True))
        close(descent(g, above, 0.3)[one], descent(g[one], above[one], 0.3))


def test_gsam_that_does_not_climb_is_sgd_and_without_alpha_it_is_sam(
    toy: ImageDataset, train: Images
) -> None:
    still = replace(GSAM, rho=0.0, momentum=0.9)
    close(trained(still, toy, train, [0]), trained(replace(PLAIN, momentum=0.9), toy, train, [0]))
    g, above = torch.randn(2, 1, 9, generator=torch.Generator().manual_seed(0)).unbind()
    close(descent(g, above, 0.0), above)
    # What alpha takes away is at right angles to the gradient from above.
    assert abs(float(((above - descent(g, above, 1.0)) * above).sum())) < 1e-10


def test_the_way_up_has_the_length_rho_in_the_metric_that_it_is_measured_in() -> None:
    theta, g = torch.randn(2, 2, 9, generator=torch.Generator().manual_seed(0)).unbind()
    assert ascent(theta, g, 0.2, False).norm(dim=1).tolist() == pytest.approx([0.2, 0.2])
    assert (ascent(theta, g, 0.2, True) / theta).norm(dim=1).tolist() == pytest.approx([0.2, 0.2])


def test_clipping_weighs_the_first_ten_epochs_of_the_loss_less() -> None:
    weights = [AST.weight(epoch) for epoch in range(12)]
    assert weights == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1, 1])
    assert {PLAIN.weight(epoch) for epoch in range(12)} == {1.0}


def test_the_rate_falls_once_and_the_momentum_starts_anew_with_it(toy: ImageDataset) -> None:
    assert [AST.rate(epoch) for epoch in range(3)] == pytest.approx([0.05, 0.03, 0.03])
    stacked = Stacked(AST, toy.spec, [0], CPU)
    for epoch, kept in ((0, 1.0), (1, 0.0), (2, 1.0)):
        stacked.velocity.fill_(1.0)
        stacked.begin(epoch, 60)
        assert bool((stacked.velocity == kept).all())


def test_an_epoch_sees_each_image_once_in_a_new_order(
    toy: ImageDataset, train: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    gradients = Stacked.gradients

    def noted(self: Stacked, theta: Tensor, images: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(images)
        return gradients(self, theta, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Stacked, "gradients", noted)
    trained(replace(PLAIN, batch=25), toy, train, [0, 1])
    assert [images.shape[:2] for images in seen] == [(2, 25), (2, 25), (2, 10)] * 2
    epochs = [torch.cat(seen[first : first + 3], 1) for first in (0, 3)]
    for images in (*epochs[0], *epochs[1]):
        assert len({tuple(image) for image in images.flatten(1).tolist()}) == 60
    assert not torch.equal(epochs[0][0], epochs[0][1])
    assert not torch.equal(epochs[0][0], epochs[1][0])


def test_the_loss_that_a_step_reports_is_that_before_it(toy: ImageDataset, train: Images) -> None:
    stacked = Stacked(replace(PLAIN, augment="none", batch=60), toy.spec, [4], CPU)
    network = build_network(PLAIN.network, toy.spec.shape, 3, torch.Generator().manual_seed(4))
    stacked.begin(0, 60)
    close(stacked.step(train, 0, 0)[0], cross_entropy(network(train.images), train.labels).detach())


def test_fields_of_gsam_are_hashed_only_if_they_have_an_effect() -> None:
    assert replace(PLAIN, rho=0.7, alpha=0.1, adaptive=False).describe() == PLAIN.describe()
    changes: list[dict[str, object]] = [
        {"network": "mlp"}, {"lr": 0.02}, {"momentum": 0.1}, {"weight_decay": 0.1}, {"batch": 41},
        {"augment": "none"}, {"optimizer": "gsam"}, {"lr_drop": (2, 0.5)}, {"clipping": True},
        {"gradient_penalty": 1.0}, {"version": 2},
    ]  # fmt: skip
    values = [replace(PLAIN, **change).describe() for change in changes]  # type: ignore[arg-type]
    values += [PLAIN.describe(), GSAM.describe(), replace(GSAM, rho=0.5).describe()]
    values += [replace(GSAM, alpha=0.5).describe(), replace(GSAM, adaptive=False).describe()]
    assert len({str(value) for value in values}) == len(changes) + 5


def test_an_unknown_optimizer_is_refused() -> None:
    with pytest.raises(Refused, match="unknown optimizer of experts 'gasm'; nearest: gsam"):
        replace(PLAIN, optimizer="gasm")
