"""FerKD and the fields of FKD for labels of regions: forms, crops in a row, SelfMix and calibration."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from condense.data import ImageDataset
from condense.distillation import ImageMethod, distill
from condense.distillation.registry import build, methods
from condense.errors import Refused, Stopped
from condense.protocols import REPLAY_V1, REPLAY_V2
from condense.resources import Budget, Machine
from condense.store import ImageSet, Soft, verify
from condense.teachers import fixed

QUICK = {"epochs": "5", "batch": "8"}


def make(
    link: str,
    dataset: ImageDataset,
    cache: Path,
    params: Mapping[str, str] | None = None,
    *,
    host: str = "random_subset",
    budget: Budget | None = None,
) -> ImageSet:
    settings = {name: str(value) for name, value in methods()[host].quick.items()}
    settings |= {f"{link}.{name}": value for name, value in (QUICK | dict(params or {})).items()}
    method, _ = build(f"{host}+{link}", dataset.spec.name, 2, settings)
    made: ImageSet
    made, run = distill(method, dataset, ipc=2, cache=cache, machine=Machine(budget=budget or Budget()))
    made.save(cache / "set")
    run.done()
    return ImageSet.load(cache / "set")


def normalized(made: ImageSet, dataset: ImageDataset) -> ImageSet:
    space = dataset.space(made.content["pixels"]["space"])
    return made.with_space(space).in_space(dataset.space("normalized"))


def labeller(**fields: Any) -> Any:
    method, _ = build("random_subset+ferkd", "digits", 1, {f"ferkd.{k}": v for k, v in fields.items()})
    return method


@pytest.mark.parametrize(
    ("form", "more"),
    [("hard", {}), ("marginal-smoothing", {"top_k": "3"}), ("marginal-renorm", {"top_k": "2"}), ("full", {})],
)
def test_stored_forms_are_the_teachers_probabilities_of_the_views(
    form: str, more: dict[str, str], digits: ImageDataset, tmp_path: Path
) -> None:
    made = make("fkd", digits, tmp_path, {"form": form, "temperature": "1", **more})
    assert {**made.content["label"]}["form"] == form
    shown, teacher = normalized(made, digits), fixed("digits", digits.train.hash)
    assert made.replay is not None
    for images, target in shown.batches(3, REPLAY_V1, torch.Generator()):
        given = teacher.logits(images).softmax(1)
        layout = made.replay.layout
        wanted = layout.probabilities(layout.labels(given), 1.0)
        assert isinstance(target, Soft) and target.temperature == 1.0
        torch.testing.assert_close(target.probabilities, wanted, rtol=0, atol=2e-3)


def test_crops_of_an_image_follow_each_other_and_every_image_has_as_many(
    digits: ImageDataset, tmp_path: Path
) -> None:
    made = make("fkd", digits, tmp_path, {"crops": "2", "epochs": "4", "crop": "resized", "crop_max": "0.5"})
    assert made.replay is not None
    epochs = [
        torch.cat([made.replay.batch(epoch, number).order for number in range(3)]) for epoch in range(4)
    ]
    for first in (0, 2):
        both = torch.cat(epochs[first : first + 2])
        assert torch.equal(both[0::2], both[1::2]) and sorted(both[0::2].tolist()) == list(range(20))
    assert not torch.equal(epochs[0], epochs[2])
    boxes = torch.cat([made.replay.batch(epoch, 0).views.boxes for epoch in range(4)]).double()
    assert float((boxes[:, 2] * boxes[:, 3]).max()) <= 0.6 * 64


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        ("033674dfc25a50c28bb8b95398a8390a33df17d1731eaff74b9fcee95a517ff4", {}),
        ("110285f86ef1e258f17572583dbe3fbe9e0f72850cb3a7b4afeee370617fefd0", {"epochs": 300, "batch": 128}),
        (
            "da5498c823a84fe812eeca397a922da63ab9273d53e89e5e9b98b2460d8ed640",
            {"top_k": 3, "kept": 2, "crop": "resized"},
        ),
    ],
)
def test_the_defaults_leave_the_keys_of_fkd_as_they_were(key: str, fields: dict[str, object]) -> None:
    later: dict[str, object] = {"form": "logits", "crops": 1, "fill": "mean", "crop_max": 1.0}
    for given in (fields, fields | later):
        method, _ = build("random_subset+fkd", "digits", 1, {f"fkd.{k}": v for k, v in given.items()})
        assert method.run_key("0" * 64, 1, 0) == key


def test_the_keys_of_ferkd_do_not_change() -> None:
    method, _ = build("random_subset+ferkd", "digits", 1)
    assert method.run_key("0" * 64, 1, 0) == (
        "bb8c0a181fe6b431664b6aa2d475c67227a4a520b680c679ac9144604abca53a"
    )


def test_unreliable_labels_become_smoothed_class_ids_and_the_others_stay() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8], [0.5, 0.3, 0.2]])
    classes, logits = torch.tensor([0, 0, 2, 1]), p.log()
    smooth = {0: [0.8, 0.1, 0.1], 1: [0.1, 0.8, 0.1]}
    by_truth = torch.tensor([[0.7, 0.2, 0.1], smooth[0], [0.05, 0.15, 0.8], [0.5, 0.3, 0.2]])
    method = labeller(reliable=0.3, smoothing=0.3)
    torch.testing.assert_close(method.labels(logits, classes), by_truth)
    by_most = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.05, 0.15, 0.8], smooth[1]])
    method = labeller(reliable=0.6, confidence="largest", smoothing=0.3)
    torch.testing.assert_close(method.labels(logits, classes), by_most)
    # As logits, at a temperature: what is stored has the same probabilities.
    warm = labeller(reliable=0.3, smoothing=0.3, form="logits", temperature=4.0)
    torch.testing.assert_close((warm.labels(4 * logits, classes) / 4).softmax(1), by_truth)
    assert torch.equal(labeller(reliable=0.0).labels(logits, classes), logits.softmax(1))
    every = labeller(reliable=1.0, smoothing=0.0).labels(logits, classes)
    assert torch.equal(every, torch.nn.functional.one_hot(classes, 3).float())


@pytest.mark.parametrize("host", ["random_subset", "idc"])
def test_stored_views_mix_crops_of_one_image_and_replay_bit_for_bit(
    host: str, digits: ImageDataset, tmp_path: Path
) -> None:
    few = {"reliable": "0.9"}
    made = make("ferkd", digits, tmp_path, few, host=host)
    assert verify(tmp_path / "set") == made.hash and made.replay is not None
    shown, teacher = normalized(made, digits), fixed("digits", digits.train.hash)
    method = labeller(reliable=0.9)
    mixed = kept = 0
    for number, (images, target) in enumerate(shown.batches(1, REPLAY_V1, torch.Generator())):
        batch = made.replay.batch(1, number)
        own = batch.order[batch.views.partners.long()]
        assert torch.equal(own, batch.order)
        mixed += int((batch.views.partners != torch.arange(len(own))).sum())
        assert torch.equal(images, batch.views(shown.images_at(batch.order)))
        wanted = method.labels(teacher.logits(images), target.ids)
        assert torch.equal(cast(Soft, target).probabilities, wanted.half().float())
        kept += int((teacher.logits(images).softmax(1).gather(1, target.ids[:, None]) >= 0.9).sum())
    assert mixed > len(shown) // 2 and 0 < kept < len(shown)


def test_a_run_that_is_stopped_between_crops_ends_in_the_same_set(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make("ferkd", digits, tmp_path / "whole")
    budget, asked = Budget(1e9), iter([False, False, True])
    monkeypatch.setattr(budget, "spent", lambda now=None: next(asked))
    with pytest.raises(Stopped, match="phase label, step 3 of 5"):
        make("ferkd", digits, tmp_path / "broken", budget=budget)
    assert make("ferkd", digits, tmp_path / "broken").hash == whole.hash


def test_replay_v2_judges_it_unless_its_batches_and_epochs_are_given() -> None:
    follows, _ = build("dm+ferkd", "digits", 1)
    given, _ = build("dm+ferkd", "digits", 1, {"ferkd.batch": "128", "ferkd.epochs": "300"})
    assert isinstance(follows, ImageMethod) and isinstance(given, ImageMethod)
    follows.require_views(REPLAY_V2)
    given.require_views(REPLAY_V1)
    with pytest.raises(Refused, match="replay-v2 says itself .*: leave out ferkd.batch and ferkd.epochs"):
        given.require_views(REPLAY_V2)


@pytest.mark.parametrize(
    ("link", "settings", "words"),
    [
        ("fkd", {"form": "softest"}, "fkd.form='softest': unknown form of fkd"),
        ("fkd", {"fill": "median", "top_k": "3"}, "fkd.fill='median': unknown fill of fkd"),
        ("fkd", {"fill": "zero"}, "fkd.fill='zero': it stands for logits that are left out"),
        ("fkd", {"fill": "zero", "top_k": "3", "form": "marginal-renorm"}, "fkd.fill='zero': it stands for"),
        ("fkd", {"form": "marginal-renorm"}, "form='marginal-renorm': it keeps the largest probabilities"),
        ("fkd", {"form": "hard", "top_k": "3"}, "fkd.top_k=3: labels of the form hard keep a number"),
        ("fkd", {"top_k": "0"}, "fkd.top_k=0: top_k of fkd must be at least 1"),
        ("fkd", {"form": "marginal-renorm", "top_k": "10"}, "top_k=10: it has to be below the 10 classes"),
        ("fkd", {"crop_max": "1.5"}, "fkd.crop_max=1.5: a share of an image is above 0 and at most 1"),
        ("fkd", {"crop_max": "0.5"}, "fkd.crop='crop-flip': shares of the area belong to resized crops"),
        ("fkd", {"crop": "resized", "crop_max": "0.05"}, "fkd.crop_max=0.05: the smallest share is 0.08"),
        ("fkd", {"partners": "same"}, "fkd.partners='same': an image has one crop in a batch"),
        ("fkd", {"crops": "0"}, "fkd.crops=0: crops of fkd must be at least 1"),
        ("ferkd", {"partners": "any"}, "ferkd.partners='any': a view of two images has no one class"),
        ("ferkd", {"reliable": "1.5"}, "ferkd.reliable=1.5: a probability is at most 1"),
        (
            "ferkd",
            {"smoothing": "0", "form": "logits"},
            "ferkd.smoothing=0.0: a class without",
        ),
        ("ferkd", {"kept": "6"}, "ferkd.kept=6: there are only 5 epochs"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_make_no_sense_are_refused(
    link: str, settings: dict[str, str], words: str, digits: ImageDataset, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=words):
        make(link, digits, tmp_path, settings)
