"""Regularisers of an inverted network's images: batch-norm statistics and total variation.

Yin et al., "Dreaming to Distill" (CVPR 2020, https://arxiv.org/abs/1912.08795), in the form that
VILA-Lab/SRe2L has at 8d00cba, ``SRe2L/recover/utils.py`` (``BNFeatureHook``, ``get_image_prior_losses``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable


def total_variation(x: Float[Tensor, "p b c h w"]) -> Float[Tensor, " p"]:
    """Returns the total variation of each pass: the sum of four (not squared) norms over all its images.

    Each norm is that of the differences between pixels and their neighbours in one direction: to the right,
    below, and along the two diagonals (``loss_var_l2`` in the authors' code).

    Args:
        x: Images of p passes, b a pass.
    """
    differences = (
        x[..., :, :-1] - x[..., :, 1:],
        x[..., :-1, :] - x[..., 1:, :],
        x[..., :-1, :-1] - x[..., 1:, 1:],
        x[..., :-1, 1:] - x[..., 1:, :-1],
    )
    norms = [difference.flatten(1).norm(dim=1) for difference in differences]
    return torch.stack(norms).sum(0)


class BNStatistics:
    """Compares the batch statistics of each pass with a network's running statistics, at every batch norm.

    Batch norms count in the order in which the network registers them. A batch norm that a forward pass does
    not reach is left out; the first one that it reaches has a weight of its own.

    Args:
        passes: p, the number of passes in a batch; all have equally many images.
        variance_weight: r_var, the weight of the distance between variances.
        first_weight: Weight of the first batch norm; all others have the weight 1.
    """

    def __init__(self, passes: int, variance_weight: float, first_weight: float) -> None:
        self._passes, self._variance_weight, self._first_weight = passes, variance_weight, first_weight
        self._norms: list[nn.BatchNorm2d] = []
        self._distances: dict[nn.Module, Tensor] = {}

    @contextmanager
    def recording(self, network: nn.Module) -> Iterator[None]:
        """Records the statistics of a forward pass in the context, whose input is all p passes in order."""
        self._norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        self._distances.clear()
        hooks = [norm.register_forward_pre_hook(self._record) for norm in self._norms]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _record(self, norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        mean, var = norm.running_mean, norm.running_var
        assert mean is not None and var is not None
        self._distances[norm] = statistics_distance(inputs[0], mean, var, self._passes, self._variance_weight)

    def loss(self) -> Float[Tensor, " p"]:
        """Returns R_BN of each pass: the weighted sum of the distances over the batch norms."""
        first, *others = [self._distances[norm] for norm in self._norms if norm in self._distances]
        return torch.stack([self._first_weight * first, *others]).sum(0)


def statistics_distance(
    x: Float[Tensor, "n c h w"],
    running_mean: Float[Tensor, " c"],
    running_var: Float[Tensor, " c"],
    passes: int,
    variance_weight: float = 1.0,
) -> Float[Tensor, " p"]:
    """Returns r_var ||v - running v|| + ||m - running m|| for each pass at one batch norm.

    m and v are the mean and the biased variance of each channel over the images and pixels of a pass.

    Args:
        x: Input of the batch norm, pass after pass, n / p images a pass.
        running_mean: The batch norm's running mean.
        running_var: The batch norm's running variance.
        passes: p, the number of passes.
        variance_weight: r_var, the weight of the distance between variances.
    """
    distance: Tensor = _StatisticsDistance.apply(x, running_mean, running_var, passes, variance_weight)
    return distance


class _StatisticsDistance(torch.autograd.Function):
    """`statistics_distance` with its gradient in closed form, which reads the input once.

    The gradient is an affine map of each channel. With N = b h w values a channel it is
    ((m - running m) / ||m - running m|| + 2 r_var (x - m) (v - running v) / ||v - running v||) / N. Where a
    norm is zero, its gradient is zero.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mean: Tensor, var: Tensor, passes: int, weight: float) -> Tensor:
        # batch_var, batch_mean: (p, c)
        batch_var, batch_mean = channel_moments(split_passes(x, passes), mean)
        off_mean, off_var = batch_mean - mean, batch_var - var
        # mean_norm, var_norm: (p, 1)
        mean_norm, var_norm = off_mean.norm(dim=1, keepdim=True), off_var.norm(dim=1, keepdim=True)
        tiny, values = torch.finfo(x.dtype).tiny, x.numel() // (passes * x.shape[1])
        scale = off_var / var_norm.clamp_min(tiny) * (2 * weight / values)
        ctx.save_for_backward(x, scale, off_mean / mean_norm.clamp_min(tiny) / values - scale * batch_mean)
        distance: Tensor = weight * var_norm + mean_norm
        return distance[:, 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift = ctx.saved_tensors
        # scale, shift: (p, 1, c, 1, 1)
        scale, shift = ((grad[:, None] * row)[:, None, :, None, None] for row in (scale, shift))
        inner = torch.addcmul(shift, split_passes(x, len(grad)), scale).flatten(0, 1)
        return inner, None, None, None, None


@torch.no_grad()
def channel_moments(
    x: Float[Tensor, "p b c h w"], shift: Float[Tensor, " c"]
) -> tuple[Float[Tensor, "p c"], Float[Tensor, "p c"]]:
    """Returns the biased variance and the mean of each channel over each pass.

    On a CPU they are computed from the mean and the mean square of x - shift, in about half the time of
    `torch.var_mean`, which reads the values channel by channel. The closer the shift is to the mean, the
    smaller the rounding error.

    Args:
        x: Images of p passes, b a pass.
        shift: An estimate of the means.
    """
    if x.device.type != "cpu":
        var, mean = torch.var_mean(x, (1, 3, 4), correction=0)
        return var, mean
    off = x.flatten(3) - shift[:, None]
    mean = off.mean(3).mean(1)
    square = torch.linalg.vector_norm(off, dim=3).square().mean(1) / off.shape[3]
    return square - mean.square(), mean + shift


def split_passes(x: Float[Tensor, "n c h w"], passes: int) -> Float[Tensor, "p b c h w"]:
    """Gives each pass a row of its own, for images that lie pass after pass."""
    return x.view(passes, -1, *x.shape[1:])
