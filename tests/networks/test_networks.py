"""Image networks: numbers of parameters, definitions, initialisation, sizes of images, and chunks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condense.errors import Refused
from condense.networks import NETWORKS, Network, build_network, features_in_chunks, in_chunks, initialise_
from condense.networks.convnet import usual_depth
from condense.networks.registry import smallest_side


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def skeleton(name: str, shape: tuple[int, int, int], classes: int = 10) -> Network:
    with torch.device("meta"):
        return NETWORKS[name](shape, classes)


def convnet_count(channels: int, depth: int, width: int, features: int, classes: int) -> int:
    first = 9 * channels * width + width
    later = (depth - 1) * (9 * width * width + width)
    return first + later + depth * 2 * width + features * classes + classes


DOUBLED = sum(9 * a * b + b for a, b in ((3, 128), (128, 256), (256, 512)))


# A stage of ResNet18 at c channels behind one of p: four 3 x 3 convolutions, a 1 x 1 one, five norms.
def stage(c: int, p: int) -> int:
    return 9 * c * p + 3 * 9 * c * c + c * p + 5 * 2 * c


RESNET_BODY = (
    (27 * 64 + 2 * 64) + (4 * 9 * 64 * 64 + 4 * 2 * 64) + stage(128, 64) + stage(256, 128) + stage(512, 256)
)
VGG_CHANNELS = [3, 64, 128, 256, 256, 512, 512, 512, 512]
VGG_BODY = sum(9 * a * b + b + 2 * b for a, b in zip(VGG_CHANNELS, VGG_CHANNELS[1:], strict=False))
ALEXNET_BODY = (
    (25 * 3 * 128 + 128)
    + (25 * 128 * 192 + 192)
    + (9 * 192 * 256 + 256)
    + (9 * 256 * 192 + 192)
    + (9 * 192 * 192 + 192)
)
COUNTS = [
    ("convnet", (1, 28, 28), 10, 317_706),
    ("convnet", (3, 32, 32), 10, 320_010),
    ("convnet", (3, 32, 32), 100, 504_420),
    ("convnet", (3, 64, 64), 200, 857_160),
    ("convnet", (3, 128, 128), 10, 615_690),
    ("convnet", (3, 64, 64), 1000, 2_496_360),
    ("convnet-bn", (3, 32, 32), 10, 320_010),
    ("convnet", (1, 8, 8), 10, convnet_count(1, 1, 128, 128 * 4 * 4, 10)),
    ("convnet-w32", (3, 32, 32), 10, convnet_count(3, 3, 32, 32 * 4 * 4, 10)),
    ("convnet-w512", (3, 32, 32), 10, convnet_count(3, 3, 512, 512 * 4 * 4, 10)),
    ("convnet-d2", (3, 32, 32), 10, convnet_count(3, 2, 128, 128 * 8 * 8, 10)),
    ("convnet-d6", (3, 256, 256), 10, convnet_count(3, 6, 128, 128 * 4 * 4, 10)),
    ("convnet-w32-nonorm", (3, 32, 32), 10, convnet_count(3, 3, 32, 32 * 4 * 4, 10) - 3 * 2 * 32),
    ("convnet-double-bn", (3, 32, 32), 10, DOUBLED + 2 * (128 + 256 + 512) + 8192 * 10 + 10),
    ("convnet-double-nonorm", (3, 32, 32), 10, DOUBLED + 8192 * 10 + 10),
    ("convnet-double-nonorm-lecun", (3, 32, 32), 10, DOUBLED + 8192 * 10 + 10),
    ("alexnet", (3, 32, 32), 10, ALEXNET_BODY + 192 * 16 * 10 + 10),
    ("alexnet-bn", (3, 32, 32), 10, ALEXNET_BODY + 2 * (128 + 192 + 256 + 192 + 192) + 192 * 16 * 10 + 10),
    ("vgg11", (3, 32, 32), 10, VGG_BODY + 5130),
    ("vgg11-bn", (3, 32, 32), 10, VGG_BODY + 5130),
    ("resnet18", (3, 32, 32), 10, RESNET_BODY + 5130),
    ("resnet18-bn", (3, 32, 32), 10, RESNET_BODY + 5130),
    ("resnet18-ap", (3, 32, 32), 10, RESNET_BODY + 512 * 16 * 10 + 10),
    ("resnet18-ap", (1, 28, 28), 10, RESNET_BODY - 2 * 9 * 64 + 512 * 9 * 10 + 10),
    ("mlp", (3, 32, 32), 10, (3072 * 128 + 128) + (128 * 128 + 128) + (128 * 10 + 10)),
    ("lenet", (3, 32, 32), 10, (75 * 6 + 6) + (150 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + 850),
    ("lenet", (1, 28, 28), 10, (25 * 6 + 6) + (150 * 16 + 16) + (400 * 120 + 120) + (120 * 84 + 84) + 850),
]


@pytest.mark.parametrize(("name", "shape", "classes", "count"), COUNTS)
def test_the_number_of_parameters_equals_the_count_by_hand(
    name: str, shape: tuple[int, int, int], classes: int, count: int
) -> None:
    assert sum(p.numel() for p in skeleton(name, shape, classes).parameters()) == count


@pytest.mark.parametrize(
    ("name", "rounded"),
    [
        ("mlp", 0.411),
        ("lenet", 0.062),
        ("alexnet", 1.87),
        ("vgg11", 9.23),
        ("resnet18", 11.17),
        ("resnet18-ap", 11.25),
    ],
)
def test_the_counts_by_hand_round_to_the_published_millions(name: str, rounded: float) -> None:
    millions = next(count for n, shape, _, count in COUNTS if n == name and shape == (3, 32, 32)) / 1e6
    assert abs(millions - rounded) < 0.5 * 10 ** -(3 if rounded < 1 else 2)


@pytest.mark.parametrize(
    ("side", "depth"), [(2, 1), (8, 1), (16, 2), (28, 3), (32, 3), (64, 4), (128, 5), (256, 6)]
)
def test_the_usual_depth_leaves_a_4_x_4_map_from_8_pixels_on(side: int, depth: int) -> None:
    assert usual_depth(side) == depth
    if side >= 8:
        assert skeleton("convnet", (3, side, side)).feature_dim == 2048


def test_the_convnet_equals_its_definition_written_out() -> None:
    net = build_network("convnet-d2", (2, 8, 8), 5, seeded()).double()
    x = map_ = torch.randn(3, 2, 8, 8, generator=seeded(1), dtype=torch.float64)
    weights = dict(net.named_parameters())
    with torch.no_grad():
        for p in weights.values():
            p.add_(torch.randn(p.shape, generator=seeded(2), dtype=p.dtype), alpha=0.1)
        names = list(weights)
        for block in range(2):
            kernel, bias, scale, shift = (weights[name] for name in names[4 * block : 4 * block + 4])
            map_ = F.conv2d(map_, kernel, bias, padding=1)
            mean, variance = map_.mean((2, 3), keepdim=True), map_.var((2, 3), keepdim=True, unbiased=False)
            map_ = (map_ - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
            map_ = map_.clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).mean((-2, -1))
        expected = map_.reshape(3, -1)
        torch.testing.assert_close(net.features(x), expected)
        torch.testing.assert_close(net(x), expected @ weights[names[-2]].T + weights[names[-1]])


@pytest.mark.parametrize("name", ["convnet-w32", "alexnet", "vgg11", "lenet", "convnet-w32-bn"])
def test_a_28_pixel_image_is_padded_to_32_pixels_with_zeros(name: str) -> None:
    x = torch.randn(2, 3, 28, 28, generator=seeded())
    small, large = (build_network(name, (3, side, side), 10, seeded()) for side in (28, 32))
    with torch.no_grad():
        torch.testing.assert_close(small(x), large(F.pad(x, (2, 2, 2, 2))))


@pytest.mark.parametrize("name", ["convnet-w32", "vgg11", "resnet18", "resnet18-ap", "lenet", "mlp"])
def test_images_of_a_batch_do_not_influence_each_other(name: str) -> None:
    net = build_network(name, (1, 32, 32), 3, seeded())
    x = torch.randn(3, 1, 32, 32, generator=seeded(1))
    with torch.no_grad():
        torch.testing.assert_close(net(x)[:1], net(x[:1]))
        assert not net.mixes_samples


def test_batch_norm_mixes_images_in_training_and_not_in_evaluation() -> None:
    net = build_network("convnet-w32-bn", (1, 8, 8), 3, seeded())
    x = torch.randn(3, 1, 8, 8, generator=seeded(1))
    with torch.no_grad():
        assert not torch.allclose(net(x)[:1], net(x[:1]))
        net.eval()
        torch.testing.assert_close(net(x)[:1], net(x[:1]))
        assert net.mixes_samples


@pytest.mark.parametrize("name", ["resnet18", "resnet18-bn"])
def test_a_resnet_halves_the_map_three_times_with_strides_or_pooling(name: str) -> None:
    for variant in (name, name.replace("resnet18", "resnet18-ap")):
        net = build_network(variant, (3, 32, 32), 10, seeded())
        x, sides = torch.randn(2, 3, 32, 32, generator=seeded()), []
        with torch.no_grad():
            for layer in net.body:
                x = layer(x)
                sides.append(x.shape[-1])
        assert sides[:11] == [32, 32, 32, 32, 32, 16, 16, 8, 8, 4, 4]
        assert net.feature_dim == x.flatten(1).shape[1] == (512 * 16 if "ap" in variant else 512)


def test_a_pooled_block_without_a_stride_equals_the_plain_block() -> None:
    plain, pooled = (skeleton(name, (3, 32, 32)).body for name in ("resnet18", "resnet18-ap"))
    strides = [
        [(m.kernel_size[0], m.stride[0]) for m in body.modules() if isinstance(m, nn.Conv2d)]
        for body in (plain, pooled)
    ]
    assert [kernel for kernel, _ in strides[0]] == [kernel for kernel, _ in strides[1]]
    assert sum(stride == 2 for _, stride in strides[0]) == 6
    assert all(stride == 1 for _, stride in strides[1])


SMALLEST = {
    "convnet": 2, "convnet-d3": 8, "convnet-d6": 64, "convnet-d3-bn": 8, "convnet-nonorm": 2, "alexnet": 8,
    "vgg11": 32, "vgg11-bn": 32, "lenet": 16, "mlp": 1, "resnet18": 9, "resnet18-bn": 1, "resnet18-ap": 16,
    "resnet18-ap-bn": 8,
}  # fmt: skip


@pytest.mark.parametrize(("name", "side"), SMALLEST.items())
def test_the_smallest_side_works_and_one_pixel_less_is_refused(name: str, side: int) -> None:
    assert smallest_side(name) == side
    net = build_network(name, (3, side, side), 4, seeded())
    with torch.no_grad():
        logits = net(torch.randn(8, 3, side, side, generator=seeded()))
    assert logits.shape == (8, 4)
    assert logits.isfinite().all()
    assert logits.std(dim=0).min() > 1e-4, "the logits do not depend on the images"
    if side > 1:
        with pytest.raises(
            Refused, match=f"^{name} needs images of at least {side} x {side} pixels; these are"
        ):
            build_network(name, (3, side - 1, side - 1), 4, seeded())


def test_the_error_for_small_images_names_both_sizes() -> None:
    with pytest.raises(Refused) as refused:
        build_network("vgg11", (1, 8, 8), 10, seeded())
    assert str(refused.value) == "vgg11 needs images of at least 32 x 32 pixels; these are 8 x 8"


def test_an_unknown_network_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(Refused, match="unknown network 'convnt'; nearest: convnet"):
        build_network("convnt", (3, 32, 32), 10, seeded())


@pytest.mark.parametrize("name", ["convnet-w32", "alexnet", "resnet18-ap", "lenet", "mlp"])
@pytest.mark.parametrize("shape", [(2, 20, 36), (1, 28, 40)])
def test_images_that_are_not_square_get_a_matching_classifier(name: str, shape: tuple[int, int, int]) -> None:
    net = build_network(name, shape, 3, seeded())
    x = torch.randn(2, *shape, generator=seeded())
    with torch.no_grad():
        assert net.features(x).shape == (2, net.feature_dim)
        assert net(x).shape == (2, 3)


def expected_bound(module: nn.Module) -> float:
    assert isinstance(module, nn.Conv2d | nn.Linear)
    fan_in = (
        module.in_channels * math.prod(module.kernel_size)
        if isinstance(module, nn.Conv2d)
        else module.in_features
    )
    return 1 / math.sqrt(fan_in)


@pytest.mark.parametrize("name", ["convnet", "resnet18-ap-bn", "lenet"])
def test_weights_and_biases_are_uniform_within_one_over_root_fan_in(name: str) -> None:
    net = build_network(name, (3, 32, 32), 10, seeded())
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            b = expected_bound(module)
            for p in module.parameters():
                assert p.abs().max() <= b
            w = module.weight.detach().flatten() / b
            n = w.numel()
            # Mean 0 and second moment 1/3 within five standard errors; the largest of n is near the end.
            assert abs(w.mean()) < 5 * math.sqrt(1 / 3 / n)
            assert abs(w.square().mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / n)
            assert w.abs().max() > 1 - 20 / n
        elif isinstance(module, nn.GroupNorm | nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_the_distribution_is_pytorchs_default() -> None:
    net = build_network("convnet-w64", (3, 32, 32), 10, seeded())
    generator = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                ours = [p.detach().clone().flatten().sort().values for p in module.parameters()]
                module.reset_parameters()
                for mine, p in zip(ours, module.parameters(), strict=True):
                    theirs = p.detach().flatten().sort().values
                    # Quantile against quantile: 1.4 / sqrt(n) would be the width of chance for ranks.
                    gap = (mine - theirs).abs().max() / expected_bound(module)
                    assert gap < 6 / math.sqrt(len(mine))
    finally:
        torch.random.set_rng_state(generator)


@pytest.mark.parametrize("name", ["convnet-w32-bn", "lenet"])
def test_equal_generators_give_equal_networks_and_others_do_not(name: str) -> None:
    a, b, c = (build_network(name, (1, 16, 16), 4, seeded(seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not all(torch.equal(a[key], c[key]) for key in a)


@pytest.mark.gpu
def test_equal_generators_give_equal_networks_on_every_device() -> None:
    here, there = (
        build_network("convnet-w32-bn", (1, 8, 8), 4, seeded(), device) for device in ("cpu", "cuda")
    )
    assert there.classifier.weight.is_cuda
    assert all(torch.equal(value.cpu(), here.state_dict()[key]) for key, value in there.state_dict().items())


def test_initialising_a_trained_network_equals_building_it_again() -> None:
    net = build_network("convnet-w32-bn", (1, 8, 8), 4, seeded(1))
    net(torch.randn(4, 1, 8, 8, generator=seeded())).sum().backward()
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(7)
    initialise_(net, seeded(2))
    fresh = build_network("convnet-w32-bn", (1, 8, 8), 4, seeded(2)).state_dict()
    assert all(torch.equal(value, fresh[key]) for key, value in net.state_dict().items())


def test_the_parameters_come_from_one_draw_in_their_order() -> None:
    net = build_network("mlp", (1, 2, 2), 3, seeded(5))
    drawn = torch.rand(sum(p.numel() for p in net.parameters()), generator=seeded(5)) * 2 - 1
    scaled = [p.detach().flatten() / b for p, b in zip(net.parameters(), net.bounds, strict=True) if b]
    torch.testing.assert_close(torch.cat(scaled), drawn)


def test_building_does_not_touch_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    for name in NETWORKS:
        skeleton(name, (3, 64, 64))
    build_network("convnet-w32", (3, 32, 32), 10, seeded())
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_new_network_is_in_training_mode_with_gradients() -> None:
    net = build_network("convnet-w32", (1, 8, 8), 4, seeded())
    assert net.training
    assert all(p.requires_grad and p.is_leaf and p.device.type == "cpu" for p in net.parameters())


def test_features_in_chunks_equal_the_features_without_gradients() -> None:
    net = build_network("convnet-w32", (1, 8, 8), 4, seeded())
    x = torch.randn(70, 1, 8, 8, generator=seeded(1))
    chunked = features_in_chunks(net, x)
    torch.testing.assert_close(chunked, net.features(x).detach())
    assert not chunked.requires_grad
    assert features_in_chunks(net, x[:0]).shape == (0, net.feature_dim)


def test_chunks_on_a_cpu_hold_at_most_32_images() -> None:
    sizes: list[int] = []

    def rows(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x.flatten(1)

    x = torch.arange(70.0).reshape(70, 1, 1, 1)
    assert torch.equal(in_chunks(rows, x), x.flatten(1))
    assert sizes == [32, 32, 6]


def test_batch_norm_in_training_gets_its_whole_batch() -> None:
    net = build_network("convnet-w32-bn", (1, 8, 8), 4, seeded())
    x = torch.randn(70, 1, 8, 8, generator=seeded(1))
    torch.testing.assert_close(features_in_chunks(net, x), net.features(x).detach())
    net.eval()
    torch.testing.assert_close(features_in_chunks(net, x), net.features(x).detach())


def test_lecun_networks_start_with_variance_one_over_fan_in_and_without_biases() -> None:
    plain, wide = (
        build_network(f"convnet-double-nonorm{end}", (3, 32, 32), 10, seeded()) for end in ("", "-lecun")
    )
    for usual, parameter in zip(plain.parameters(), wide.parameters(), strict=True):
        if parameter.ndim == 1:
            assert not parameter.any()
        else:
            torch.testing.assert_close(parameter, math.sqrt(3) * usual)
            assert parameter.var().item() == pytest.approx(1 / parameter[0].numel(), rel=0.05)
