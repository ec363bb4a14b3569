from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import DecodedView, IdentityView, ImageRun, LearnableSet
from condense.distillation.images.learnable import tiled
from condense.distillation.registry import build
from condense.store.images.decode import MultiFormation
from tests.stand_ins import start


class Mirrored:
    """Every image, and after them all their mirror images."""

    copies = 2

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([images, images.flip(-1)]), labels.repeat(2)


@pytest.fixture
def run(toy: ImageDataset, tmp_path: Path) -> ImageRun:
    made: ImageRun
    _, made = start(build("dm", "toy", 2)[0], toy, ipc=2, seed=3, cache=tmp_path)
    return made


def numbered(count: int) -> Tensor:
    """Images whose every pixel in the left half is their number, and 0 in the right."""
    images = torch.zeros(count, 1, 2, 2)
    images[..., 0] = torch.arange(1.0, count + 1).view(-1, 1, 1)
    return images


def test_the_images_are_a_leaf_of_their_own_ordered_by_class() -> None:
    given = numbered(6)
    syn = LearnableSet(given, (2,) * 3, IdentityView())
    assert syn.images.is_leaf and syn.images.requires_grad and syn.labels.tolist() == [0, 0, 1, 1, 2, 2]
    with torch.no_grad():
        syn.images.zero_()
    assert torch.equal(given, numbered(6))


def test_noise_is_standard_normal_from_the_runs_generator(run: ImageRun) -> None:
    expected = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(LearnableSet.noise(run).images, expected)


def test_a_real_start_takes_images_of_the_right_classes_each_once(run: ImageRun, toy: ImageDataset) -> None:
    train = toy.train.in_space(run.space)
    syn = LearnableSet.real(train, run)
    same = (syn.images.detach()[:, None] == train.images[None]).flatten(2).all(2)
    places = same.nonzero()[:, 1]
    assert len(places) == 6 and len(set(places.tolist())) == 6
    assert torch.equal(train.labels[places], syn.labels)


def test_a_plain_view_shows_the_images_themselves() -> None:
    syn = LearnableSet(numbered(6), (2,) * 3, IdentityView())
    images, labels = syn.all()
    assert images is syn.images and labels is syn.labels
    assert torch.equal(syn.by_class(), syn.images.view(3, 2, 1, 2, 2))
    images, labels = syn.minibatch(torch.tensor([5, 1]))
    assert torch.equal(images, syn.images[[5, 1]]) and labels.tolist() == [2, 0]


def test_a_view_with_copies_puts_each_copy_into_the_row_of_its_class() -> None:
    syn = LearnableSet(numbered(6), (2,) * 3, Mirrored())
    rows = syn.by_class()
    assert rows.shape == (3, 4, 1, 2, 2)
    for label, row in enumerate(rows):
        own = syn.images[2 * label : 2 * label + 2].detach()
        expected = torch.cat([own, own.flip(-1)])
        assert sorted(row.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())
    images, labels = syn.all()
    assert len(images) == len(labels) == 12
    images, labels = syn.minibatch(torch.tensor([4]))
    assert torch.equal(images[1], images[0].flip(-1)) and labels.tolist() == [2, 2]


@pytest.mark.parametrize("view", [IdentityView(), Mirrored()])
def test_gradients_flow_through_every_access_into_the_leaf(view: IdentityView | Mirrored) -> None:
    weight = torch.randn(1, 2, 2, generator=torch.Generator().manual_seed(0))
    back = weight + weight.flip(-1) if view.copies == 2 else weight
    for access in ("all", "by_class", "minibatch"):
        syn = LearnableSet(numbered(6), (2,) * 3, view)
        if access == "by_class":
            seen = syn.by_class()
        elif access == "all":
            seen = syn.all()[0]
        else:
            seen = syn.minibatch(torch.arange(6))[0]
        torch.autograd.backward((seen * weight).sum())
        assert syn.images.grad is not None
        torch.testing.assert_close(syn.images.grad, back.expand(6, 1, 2, 2))


@pytest.mark.parametrize("side", [8, 7])
def test_multi_formation_cuts_out_the_images_that_were_tiled(side: int) -> None:
    """Flat images: enlarging a tile that holds one colour gives the image back, but for what is cut off."""
    values = torch.arange(1.0, 1 + 3 * 8).view(3, 8)  # 3 classes of 8: two images of 2 x 2 tiles each
    images = values[:, :, None, None, None].expand(3, 8, 2, side, side)
    made = tiled(images, 2)
    assert made.shape == (6, 2, side, side)
    seen, labels = DecodedView(MultiFormation(2))(made, torch.arange(3).repeat_interleave(2))
    kept = seen[:, 0, 0, 0].view(4, 3, 2)  # tile, class, image
    assert torch.equal(kept.permute(1, 0, 2).flatten(1), values)
    assert labels.view(4, 3, 2)[0].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_tile_is_an_image_of_its_class_by_its_nearest_pixels(run: ImageRun, toy: ImageDataset) -> None:
    train = toy.train.in_space(run.space)
    syn = LearnableSet.mixed(train, run, 2, DecodedView(MultiFormation(2)))
    small = train.images[..., ::2, ::2].flatten(1)
    places = []
    for row in (0, 4):
        for column in (0, 4):
            tile = syn.images.detach()[..., row : row + 4, column : column + 4].flatten(1)
            same = (tile[:, None] == small[None]).all(2).nonzero()[:, 1]
            assert torch.equal(train.labels[same], syn.labels)
            places += same.tolist()
    assert len(set(places)) == 24  # each image fills at most one tile
    assert syn.all()[0].shape == (24, 1, 8, 8) and syn.images.is_leaf


@pytest.mark.parametrize("view", [IdentityView(), Mirrored()])
def test_classes_of_different_sizes_are_padded_and_only_their_own_images_are_present(
    view: IdentityView | Mirrored,
) -> None:
    syn, counts = LearnableSet(numbered(6), (1, 3, 2), view), (1, 3, 2)
    rows, present = syn.by_class(), syn.present
    assert present is not None and rows.shape[:2] == present.shape == (3, 3 * view.copies)
    assert present.sum(1).tolist() == [view.copies * count for count in counts] == list(syn.seen_counts)
    for label, row in enumerate(rows):
        images, labels = syn.of_class(label)
        assert torch.equal(row[present[label]], images) and labels.tolist() == [label] * len(images)
    torch.autograd.backward(rows[present].sum())
    assert syn.images.grad is not None and torch.equal(
        syn.images.grad, torch.full((6, 1, 2, 2), float(view.copies))
    )
