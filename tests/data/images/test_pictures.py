"""What is read of one picture file: as a viewer shows it where it is a user's, with a note of the rest."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condense.data import ImageDataset, load_images
from condense.data.images.folders import read_imagenet
from condense.errors import Refused

Pixels = np.ndarray


def random(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    return np.random.RandomState(seed).randint(0, 256, shape, np.uint8)


def folder(root: Path, extra: Image.Image | None = None, shape: tuple[int, ...] = (6, 4, 3)) -> Path:
    """Two classes with a picture in each split; the picture ``extra`` is the first of the training split."""
    for number, place in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (root / place).mkdir(parents=True, exist_ok=True)
        Image.fromarray(random(shape, seed=number)).save(root / place / "1.png")
    if extra is not None:
        extra.save(root / "train" / "a" / "0.png")
    return root


def noted(data: ImageDataset, end: str) -> str:
    """The start of the one note with an end."""
    (note,) = [note for note in data.spec.notes if note.endswith(end)]
    return note.removesuffix(end).strip()


@pytest.mark.parametrize(("mode", "channels"), [("RGBA", 3), ("LA", 3), ("P", 3), ("L", 1)])
def test_transparent_parts_are_shown_over_white_and_counted(mode: str, channels: int, tmp_path: Path) -> None:
    values = random((6, 4, 4))
    shown = Image.fromarray(values, "RGBA").convert("RGBA")
    file = tmp_path / "own" / "train" / "a" / "0.png"
    if mode == "RGBA":
        colour, alpha = values[..., :3].astype(float), values[..., 3:] / 255
        folder(tmp_path / "own", shown)
    elif mode == "LA":
        grey = Image.fromarray(values[..., :2], "LA")
        colour, alpha = values[..., :1].astype(float).repeat(3, 2), values[..., 1:2] / 255
        folder(tmp_path / "own", grey)
    else:
        one = Image.fromarray(values[..., 0] // 64 * 64, "L")
        folder(tmp_path / "own", shape=(6, 4, 3)[: 1 + channels // 3 + 1])
        one.convert(mode).save(file, transparency=64)
        told = np.array(one)[..., None]
        colour, alpha = told.astype(float).repeat(channels, 2), (told != 64).astype(float)
    data = load_images(str(tmp_path / "own"))
    wanted = np.floor(colour * alpha + 255 * (1 - alpha) + 0.5)
    assert np.array_equal(data.train.images[0].permute(1, 2, 0).numpy(), wanted)
    assert noted(data, "images have transparent parts, which are shown over white") == "1 of 5"


def test_opaque_alpha_channels_change_no_pixel_and_no_hash(tmp_path: Path) -> None:
    colour = random((6, 4, 3), seed=9)
    opaque = np.concatenate([colour, np.full((6, 4, 1), 255, np.uint8)], 2)
    plain = load_images(str(folder(tmp_path / "plain", Image.fromarray(colour))))
    alpha = load_images(str(folder(tmp_path / "alpha", Image.fromarray(opaque, "RGBA"))))
    assert plain.hash == alpha.hash
    assert noted(alpha, "converted to RGB: 1 with an alpha channel")
    assert not any("over white" in note for note in alpha.spec.notes)


def test_forms_that_are_only_in_the_alpha_channel_are_seen(tmp_path: Path) -> None:
    for number in range(8):
        form = np.zeros((8, 8, 4), np.uint8)
        form[number // 2, :: 1 + number % 2, 3] = 255
        file = tmp_path / "own" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(form, "RGBA").save(file)
    data = load_images(str(tmp_path / "own"))
    assert {0, 255} == set(data.train.images.flatten().tolist())


def test_a_training_split_whose_images_are_all_equal_is_refused(tmp_path: Path) -> None:
    for name, value, sentence in (
        (
            "black",
            np.zeros((6, 6, 3), np.uint8),
            "all pixels of all training images in .*black have the value 0",
        ),
        ("same", random((6, 6, 3)), "all training images in .*same are equal"),
    ):
        for number in range(4):
            file = tmp_path / name / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(value).save(file)
        with pytest.raises(Refused, match=sentence):
            load_images(str(tmp_path / name))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright_as_their_orientation_says(
    orientation: int, suffix: str, tmp_path: Path
) -> None:
    # A dark left half with a darker top: 16 x 8 pixels that differ under each of the eight orientations.
    pixels = np.full((8, 16, 3), 250, np.uint8)
    pixels[:, :8] = 120
    pixels[:4, :8] = 0
    stored = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.transpose(1, 0, 2), 6: pixels.transpose(1, 0, 2)[::-1],
        7: pixels.transpose(1, 0, 2)[::-1, ::-1], 8: pixels.transpose(1, 0, 2)[:, ::-1],
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    root = folder(tmp_path / "own", shape=(8, 16, 3))
    picture = Image.fromarray(np.ascontiguousarray(stored[orientation]))
    picture.save(root / "train" / "a" / f"0.{suffix}", exif=exif)
    data = load_images(str(root))
    found = data.train.images[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - pixels).max() < 40 and data.spec.name == "own"
    turned = [note for note in data.spec.notes if "turned upright" in note]
    told = "1 of 5 images were turned upright, as their EXIF orientation says"
    assert turned == ([told] if orientation > 1 else [])


def test_a_picture_that_is_turned_counts_with_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    root = folder(tmp_path / "own", shape=(8, 16, 3))
    Image.fromarray(random((8, 16, 3), seed=9)).save(root / "train" / "a" / "0.png", exif=exif)
    with pytest.raises(Refused, match="0.png is 8 x 16 pixels, but .*1.png is 16 x 8; size resizes all"):
        load_images(str(root))


def test_other_pages_are_counted_and_the_first_one_is_used(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", shape=(6, 4))
    first, second = (Image.fromarray(np.full((6, 4), value, np.uint8)) for value in (40, 200))
    for name in ("0.gif", "0.png", "0.tif", "0.webp"):
        first.save(root / "train" / "a" / name, save_all=True, append_images=[second], lossless=True)
    data = load_images(str(root))
    assert set(data.train.images[:4].flatten().tolist()) == {40}
    assert noted(data, "files hold several pages or frames, of which the first is used") == "4 of 8"


def test_colours_of_16_bits_and_colour_profiles_are_counted(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    root = folder(tmp_path / "own")
    values = np.random.RandomState(0).randint(0, 2**16, (6, 4, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    header = struct.pack(">IIBBBBB", 4, 6, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (root / "train" / "a" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    Image.fromarray(random((6, 4, 3))).save(root / "train" / "b" / "0.png", icc_profile=b"not sRGB")
    data = load_images(str(root))
    assert np.array_equal(data.train.images[0].permute(1, 2, 0).numpy(), values >> 8)
    assert noted(data, "images have 16 bits a channel, of which the upper 8 are used") == "1 of 6"
    assert noted(data, "images carry a colour profile, which is not applied") == "1 of 6"


def test_resized_pictures_and_those_that_are_stretched_are_counted(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", Image.fromarray(random((5, 5, 3))))
    data = load_images(str(root), size=5)
    assert "4 of 5 images were resized to 5 x 5 pixels, which stretches 4 of them" in data.spec.notes
    both = load_images(str(root), size=4)
    assert "5 of 5 images were resized to 4 x 4 pixels, which stretches 4 of them" in both.spec.notes


def test_damaged_exif_data_do_not_hide_a_picture(tmp_path: Path) -> None:
    root = folder(tmp_path / "own", shape=(8, 16, 3))
    pixels = Image.fromarray(random((8, 16, 3)))
    pixels.save(root / "train" / "a" / "0.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12")
    assert load_images(str(root)).train.counts() == (2, 1)


def test_what_systems_leave_behind_is_no_class_and_no_picture(tmp_path: Path) -> None:
    clean = load_images(str(folder(tmp_path / "clean" / "own")))
    root = folder(tmp_path / "zip" / "own")
    for part in ("", "train", "test"):
        (root / part / "__MACOSX" / "a").mkdir(parents=True)
        (root / part / "__MACOSX" / "a" / "._1.png").write_bytes(b"Mac OS X")
    for name in ("._1.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (root / "train" / "a" / name).write_bytes(b"nothing")
    data = load_images(str(root))
    assert data.hash == clean.hash and data.spec.classes == ("a", "b")
    (note,) = set(data.spec.notes) - set(clean.spec.notes)
    assert note.startswith("left out: 7 hidden or left behind by a system: ") and "__MACOSX/" in note


def test_what_lies_beside_the_class_folders_is_counted(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    (root / "val" / "a").mkdir(parents=True)
    (root / "README.txt").write_text("of these pictures")
    (root / "train" / "labels.csv").write_text("a,b")
    told = "left out: 3 beside the class folders: README.txt, val/, train/labels.csv"
    assert told in load_images(str(root)).spec.notes


def test_skipping_is_not_advised_where_it_fails(tmp_path: Path) -> None:
    root = folder(tmp_path / "own")
    (root / "train" / "a" / "1.png").write_bytes(b"no picture")
    for skip in (False, True):
        with pytest.raises(Refused) as refusal:
            load_images(str(root), skip_unreadable=skip)
        told = str(refusal.value)
        assert told.startswith("no training image of the class 'a' in ") and "skip_unreadable" not in told
        assert told.endswith("train/a/1.png (not an image)")


def test_named_folders_are_read_as_before_whatever_their_files_say(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    pixels = random((6, 6, 4))
    for part in ("train", "val"):
        (tmp_path / part / "n01440764").mkdir(parents=True)
        Image.fromarray(pixels, "RGBA").save(tmp_path / part / "n01440764" / "0.png", exif=exif)
    held = read_imagenet(tmp_path, ("n01440764",), 6, subset=False)
    assert torch.equal(held.train_images[0], torch.from_numpy(pixels[..., :3]).permute(2, 0, 1))
