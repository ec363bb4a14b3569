from dataclasses import dataclass
from importlib import import_module

import pytest
import torch
from torch import Tensor

from condense.distillation import IdentityView, LearnableSet, View
from condense.distillation.matching.trajectory import Learned, student_batches
from condense.distillation.registry import wrappers

Mirrored = import_module(wrappers()["fyi"].__module__).Mirrored


@dataclass(frozen=True)
class Thrice:
    """A view with three copies."""

    copies: int = 3

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return images.repeat(3, 1, 1, 1), labels.repeat(3)


def seen_by_a_student(
    view: View, *, steps: int, size: int | None = 100, soft: bool = False, strategy: str = "none"
) -> list[tuple[list[int], list[int], Tensor, Tensor]]:
    """What a student sees of seven images of three classes: numbers, rounded down, then labels and pixels."""
    numbers = torch.arange(7.0).view(7, 1, 1, 1).expand(7, 1, 8, 8)
    syn = LearnableSet(numbers[:6], (2,) * 3, view)
    syn.images = (numbers + 0.01 * torch.arange(8)).contiguous()
    syn.labels = torch.arange(7) % 3
    learned = Learned(syn, 0.1, torch.eye(7, 3) if soft else None)
    rng = torch.Generator().manual_seed(1)
    seen = []
    for batch in student_batches(learned, strategy, rng, steps=steps, size=size):
        images, labels = batch()
        assert torch.equal(batch()[0], images)
        seen.append((images[:, 0, 0].amin(1).int().tolist(), labels.tolist(), labels, images))
    return seen


def test_every_image_is_seen_once_before_one_is_seen_again() -> None:
    seen = seen_by_a_student(IdentityView(), size=3, steps=7)
    assert [len(numbers) for numbers, *_ in seen] == [1, 3, 3, 1, 3, 3, 1]
    first, second = ([one for numbers, *_ in part for one in numbers] for part in (seen[:3], seen[3:6]))
    assert sorted(first) == sorted(second) == list(range(7)) and first != second
    assert all(labels == [number % 3 for number in numbers] for numbers, labels, *_ in seen)


def test_without_a_batch_size_or_with_a_large_one_a_step_sees_all_images() -> None:
    for size in (None, 7, 1000):
        for numbers, *_ in seen_by_a_student(IdentityView(), size=size, steps=3):
            assert sorted(numbers) == list(range(7))


@pytest.mark.parametrize(
    ("view", "size", "stored"),
    [(Mirrored(), 6, 3), (Mirrored(), 5, 2), (Mirrored(), None, 3), (Thrice(), 6, 2), (Thrice(), 1, 1)],
    ids=lambda value: str(value) if isinstance(value, int | None) else type(value).__name__,
)
def test_a_view_with_copies_divides_the_stored_images_of_a_step(
    view: View, size: int | None, stored: int
) -> None:
    """A batch holds as many images as without the view: the copies count."""
    odd = 7 % stored or stored
    (first, labels, _, pixels), (second, *_) = seen_by_a_student(view, size=size, steps=2)
    assert len(first) == odd * view.copies and len(second) == stored * view.copies
    assert first == first[:odd] * view.copies and labels == [number % 3 for number in first]
    if isinstance(view, type(Mirrored())):
        assert torch.equal(pixels[odd:], pixels[:odd].flip(-1)) and not torch.equal(
            pixels[odd:], pixels[:odd]
        )


def test_soft_labels_go_with_their_images_through_any_view() -> None:
    probabilities = torch.eye(7, 3).softmax(1)
    for view in (IdentityView(), Mirrored()):
        for numbers, _, labels, _ in seen_by_a_student(view, soft=True, size=4, steps=3):
            assert torch.equal(labels, probabilities[numbers])


def test_each_step_draws_one_operation_with_parameters_for_each_image() -> None:
    (_, _, _, one), (_, _, _, two) = seen_by_a_student(IdentityView(), strategy="color", steps=2)
    brightness = [sorted((images[:, 0, 0, 0]).tolist()) for images in (one, two)]
    assert brightness[0] != brightness[1]
    assert len({round(float(image.std()), 5) for image in one}) == 7
