"""Which images the clients of a federation hold."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from condense.data import ImageDataset, Images
from condense.errors import Refused
from condense.federated.splits import dirichlet, federation
from condense.federated.transforms import VARIANTS, blurred, coloured


def labels(n: int, classes: int) -> torch.Tensor:
    return torch.arange(n) % classes


@settings(max_examples=12, deadline=None)
@given(some.integers(1, 6), some.floats(0.05, 50), some.integers(0, 9))
def test_a_dirichlet_split_gives_every_sample_to_one_client(clients: int, alpha: float, seed: int) -> None:
    sides = [labels(600, 4), labels(200, 4)]
    try:
        (train, test), _ = dirichlet(sides, 4, clients, alpha, seed)
    except Refused:
        assert alpha < 0.1
        return
    for parts, side in zip((train, test), sides, strict=True):
        assert torch.cat(parts).sort().values.tolist() == list(range(len(side)))
        assert len(parts) == clients


def test_a_dirichlet_split_is_made_by_its_seed() -> None:
    (one, _), _ = dirichlet([labels(500, 5), labels(90, 5)], 5, 3, 0.5, 1)
    (again, _), _ = dirichlet([labels(500, 5), labels(90, 5)], 5, 3, 0.5, 1)
    (other, _), _ = dirichlet([labels(500, 5), labels(90, 5)], 5, 3, 0.5, 2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_small_alpha_gives_clients_other_classes_and_large_alpha_the_same() -> None:
    def spread(alpha: float) -> float:
        (train, _), _ = dirichlet([labels(4000, 4), labels(400, 4)], 4, 4, alpha, 0)
        shares = [torch.bincount(labels(4000, 4)[one], minlength=4) / len(one) for one in train]
        return float(torch.stack(shares).std(0).mean())

    assert spread(1e4) < 0.02 < 0.2 < spread(0.2)


def test_test_images_of_a_class_are_shared_out_like_training_images() -> None:
    (train, test), _ = dirichlet([labels(4000, 4), labels(2000, 4)], 4, 3, 0.5, 0)
    for mine, tested in zip(train, test, strict=True):
        counts = [torch.bincount(labels(4000, 4)[one], minlength=4) for one in (mine, tested)]
        assert (counts[0] / 2 - counts[1]).abs().max() <= 2


def test_clients_of_a_federation_have_their_own_parts_and_hashes(toy: ImageDataset) -> None:
    made = federation([toy], "dirichlet:3:1")
    assert sum(len(client.train) for client in made.clients) == len(toy.train)
    assert sum(len(client.test) for client in made.clients) == len(toy.test)
    assert made.spec.name == "toy{dirichlet-3-1}" and made.spec.mean == (0.5,)
    assert made.train_hash == federation([toy], "dirichlet:3:1").train_hash
    assert made.train_hash != federation([toy], "dirichlet:3:1:1").train_hash
    assert made.split == {"kind": "dirichlet", "clients": 3, "alpha": 1.0, "seed": 0, "draws": 1}


def test_variants_split_the_images_and_transform_each_part(toy: ImageDataset) -> None:
    made = federation([toy], "variants:plain,inverted")
    plain, inverted = made.clients
    assert len(plain.train) + len(inverted.train) == len(toy.train)
    assert max(abs(a - b) for a, b in zip(plain.train.counts(), inverted.train.counts(), strict=True)) <= 1
    found = {bytes(one.numpy().tobytes()) for one in [*plain.train.images, *(255 - inverted.train.images)]}
    assert found == {bytes(one.numpy().tobytes()) for one in toy.train.images}


def test_a_coloured_variant_gives_all_clients_three_channels(toy: ImageDataset) -> None:
    made = federation([toy], "variants:plain,coloured")
    assert made.spec.shape == (3, 8, 8)
    assert all(client.train.images.shape[1:] == (3, 8, 8) for client in made.clients)
    grey = made.clients[0].train.images
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_each_variant_keeps_shape_and_type_and_changes_the_pixels() -> None:
    images = torch.randint(0, 256, (5, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    for name, change in VARIANTS.items():
        found = change(images)
        assert found.dtype == torch.uint8 and found.shape[2:] == (8, 8)
        assert (name == "plain") == (found.shape == images.shape and torch.equal(found, images))


def test_blurring_takes_the_rounded_mean_of_nine_pixels() -> None:
    images = torch.randint(0, 256, (2, 1, 6, 6), generator=torch.Generator().manual_seed(0)).byte()
    found = blurred(images)
    expected = images[0, 0, 1:4, 2:5].double().mean()
    assert int(found[0, 0, 2, 3]) == int((expected + 0.5).floor())


def test_a_tint_scales_each_channel() -> None:
    white = torch.full((2, 1, 4, 4), 255, dtype=torch.uint8)
    assert coloured(white)[:, :, 0, 0].tolist() == [[255, 64, 0], [0, 192, 64]]


def test_domains_are_datasets_with_the_same_classes(toy: ImageDataset) -> None:
    other = replace(toy, spec=replace(toy.spec, name="other"))
    made = federation([toy, other], "domains")
    assert [client.name for client in made.clients] == ["toy", "other"]
    assert made.spec.name == "toy+other{domains}"
    assert federation([toy, other], "domains", "DIGITS").spec.name == "DIGITS{domains}"


def test_a_client_distils_only_the_classes_that_it_has(toy: ImageDataset) -> None:
    made = federation([toy], "dirichlet:2:1")
    client = made.clients[0]
    (kept,) = torch.where(client.train.labels != 1)
    lacking = replace(made, clients=(replace(client, train=client.train.select(kept)),))
    local = lacking.local(0)
    assert lacking.clients[0].classes == (0, 2)
    assert local.spec.num_classes == local.train.num_classes == 2
    assert set(local.train.labels.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        ("dirichlet:3:0", "alpha"),
        ("dirichlet:3:-1", "alpha"),
        ("dirichlet:3:nan", "alpha"),
        ("dirichlet:3:many", "clients are named as"),
        ("dirichlet:0:1", "1 to 10000 clients"),
        ("dirichlet:9000:1", "images for 9000 clients"),
        ("dirichlet:3", "clients are named as"),
        ("everyone", "clients are named as"),
        ("variants:plain,plain", "twice"),
        ("variants:upside", "unknown variant 'upside'"),
        ("variants:", "unknown variant ''"),
        ("domains", "is one dataset"),
    ],
)
def test_clients_that_make_no_sense_are_refused(toy: ImageDataset, clients: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        federation([toy], clients)


def test_a_domain_without_a_class_is_refused(toy: ImageDataset) -> None:
    renamed = replace(toy, spec=replace(toy.spec, name="other", classes=("x", *toy.spec.classes[1:])))
    with pytest.raises(Refused, match="the domain other has no class '0', which toy has"):
        federation([toy, renamed], "domains")
    (kept,) = torch.where(toy.train.labels != 1)
    lacking = replace(toy, spec=replace(toy.spec, name="other"), train=toy.train.select(kept))
    with pytest.raises(Refused, match="the domain other has no training image of class '1'"):
        federation([toy, lacking], "domains")


def test_domains_of_other_sizes_are_refused_with_the_size_that_helps(toy: ImageDataset) -> None:
    wide = Images.of(torch.zeros((3, 1, 9, 9), dtype=torch.uint8), torch.arange(3), 3)
    other = replace(toy, spec=replace(toy.spec, name="other", shape=(1, 9, 9)), train=wide)
    with pytest.raises(Refused, match="size=9 resizes them"):
        federation([toy, other], "domains")
