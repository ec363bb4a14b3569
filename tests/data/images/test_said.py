"""Loading a user's images refuses, or says every difference between what was on disk and what is used."""

import re
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from condense.data import ImageDataset, load_images
from condense.errors import Refused

Pixels = np.ndarray
SIDES = (6, 4)
"""Height and width of the pictures on disk, in pixels."""

TOLD = {
    "turned": r"(\d+) of \d+ images were turned upright",
    "transparent": r"(\d+) of \d+ images have transparent parts, which are shown over white",
    "pages": r"(\d+) of \d+ files hold several pages or frames, of which the first is used",
    "deep": r"(\d+) of \d+ images have 16 bits a channel, of which the upper 8 are used",
    "profile": r"(\d+) of \d+ images carry a colour profile, which is not applied",
    "broken": r"left out: (\d+) of \d+ files cannot be read as 8-bit images",
    "leftover": r"left out: (\d+) hidden or left behind by a system",
    "beside": r"left out: (\d+) beside the class folders",
    "grey": r"of \d+ images, converted to RGB: .*?(\d+) grey(?:,|$)",
    "palette": r"of \d+ images, converted to RGB: .*?(\d+) with a palette",
    "alpha": r"of \d+ images, converted to RGB: .*?(\d+) with an alpha channel",
    "shared": r"(\d+) of \d+ test images are equal to training images",
    "lacking": r"the test split has no image of (\d+) of \d+ classes",
    "few": r"the test split has fewer than 10 images of (\d+) of \d+ classes",
    "split": r"the test split is a fifth of each class, (\d+) of \d+ files",
    "resized": r"(\d+) of \d+ images were resized to 5 x 5 pixels",
    "torn": r"(\d+) training images occur in several classes",
    "arrays": r"left out: (\d+) other arrays",
}
"""What a note may say, each with the number that it says it of."""


def said(data: ImageDataset) -> Counter[str]:
    """The numbers that the notes give; each note is one of those above, or that of the augmentation."""
    found: Counter[str] = Counter()
    for note in data.spec.notes:
        known = {name: match for name, form in TOLD.items() if (match := re.search(form, note))}
        assert known or note.startswith("augmentation "), note
        found += Counter({name: int(match[1]) for name, match in known.items()})
    return found


@dataclass(frozen=True)
class File:
    """A file on disk: its form, and the seed of its pixels (two files of one seed are equal)."""

    form: str
    seed: int

    @property
    def pixels(self) -> Pixels:
        rng = np.random.RandomState(self.seed)
        if self.form in ("grey", "palette", "pages"):
            return rng.randint(0, 256, SIDES, np.uint8)
        return rng.randint(0, 256, (*SIDES, 3), np.uint8)

    def write(self, path: Path) -> None:
        pixels = self.pixels
        picture = Image.fromarray(pixels)
        if self.form == "broken":
            path.write_bytes(b"no picture")
        elif self.form == "folder":
            path.mkdir()
        elif self.form == "turned":
            exif = Image.Exif()
            exif[0x0112] = 3
            Image.fromarray(np.ascontiguousarray(pixels[::-1, ::-1])).save(path, format="PNG", exif=exif)
        elif self.form in ("transparent", "alpha"):
            alpha = np.full((*SIDES, 1), 255, np.uint8)
            alpha[0, 0] = 0 if self.form == "transparent" else 255
            Image.fromarray(np.concatenate([pixels, alpha], 2), "RGBA").save(path, format="PNG")
        elif self.form == "pages":
            picture.save(path, format="TIFF", save_all=True, append_images=[Image.new("L", SIDES[::-1])])
        elif self.form == "palette":
            picture.convert("P").save(path, format="PNG")
        elif self.form == "profile":
            picture.save(path, format="PNG", icc_profile=b"not sRGB")
        elif self.form == "deep":
            path.write_bytes(deep(pixels))
        else:
            picture.save(path, format="PNG")

    @property
    def shown(self) -> Pixels:
        """What should be used: RGB, unless all images are grey."""
        pixels = self.pixels if self.pixels.ndim == 3 else self.pixels[..., None].repeat(3, 2)
        if self.form == "transparent":
            pixels = pixels.copy()
            pixels[0, 0] = 255
        return pixels


def deep(pixels: Pixels) -> bytes:
    """A PNG file of 16 bits a channel, whose upper halves are these pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + (row.astype(np.int64) * 256 + 7).astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


FORMS = ("plain", "grey", "palette", "turned", "transparent", "alpha", "pages", "profile", "deep")
LOST = ("broken", "folder")
LEFTOVERS = (".DS_Store", "._1.png", "Thumbs.db", "desktop.ini")
BESIDE = ("README.txt", "labels.csv", "__MACOSX/", ".git/", "notes.txt")

files = st.builds(File, st.sampled_from([*["plain"] * 6, *["grey"] * 3, *FORMS, *LOST]), st.integers(0, 30))
class_folders = st.tuples(
    st.lists(files, min_size=2, max_size=5), st.sets(st.sampled_from(LEFTOVERS), max_size=2)
)
parts = st.lists(class_folders, min_size=2, max_size=3)


def written(root: Path, part: str, folders: list[tuple[list[File], set[str]]]) -> None:
    for label, (held, leftovers) in enumerate(folders):
        folder = root / part / f"class{label}"
        folder.mkdir(parents=True)
        for number, file in enumerate(held):
            file.write(folder / f"{number}.png")
        for name in leftovers:
            (folder / name).write_bytes(b"nothing")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    train=parts,
    test=st.none() | parts,
    beside=st.sets(st.sampled_from(BESIDE)),
    size=st.sampled_from([None, 5]),
    skip=st.booleans(),
)
def test_a_folder_is_refused_or_every_difference_is_said(
    train: list[tuple[list[File], set[str]]],
    test: list[tuple[list[File], set[str]]] | None,
    beside: set[str],
    size: int | None,
    skip: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("own")
    written(root, "" if test is None else "train", train)
    if test is not None:
        written(root, "test", test[: len(train)])
    for name in beside:
        (root / name).mkdir() if name.endswith("/") else (root / name).write_text("more")
    try:
        data = load_images(str(root), size=size, skip_unreadable=skip)
    except Refused as refused:
        if skip and "skip_unreadable" in str(refused):
            pytest.fail(f"advice that was followed already: {refused}")
        return
    folders = [*train, *(test or [])[: len(train)]]
    held = [file for files, _ in folders for file in files]
    used = [file for file in held if file.form not in LOST]
    assert skip or len(used) == len(held)
    told, wanted = said(data), Counter(file.form for file in used if file.form in TOLD)
    wanted["broken"] = len(held) - len(used)
    wanted["leftover"] = sum(len(names) for _, names in folders) + len(beside & {"__MACOSX/", ".git/"})
    wanted["beside"] = len(beside - {"__MACOSX/", ".git/"})
    wanted["alpha"] += wanted["transparent"]
    wanted["grey"] += wanted["pages"]
    if all(file.form in ("grey", "pages") for file in used):
        wanted["grey"] = 0
    wanted["resized"] = len(used) if size else 0
    if test is None:
        wanted["split"] = sum(max(1, round(0.2 * len(files))) for files, _ in train)
    wanted += on_splits(data)
    assert told == +wanted
    # Nothing was lost, doubled or changed without a word: the pixels are those of the files.
    assert len(data.train) + len(data.test) == len(used)
    if size is None:
        seen = [image.permute(1, 2, 0).numpy() for image in chain(data.train.images, data.test.images)]
        full = [image if image.shape[2] == 3 else image.repeat(3, 2) for image in seen]
        shown = Counter(image.tobytes() for image in full)
        assert shown == Counter(np.ascontiguousarray(file.shown).tobytes() for file in used)


def on_splits(data: ImageDataset) -> Counter[str]:
    """What the notes should say of the splits, found by comparing all pairs of images."""
    equal = (data.test.images[:, None] == data.train.images[None]).flatten(2).all(2)
    twins = (data.train.images[:, None] == data.train.images[None]).flatten(2).all(2)
    apart = data.train.labels[:, None] != data.train.labels[None]
    torn = {data.train.images[at].numpy().tobytes() for at in (twins & apart).any(1).nonzero().flatten()}
    counts = data.test.counts()
    return Counter(
        shared=int(equal.any(1).sum()),
        torn=len(torn),
        lacking=sum(count == 0 for count in counts),
        few=sum(0 < count < 10 for count in counts),
    )


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    shape=st.sampled_from([(6, 4), (6, 4, 1), (6, 4, 3)]),
    labels=st.tuples(
        st.lists(st.integers(0, 3), min_size=1, max_size=12),
        st.lists(st.integers(0, 3), min_size=1, max_size=12),
    ),
    seeds=st.tuples(st.lists(st.integers(0, 40), min_size=12), st.lists(st.integers(0, 40), min_size=12)),
    column=st.booleans(),
    others=st.sets(st.sampled_from(["val_images", "val_labels", "info"])),
    size=st.sampled_from([None, 5]),
)
def test_a_file_is_refused_or_every_difference_is_said(
    shape: tuple[int, ...],
    labels: tuple[list[int], list[int]],
    seeds: tuple[list[int], list[int]],
    column: bool,
    others: set[str],
    size: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    arrays: dict[str, np.ndarray] = {name: np.zeros(3) for name in others}
    for part, ids, numbers in zip(("train", "test"), labels, seeds, strict=True):
        images = [
            np.random.RandomState(seed).randint(0, 256, shape, np.uint8) for seed in numbers[: len(ids)]
        ]
        arrays[f"{part}_images"] = np.stack(images)
        arrays[f"{part}_labels"] = np.array(ids)[:, None] if column else np.array(ids)
    path = tmp_path_factory.mktemp("own") / "own.npz"
    np.savez(path, **arrays)  # type: ignore[arg-type]
    try:
        data = load_images(str(path), size=size)
    except Refused:
        return
    wanted = on_splits(data)
    wanted["arrays"] = len(others)
    wanted["resized"] = len(labels[0]) + len(labels[1]) if size else 0
    assert said(data) == +wanted
    for part, split, ids in (("train", data.train, labels[0]), ("test", data.test, labels[1])):
        assert split.labels.tolist() == ids
        if size is None:
            found = split.images.permute(0, 2, 3, 1).numpy()
            assert np.array_equal(found, arrays[f"{part}_images"].reshape(found.shape))
