"""2 x 2 average pooling that is fast on a CPU.

PyTorch's CPU kernel for contiguous images is not vectorised: on one core, 32 images of 128 x 32 x 32 took it
11 ms forward and another 11 ms backward, whereas two vectorised additions take 1.4 ms and their transpose
about 5 ms. On other devices PyTorch's own pooling is used.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class AveragePool(nn.Module):
    """Averages each 2 x 2 square; an odd last row or column is dropped, as in `torch.nn.AvgPool2d`."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        h, w = x.shape[-2:]
        if x.device.type != "cpu" or h % 2 or w % 2:
            return avg_pool2d(x, 2)
        pooled: Tensor = _Pool.apply(x)
        return pooled


class _Pool(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        rows = x[..., ::2, :] + x[..., 1::2, :]
        return (rows[..., ::2] + rows[..., 1::2]).mul_(0.25)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
        """Saves nothing, as the function is linear."""

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        spread: Tensor = _Spread.apply(grad)
        return spread

    @staticmethod
    def jvp(ctx: object, tangent: Tensor) -> Tensor:
        pooled: Tensor = _Pool.apply(tangent)
        return pooled


class _Spread(torch.autograd.Function):
    """The transpose of `_Pool`: gives a quarter of each value to each pixel of its square."""

    generate_vmap_rule = True

    @staticmethod
    def forward(grad: Tensor) -> Tensor:
        quarter = grad * 0.25
        if quarter.dtype in (torch.float32, torch.float64):
            # The fastest way to repeat each value is as the real and imaginary part of a complex number.
            rows = torch.view_as_real(torch.complex(quarter, quarter)).flatten(-2)
        else:
            rows = quarter.repeat_interleave(2, -1)
        return torch.stack((rows, rows), -2).flatten(-3, -2)

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None:
        """Saves nothing, as the function is linear."""

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        pooled: Tensor = _Pool.apply(grad)
        return pooled

    @staticmethod
    def jvp(ctx: object, tangent: Tensor) -> Tensor:
        spread: Tensor = _Spread.apply(tangent)
        return spread
