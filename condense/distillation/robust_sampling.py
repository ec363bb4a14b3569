"""RAD's sampler: the distribution over points that an adversary with k wrong labels harms least."""

import torch
from jaxtyping import Float
from torch import Tensor


def robust_distribution(
    gains: Float[Tensor, " n"], wrong: int, *, penalised: bool = False, clip: float = 1e-8
) -> Float[Tensor, " n"]:
    """Returns the q that maximises the least gain that remains when the labels of k points are wrong.

    The game is max over q in the simplex, min over sets S of at most k points, of the sum over the points
    outside of S of q_i g_i. With the gains in descending order, q_i is proportional to 1 / g_i on the first t
    points and 0 on the others, where t > k maximises (t - k) / (sum over the first t of 1 / g): all chosen
    points have the same share q_i g_i of the value. Without wrong labels this is the point of the largest
    gain; with many it is all points.

    Args:
        gains: The gain g of each point, from 0.
        wrong: Number k of points whose labels the adversary makes wrong. If no t is large enough, all points
            are chosen.
        penalised: Whether a wrong label costs its gain, besides yielding none; k then counts twice.
        clip: Least gain: smaller ones are raised to it, so that 1 / g is finite.
    """
    lost, n = wrong * (2 if penalised else 1), len(gains)
    order = gains.argsort(descending=True, stable=True)
    inverse = 1 / gains[order].double().clamp(min=clip)
    sizes = torch.arange(1, n + 1, dtype=inverse.dtype, device=inverse.device)
    value = (sizes - lost) / inverse.cumsum(0)
    most = int(value.argmax()) + 1 if lost < n else n
    chosen = torch.zeros_like(inverse)
    chosen[order[:most]] = inverse[:most] / inverse[:most].sum()
    return chosen
