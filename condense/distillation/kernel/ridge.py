"""Ridge regression on features: the last layer of a network in closed form.

The linear layer w that minimises |F w - Y|^2 + ridge |w|^2, for the features F (m, d) and the values Y (m, k)
of m items, predicts G w = G F^T (F F^T + ridge I)^-1 Y for items with the features G. So only the kernel
K = F F^T (m, m) has to be solved for, and the predictions are differentiable with respect to F, G and Y.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class KernelRidge:
    """Ridge regression whose ridge follows the size of the kernel.

    Attributes:
        factor: Factor of the ridge.
        times: What the factor is multiplied by: ``trace`` (of the m x m kernel), ``mean`` (the trace divided
            by m) or ``one``.
        detached: Whether the trace counts as a constant, through which no gradient flows.
        bias: Whether a constant feature of 1 is appended to the features; its weight is penalised like the
            others.
    """

    factor: float
    times: Literal["trace", "mean", "one"] = "one"
    detached: bool = False
    bias: bool = False

    def with_bias(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n d2"]:
        """Returns the features, with the constant one behind them if there is to be one."""
        return torch.cat([features, features.new_ones(len(features), 1)], 1) if self.bias else features

    def ridge(self, kernel: Float[Tensor, "m m"]) -> Float[Tensor, ""]:
        """Returns what is added to the diagonal of a kernel."""
        if self.times == "one":
            return kernel.new_tensor(self.factor)
        trace = kernel.detach().trace() if self.detached else kernel.trace()
        return self.factor * (trace / len(kernel) if self.times == "mean" else trace)

    def solve(self, kernel: Float[Tensor, "m m"], values: Float[Tensor, "m k"]) -> Float[Tensor, "m k"]:
        """Returns (kernel + ridge I)^-1 values.

        Numbers that are not finite give a result that is not finite.
        """
        eye = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
        solution: Tensor = torch.linalg.solve_ex(kernel + self.ridge(kernel) * eye, values)[0]
        return solution

    def layer(self, features: Float[Tensor, "m d"], values: Float[Tensor, "m k"]) -> Float[Tensor, "d2 k"]:
        """Returns the weights of the linear layer; with a bias, its row is the last one.

        All is computed in float64, and the result has the type of the features: a small ridge leaves a
        condition number that float32 cannot hold.
        """
        known = self.with_bias(features).double()
        return (known.T @ self.solve(known @ known.T, values.double())).to(features.dtype)

    def predict(
        self,
        queries: Float[Tensor, "n d"],
        features: Float[Tensor, "m d"],
        values: Float[Tensor, "m k"],
    ) -> Float[Tensor, "n k"]:
        """Returns the values of some items, by ridge regression on others.

        Args:
            queries: Features of the items to predict.
            features: Features of the items that the values are known of.
            values: Their values.
        """
        return self.with_bias(queries) @ self.layer(features, values)

    def predict_by_kernel(
        self,
        queries: Float[Tensor, "n d"],
        features: Float[Tensor, "m d"],
        values: Float[Tensor, "m k"],
    ) -> Float[Tensor, "n k"]:
        """Returns the same as `predict`, as a mean of the values with weights from the kernel.

        This takes fewer operations where the values have many numbers and the items are few.
        """
        known, asked = self.with_bias(features).double(), self.with_bias(queries).double()
        solved = self.solve(known @ known.T, values.double())
        return ((asked @ known.T) @ solved).to(features.dtype)
