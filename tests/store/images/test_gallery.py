"""The gallery: where each image lies in it, and that it shows the images' own colours."""

import io

import numpy as np
import torch
from PIL import Image

from condense.store.images.gallery import GAP, draw_images


def sheet(*args: object, **kwargs: object) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return np.asarray(Image.open(io.BytesIO(draw_images(*args, **kwargs))))  # type: ignore[arg-type]


def test_each_class_is_a_row_and_each_image_a_tile_of_its_own_colour() -> None:
    grey = torch.tensor([0.2, 0.9, 0.4, 0.6])
    labels = torch.tensor([1, 0, 1, 0])
    drawn = sheet(grey[:, None, None, None].expand(4, 1, 8, 8), labels, ["a", "b"])
    assert drawn.shape[0] == 2 * (64 + GAP) + GAP
    right, left = drawn.shape[1] - 32 - GAP, drawn.shape[1] - 96 - 2 * GAP
    found = [[int(drawn[y, x, 0]) for x in (left, right)] for y in (32, 96 + GAP)]
    assert found == [[230, 153], [51, 102]]


def test_pixels_are_enlarged_without_blur() -> None:
    picture = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    tile = sheet(picture, torch.tensor([0]), ["a"])[GAP : GAP + 64, -64 - GAP : -GAP]
    expected = (picture[0] * 255).round().byte().permute(1, 2, 0).numpy()
    assert (tile == expected.repeat(4, 0).repeat(4, 1)).all()


def test_tiny_images_are_enlarged_without_edges_between_their_pixels() -> None:
    picture = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)).round()
    tile = sheet(picture, torch.tensor([0]), ["a"])[GAP : GAP + 64, -64 - GAP : -GAP, 0].astype(int)
    assert abs(tile[:, 1:] - tile[:, :-1]).max() < 128 < tile.max() - tile.min()


def test_values_beyond_black_and_white_are_clamped() -> None:
    picture = torch.tensor([-3.0, 7.0])[None, None, None].expand(1, 1, 16, 2)
    assert set(sheet(picture, torch.tensor([0]), [""])[GAP : GAP + 64, -4 - GAP : -GAP].flatten()) <= {0, 255}


def test_false_colours_stretch_each_image_from_black_to_white() -> None:
    picture = torch.linspace(-9, 40, 64).view(1, 1, 8, 8)
    tile = sheet(picture, torch.tensor([0]), ["a"], true_colours=False)[GAP : GAP + 64, -64 - GAP : -GAP]
    assert tile.min() == 0 and tile.max() == 255


def test_equal_sets_give_equal_pictures_of_limited_size() -> None:
    labels = torch.arange(120).repeat_interleave(12)
    pictures = torch.rand(1440, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    names = [f"a class with quite a long name {i}" for i in range(120)]
    assert draw_images(pictures, labels, names) == draw_images(pictures, labels, names)
    drawn = sheet(pictures, labels, names)
    assert drawn.shape[0] == 100 * (32 + GAP) + GAP and drawn.shape[1] < 600


def test_empty_classes_large_images_and_many_channels_are_drawn() -> None:
    drawn = sheet(torch.rand(2, 3, 224, 224), torch.tensor([0, 2]), ["a", "b", "c"])
    assert drawn.shape[0] == 3 * (128 + GAP) + GAP
    for channels in (2, 5):
        sheet(torch.rand(2, channels, 8, 8), torch.tensor([0, 1]), ["a", "b"])
