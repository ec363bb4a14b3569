"""Steps that are undone: they would make a learned learning rate negative, or a loss infinite."""

import math
import sys
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from condense.errors import Refused
from condense.training.loop import copied
from condense.training.rehearsal import under_way


class Rollback:
    """Takes the steps of an optimiser, and undoes those that spoil what is learned.

    A step is undone if it makes the learned learning rate zero, negative or infinite, or if the loss after it
    is not finite. Then the learned tensors and the optimiser, with its momentum, go back to where they were
    before that step, and the optimiser's learning rates are halved. At most ``most`` steps are undone. If
    ``most`` is 0, every step is taken and nothing is checked. A rehearsal learns nothing of worth: it undoes
    as many steps as it has to, and refuses nothing.

    Args:
        learned: The tensors that the optimiser changes, and others that change with them, by name.
        lr: The learned learning rate, one of these tensors; it has to stay positive.
        optimizer: The optimiser over them.
        most: Number of steps that may be undone.
        remedy: The setting to change when more steps would have to be undone.

    Attributes:
        count: Number of steps undone so far.
    """

    def __init__(
        self,
        learned: Mapping[str, Tensor],
        lr: Float[Tensor, ""],
        optimizer: torch.optim.Optimizer,
        *,
        most: int,
        remedy: str,
    ) -> None:
        self._learned, self._lr, self._optimizer = dict(learned), lr, optimizer
        self._most, self._remedy = most, remedy
        self._before: dict[str, object] | None = None
        self.count, self._taken = 0, 0

    @property
    def state(self) -> dict[str, object]:
        """Everything that a checkpoint of a run has to hold: tensors, optimiser and this object."""
        return {**self._learned, "optimizer": self._optimizer, "rollback": self}

    def step(self, step: int, loss: Float[Tensor, ""], also: Sequence[Tensor] = ()) -> bool:
        """Takes the optimiser's step if the loss is finite and the learning rate stays positive.

        Args:
            step: Number of the step, for the message.
            loss: The loss at the tensors as they are; their gradients are in place.
            also: Other values that must be finite.

        Returns:
            Whether the step was taken; if not, an earlier state has been restored.

        Raises:
            Refused: if a step would have to be undone once too often.
        """
        if self._most == 0:
            self._optimizer.step()
            return True
        values = [loss, *also, *(t.grad for t in self._learned.values() if t.grad is not None)]
        if not bool(torch.stack([torch.isfinite(value).all() for value in values]).all()):
            self._undo(step, "the loss is not finite")
            return False
        self._before = {
            "learned": copied(self._learned),
            "optimizer": copied(self._optimizer.state_dict()),
        }
        self._optimizer.step()
        self._taken += 1
        if not 0 < (lr := float(self._lr.detach())) < math.inf:
            self._undo(step, f"the learned learning rate would become {lr:.3g}")
            return False
        return True

    def ended(self) -> int:
        """Returns the number of steps undone, once the last step is done.

        Raises:
            Refused: if no step is left, so that what was learned is where it began.
        """
        if self.count > 0 and self._taken == 0 and under_way() is None:
            raise Refused(
                f"all steps were undone ({self.count}): nothing was learned, and there is no result; "
                f"{self._remedy}"
            )
        return self.count

    def _undo(self, step: int, reason: str) -> None:
        if under_way() is None:
            if self._before is None:
                raise Refused(f"{reason} at step {step}, before any step was taken; {self._remedy}")
            if self.count == self._most:
                undone = f"although {self.count} steps were undone"
                raise Refused(f"{reason} at step {step}, {undone}; {self._remedy}")
        self.count += 1
        if self._before is None:
            return
        self._taken -= 1
        rates = [0.5 * group["lr"] for group in self._optimizer.param_groups]
        self._restore(self._before)
        for group, rate in zip(self._optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        print(
            f"{reason} at step {step}: its last step is undone, and the next ones are half as long "
            f"({self.count} of at most {self._most})",
            file=sys.stderr,
            flush=True,
        )

    def _restore(self, before: Mapping[str, object]) -> None:
        learned, optimizer = before["learned"], before["optimizer"]
        assert isinstance(learned, Mapping) and isinstance(optimizer, dict)
        with torch.no_grad():
            for name, tensor in self._learned.items():
                tensor.copy_(learned[name])
        self._optimizer.load_state_dict(copied(optimizer))  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, object]:
        """Returns the counts, and the state that would be restored next."""
        return {"count": self.count, "taken": self._taken, "before": self._before or {}}

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Restores what `state_dict` returned."""
        count, taken, before = state["count"], state.get("taken", 1), state["before"]
        assert isinstance(count, int) and isinstance(taken, int) and isinstance(before, dict)
        self.count, self._taken, self._before = count, taken, before or None
