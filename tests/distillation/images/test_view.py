"""Views: the order of what comes out, which chains must keep, and gradients back to what is stored."""

from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from condense.distillation import ChainedView, DecodedView, IdentityView, LearnableSet, View
from condense.store import MultiFormation


class Scaled:
    """Every image times 1, then every image times 10, and so on: what a copy is made of can be read off."""

    def __init__(self, copies: int, base: float) -> None:
        self.copies, self.base = copies, base

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([images * self.base**copy for copy in range(self.copies)]), labels.repeat(
            self.copies
        )


def images(count: int, side: int = 6) -> Tensor:
    return torch.rand(
        count, 2, side, side, generator=torch.Generator().manual_seed(count), dtype=torch.float64
    )


def test_a_plain_view_shows_the_very_tensors() -> None:
    given, labels = images(3), torch.arange(3)
    seen, ids = IdentityView()(given, labels)
    assert seen is given and ids is labels and IdentityView().copies == 1


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_decoded_view_shows_copy_after_copy_of_all_images(factor: int) -> None:
    step, given, labels = MultiFormation(factor), images(4), torch.tensor([2, 0, 0, 1])
    view = DecodedView(step)
    seen, ids = view(given, labels)
    assert view.copies == factor**2
    by_copy = seen.view(view.copies, 4, 2, 6, 6)
    for i in range(4):
        torch.testing.assert_close(by_copy[:, i], step(given[i : i + 1]))
    assert torch.equal(ids.view(view.copies, 4), labels.expand(view.copies, 4))


def test_a_decoded_view_pads_with_the_grey_that_it_is_given() -> None:
    grey = torch.tensor([0.25, -1.0], dtype=torch.float64).view(2, 1, 1)
    flat = grey.expand(2, 2, 5, 5)
    grown = grey.expand(8, 2, 5, 5)
    torch.testing.assert_close(DecodedView(MultiFormation(2), grey)(flat, torch.arange(2))[0], grown)
    assert not torch.allclose(DecodedView(MultiFormation(2))(flat, torch.arange(2))[0], grown)


@settings(max_examples=30, deadline=None)
@given(chain=st.lists(st.integers(1, 4), min_size=1, max_size=4), n=st.integers(1, 3))
def test_a_chain_of_views_multiplies_copies_and_stays_copies_major(chain: list[int], n: int) -> None:
    bases = (2.0, 3.0, 5.0, 7.0)
    view: View = IdentityView()
    for copies, base in zip(chain, bases, strict=False):
        view = ChainedView(view, Scaled(copies, base))
    given, labels = images(n), torch.arange(n)
    seen, ids = view(given, labels)
    assert view.copies == prod(chain) and torch.equal(ids.view(view.copies, n), labels.expand(view.copies, n))
    for copy, shown in enumerate(seen.view(view.copies, n, 2, 6, 6)):
        factor, rest = 1.0, copy
        for copies, base in zip(chain, bases, strict=False):
            factor, rest = factor * base ** (rest % copies), rest // copies
        torch.testing.assert_close(shown, given * factor)


def test_one_view_through_another_is_one_after_the_other() -> None:
    first, then = DecodedView(MultiFormation(2)), Scaled(2, -1.0)
    given, labels = images(3), torch.tensor([1, 1, 0])
    seen, ids = ChainedView(first, then)(given, labels)
    decoded = MultiFormation(2)(given)
    assert torch.equal(seen, torch.cat([decoded, -decoded])) and torch.equal(ids, labels.repeat(8))


def test_gradients_through_a_chain_are_those_of_finite_differences() -> None:
    view = ChainedView(DecodedView(MultiFormation(2)), Scaled(2, 3.0))
    given = images(2, side=5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: view(x, torch.arange(2))[0], (given,))


def test_a_learnable_set_shows_decoded_images_by_every_access() -> None:
    step, syn = MultiFormation(2), LearnableSet(images(6), (2,) * 3, DecodedView(MultiFormation(2)))
    seen, labels = syn.all()
    assert torch.equal(seen, step(syn.images)) and torch.equal(labels, syn.labels.repeat(4))
    rows = syn.by_class()
    assert rows.shape == (3, 8, 2, 6, 6)
    for label in range(3):
        own = step(syn.images[2 * label : 2 * label + 2])
        assert sorted(rows[label].flatten(1).tolist()) == sorted(own.flatten(1).tolist())
    part, ids = syn.minibatch(torch.tensor([5, 0]))
    assert torch.equal(part, step(syn.images[[5, 0]])) and ids.tolist() == [2, 0] * 4
