"""Pixel spaces: what they compute and how they are inverted."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from condense.data.images import pixels
from condense.errors import Refused


def made(count: int = 400, channels: int = 3) -> Tensor:
    """Returns correlated uint8 images: smooth patterns with a little noise."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(4, channels * 16, generator=generator)
    mixed = torch.randn(count, 4, generator=generator) @ basis
    noisy = 128 + 30 * mixed + 5 * torch.randn(count, channels * 16, generator=generator)
    return noisy.clamp(0, 255).to(torch.uint8).view(count, channels, 4, 4)


def flat(images: Tensor) -> Tensor:
    return images.flatten(1).double() / 255


def test_raw_pixels_are_uint8_divided_by_255_and_floats_unchanged() -> None:
    raw = pixels.affine("raw", (0.0,) * 3, (1.0,) * 3)
    images = made()
    assert torch.equal(raw.encode(images), images.float() / 255)
    assert torch.equal(raw.decode(raw.encode(images)), images.float() / 255)
    assert raw.encode(images.half() / 255).dtype == torch.float32


def test_normalised_pixels_have_mean_0_and_standard_deviation_1() -> None:
    images = made()
    unit = images.double() / 255
    mean, std = unit.mean((0, 2, 3)), unit.std((0, 2, 3), correction=0)
    x = pixels.affine("normalized", mean.tolist(), std.tolist()).encode(images)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_uint8_and_float_pixels_are_encoded_alike_and_not_changed() -> None:
    space = pixels.affine("normalized", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    images = made()
    unit = images.float() / 255
    before = unit.clone()
    torch.testing.assert_close(space.encode(unit), space.encode(images))
    torch.testing.assert_close(space.decode(space.encode(unit)), unit)
    assert torch.equal(unit, before)


def test_float64_pixels_keep_their_precision() -> None:
    space = pixels.affine("normalized", (0.4914,), (0.2023,))
    x = torch.linspace(0, 1, 16, dtype=torch.float64).view(1, 1, 4, 4)
    torch.testing.assert_close(space.encode(x), (x - 0.4914) / 0.2023, atol=1e-15, rtol=0)


def test_gradients_reach_float_pixels_through_every_space() -> None:
    images = made()
    for space in (pixels.affine("normalized", (0.4,) * 3, (0.2,) * 3), pixels.Zca.fit(images, "hash")):
        x = (images[:3].double() / 255).requires_grad_()
        assert torch.autograd.gradcheck(space.encode, (x,))
        assert torch.autograd.gradcheck(space.decode, (x,))


def test_the_whitened_covariance_has_the_spectrum_s_over_s_plus_eps() -> None:
    images = made()
    spectrum = torch.linalg.eigvalsh(torch.cov(flat(images).T))
    whitened = pixels.Zca.fit(images, "hash").encode(images).flatten(1).double()
    after = torch.linalg.eigvalsh(torch.cov(whitened.T))
    torch.testing.assert_close(after, spectrum / (spectrum + 0.1), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(whitened.mean(0), torch.zeros(48, dtype=torch.float64), atol=1e-5, rtol=0)


def test_whitening_equals_a_naive_float64_eigendecomposition() -> None:
    images = made()
    x = flat(images)
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / (len(x) - 1))
    naive = centred @ vectors @ torch.diag((values + 0.1).rsqrt()) @ vectors.T
    space = pixels.Zca.fit(images, "hash")
    torch.testing.assert_close(space.encode(images).flatten(1).double(), naive, atol=1e-5, rtol=0)


def relative(images: torch.Tensor) -> pixels.RelativeZca:
    return pixels.RelativeZca.fit_normalized(images, "hash", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def test_relative_whitening_equals_a_naive_whitening_of_normalised_pixels() -> None:
    images = made()
    x = pixels.affine("normalized", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)).encode(images.double() / 255).flatten(1)
    centred = x - x.mean(0)
    covariance = centred.T @ centred / len(x)
    eps = 0.1 * covariance.diagonal().mean()
    values, vectors = torch.linalg.eigh(covariance + eps * torch.eye(48, dtype=torch.float64))
    naive = centred @ vectors @ torch.diag(values.rsqrt()) @ vectors.T
    found = relative(images).encode(images).flatten(1).double()
    torch.testing.assert_close(found, naive, atol=1e-5, rtol=0)
    mine = pixels.Zca.fit(images, "hash").encode(images).flatten(1).double()
    assert float((found - mine).abs().mean()) > 0.1


def test_relative_whitening_does_not_depend_on_the_contrast_of_a_channel() -> None:
    images = made()
    scaled = [pixels.RelativeZca.fit_normalized(images, "h", (0.0,) * 3, (std,) * 3) for std in (0.1, 0.7)]
    one, other = (space.encode(images) for space in scaled)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_decoding_restores_images_that_were_whitened_relatively() -> None:
    images = made()
    images[:, :, 0] = 7
    space = relative(images)
    torch.testing.assert_close(space.decode(space.encode(images)), images.float() / 255, atol=1e-4, rtol=0)
    x = (images[:3].double() / 255).requires_grad_()
    assert torch.autograd.gradcheck(space.encode, (x,))


def test_directions_beyond_the_number_of_images_keep_their_scale() -> None:
    images = made()[:20]
    space = relative(images)
    scale = torch.tensor((0.2, 0.3, 0.4)).repeat_interleave(16)
    spectrum = torch.linalg.eigvalsh((scale[:, None] * space.matrix).double())
    assert int((spectrum - 1).abs().lt(1e-5).sum()) == 48 - 20


def test_a_relative_whitening_is_stored_apart_and_says_how_it_is_recomputed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path))
    images = made()
    constants = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    first = pixels.fitted_relative_zca(images, "one", *constants)
    pixels.fitted_zca(images, "one")
    pixels.fitted_relative_zca(images, "one", constants[0], (0.2, 0.3, 0.5))
    assert len(list((tmp_path / "zca").rglob("*.safetensors"))) == 3
    monkeypatch.setattr(pixels.RelativeZca, "fit_normalized", None)  # a second fit would fail
    again = pixels.fitted_relative_zca(images, "one", *constants)
    assert torch.equal(again.encode(images), first.encode(images)) and again.describe() == first.describe()
    told = first.describe()
    assert (told["space"], told["mean"], told["std"]) == ("zca-relative", [0.4, 0.5, 0.6], [0.2, 0.3, 0.4])
    with pytest.raises(Refused, match="these images are in zca-relative space"):
        pixels.from_description(told)


def test_decoding_whitened_images_restores_even_constant_pixels() -> None:
    images = made()
    images[:, :, 0] = 7  # a border that never changes: its covariance is singular
    space = pixels.Zca.fit(images, "hash")
    torch.testing.assert_close(space.decode(space.encode(images)), images.float() / 255, atol=1e-4, rtol=0)


def test_a_fitted_whitening_is_stored_and_refitted_if_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONDENSE_HOME", str(tmp_path))
    images = made()
    first = pixels.fitted_zca(images, "one")
    [file] = (tmp_path / "zca").rglob("*.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(pixels.Zca, "fit", None)  # a second fit would fail
        assert torch.equal(pixels.fitted_zca(images, "one").matrix, first.matrix)
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for damaged in (whole[:100], bytes(flipped), b""):
        file.write_bytes(damaged)
        assert torch.equal(pixels.fitted_zca(images, "one").inverse, first.inverse)
        assert capsys.readouterr().err == f"{file} is damaged: the whitening is fitted again\n"
        assert file.read_bytes() == whole


def test_images_too_large_to_whiten_are_refused() -> None:
    with pytest.raises(Refused, match="3 x 128 x 128 are too large for zca.*49152"):
        pixels.Zca.fit(torch.zeros(2, 3, 128, 128, dtype=torch.uint8), "hash")


def test_an_affine_space_is_restored_from_its_description() -> None:
    images = made()
    for name, mean, std in (
        ("raw", (0.0,) * 3, (1.0,) * 3),
        ("normalized", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)),
    ):
        space = pixels.affine(name, mean, std)
        told = space.describe()
        assert told == {"space": name, "mean": list(mean), "std": list(std)}
        assert torch.equal(pixels.from_description(told).encode(images), space.encode(images))


def test_descriptions_that_restore_no_space_are_refused() -> None:
    told = pixels.Zca.fit(made(), "0123456789abcdef").describe()
    assert told["eps"] == 0.1 and told["fitted_on"] == "0123456789abcdef"
    with pytest.raises(Refused, match="zca space.*0123456789ab"):
        pixels.from_description(told)
    with pytest.raises(Refused, match="unknown pixel space 'hsv'"):
        pixels.from_description({"space": "hsv"})
