"""Compressed images: what is stored is what trains, and its bytes are those of the files."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from condense.data import ImageDataset, Images
from condense.data.images.pixels import PixelSpace, affine
from condense.distillation import ImageMethod, ImageRun, distill
from condense.errors import Refused
from condense.protocols import HARD_V1
from condense.store import ImageContent, ImageSet, verify
from condense.store.images.encode import EncodedImages, encode, encoding, encoding_named

Make = Callable[..., ImageSet]
FORMS = ("png", "jpeg", "jpeg:30")


def smooth(n: int, c: int, side: int = 16) -> Tensor:
    """Images that a JPEG does not mangle, and a PNG can compress."""
    rows = torch.arange(side)[:, None] ** 2 + 3 * torch.arange(side)[None]
    return (rows // 4 + 30 * torch.arange(n * c).view(n, c, 1, 1)).to(torch.uint8)


def compressed(make: Make, raw: PixelSpace, form: str, channels: int = 3) -> ImageSet:
    how = encoding_named(form)
    assert how is not None
    space = raw if channels == 3 else affine("raw", [0.5], [0.25])
    made = make(space=space, dtype=torch.uint8, shape=(channels, 16, 16))
    held = encode(smooth(9, channels), how)
    content = cast(ImageContent, {**made.content, "encoding": how})
    return replace(made, images=held.images((channels, 16, 16)), encoded=held, content=content)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_loses_nothing_and_a_jpeg_little(channels: int) -> None:
    images = smooth(4, channels)
    png, fine, coarse = (encode(images, encoding(*how)) for how in (("png",), ("jpeg", 95), ("jpeg", 5)))
    assert torch.equal(png.images((channels, 16, 16)), images)
    for held, most in ((fine, 12.0), (coarse, 80.0)):
        read = held.images((channels, 16, 16))
        lost = (read.int() - images.int()).abs().float().mean()
        assert 0 < lost < most and not torch.equal(read, images)
    assert len(coarse.data) < len(fine.data)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_compressed_set_comes_back_as_the_very_images_that_train(
    make: Make, raw: PixelSpace, tmp_path: Path, form: str, channels: int
) -> None:
    made = compressed(make, raw, form, channels)
    made.save(tmp_path / "set")
    read = ImageSet.load(tmp_path / "set")
    assert read.hash == made.hash == verify(tmp_path / "set")
    assert torch.equal(read.images, made.images) and set(read.tensors()) == {"encoded", "offsets", "labels"}
    rng = torch.Generator().manual_seed(0)
    (x, _), (y, _) = next(read.batches(0, HARD_V1, rng)), next(made.batches(0, HARD_V1, rng))
    assert torch.equal(x, y)
    plain = replace(
        made,
        encoded=None,
        content=cast(ImageContent, {key: value for key, value in made.content.items() if key != "encoding"}),
    )
    assert torch.equal(next(plain.batches(0, HARD_V1, rng))[0], x)


def test_the_bytes_of_images_are_those_of_files_and_offsets(make: Make, raw: PixelSpace) -> None:
    made = compressed(make, raw, "png")
    assert made.encoded is not None
    files = sum(len(encode(image[None], encoding("png")).data) for image in made.images)
    assert made.nbytes()["images"] == files + 8 * 10 == len(made.encoded.data) + 80
    assert made.content["bytes"]["images"] < made.images.numel()


@pytest.mark.parametrize("form", FORMS)
def test_the_cards_plain_code_reads_compressed_images(
    make: Make, raw: PixelSpace, tmp_path: Path, form: str
) -> None:
    made = compressed(make, raw, form)
    made.save(tmp_path / "set")
    text = (tmp_path / "set" / "README.md").read_text()
    assert f"| Compression | {form.partition(':')[0]}" in text
    plain = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[1]
    done = subprocess.run(
        [sys.executable, "-c", plain + "\nprint(json.dumps(x.tolist()))"],
        cwd=tmp_path / "set", capture_output=True, text=True, check=True,
    )  # fmt: skip
    shown = torch.stack([made[index][0] for index in range(len(made))])
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), shown)


def test_in_another_pixel_space_a_set_is_compressed_no_more(make: Make, raw: PixelSpace) -> None:
    made = compressed(make, raw, "jpeg")
    shown = made.in_space(affine("normalized", [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]))
    assert shown.encoded is None and "encoding" not in shown.content and "images" in shown.tensors()
    assert torch.equal(shown[4][0], made[4][0])
    assert made.to("cpu").hash == made.hash


def test_images_that_are_not_those_of_the_files_are_not_stored(
    make: Make, raw: PixelSpace, tmp_path: Path
) -> None:
    made = compressed(make, raw, "png")
    other = replace(made, images=made.images.flip(-1))
    with pytest.raises(Refused, match="its images are not those that are encoded"):
        other.save(tmp_path / "set")
    with pytest.raises(Refused, match="encoded images and content.encoding go together"):
        replace(made, encoded=None)
    assert made.encoded is not None
    short = EncodedImages(made.encoded.data, made.encoded.offsets[:-1])
    with pytest.raises(Refused, match="with 9 offsets are not those of 9 images"):
        replace(made, encoded=short)


def test_damaged_files_and_offsets_are_refused_in_one_sentence() -> None:
    held = encode(smooth(2, 3), encoding("png"))
    broken = held.data.clone()
    broken[20] ^= 255
    for wrong, words in (
        (EncodedImages(broken, held.offsets), "encoded image 0"),
        (EncodedImages(held.data[:-9], held.offsets), "do not cut"),
        (EncodedImages(held.data, held.offsets.flip(0)), "do not cut"),
        (EncodedImages(held.data, torch.tensor([0, 0, len(held.data)])), "encoded image 0 cannot be read"),
        (encode(smooth(2, 3, 8), encoding("png")), "has the shape"),
    ):
        with pytest.raises(Refused, match=words) as caught:
            wrong.images((3, 16, 16))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gif", "encode='gif': unknown image encoding"),
        ("jpeg:fine", "unknown image encoding"),
        pytest.param("jpeg:" + 5000 * "9", "unknown image encoding", id="digits"),
        ("jpeg:0", "runs from 1 to 100: 0"),
        ("png:9", "loses nothing"),
    ],
)
def test_an_encoding_that_there_is_not_is_refused(name: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        encoding_named(name)
    assert encoding_named("none") is None


@dataclass(frozen=True, kw_only=True)
class Few(ImageMethod):
    """The first images, compressed."""

    name = "few"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        index = torch.stack([train.of_class(label)[0] for label in range(train.num_classes)])
        return run.distilled(train.images[index], train.labels[index], encode=run.cache.name)


@pytest.mark.parametrize("form", [*FORMS, "none"])
def test_a_method_can_ask_for_compression(toy: ImageDataset, tmp_path: Path, form: str) -> None:
    made, _ = distill(Few(), toy, ipc=1, cache=tmp_path / form)
    real = torch.stack([toy.train.images[toy.train.of_class(label)[0]] for label in range(3)])
    if form == "none":
        assert made.encoded is None and made.images.dtype == torch.float32
        return
    assert made.images.dtype == torch.uint8 and made.content["pixels"]["space"] == "raw"
    assert torch.equal(made.images, real) == (form == "png")
    made.save(tmp_path / "set")
    assert ImageSet.load(tmp_path / "set").hash == made.hash
