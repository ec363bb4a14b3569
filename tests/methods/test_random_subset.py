from pathlib import Path

import torch
from torch import Tensor

from condense.data import ImageDataset
from condense.distillation import distill
from condense.distillation.registry import build, methods


def picked(toy: ImageDataset, cache: Path, ipc: int, seed: int = 0) -> list[list[int]]:
    """For each class the positions in the training set of the images that were taken."""
    made, _ = distill(build("random_subset", "toy", ipc)[0], toy, ipc=ipc, seed=seed, cache=cache)
    found = places(made.images, toy.train.images)
    assert torch.equal(toy.train.labels[found], made.labels)
    return found.view(3, ipc).tolist()


def places(images: Tensor, among: Tensor) -> Tensor:
    """Where each image stands, bit for bit, among others that are all different."""
    same = (images[:, None] == among[None]).flatten(2).all(2)
    assert torch.equal(same.sum(1), torch.ones(len(images), dtype=torch.int64))
    return same.int().argmax(1)


def test_the_images_are_rows_of_the_training_set_of_the_right_class_none_twice(
    toy: ImageDataset, tmp_path: Path
) -> None:
    for ipc in (1, 7, 20):
        for row in picked(toy, tmp_path, ipc):
            assert len(set(row)) == ipc


def test_seeds_draw_independently_and_within_a_class_every_image_is_as_likely(
    toy: ImageDataset, tmp_path: Path
) -> None:
    draws = 120
    times = torch.zeros(60)
    for seed in range(draws):
        for row in picked(toy, tmp_path, 1, seed):
            times[row] += 1
    # Chi-squared with 3 x 19 degrees of freedom: above 95 in one case of a thousand.
    expected = draws / 20
    assert float(((times - expected).square() / expected).sum()) < 95


def test_the_row_on_a_board_is_ten_draws() -> None:
    assert methods()["random_subset"].draws == 10
    assert not methods()["random_subset"].optimizes
