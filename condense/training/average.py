"""The moving average of tensors that change step by step, corrected for its start at zero."""

from collections.abc import Sequence

import torch
from torch import Tensor


class MovingAverage:
    """The average h / (1 - decay^t) of tensors x, where each of t steps makes h = decay h + (1 - decay) x.

    With the correction, the average after one step is the tensor itself.

    Args:
        tensors: The tensors, which others change in place.
        decay: Weight of the past, from 0 to below 1.
    """

    def __init__(self, tensors: Sequence[Tensor], decay: float) -> None:
        self._tensors, self._decay, self._count = list(tensors), decay, 0
        self._hidden = [torch.zeros_like(tensor) for tensor in self._tensors]

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the tensors as they are now."""
        self._count += 1
        for hidden, tensor in zip(self._hidden, self._tensors, strict=True):
            hidden.lerp_(tensor, 1 - self._decay)

    def values(self) -> list[Tensor]:
        """Returns the averages, in the order of the tensors; the tensors themselves before the first step."""
        if self._count == 0:
            return [tensor.detach().clone() for tensor in self._tensors]
        return [hidden / (1 - self._decay**self._count) for hidden in self._hidden]

    @torch.no_grad()
    def install(self) -> None:
        """Puts the averages in the place of the tensors."""
        for tensor, value in zip(self._tensors, self.values(), strict=True):
            tensor.copy_(value)

    def state_dict(self) -> dict[str, object]:
        """Returns the state, for a checkpoint."""
        return {"count": self._count, "hidden": self._hidden}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` returned."""
        count, hidden = state["count"], state["hidden"]
        assert isinstance(count, int) and isinstance(hidden, list)
        self._count = count
        for held, saved in zip(self._hidden, hidden, strict=True):
            held.copy_(saved)
