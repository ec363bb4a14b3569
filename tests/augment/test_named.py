"""The names of augmentations that protocols use."""

import pytest
import torch

from condense.augment import crop, dsa, legacy, named_augmentation
from condense.augment.named import FORMS
from condense.errors import Refused
from condense.protocols import PROTOCOLS


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X = torch.randn(6, 1, 12, 12, generator=seeded())


def test_dsa_uses_the_strategy_of_the_dataset() -> None:
    for seed in range(8):
        expected = dsa.augment(X, "crop_flip", seeded(seed))
        assert torch.equal(named_augmentation("dsa", "crop_flip")(X, seeded(seed)), expected)


def test_dsa_with_operations_ignores_the_strategy_of_the_dataset() -> None:
    assert torch.equal(
        named_augmentation("dsa:cutout", "crop_flip")(X, seeded()), dsa.augment(X, "cutout", seeded())
    )


def test_dc_with_operations_is_the_legacy_augmentation() -> None:
    expected = legacy.augment_legacy(X, "crop_scale_rotate", seeded())
    assert torch.equal(named_augmentation("dc:crop_scale_rotate", "flip")(X, seeded()), expected)


def test_dsa_flip_first_moves_the_flip_to_the_start_of_the_strategy() -> None:
    for strategy, expected in (("color_crop_flip", "flip+color_crop"), ("color_crop", "color_crop")):
        augmented = named_augmentation("dsa-flip-first", strategy)(X, seeded())
        assert torch.equal(augmented, dsa.augment(X, expected, seeded()))


def test_crop_flip_flips_if_the_strategy_of_the_dataset_does() -> None:
    for strategy, flip in (
        ("color_crop_flip", True),
        ("flip+color", True),
        ("color_crop", False),
        ("none", False),
    ):
        expected = crop.random_crop(X, seeded(), flip=flip)
        assert torch.equal(named_augmentation("crop-flip", strategy)(X, seeded()), expected)
    assert not torch.equal(
        crop.random_crop(X, seeded(), flip=True), crop.random_crop(X, seeded(), flip=False)
    )


@pytest.mark.parametrize("name", FORMS)
def test_every_form_in_the_error_message_is_known(name: str) -> None:
    assert named_augmentation(name, "color_flip")(X, seeded()).shape == X.shape


def test_none_is_the_identity() -> None:
    assert named_augmentation("none", "crop_flip")(X, seeded()) is X


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_of_the_suite_names_a_known_augmentation(protocol: str) -> None:
    assert named_augmentation(PROTOCOLS[protocol].augment, "color")(X, seeded()).shape == X.shape


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("das", "unknown augmentation 'das'"),
        ("dc", "unknown augmentation 'dc'"),
        ("crop_flip", "unknown augmentation 'crop_flip'; nearest: crop-flip"),
        ("dsa-flip", "unknown augmentation 'dsa-flip'; nearest: .*dsa-flip-first"),
        ("resized-flip:0.25", "unknown augmentation 'resized-flip:0.25'; nearest: resized-flip"),
        ("dsa:crop_spin", "unknown augmentation 'spin'"),
        ("dc:flip", "unknown augmentation of dc 'flip'"),
    ],
)
def test_an_unknown_name_is_refused_without_images(name: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        named_augmentation(name, "color")
