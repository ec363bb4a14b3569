"""Steps that classes take in turn under one SGD with momentum, computed for all classes at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from condense.distillation.images.learnable import LearnableSet


class Turns:
    """SGD with momentum over all images of a set, in which each class takes its step in turn.

    One update of k classes is k steps of ``torch.optim.SGD`` over the whole set. In step j only class j has a
    gradient; the others coast: with learning rate lr and momentum m their pixels x move by -lr m v, and their
    velocity v becomes m v. So class j coasts for j steps, takes its step, and coasts for k - 1 - j more. In t
    steps of coasting, x becomes x - lr (m + ... + m^t) v, and v becomes m^t v. As the gradient of a class
    does not depend on the pixels of another, all of them can be computed side by side.

    Args:
        syn: The learned set; its leaf ``images`` is updated in place.
        lr: Learning rate.
        momentum: Momentum m, without dampening.

    Attributes:
        velocity: Velocity v of every pixel, of the shape of the images.
    """

    def __init__(self, syn: LearnableSet, *, lr: float, momentum: float) -> None:
        self.images, self.lr, self.momentum = syn.images.detach(), lr, momentum
        self.velocity = torch.zeros_like(self.images)
        powers = torch.full((len(syn.counts),), momentum, dtype=torch.float64).cumprod(0)
        # For t = 0 .. k - 1 steps of coasting: m^t, and m + ... + m^t.
        self._shrinks = self._column(torch.cat([torch.ones(1), powers[:-1]]), syn)
        self._drifts = self._column(torch.cat([torch.zeros(1), powers[:-1].cumsum(0)]), syn)

    def _column(self, values: Float[Tensor, " k"], syn: LearnableSet) -> Float[Tensor, "n 1 1 1"]:
        column = values.repeat_interleave(torch.tensor(syn.counts)).view(-1, 1, 1, 1)
        return column.to(self.images.device, self.images.dtype)

    def wait(self) -> None:
        """Moves the images of every class to where they are when the turn of the class comes."""
        self._coast(self._shrinks, self._drifts)

    def take(self, gradient: Float[Tensor, "n c h w"]) -> None:
        """Takes the step of every class, and lets it coast to the end of the update.

        Args:
            gradient: The gradient at the images as `wait` left them.
        """
        self.velocity.mul_(self.momentum).add_(gradient)
        self.images.sub_(self.velocity, alpha=self.lr)
        # The last class coasts for as long as the first one waited.
        self._coast(self._shrinks.flip(0), self._drifts.flip(0))

    def _coast(self, shrinks: Float[Tensor, "n 1 1 1"], drifts: Float[Tensor, "n 1 1 1"]) -> None:
        self.images.addcmul_(drifts, self.velocity, value=-self.lr)
        self.velocity.mul_(shrinks)
