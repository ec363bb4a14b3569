"""Mixup: each image becomes a weighted mean of itself and another image of the batch.

Zhang et al., "mixup: Beyond Empirical Risk Minimization" (ICLR 2018, https://arxiv.org/abs/1710.09412). One
share and one permutation serve the whole batch, as in https://github.com/facebookresearch/mixup-cifar10
(``train.py``, ``mixup_data``).
"""

import torch
from jaxtyping import Float, Int64
from scipy.special import betaincinv
from torch import Tensor


def draw_mixup(n: int, beta: float, generator: torch.Generator) -> tuple[Int64[Tensor, " n"], float]:
    """Draws a permutation and a share.

    Args:
        n: Images in the batch.
        beta: a > 0; the share is from Beta(a, a).
        generator: A CPU generator.

    Returns:
        Which image each one is mixed with, on the CPU, and the share of its own.
    """
    share = symmetric_beta(beta, generator)
    return torch.randperm(n, generator=generator), share


def symmetric_beta(a: float, generator: torch.Generator) -> float:
    """One value of Beta(a, a): its quantile at a uniform probability.

    Args:
        a: Above 0.
        generator: A CPU generator.
    """
    return float(betaincinv(a, a, float(torch.rand((), generator=generator, dtype=torch.float64))))


def mix(
    images: Float[Tensor, "n c h w"], order: Int64[Tensor, " n"], share: float
) -> Float[Tensor, "n c h w"]:
    """The mixed images, as new ones: ``share * images + (1 - share) * images[order]``.

    Args:
        images: On the device of ``order``.
        order: Which image each one is mixed with.
        share: What each image keeps of itself.
    """
    return share * images + (1 - share) * images[order]
