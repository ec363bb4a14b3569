from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import GraphDataset, ImageDataset, load_dataset, whole_name, with_classes
from condense.data.images.pixels import statistics
from condense.data.subset import named
from condense.distillation.registry import methods
from condense.errors import Refused
from condense.files import safe_name


def test_some_classes_are_the_same_images_in_their_order_numbered_anew(digits: ImageDataset) -> None:
    part = with_classes(digits, ["7", "2", "5"])
    assert part.spec.classes == ("2", "5", "7") and part.spec.name == "digits[2,5,7]"
    for kept, whole in ((part.train, digits.train), (part.test, digits.test)):
        there = torch.isin(whole.labels, torch.tensor([2, 5, 7]))
        assert torch.equal(kept.images, whole.images[there]) and kept.num_classes == 3
        assert [int("257"[label]) for label in kept.labels.tolist()] == whole.labels[there].tolist()
    assert (part.spec.mean, part.spec.std) == statistics(part.train.images)
    assert part.spec.dsa == digits.spec.dsa and part.spec.named is False


def test_the_hash_of_some_classes_follows_from_their_data_alone(digits: ImageDataset) -> None:
    part = with_classes(digits, ["2", "5"])
    again = with_classes(with_classes(digits, ["5", "2", "9"]), ["5", "2"])
    assert part.train.hash == again.train.hash != digits.train.hash and part.hash == again.hash
    assert with_classes(digits, ["3", "5"]).train.hash != part.train.hash


def test_all_classes_are_the_dataset_itself(digits: ImageDataset) -> None:
    assert with_classes(digits, digits.spec.classes[::-1]) is digits


def test_some_classes_of_graphs_are_the_same_graphs(mutag: GraphDataset) -> None:
    third = mutag.train.labels.clone()
    third[::3] = 2
    splits: dict[str, Any] = {**mutag.splits()}
    three: Any = GraphDataset(
        replace(mutag.spec, classes=("a", "b", "c")),
        **{
            part: replace(graphs, labels=third[: len(graphs)], num_classes=3)
            for part, graphs in splits.items()
        },
    )
    part = with_classes(three, ["c", "b"])
    (there,) = torch.where(three.train.labels > 0)
    assert part.spec.classes == ("b", "c") and part.spec.features == three.spec.features
    assert torch.equal(part.train.nodes_ptr, three.train.select(there).nodes_ptr)
    assert torch.equal(part.train.labels, three.train.labels[there] - 1)
    assert part.spec.notes[-1].startswith("1 of 3 classes were left out:")
    with pytest.raises(Refused, match="classes='b,c': mutag has no graphs of these classes in its split"):
        empty = replace(three.valid, labels=torch.zeros_like(three.valid.labels))
        with_classes(replace(three, valid=empty), ["b", "c"])


def test_classes_that_cannot_be_taken_are_refused_by_name(toy_file: Path) -> None:
    for names, sentence in (
        (["0", "4"], "classes='4': unknown class of toy; known: 0, 1, 2"),
        (["1", "1"], "classes='1': toy: this class is named twice"),
        (["1"], "classes='1': a classifier needs at least two of the 3 classes of toy"),
    ):
        with pytest.raises(Refused) as refused:
            load_dataset(str(toy_file), classes=names)
        assert str(refused.value) == sentence


def test_names_of_some_classes_are_safe_and_distinct() -> None:
    chosen = (["cat", "dog"], ["a/b", "c"], ["a_b", "c"], ["a,b", "c"], ["a", "b,c"], ["../..", "c"])
    several = ([str(n) for n in range(50)], [str(n) for n in range(51)])
    names = [named("data", classes) for classes in (*chosen, *several)]
    assert names[0] == "data[cat,dog]" and len({safe_name(name) for name in names}) == len(names)
    assert all("/" not in name and len(name) < 70 and whole_name(name) == "data" for name in names)


def test_some_classes_of_a_named_dataset_have_no_published_settings() -> None:
    known = {cell[0] for kind in ("images", "graphs") for m in methods(kind).values() for cell in m.recipes}
    assert "cifar10" in known and named("cifar10", ["cat", "dog"]) not in known
