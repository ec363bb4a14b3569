import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condense.augment.cutmix import draw_cutmix
from condense.networks import Network, build_network
from condense.store.targets import Hard, Mixed, Soft, Target
from condense.training.step import accuracy, chunks, cutmix, train_step


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(name: str = "convnet-w32") -> Network:
    return build_network(name, (1, 8, 8), 4, torch.Generator().manual_seed(1)).double()


def sgd(net: Network) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


IDS = torch.arange(70) % 4
SOFT = Soft(drawn(70, 4, seed=2).softmax(1))
TARGETS: dict[str, Target] = {"hard": Hard(IDS), "soft": SOFT, "mixed": Mixed(Hard(IDS), SOFT, 0.3)}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("size", [1, 32, 69])
def test_steps_in_chunks_are_the_step_on_the_whole_batch(
    kind: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condense.training.step.CHUNK", size)
    target = TARGETS[kind]
    images, net, plain = drawn(70, 1, 8, 8), network(), network()
    optimizer, reference = sgd(net), sgd(plain)
    for _ in range(3):
        loss = train_step(net, optimizer, images, target)
        whole = target.loss(plain(images))
        reference.zero_grad()
        torch.autograd.backward(whole)
        reference.step()
        assert float(loss) == pytest.approx(float(whole.detach()), rel=1e-6) and not loss.requires_grad
    for a, b in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_a_step_forgets_the_gradients_that_were_there() -> None:
    nets = network(), network()
    for parameter in nets[1].parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    for net in nets:
        train_step(net, sgd(net), drawn(5, 1, 8, 8), Hard(IDS[:5]))
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)


def test_chunks_cover_a_batch_in_order_without_overlap() -> None:
    net = network()
    for count in (1, 31, 32, 33, 64, 70):
        parts = list(chunks(torch.zeros(count, 1, 8, 8), net))
        assert [index for part in parts for index in range(part.start, part.stop)] == list(range(count))
        assert max(part.stop - part.start for part in parts) <= 32


def test_a_network_with_batch_norm_takes_its_batch_whole() -> None:
    images, target = drawn(70, 1, 8, 8), Hard(IDS)
    net, plain = network("convnet-w32-bn"), network("convnet-w32-bn")
    assert list(chunks(images, net)) == [slice(0, 70)]
    train_step(net, sgd(net), images, target)
    optimizer = sgd(plain)
    torch.autograd.backward(cross_entropy(plain(images), IDS))
    optimizer.step()
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-10, atol=1e-12)
    norm = next(module for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.num_batches_tracked == 1


def test_on_a_gpu_batches_stay_whole() -> None:
    assert list(chunks(torch.zeros(70, 1, 8, 8, device="meta"), network())) == [slice(0, 70)]


def test_a_mixed_batch_weighs_both_labels_by_their_pixels() -> None:
    images, target = drawn(9, 1, 8, 8), SOFT[:9]
    rng = torch.Generator().manual_seed(4)
    torch.rand((), generator=rng)
    mix = draw_cutmix(9, (8, 8), rng)
    mixed, labels = cutmix(images, target, torch.Generator().manual_seed(4), 1.0)
    assert isinstance(labels, Mixed) and torch.equal(mixed, mix(images))
    assert labels.first is target and labels.share == mix.share
    assert isinstance(labels.second, Soft)
    assert torch.equal(labels.second.probabilities, SOFT.probabilities[:9][mix.order])


def test_batches_are_mixed_with_the_given_probability() -> None:
    images, target = drawn(3, 1, 4, 4), Hard(IDS[:3])
    rng = torch.Generator().manual_seed(0)
    for probability in (0.25, 0.8):
        found = [cutmix(images, target, rng, probability) for _ in range(800)]
        mixed = sum(isinstance(labels, Mixed) for _, labels in found)
        assert mixed / 800 == pytest.approx(probability, abs=0.05)
        assert all(isinstance(labels, Mixed) or (x is images and labels is target) for x, labels in found)


def test_a_probability_of_0_draws_nothing() -> None:
    rng = torch.Generator().manual_seed(0)
    before = rng.get_state()
    images, target = drawn(3, 1, 4, 4), Hard(IDS[:3])
    assert cutmix(images, target, rng, 0.0) == (images, target)
    assert torch.equal(rng.get_state(), before)


class Oracle(Network):
    """A network that answers with the image's first pixel as the class."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Sequential(), 1, 4)
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return torch.nn.functional.one_hot(x[:, 0, 0, 0].long(), 4).float()


@pytest.mark.parametrize(
    ("right", "percent"), [(70, 100.0), (0, 0.0), (35, 50.0), (1, 100 / 70), (69, 6900 / 70)]
)
def test_accuracy_is_the_percentage_of_right_answers(right: int, percent: float) -> None:
    images = IDS.double().view(-1, 1, 1, 1).clone()
    labels = torch.where(torch.arange(70) < right, IDS, (IDS + 1) % 4)
    oracle = Oracle()
    assert accuracy(oracle, images, labels) == pytest.approx(percent)
    assert oracle.asked == 70


def test_accuracy_uses_the_running_statistics_and_leaves_them_alone() -> None:
    net, images = network("convnet-w32-bn"), drawn(70, 1, 8, 8)
    train_step(net, sgd(net), images, Hard(IDS))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    expected = net.eval()(images).argmax(1)
    net.train()
    assert accuracy(net, images, expected) == 100
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not torch.equal(net.train()(images).argmax(1), expected)  # it would have made a difference
