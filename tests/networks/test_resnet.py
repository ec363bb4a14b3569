"""ResNets against torchvision's with a stem for small images, layer by layer."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from condense.networks import NETWORKS, Network, build_network
from condense.networks.registry import smallest_side

STEM_OF_IMAGENET = 49 * 3 * 64
STEM = 9 * 3 * 64
TORCHVISION = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032}
"""Numbers of parameters with 1000 classes, from torchvision's documentation."""
FEATURES = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def theirs(name: str) -> nn.Module:
    """Builds torchvision's network with a 3 x 3 stem of stride 1 and without max pooling."""
    with torch.device("meta"):
        net: nn.Module = getattr(torchvision.models, name)(num_classes=10)
        net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    net.maxpool = nn.Identity()
    return net.to_empty(device="cpu")


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("norm", ["", "-bn"])
def test_parameters_equal_torchvisions_except_stem_and_classifier(name: str, norm: str) -> None:
    with torch.device("meta"):
        net = NETWORKS[name + norm]((3, 32, 32), 10)
    d = FEATURES[name]
    expected = TORCHVISION[name] - STEM_OF_IMAGENET + STEM - (1000 - 10) * (d + 1)
    assert sum(p.numel() for p in net.parameters()) == expected
    assert net.feature_dim == d


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("training", [False, True])
def test_with_batch_norm_every_tensor_equals_torchvisions(name: str, training: bool) -> None:
    ours, other = build_network(f"{name}-bn", (3, 16, 16), 10, seeded()).double(), theirs(name).double()
    state = ours.state_dict()
    for key, value in state.items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 2, generator=seeded(1))
        elif key.endswith("running_mean"):
            value.normal_(generator=seeded(2))
    assert [value.shape for value in state.values()] == [v.shape for v in other.state_dict().values()]
    other.load_state_dict(dict(zip(other.state_dict(), state.values(), strict=True)))
    x = torch.randn(3, 3, 16, 16, generator=seeded(3), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours.train(training)(x), other.train(training)(x))


@pytest.mark.parametrize("name", ["resnet34", "resnet50"])
def test_each_block_has_one_feature_map(name: str) -> None:
    net = build_network(f"{name}-bn", (3, 8, 8), 10, seeded()).eval()

    def side(x: Tensor) -> Tensor:
        return torch.tensor(x.shape[-1])

    with torch.no_grad():
        features, sides = net.features_and_maps(torch.randn(2, 3, 8, 8, generator=seeded()), side)
    assert [int(one) for one in sides] == [8] * 4 + [4] * 4 + [2] * 6 + [1] * 3
    assert features.shape == (2, FEATURES[name])


@pytest.mark.parametrize(("name", "side"), [("resnet34", 9), ("resnet50", 9), ("resnet50-bn", 1)])
def test_the_smallest_image_is_that_of_resnet18(name: str, side: int) -> None:
    assert smallest_side(name) == side == smallest_side(name.replace("34", "18").replace("50", "18"))


def test_the_3_x_3_convolution_of_a_bottleneck_has_the_stride() -> None:
    with torch.device("meta"):
        net: Network = NETWORKS["resnet50"]((3, 32, 32), 10)
    strided = [m.kernel_size[0] for m in net.modules() if isinstance(m, nn.Conv2d) and m.stride[0] == 2]
    assert strided == [3, 1] * 3
