import pytest
import torch
from torch import Tensor

from condense.distillation import IdentityView, LearnableSet
from condense.distillation.matching.turns import Turns


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("classes", "momentum"), [(4, 0.5), (3, 0.9), (3, 0.0), (1, 0.5)])
def test_all_turns_at_once_are_the_steps_of_one_optimiser_class_by_class(
    classes: int, momentum: float
) -> None:
    """Three updates; each class's gradient depends on its own pixels, as they are when its turn comes."""
    start, targets = pixels(2 * classes, 1, 2, 2), pixels(3, 2 * classes, 1, 2, 2, seed=1)

    def loss(images: Tensor, target: Tensor) -> Tensor:
        return ((images - target) ** 2 + torch.sin(3 * images)).sum()

    leaf = start.clone().requires_grad_()
    optimizer = torch.optim.SGD([leaf], lr=0.1, momentum=momentum)
    for target in targets:
        for label in range(classes):
            own = slice(2 * label, 2 * label + 2)
            optimizer.zero_grad()
            loss(leaf[own], target[own]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    syn = LearnableSet(start, (2,) * classes, IdentityView())
    turns = Turns(syn, lr=0.1, momentum=momentum)
    for target in targets:
        turns.wait()
        turns.take(torch.autograd.grad(loss(syn.images, target), syn.images)[0])
    torch.testing.assert_close(syn.images, leaf, rtol=1e-12, atol=1e-14)
