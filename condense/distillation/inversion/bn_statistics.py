"""What keeps an inverted network's images natural: its batch norms' statistics, and neighbours that agree.

Yin et al., "Dreaming to Distill" (CVPR 2020, https://arxiv.org/abs/1912.08795), as in VILA-Lab/SRe2L at
8d00cba, ``SRe2L/recover/utils.py`` (``BNFeatureHook``, ``get_image_prior_losses``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


def variation(x: Float[Tensor, "p b c h w"]) -> Float[Tensor, " p"]:
    """Total variation: over a pass, the norms of four differences of neighbours, summed (not squared).

    The neighbours are those to the right, below, and on the two diagonals (``loss_var_l2``).
    """
    differences = (
        x[..., :, :-1] - x[..., :, 1:],
        x[..., :-1, :] - x[..., 1:, :],
        x[..., :-1, :-1] - x[..., 1:, 1:],
        x[..., :-1, 1:] - x[..., 1:, :-1],
    )
    norms = [difference.flatten(1).norm(dim=1) for difference in differences]
    return torch.stack(norms).sum(0)


class Gap:
    """How far the statistics of a network's batch norms are from their running ones, for each of p passes.

    Batch norms count in the order in which the network registers them; one that the images do not reach is
    left out, and the first that they do reach has a weight of its own.

    Args:
        passes: p, of equally many images each.
        variance_weight: r_var, of the variances' norm.
        first: Factor on the first batch norm.
    """

    def __init__(self, passes: int, variance_weight: float, first: float) -> None:
        self._passes, self._variance_weight, self._first = passes, variance_weight, first
        self._norms: list[nn.BatchNorm2d] = []
        self._gaps: dict[nn.Module, Tensor] = {}

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Within it, a forward of the p passes, pass-major, is what `total` tells of."""
        self._norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self._gaps.clear()
        hooks = [norm.register_forward_pre_hook(self._see) for norm in self._norms]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _see(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None and var is not None
        self._gaps[norm] = batch_gap(inputs[0], mean, var, self._passes, self._variance_weight)

    def total(self) -> Float[Tensor, " p"]:
        """The weighted sum over the batch norms."""
        first, *others = [self._gaps[norm] for norm in self._norms if norm in self._gaps]
        return torch.stack([self._first * first, *others]).sum(0)


def batch_gap(
    x: Float[Tensor, "n c h w"],
    running_mean: Float[Tensor, " c"],
    running_var: Float[Tensor, " c"],
    passes: int,
    variance_weight: float = 1.0,
) -> Float[Tensor, " p"]:
    """The distance r_var ||v - running v|| + ||m - running m|| of each pass at one batch norm.

    Args:
        x: What enters it, pass-major, n / p images a pass.
        running_mean: Its running mean.
        running_var: Its running variance.
        passes: p.
        variance_weight: r_var.
    """
    gap: Tensor = _BatchGap.apply(x, running_mean, running_var, passes, variance_weight)
    return gap


class _BatchGap(torch.autograd.Function):
    """`batch_gap`, whose gradient is an affine map of each channel: one pass over the values.

    With N = b h w values a channel it is ((m - running m) / ||.|| + 2 r_var (x - m) (v - running v) / ||.||)
    / N; a norm of zero has the gradient zero.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mean: Tensor, var: Tensor, passes: int, weight: float) -> Tensor:
        var_of, mean_of = moments(by_pass(x, passes), mean)
        off_mean, off_var = mean_of - mean, var_of - var
        by_mean, by_var = off_mean.norm(dim=1, keepdim=True), off_var.norm(dim=1, keepdim=True)
        tiny, values = torch.finfo(x.dtype).tiny, x.numel() // (passes * x.shape[1])
        scale = off_var / by_var.clamp_min(tiny) * (2 * weight / values)
        ctx.save_for_backward(x, scale, off_mean / by_mean.clamp_min(tiny) / values - scale * mean_of)
        gap: Tensor = weight * by_var + by_mean
        return gap[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift = ctx.saved_tensors
        scale, shift = ((grad[:, None] * row)[:, None, :, None, None] for row in (scale, shift))
        inner = torch.addcmul(shift, by_pass(x, len(grad)), scale).flatten(0, 1)
        return inner, None, None, None, None


@torch.no_grad()
def moments(
    x: Float[Tensor, "p b c h w"], shift: Float[Tensor, " c"]
) -> tuple[Float[Tensor, "p c"], Float[Tensor, "p c"]]:
    """Biased variance and mean of each channel over a pass.

    On a CPU through the mean and mean square of x - shift: the framework's kernel, which reads the values
    channel by channel, takes nearly twice as long. The closer the shift is to the mean, the less is lost in
    rounding.

    Args:
        x: The values.
        shift: What the means are expected to be.
    """
    if x.device.type != "cpu":
        var, mean = torch.var_mean(x, (1, 3, 4), correction=0)
        return var, mean
    off = x.flatten(3) - shift[:, None]
    mean = off.mean(3).mean(1)
    square = torch.linalg.vector_norm(off, dim=3).square().mean(1) / off.shape[3]
    return square - mean.square(), mean + shift


def by_pass(x: Float[Tensor, "n c h w"], passes: int) -> Float[Tensor, "p b c h w"]:
    """Images that lie pass by pass, a row each."""
    return x.view(passes, -1, *x.shape[1:])
