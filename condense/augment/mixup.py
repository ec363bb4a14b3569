"""Mixup: replaces each image by a weighted mean of itself and another image of the batch.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018, https://arxiv.org/abs/1710.09412). The
whole batch has the same weight and permutation, as in https://github.com/facebookresearch/mixup-cifar10
(``train.py``, ``mixup_data``).
"""

import torch
from jaxtyping import Float, Int64
from scipy.special import betaincinv
from torch import Tensor


def draw_mixup(n: int, beta: float, generator: torch.Generator) -> tuple[Int64[Tensor, " n"], float]:
    """Draws a permutation and a weight.

    Args:
        n: Number of images of the batch.
        beta: Parameter a > 0 of Beta(a, a), the distribution of the weight.
        generator: A CPU generator.

    Returns:
        The position of the image that each image is mixed with, on the CPU, and the image's own weight.
    """
    share = symmetric_beta(beta, generator)
    return torch.randperm(n, generator=generator), share


def symmetric_beta(a: float, generator: torch.Generator) -> float:
    """Draws a value from Beta(a, a), a > 0, as its quantile at a uniform probability."""
    return float(betaincinv(a, a, float(torch.rand((), generator=generator, dtype=torch.float64))))


def mix(
    images: Float[Tensor, "n c h w"], order: Int64[Tensor, " n"], share: float
) -> Float[Tensor, "n c h w"]:
    """Returns ``share * images + (1 - share) * images[order]``, with all tensors on one device."""
    return share * images + (1 - share) * images[order]
