"""What a server makes of its clients' answers: pure functions of named tensors.

All clients count equally here, as in the code of FedLGD; the sets that they train on have equal sizes.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]
"""Tensors of a network by name."""


def average(answers: Sequence[Weights]) -> dict[str, Tensor]:
    """Returns the mean of several networks (McMahan et al. 2017, https://arxiv.org/abs/1602.05629)."""
    return {name: torch.stack([one[name] for one in answers]).mean(0) for name in answers[0]}


def normalised(before: Weights, answers: Sequence[Weights], steps: Sequence[int]) -> dict[str, Tensor]:
    """Returns the average of FedNova, in which each client counts by its direction, not by its steps.

    With d_i = (W - w_i) / tau_i for a client of tau_i steps, it is W - mean(tau) mean(d): the momentum-free
    case of Wang et al. 2020 (https://arxiv.org/abs/2007.07481) with equal weights. With equal steps it is
    `average`.
    """
    tau = torch.tensor(list(steps), dtype=torch.float64)
    found = {}
    for name, weight in before.items():
        moved = torch.stack([(weight - one[name]) / count for one, count in zip(answers, steps, strict=True)])
        found[name] = weight - moved.mean(0) * float(tau.mean())
    return found


def moved_control(control: Weights, changes: Sequence[Weights], clients: int) -> dict[str, Tensor]:
    """Returns the server's control variate of SCAFFOLD, c + (|S| / N) mean of the clients' changes.

    Args:
        control: The control variate c.
        changes: The changes c_i' - c_i of the clients S that have answered.
        clients: Number N of all clients.
    """
    share = len(changes) / clients
    mean = average(changes)
    return {name: value + share * mean[name] for name, value in control.items()}


def pseudo_gradient(before: Weights, after: Weights, lr: float) -> dict[str, Tensor]:
    """Returns (W_t - W_(t+1)) / lr: for one client and one step on all of its data, its gradient."""
    return {name: (weight - after[name]) / lr for name, weight in before.items()}
