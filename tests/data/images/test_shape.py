import numpy as np
import pytest
import torch
from PIL import Image

from condense.data import ImageDataset, Images
from condense.data.images.pixels import statistics
from condense.data.images.resize import resized
from condense.data.images.shape import grey, in_shape
from condense.errors import Refused


def colours(n: int = 5, channels: int = 3) -> torch.Tensor:
    drawn = torch.randint(0, 256, (n, channels, 8, 8), generator=torch.Generator().manual_seed(0))
    return drawn.to(torch.uint8)


def test_data_of_the_same_shape_stay_as_they_are(toy: ImageDataset) -> None:
    assert in_shape(toy, (1, 8, 8)) is toy


def test_grey_images_get_equal_channels_and_the_other_size(toy: ImageDataset) -> None:
    made = in_shape(toy, (3, 12, 10))
    assert made.spec.shape == (3, 12, 10) and made.train.images.shape == (60, 3, 12, 10)
    plain = resized(toy.test.images, 12, 10)
    assert all(torch.equal(made.test.images[:, channel], plain[:, 0]) for channel in range(3))
    assert torch.equal(made.train.labels, toy.train.labels)
    assert (made.spec.mean, made.spec.std) == statistics(made.train.images)
    assert made.train.hash != toy.train.hash and made.spec.name == toy.spec.name
    assert made.spec.notes[-1] == (
        "the images of 1 x 8 x 8 were brought to 3 x 12 x 10, grey became three equal channels, resized "
        "bilinearly with antialiasing"
    )


def test_colours_become_the_grey_that_pillow_makes_of_them(toy: ImageDataset) -> None:
    pixels = colours()
    expected = [np.array(Image.fromarray(x.permute(1, 2, 0).numpy()).convert("L")) for x in pixels]
    assert torch.equal(grey(pixels)[:, 0], torch.from_numpy(np.stack(expected)))
    labels = torch.tensor([0, 1, 2, 0, 1])
    split = Images.of(pixels, labels, 3)
    there = in_shape(toy, (3, 8, 8)).spec
    back = in_shape(ImageDataset(there, split, split), (1, 8, 8))
    assert torch.equal(back.train.images, grey(pixels)) and "ITU-R 601" in back.spec.notes[-1]


def test_channels_that_no_rule_covers_are_refused(toy: ImageDataset) -> None:
    with pytest.raises(Refused, match="toy has images of 1 channels: no rule makes them images of 4"):
        in_shape(toy, (4, 8, 8))
