"""RDED: crops against torch's resampling, the choice against a naive one in float64, and the tiling."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from condense.data import ImageDataset, Images
from condense.distillation import ImageRun, distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.networks import build_network
from condense.store import ImageSet
from condense.teachers import Teacher

RDED = methods()["rded"]
shared = import_module("condense.distillation.images.crops")


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def teacher(toy: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """An untrained network, which has opinions too, in place of every teacher."""
    network = build_network("convnet-w32-bn", toy.spec.shape, 3, stream(5)).eval().requires_grad_(False)
    made = Teacher(network, "convnet-w32-bn", "h" * 64, 1, None, toy.spec.classes, "toy")
    monkeypatch.setattr(ImageRun, "teacher", lambda self, which, training, train: made)
    return made


def crops_of(m: int, n: int, size: tuple[int, int], rng: torch.Generator, *, smallest: float) -> Tensor:
    """m crops of each of n images, from three numbers each: areas, then rows, then columns."""
    u = torch.rand(3, m, n, generator=rng, dtype=torch.float64)
    shrink = (smallest + (1 - smallest) * u[0]).sqrt()
    height, width = ((side * shrink).round().clamp_min(1).long() for side in size)
    top, left = (u[1] * (size[0] - height + 1)).long(), (u[2] * (size[1] - width + 1)).long()
    return torch.stack([top, left, height, width], 2)


def train_of(toy: ImageDataset) -> Images:
    return toy.train.in_space(toy.space("normalized"))


def distilled(toy: ImageDataset, cache: Path, ipc: int, seed: int = 0, **settings: object) -> ImageSet:
    params = {"teacher": "trained"} | {name: str(value) for name, value in settings.items()}
    made: ImageSet = distill(build("rded", "toy", ipc, params)[0], toy, ipc=ipc, seed=seed, cache=cache)[0]
    return made


def test_the_first_tiles_hold_the_best_crops_and_the_pixels_left_over() -> None:
    crops = torch.arange(18.0).view(18, 1, 1, 1).expand(18, 1, 2, 1)
    found = shared.mosaics(crops, 3, (7, 5))
    assert found.shape == (2, 1, 7, 5)
    rows, columns = [0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2]
    for image in range(2):
        expected = [[(3 * r + s) * 2 + image for s in columns] for r in rows]
        assert found[image, 0].tolist() == expected
    whole = torch.randn(4, 3, 6, 6, generator=stream())
    assert torch.equal(shared.mosaics(whole, 1, (6, 6)), whole)


@pytest.mark.parametrize("factor", [1, 2])
def test_each_class_keeps_the_crops_of_lowest_loss_of_different_images(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher, factor: int
) -> None:
    made = distilled(toy, tmp_path, 2, pool=12, crops=4, factor=factor)
    # The run's draws in their order: for each class its pool and then its crops.
    rng, train = stream(), train_of(toy)
    network = build_network("convnet-w32-bn", toy.spec.shape, 3, stream(5)).eval().double()
    tile, expected = 8 // factor, []
    for label in range(3):
        pool = train.draw(12, rng, [label])[0].double()
        boxes = crops_of(4, 12, (8, 8), rng, smallest=0.08).tolist()
        best = []
        for i in range(12):
            scored = []
            for m in range(4):
                top, left, height, width = boxes[m][i]
                part = pool[i : i + 1, :, top : top + height, left : left + width]
                crop = interpolate(part, size=(tile, tile), mode="bilinear", antialias=True)
                shown = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
                shown[:, :, (8 - tile) // 2 : (8 + tile) // 2, (8 - tile) // 2 : (8 + tile) // 2] = crop
                probability = float(network(shown).detach().softmax(1)[0, label])
                scored.append((probability, crop[0]))
            best.append(max(scored, key=lambda pair: pair[0]))
        best.sort(key=lambda pair: -pair[0])
        for i in range(2):
            rows = [[best[2 * (r * factor + s) + i][1] for s in range(factor)] for r in range(factor)]
            expected.append(torch.cat([torch.cat(row, 2) for row in rows], 1))
    pixels = toy.space("normalized").decode(torch.stack(expected))
    assert made.images.dtype == torch.uint8 and made.content["pixels"]["space"] == "raw"
    assert (made.images.double() - pixels * 255).abs().max() <= 0.5 + 1e-3
    assert made.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.content["bytes"]["images"] == 6 * 64 and made.content["hints"]["augment"] == "none"
    encoded = distilled(toy, tmp_path, 2, pool=12, crops=4, factor=factor, encode="png")
    assert torch.equal(encoded.images, made.images) and encoded.content["encoding"]["format"] == "png"


def test_one_whole_crop_of_every_image_selects_real_images_as_they_were_loaded(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    made = distilled(toy, tmp_path, 5, crops=1, crop_min=1.0)
    train = train_of(toy)
    loss = -teacher.logits(train.images).log_softmax(1)[torch.arange(60), train.labels]
    for label in range(3):
        members = train.of_class(label)
        best = members[loss[members].argsort()[:5]]
        assert torch.equal(made.images[5 * label : 5 * label + 5], toy.train.images[best])


def test_how_many_pixels_the_teacher_sees_at_a_time_changes_nothing(
    toy: ImageDataset, teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = train_of(toy).images[:10]
    boxes = crops_of(3, 10, (8, 8), stream(), smallest=0.1)
    whole: Tensor = shared.cross_entropies(teacher.logits, images, boxes, 1, (4, 4))
    sizes = []
    logits = Teacher.logits

    def counted(self: Teacher, seen: Tensor, **how: bool) -> Tensor:
        sizes.append(len(seen))
        return logits(self, seen, **how)

    monkeypatch.setattr(Teacher, "logits", counted)
    monkeypatch.setattr(shared, "PIXELS", 4 * 64)
    torch.testing.assert_close(shared.cross_entropies(teacher.logits, images, boxes, 1, (4, 4)), whole)
    assert sizes == [4, 4, 2] * 3


def test_more_tiles_than_a_class_has_images_are_refused(toy: ImageDataset, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="ipc=6: rded takes 24 images of a class .* has 20"):
        distilled(toy, tmp_path, 6, factor=2)
    with pytest.raises(Refused, match="factor=9: the images have 8 pixels to a side"):
        distill(
            build("rded", "toy", 1, {"factor": "9", "teacher": "trained"})[0],
            big_classes(toy),
            ipc=1,
            cache=tmp_path,
        )
    with pytest.raises(Refused, match="crop_min=0.0: a share of an image"):
        build("rded", "toy", 1, {"crop_min": "0"})
    with pytest.raises(Refused, match="gif"):
        build("rded", "toy", 1, {"encode": "gif"})


def big_classes(toy: ImageDataset) -> ImageDataset:
    """The toy with every image five times over."""
    train = Images.of(toy.train.images.repeat(5, 1, 1, 1), toy.train.labels.repeat(5), 3)
    return ImageDataset(toy.spec, train, toy.test)


def test_the_recipes_are_the_authors_settings() -> None:
    batches = {
        cell: recipe.protocol.batch for cell, recipe in RDED.recipes.items() if recipe.protocol is not None
    }
    assert batches["cifar10", 1] == 10 and batches["cifar10", 50] == 100
    assert batches["cifar100", 10] == 100 and batches["tiny-imagenet", 10] == 100
    for recipe in RDED.recipes.values():
        protocol = recipe.protocol
        assert protocol is not None
        assert (protocol.schedule, protocol.labels, protocol.temperature) == ("half-cosine", "own", 20)
        assert protocol.epochs == 300 and protocol.augment == "dsa:flip" and protocol.cutmix == 1
        assert recipe.method.config()["crops"] == 5 and recipe.method.config()["pool"] == 300
