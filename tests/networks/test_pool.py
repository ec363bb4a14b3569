import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn.functional import avg_pool2d

from condense.networks.pool import AveragePool


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (1, 2, 6, 4), (2, 2, 7, 5)])
def test_the_pooling_equals_pytorchs(shape: tuple[int, int, int, int]) -> None:
    x = images(*shape)
    torch.testing.assert_close(AveragePool()(x), avg_pool2d(x, 2), rtol=1e-14, atol=1e-14)


def test_first_and_second_derivatives_of_the_pooling_are_correct() -> None:
    x = images(1, 2, 4, 4).requires_grad_()
    assert gradcheck(lambda v: AveragePool()(v).square(), x)
    assert gradgradcheck(lambda v: AveragePool()(v).pow(3), x)


def test_the_pooling_supports_vmap() -> None:
    x = images(3, 2, 2, 4, 4)

    def loss(v: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = AveragePool()(v)
        return pooled.pow(3).sum()

    mapped = torch.func.vmap(torch.func.grad(loss))(x)
    each = torch.stack([torch.func.grad(loss)(v) for v in x])
    torch.testing.assert_close(mapped, each)
