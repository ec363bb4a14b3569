"""FKD: stored labels train the same students as a teacher that labels at every step."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from condense.augment import crop
from condense.data import ImageDataset
from condense.distillation import ImageMethod, ImageRun, distill
from condense.distillation.registry import build, methods, wrappers
from condense.errors import Refused, Stopped
from condense.evaluation import ImageStudent, student
from condense.networks import Network
from condense.protocol import Protocol, Stage
from condense.protocols import HARD_V1, REPLAY_V1, REPLAY_V2, SOFT_V1, SOFT_V2
from condense.resources import Budget, Machine
from condense.store import Hard, ImageSet, Target, verify
from condense.store.images.manifest import ReplayedLabelPart
from condense.store.images.shards import ShardLayout
from condense.store.targets import TeacherLogits
from condense.teachers import Teacher, fixed
from condense.training.step import cutmix

FKD = wrappers()["fkd"]
QUICK = {"fkd.epochs": "3", "fkd.batch": "8"}


def make(
    host: str,
    dataset: ImageDataset,
    cache: Path,
    params: Mapping[str, str] | None = None,
    *,
    ipc: int = 2,
    budget: Budget | None = None,
) -> tuple[ImageSet, ImageRun]:
    settings = {name: str(value) for name, value in methods()[host].quick.items()} | QUICK
    method, _ = build(f"{host}+fkd", dataset.spec.name, ipc, settings | dict(params or {}))
    return distill(method, dataset, ipc=ipc, cache=cache, machine=Machine(budget=budget or Budget()))


def normalized(made: ImageSet, dataset: ImageDataset) -> ImageSet:
    return made.with_space(dataset.space(made.content["pixels"]["space"])).in_space(
        dataset.space("normalized")
    )


class Online:
    """The same views and labels, made anew at every step by what soft-v1's students are trained with."""

    learned_lr = None

    def __init__(
        self, shown: ImageSet, teacher: Teacher, rng: torch.Generator, batch: int, epochs: int
    ) -> None:
        self.shown, self.teacher, self.rng = shown, teacher, rng
        self.batch, self.epochs = batch, epochs

    def __len__(self) -> int:
        return len(self.shown)

    def batches_in_epoch(self, protocol: Protocol) -> int:
        return -(-len(self.shown) // self.batch)

    def batches(
        self, epoch: int, protocol: Protocol, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Target]]:
        small = replace(SOFT_V1, batch=self.batch, labels=None, temperature=None)
        for images, target in self.shown.batches(epoch, small, self.rng):
            images = crop.random_crop(images, self.rng, flip=False)
            images, _ = cutmix(images, target, self.rng, SOFT_V1.cutmix or 0.0)
            logits = self.teacher.logits(images).half().float()
            yield images, TeacherLogits(logits, target.ids, 20.0)


@pytest.mark.parametrize(("ipc", "batch"), [(2, 8), (1, 128)])
def test_stored_labels_train_the_same_student_as_the_teacher_bit_for_bit(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ipc: int, batch: int
) -> None:
    made, run = make("random_subset", digits, tmp_path, {"fkd.batch": str(batch)}, ipc=ipc)
    made.save(tmp_path / "set")
    run.done()
    _, started = distill(build("random_subset", "digits", ipc)[0], digits, ipc=ipc, cache=tmp_path)
    stored = normalized(ImageSet.load(tmp_path / "set"), digits)
    teacher = fixed("digits", digits.train.hash, torch.device("cpu"))
    online = Online(normalized(made, digits), teacher, started.rng, batch, 3)
    test = digits.test.in_space(digits.space("normalized"))
    weights: list[dict[str, Tensor]] = []

    def keep(network: Network, *_: Tensor) -> float:
        weights.append(network.state_dict())
        return 0.0

    monkeypatch.setattr(student, "accuracy", keep)
    for source in (stored, online):
        ImageStudent(
            source=source, test=test, spec=digits.spec, protocol=REPLAY_V1, network="convnet-w32"
        ).outcome(1)
    assert weights[0].keys() == weights[1].keys() and len(weights[0]) == 6
    for name, value in weights[0].items():
        assert torch.equal(value, weights[1][name]), name


def test_a_student_learns_from_the_labels_and_not_from_those_of_other_views(
    digits: ImageDataset, tmp_path: Path
) -> None:
    params = {"fkd.epochs": "40", "fkd.batch": "32", "fkd.temperature": "4", "fkd.cutmix": "0"}
    made, _ = make("random_subset", digits, tmp_path, params, ipc=10)
    stored, test = normalized(made, digits), digits.test.in_space(digits.space("normalized"))

    class Misplaced:
        learned_lr, epochs = None, 40

        def __len__(self) -> int:
            return len(stored)

        def batches_in_epoch(self, protocol: Protocol) -> int:
            return stored.batches_in_epoch(protocol)

        def batches(
            self, epoch: int, protocol: Protocol, generator: torch.Generator
        ) -> Iterator[tuple[Tensor, Target]]:
            for images, target in stored.batches(epoch, protocol, generator):
                yield images, target[torch.randperm(len(images), generator=generator)]

    right, wrong = (
        ImageStudent(source=source, test=test, spec=digits.spec, protocol=REPLAY_V1, network="convnet-w32")
        .outcome(0)
        .accuracy
        for source in (stored, Misplaced())
    )
    assert right > 75 and wrong < 40


@pytest.mark.parametrize(
    ("host", "space"),
    [("random_subset", "normalized"), ("random_subset", "zca"), ("dm", "zca"), ("idc", "raw")],
)
def test_it_labels_what_any_method_makes_and_leaves_its_images_as_they_are(
    host: str, space: str, digits: ImageDataset, tmp_path: Path
) -> None:
    few: dict[str, str] = {
        name: "1" for name in ("iterations", "matches") if name in methods()[host]().config()
    }
    few |= {"pixel_space": space}
    made, _ = make(host, digits, tmp_path, few)
    settings = {name: str(value) for name, value in methods()[host].quick.items()} | few
    alone, _ = distill(build(host, "digits", 2, settings)[0], digits, ipc=2, cache=tmp_path / "alone")
    assert torch.equal(made.images, alone.images) and torch.equal(made.labels, alone.labels)
    assert made.nbytes() == alone.nbytes() | {"replay": made.nbytes()["replay"]}
    made.save(tmp_path / "set")
    stored = ImageSet.load(tmp_path / "set")
    assert verify(tmp_path / "set") == made.hash and stored.soft is None
    shown = normalized(stored, digits)
    batches = list(shown.batches(2, REPLAY_V1, torch.Generator()))
    assert sum(len(images) for images, _ in batches) == len(made) == made.content["counts"]["effective"]
    teacher = fixed("digits", digits.train.hash, torch.device("cpu"))
    for images, target in batches:
        assert torch.equal(cast(TeacherLogits, target).logits, teacher.logits(images).half().float())
    label = made.content["label"]
    assert label["kind"] == "replayed" and label["teacher"] == teacher.hash and label["temperature"] == 20.0


def test_the_teacher_that_the_host_inverts_labels_where_that_is_asked_for(
    digits: ImageDataset, tmp_path: Path
) -> None:
    taught = [name for name, cls in methods().items() if "teacher" in cls().config()]
    with pytest.raises(Refused, match="fkd.teacher='host': dm has no teacher"):
        make("dm", digits, tmp_path, {"fkd.teacher": "host"})
    assert taught
    made, _ = make(taught[0], digits, tmp_path, {"fkd.teacher": "host"}, ipc=1)
    held = cast(dict[str, object], made.content["teacher"])
    assert made.content["label"]["teacher"] == held["hash"]


def test_a_run_that_is_stopped_while_it_labels_ends_in_the_same_set(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = make("random_subset", digits, tmp_path / "whole", {"fkd.epochs": "6"})
    budget, asked = Budget(1e9), iter([False, False, False, True])
    monkeypatch.setattr(budget, "spent", lambda now=None: next(asked))
    with pytest.raises(Stopped, match="phase label, step 4 of 6"):
        make("random_subset", digits, tmp_path / "broken", {"fkd.epochs": "6"}, budget=budget)
    (shard,) = (tmp_path / "broken").rglob("replay-00003.safetensors")
    written = shard.stat().st_mtime_ns
    again, run = make("random_subset", digits, tmp_path / "broken", {"fkd.epochs": "6"})
    assert again.hash == whole.hash and shard.stat().st_mtime_ns == written
    again.save(tmp_path / "set")
    run.done()
    assert not list((tmp_path / "broken").rglob("replay-*")) and verify(tmp_path / "set") == whole.hash


def test_pruned_labels_keep_their_first_epochs_and_train_as_long(
    digits: ImageDataset, tmp_path: Path
) -> None:
    whole, _ = make("random_subset", digits, tmp_path, {"fkd.epochs": "6"})
    pruned, _ = make("random_subset", digits, tmp_path, {"fkd.epochs": "6", "fkd.kept": "2"})
    assert pruned.epochs == whole.epochs == 6
    assert pruned.nbytes()["replay"] * 3 == whole.nbytes()["replay"]
    assert pruned.content["replay"] == whole.content["replay"][:2]
    few, _ = make("random_subset", digits, tmp_path, {"fkd.epochs": "6", "fkd.top_k": "2"})
    assert few.nbytes()["replay"] == 6 * (20 * (17 + 2 * 3 + 2) + 3 * 12)


def test_logits_that_are_not_stored_are_read_as_their_mean_and_not_as_impossible() -> None:
    layout = ShardLayout(4, 10, 4, top_k=3)
    logits = torch.randn(4, 10, generator=torch.Generator().manual_seed(0)) * 4
    read = layout.logits(layout.labels(logits))
    torch.testing.assert_close(read.sum(1), logits.sum(1), rtol=0, atol=0.02)
    least = logits.topk(3, dim=1).values[:, -1]
    omitted = logits < least[:, None]
    assert omitted.sum() == 4 * 7 and len(set(read[0][omitted[0]].tolist())) == 1
    # LPQLD gives these seven classes nothing; at the default temperature they have a large share here.
    assert bool(((read / 20).softmax(1) * omitted).sum(1).gt(0.5).all())


def test_soft_v1_and_hard_v1_judge_the_images_as_if_there_were_no_labels(
    digits: ImageDataset, tmp_path: Path
) -> None:
    made, _ = make("random_subset", digits, tmp_path)
    plain, _ = distill(build("random_subset", "digits", 2)[0], digits, ipc=2, cache=tmp_path)
    short = replace(HARD_V1, stages=(Stage(epochs=2),), batch=8)
    for (x, target), (y, other) in zip(
        made.batches(0, short, torch.Generator()), plain.batches(0, short, torch.Generator()), strict=True
    ):
        assert torch.equal(x, y) and isinstance(target, Hard) and torch.equal(target.ids, other.ids)


@pytest.mark.parametrize(("ipc", "batch", "epochs"), [(1, 10, 3000), (2, 10, 1500), (13, 13, 300)])
def test_by_default_views_are_those_that_replay_v2_trains_on(
    ipc: int, batch: int, epochs: int, digits: ImageDataset, tmp_path: Path
) -> None:
    method, _ = build("random_subset+fkd", "digits", ipc, {"fkd.kept": "1"})
    made, _ = distill(method, digits, ipc=ipc, cache=tmp_path)
    label = cast(ReplayedLabelPart, made.content["label"])
    assert (label["batch"], label["epochs"], label["protocol"]) == (batch, epochs, "replay-v2")
    n = 10 * ipc
    assert (
        (REPLAY_V2.batch_for(n), REPLAY_V2.epochs_for(n)) == (SOFT_V2.batch_for(n), epochs) == (batch, epochs)
    )
    shown = normalized(made, digits)
    assert [len(images) for images, _ in shown.batches(epochs - 1, REPLAY_V2, torch.Generator())] == (
        [batch] * (n // batch)
    )
    assert made.replay is not None and made.replay.layout.nbytes == n * (17 + 2 * 10) + 12 * (n // batch)


def test_the_batches_of_replay_v2_are_drawn_as_under_soft_v2(digits: ImageDataset, tmp_path: Path) -> None:
    method, _ = build("random_subset+fkd", "digits", 3, {"fkd.kept": "2"})
    made, _ = distill(method, digits, ipc=3, cache=tmp_path)
    _, started = distill(build("random_subset", "digits", 3)[0], digits, ipc=3, cache=tmp_path)
    shown = normalized(made, digits)
    plain = replace(SOFT_V2, labels=None, temperature=None)
    for number in range(2):
        anew = list(shown.batches(number, plain, started.rng))
        assert made.replay is not None and len(anew) == 3
        for place, (images, target) in enumerate(anew):
            views = made.replay.batch(number, place)
            assert torch.equal(shown.images_at(views.order), images)
            images = crop.random_crop(images, started.rng, flip=False)
            images, _ = cutmix(images, target, started.rng, SOFT_V2.cutmix or 0.0)
            assert torch.equal(views.views(shown.images_at(views.order)), images)


def test_views_for_one_protocol_are_refused_under_the_other_before_any_work() -> None:
    follows, _ = build("dm+fkd", "digits", 1)
    given, _ = build("dm+fkd", "digits", 1, {"fkd.batch": "128", "fkd.epochs": "300"})
    partly, _ = build("dm+fkd", "digits", 1, {"fkd.epochs": "300"})
    assert isinstance(follows, ImageMethod) and isinstance(given, ImageMethod)
    follows.require_views(REPLAY_V2)
    given.require_views(REPLAY_V1)
    with pytest.raises(Refused) as refused:
        follows.require_views(REPLAY_V1)
    assert str(refused.value) == (
        "replay-v1 trains in the batches and for the epochs that a set was labelled for, and dm+fkd labels "
        "for those of replay-v2; fkd.batch=128, fkd.epochs=300 are those of the rows that there are; "
        "protocol='replay-v2' judges it"
    )
    words = "replay-v2 says itself in which batches and for how many epochs students are trained: leave out "
    for method, fields in ((given, "fkd.batch and fkd.epochs"), (partly, "fkd.epochs")):
        assert isinstance(method, ImageMethod)
        with pytest.raises(Refused, match=f"^{words}{fields}$"):
            method.require_views(REPLAY_V2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"crop": "centre"}, "fkd.crop='centre': unknown crop of fkd"),
        ({"cutmix": "1.5"}, "fkd.cutmix=1.5: a probability is at most 1"),
        ({"mixup": "0.8"}, "fkd.mixup=0.8: a batch is mixed once"),
        ({"temperature": "0"}, "fkd.temperature=0.0: a temperature is above 0"),
        ({"kept": "4"}, "fkd.kept=4: there are only 3 epochs"),
        ({"kept": "301", "epochs": "none"}, "fkd.kept=301: there are only 300 epochs"),
        ({"epochs": "0", "kept": "none"}, "fkd.epochs=0: epochs of fkd must be at least 1"),
        ({"teacher": "somebody"}, "unknown teacher of fkd 'somebody'"),
        ({"top_k": "10"}, "fkd.top_k=10: it has to be below the 10 classes"),
    ],
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_settings_that_make_no_sense_are_refused(
    settings: dict[str, str], words: str, digits: ImageDataset, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=words):
        make("random_subset", digits, tmp_path, {f"fkd.{name}": value for name, value in settings.items()})


def test_its_settings_are_its_own_and_it_stands_behind_a_host_only(digits: ImageDataset) -> None:
    method, _ = build("dm+fkd", "digits", 1, {"fkd.mixup": "0.8", "fkd.cutmix": "0"})
    assert method.chain()[-1]["config"] == {
        "teacher": "fixed", "epochs": None, "batch": None, "crop": "crop-flip", "cutmix": 0.0, "mixup": 0.8,
        "temperature": 20.0, "top_k": None, "kept": None,
    }  # fmt: skip
    assert {"host", "network"} <= asdict(method).keys()
    with pytest.raises(Refused, match="fkd stands behind a method"):
        build("fkd", "digits", 1)
