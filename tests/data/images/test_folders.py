"""Reading folders of image files, and resizing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from condense.data import load_images
from condense.data.images import folders
from condense.data.images.known import SUBSETS, TINY_IMAGENET
from condense.data.images.resize import centred, resized
from condense.errors import Refused


def picture(path: Path, shape: tuple[int, ...] = (6, 6, 3), seed: int = 0) -> np.ndarray:
    """Writes a random image without loss and returns its pixels."""
    pixels = np.random.RandomState(seed).randint(0, 256, shape, np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")
    return pixels


def test_a_folder_with_a_split_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    cat = picture(root / "train" / "cat" / "1.png", seed=1)
    dog = picture(root / "train" / "dog" / "0.png", seed=2)
    picture(root / "train" / "dog" / "2.png", seed=3)
    test = picture(root / "test" / "dog" / "9.png", seed=4)
    (root / "train" / "dog" / ".DS_Store").write_text("left alone")
    data = load_images(str(root))
    assert (data.spec.name, data.spec.classes, data.spec.shape) == ("pets", ("cat", "dog"), (3, 6, 6))
    assert data.train.labels.tolist() == [0, 1, 1] and data.test.labels.tolist() == [1]
    for image, pixels in (
        (data.train.images[0], cat),
        (data.train.images[1], dog),
        (data.test.images[0], test),
    ):
        assert torch.equal(image, torch.from_numpy(pixels).permute(2, 0, 1))


def test_a_fixed_fifth_of_each_class_is_the_test_split_of_a_folder(
    tmp_path: Path,
) -> None:
    for name, count in (("a", 10), ("b", 3)):
        for number in range(count):
            picture(tmp_path / "one" / name / f"{number}.png", (5, 5), seed=100 * ord(name) + number)
    data, again = load_images(str(tmp_path / "one")), load_images(str(tmp_path / "one"))
    assert data.train.counts() == (8, 2) and data.test.counts() == (2, 1)
    assert data.hash == again.hash
    seen = {image.numpy().tobytes() for image in torch.cat([data.train.images, data.test.images])}
    assert len(seen) == 13
    assert data.spec.shape == (1, 5, 5) and not data.spec.flips  # all grey: one channel


def test_grey_images_among_colour_images_become_rgb_with_a_note(tmp_path: Path) -> None:
    root = tmp_path / "own"
    grey = {name: picture(root / "train" / name / "0.png", (5, 5), seed) for seed, name in enumerate("ab")}
    colour = picture(root / "train" / "b" / "1.png", (5, 5, 3))
    picture(root / "test" / "a" / "0.png", (5, 5))
    data = load_images(str(root))
    assert data.spec.shape == (3, 5, 5)
    for image, pixels in zip(data.train.images, grey.values(), strict=False):
        assert all(np.array_equal(channel, pixels) for channel in image.numpy())
    assert np.array_equal(data.train.images[2].numpy(), colour.transpose(2, 0, 1))
    assert "of 4 images, converted to RGB: 3 grey" in data.spec.notes


def test_images_of_different_sizes_need_a_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(tmp_path / "own" / name / "0.png", (5, 7, 3), seed=ord(name))
        picture(tmp_path / "own" / name / "1.png", (9, 5, 3), seed=ord(name))
    with pytest.raises(Refused, match="is 7 x 5 pixels, but .* is 5 x 9; size resizes all images"):
        load_images(str(tmp_path / "own"))
    data = load_images(str(tmp_path / "own"), size=4)
    assert (data.spec.name, data.spec.shape) == ("own@4", (3, 4, 4))


def test_resizing_a_folder_to_its_own_size_changes_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(2):
            picture(tmp_path / "own" / name / f"{number}.png", seed=10 * ord(name) + number)
    plain, sized = load_images(str(tmp_path / "own")), load_images(str(tmp_path / "own"), size=6)
    assert sized.spec == plain.spec and sized.hash == plain.hash


def test_unreadable_files_are_counted_and_named(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for name in ("a", "b"):
        for number in range(9):
            picture(root / name / f"{number}.png")
    (root / "a" / "3.png").write_bytes(b"no picture")
    whole = (root / "b" / "1.png").read_bytes()
    Image.fromarray(np.zeros((6, 6), np.uint16)).save(root / "b" / "2.png")  # 16 bits
    (root / "b" / "1.png").write_bytes(whole[:60])  # the header is whole, the pixels are not
    (root / "b" / "0.png").unlink()
    (root / "b" / "0.png").mkdir()
    with pytest.raises(Refused) as refusal:
        load_images(str(root))
    told = str(refusal.value).replace(f"{root}/", "")
    assert told.startswith("4 of 18 files cannot be read as 8-bit images: a/3.png (not an image), ")
    assert "b/0.png (no plain file), b/1.png (" in told and "b/2.png" not in told
    assert refusal.value.reason.endswith(" and 1 more")
    assert told.endswith("; skip_unreadable=True leaves these files out")
    assert "\n" not in told
    picture(root / "a" / "3.png")
    (root / "b" / "0.png").rmdir()
    picture(root / "b" / "0.png")
    (root / "b" / "1.png").write_bytes(whole)
    with pytest.raises(Refused, match=r"1 of 18 files .*b/2.png \(not 8 bits a channel\);"):
        load_images(str(root))


def test_skipped_files_are_noted_and_the_data_do_not_contain_them(tmp_path: Path) -> None:
    for root in (tmp_path / "whole", tmp_path / "without"):
        for part, count in (("train", 4), ("test", 2)):
            for number in range(2 * count):
                name = root / part / "ab"[number % 2] / f"{number}.png"
                picture(name, (6, 6), seed=number + 10 * count)
    for root in (tmp_path / "whole", tmp_path / "broken"):
        shutil.copytree(tmp_path / "without", root, dirs_exist_ok=True)
    assert load_images(str(tmp_path / "whole")).hash == load_images(str(tmp_path / "without")).hash
    colour = tmp_path / "broken" / "train" / "b" / "a-colour.png"  # the first of its class
    picture(colour, (6, 6, 3))
    colour.write_bytes(colour.read_bytes()[:80])
    (tmp_path / "broken" / "test" / "a" / "notes.txt").write_text("no picture")
    plain = load_images(str(tmp_path / "without"))
    skipped = load_images(str(tmp_path / "broken"), skip_unreadable=True)
    assert skipped.hash == plain.hash and skipped.spec.shape == plain.spec.shape == (1, 6, 6)
    (told,) = set(skipped.spec.notes) - set(plain.spec.notes)
    assert told.startswith("left out: 2 of 14 files cannot be read") and "a-colour.png" in told
    (tmp_path / "whole" / "train" / "a" / "0.png").write_bytes(b"")
    less = load_images(str(tmp_path / "whole"), skip_unreadable=True)
    assert less.train.hash != plain.train.hash and less.test.hash == plain.test.hash


def test_a_skipped_file_does_not_change_the_split_of_the_others(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for name in "ab":
        for number in range(10):
            picture(root / name / f"{number}.png", seed=100 * ord(name) + number)
    whole = load_images(str(root))
    broken = root / "a" / "4.png"
    pixels = np.array(Image.open(broken)).transpose(2, 0, 1)
    broken.write_bytes(broken.read_bytes()[:50])
    rest = load_images(str(root), skip_unreadable=True)
    assert len(rest.train) + len(rest.test) == 19
    for before, after in ((whole.train, rest.train), (whole.test, rest.test)):
        kept = [image for image in before.images.numpy() if not np.array_equal(image, pixels)]
        assert np.array_equal(np.stack(kept), after.images.numpy())


def test_skipping_never_empties_a_class(tmp_path: Path) -> None:
    root = tmp_path / "own"
    for part in ("train", "test"):
        for name in "abc":
            picture(root / part / name / "0.png")
    for name in "bc":
        (root / "test" / name / "0.png").write_bytes(b"")
    with pytest.raises(Refused, match=r"no test image of the class 'b' in .*own can be read \(2 such"):
        load_images(str(root), skip_unreadable=True)
    picture(root / "test" / "b" / "0.png")
    (root / "train" / "c" / "0.png").write_bytes(b"")
    with pytest.raises(Refused, match="no training image of the class 'c'"):
        load_images(str(root), skip_unreadable=True)


def test_cmyk_images_become_rgb(tmp_path: Path) -> None:
    inks = {"red": (0, 255, 255, 0), "green": (255, 0, 255, 0), "grey": (0, 0, 0, 127)}
    for name, ink in inks.items():
        for part in ("train", "test"):
            (tmp_path / "own" / part / name).mkdir(parents=True)
            Image.new("CMYK", (8, 8), ink).save(tmp_path / "own" / part / name / "0.jpg", quality=95)
    data = load_images(str(tmp_path / "own"))
    assert data.spec.classes == ("green", "grey", "red")
    wanted = torch.tensor([[0, 255, 0], [128, 128, 128], [255, 0, 0]])
    found = data.train.images.float().mean((2, 3))
    assert (found - wanted).abs().max() < 4
    assert "of 6 images, converted to RGB: 6 CMYK" in data.spec.notes


def test_missing_and_empty_class_folders_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "tiny-imagenet-200"
    (root / "val" / "images").mkdir(parents=True)
    (root / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn01443537\t0\t0\t1\t1\n")
    wnids = ("n01443537", "n02124075", "n02125311", "n02129165", "n03201208")
    picture(root / "train" / wnids[1] / "images" / "0.JPEG", (64, 64, 3))
    with pytest.raises(Refused, match=r"^4 of 5 class folders are missing: .*n02129165.* and 1 more$"):
        folders.read_tiny(root, wnids)
    for wnid in wnids[2:]:
        (root / "train" / wnid / "images").mkdir(parents=True)
    picture(root / "train" / wnids[0] / "images" / "0.JPEG", (64, 64, 3))
    with pytest.raises(Refused, match=r"^3 of 5 class folders are empty: .*n02125311"):
        folders.read_tiny(root, wnids)
    picture(root / "train" / wnids[1] / "images" / "1.JPEG", (64, 64, 3))
    with pytest.raises(Refused, match=r"^no test image of the class .*val_0.JPEG \(missing\)$"):
        folders.read_tiny(root, wnids[:2])
    picture(root / "val" / "images" / "val_1.JPEG", (64, 64, 3))
    with open(root / "val" / "val_annotations.txt", "a") as notes:
        notes.write("val_1.JPEG\tn01443537\t0\t0\t1\t1\n")
    assert len(folders.read_tiny(root, wnids[:2], skip_unreadable=True).test_images) == 1


def test_folders_of_another_structure_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(Refused, match="bare has no folders"):
        load_images(str(tmp_path / "bare"))
    picture(tmp_path / "half" / "train" / "a" / "0.png")
    with pytest.raises(Refused, match="a folder train but no folder test"):
        load_images(str(tmp_path / "half"))
    picture(tmp_path / "half" / "test" / "b" / "0.png")
    with pytest.raises(Refused, match="has the class 'b'"):
        load_images(str(tmp_path / "half"))
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(Refused, match="1 of 1 class folders is empty: .*empty/a$"):
        load_images(str(tmp_path / "empty"))
    picture(tmp_path / "single" / "a" / "0.png")
    with pytest.raises(Refused, match="has only one image, which leaves none"):
        load_images(str(tmp_path / "single"))
    picture(tmp_path / "alone" / "a" / "0.png")
    picture(tmp_path / "alone" / "a" / "1.png")
    with pytest.raises(Refused, match="only one class, 'a'"):
        load_images(str(tmp_path / "alone"))
    picture(tmp_path / "cifar10" / "a" / "0.png")
    with pytest.raises(Refused, match="cifar10 has the name of a known dataset"):
        load_images(str(tmp_path / "cifar10"))


def test_tiny_imagenets_validation_split_becomes_the_test_split(tmp_path: Path) -> None:
    wnids = ("n01443537", "n02124075")
    for seed, wnid in enumerate(wnids):
        picture(tmp_path / "train" / wnid / "images" / f"{wnid}_0.JPEG", (64, 64, 3), seed)
        (tmp_path / "train" / wnid / f"{wnid}_boxes.txt").write_text("boxes")
    second = picture(tmp_path / "val" / "images" / "val_1.JPEG", (64, 64), 7)  # a grey one
    picture(tmp_path / "val" / "images" / "val_0.JPEG", (64, 64, 3), 8)
    notes = tmp_path / "val" / "val_annotations.txt"
    notes.write_text("val_1.JPEG\tn01443537\t0\t0\t1\t1\nval_0.JPEG\tn02124075\t0\t0\t1\t1\n")
    held = folders.read_tiny(tmp_path, wnids)
    assert held.train_labels.tolist() == [0, 1] and held.test_labels.tolist() == [1, 0]
    assert held.test_images.shape == (2, 3, 64, 64) and held.test_images[1, 2].tolist() == second.tolist()
    notes.write_text("val_1.JPEG\tn99999999\t0\t0\t1\t1\n")
    with pytest.raises(Refused, match="line 1 of .* names no class"):
        folders.read_tiny(tmp_path, wnids)
    with pytest.raises(Refused, match="tiny-imagenet is not at"):
        load_images("tiny-imagenet", data_dir=tmp_path / "elsewhere")


def imagenet(root: Path, wnids: tuple[str, ...]) -> None:
    for seed, wnid in enumerate(wnids):
        picture(root / "imagenet" / "train" / wnid / "0.JPEG", (130, 160, 3), seed)
        picture(root / "imagenet" / "val" / wnid / "1.JPEG", (150, 129, 3), seed)


def test_an_imagenet_subset_is_cropped_to_128_by_default(tmp_path: Path) -> None:
    imagenet(tmp_path, ("n02102040", "n01440764"))
    name = "imagenet:n02102040,n01440764"
    data, small = load_images(name, data_dir=tmp_path), load_images(name, data_dir=tmp_path, size=64)
    assert data.spec.classes == ("n02102040", "n01440764")  # in the order asked for
    assert (data.spec.name, data.spec.shape, data.spec.mean) == (name, (3, 128, 128), (0.485, 0.456, 0.406))
    assert (small.spec.name, small.spec.shape) == (f"{name}@64", (3, 64, 64))
    assert data.spec.flips and data.hash != small.hash


def test_incomplete_imagenet_subsets_are_refused(tmp_path: Path) -> None:
    imagenet(tmp_path, ("n01440764",))
    with pytest.raises(Refused, match="^18 of 20 class folders .*imagenet/train/n02102040, .*NAME.npz"):
        load_images("imagenette", data_dir=tmp_path)
    (tmp_path / "imagenet" / "val" / "n01440764" / "cut.JPEG").write_bytes(b"cut")
    with pytest.raises(Refused, match=r"^1 of 3 files .*val/n01440764/cut.JPEG \(not an image\)"):
        load_images("imagenet:n01440764", data_dir=tmp_path)
    with pytest.raises(Refused, match="'tench' is not a WordNet id"):
        load_images("imagenet:tench", data_dir=tmp_path)
    with pytest.raises(Refused, match="n01440764 occurs 2 times"):
        load_images("imagenet:n01440764,n01440764", data_dir=tmp_path)
    with pytest.raises(Refused, match="only one class"):
        load_images("imagenet:n01440764", data_dir=tmp_path, skip_unreadable=True)


def test_unreadable_files_of_named_datasets_can_be_skipped(tmp_path: Path) -> None:
    imagenet(tmp_path, SUBSETS["imagenette"])
    whole = load_images("imagenette", data_dir=tmp_path)
    (tmp_path / "imagenet" / "train" / SUBSETS["imagenette"][3] / "cut.JPEG").write_bytes(b"cut")
    assert load_images("imagenette", data_dir=tmp_path, skip_unreadable=True).hash == whole.hash
    root = tmp_path / "tiny-imagenet-200"
    for wnid in TINY_IMAGENET:
        picture(root / "train" / wnid / "images" / "0.JPEG", (64, 64))
    picture(root / "val" / "images" / "0.JPEG", (64, 64))
    lines = [f"{file}\t{TINY_IMAGENET[7]}\t0\t0\t63\t63" for file in ("0.JPEG", "1.JPEG")]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines))
    data = load_images("tiny-imagenet", data_dir=tmp_path, skip_unreadable=True)
    assert (len(data.train), data.test.labels.tolist(), data.spec.shape) == (200, [7], (3, 64, 64))


def test_resizing_equals_torchvisions_up_to_rounding() -> None:
    images = torch.randint(
        256, (300, 3, 20, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    for height, width in ((32, 32), (8, 8), (7, 30)):
        ours, theirs = (
            resized(images, height, width),
            resize(images, [height, width], InterpolationMode.BILINEAR, antialias=True),
        )
        assert (ours.int() - theirs.int()).abs().max() <= 1
    assert resized(images, 20, 14) is images


def test_halving_an_image_rounds_ties_up() -> None:
    wide = (
        torch.tensor([[10, 11], [10, 11]], dtype=torch.uint8).repeat_interleave(4, 0).repeat_interleave(4, 1)
    )
    assert resized(wide[None, None], 1, 1).item() == 11  # the mean is 10.5


def test_constant_images_stay_constant_at_every_size() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 9, 7).contiguous()
    assert (resized(images, 13, 5) == images[:, :, :1, :1]).all()


def test_the_crop_is_the_centre_of_the_resized_image() -> None:
    image = torch.zeros(1, 8, 16, dtype=torch.uint8)
    image[:, :, 4:12] = 200
    assert centred(image, 8).eq(200).all()
    tall = centred(image.transpose(1, 2).contiguous(), 4)
    assert tall.shape == (1, 4, 4) and tall[0, 1:3].eq(200).all()
