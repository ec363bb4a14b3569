"""What is refused of a method's teacher, before any work, and of a stored set's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import ImageDataset, Images
from condense.distillation import ImageMethod, ImageRun, TeacherMethod, Wrapper
from condense.distillation.engine import distill
from condense.distillation.images.taught import require_same_fixed, with_teacher_file
from condense.distillation.registry import build
from condense.errors import Refused
from condense.files import home as home_folder
from condense.networks import build_network
from condense.resources import Machine
from condense.store import ImageSet
from condense.teachers import Teacher, keep_teacher, pin
from condense.teachers.training import teach

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Means(TeacherMethod):
    """The class means, by a teacher that only looks on."""

    name = "means"

    network: str = "convnet-w32-bn"
    teacher_epochs: int = 3
    teacher_batch: int = 19

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        run.teacher(self.teacher, self.training(), train)
        images = torch.stack([train.images[train.of_class(label)].mean(0) for label in range(3)])
        return run.distilled(images, torch.arange(3))


@dataclass(frozen=True, kw_only=True)
class Plain(ImageMethod):
    """A method that has no teacher."""

    name = "plain"


@dataclass(frozen=True, kw_only=True)
class Again(Wrapper):
    """A wrapper with a teacher of its own."""

    name = "again"

    teacher: str = "fixed"

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        run.teacher(self.teacher, None, train)
        return self.host.distill(train, run)


def check(
    method: ImageMethod,
    toy: ImageDataset,
    cache: Path | None = None,
    teachers: Mapping[str, Path] | None = None,
) -> None:
    method.check(toy, 1, teachers=teachers or {}, cache=cache or home_folder())


@pytest.fixture
def own(toy: ImageDataset, home: Path) -> Teacher:
    """A teacher of the toy data that was trained for long enough to know them."""
    training = Means(teacher_epochs=30).training()
    return teach(training, toy, Machine())


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (Means(), "teacher"),
        (Again(host=Means(teacher="trained")), "again.teacher"),
        (Again(host=Plain()), "again.teacher"),
    ],
)
def test_a_method_can_do_without_a_fixed_teacher_and_the_refusal_says_how(
    method: ImageMethod, field: str, toy: ImageDataset, home: Path
) -> None:
    with pytest.raises(Refused) as refused:
        check(method, toy)
    assert str(refused.value) == (
        "toy has no fixed teacher; condense teach with dataset='toy', network='convnet-w32-bn', epochs=20, "
        f"pin=True makes one; {field}='trained' trains one for the run; teacher takes one from a file"
    )


@pytest.mark.parametrize("name", ["rad", "random_subset+kd"])
def test_a_method_that_trains_no_teacher_does_not_offer_it(name: str, toy: ImageDataset, home: Path) -> None:
    method: Any = build(name, "toy", 1)[0]
    with pytest.raises(Refused) as refused:
        check(method, toy)
    assert "trained" not in str(refused.value) and "teacher takes one from a file" in str(refused.value)
    link = "kd." if name.endswith("kd") else ""
    with pytest.raises(Refused, match="takes the fixed teacher or one from a file, and trains none"):
        build(name, "toy", 1, {f"{link}teacher": "trained"})


@dataclass(frozen=True, kw_only=True)
class Inverts(Means):
    """A method that matches its teacher's batch norms."""

    name = "inverts"
    inverts = True

    more: str = "convnet-w32-bn"

    def structures(self) -> tuple[str, ...]:
        return (self.network, self.more)


def test_a_teacher_without_batch_norms_is_refused_before_its_training(
    toy: ImageDataset, home: Path, tmp_path: Path
) -> None:
    fine = Inverts(teacher="trained")
    check(fine, toy)
    check(Means(teacher="trained", network="convnet-w32"), toy)
    for method in (replace(fine, network="convnet-w32"), replace(fine, more="convnet-w32")):
        for chain in (method, Again(host=method, teacher="trained")):
            with pytest.raises(Refused) as refused:
                distill(chain, toy, ipc=1, cache=tmp_path / "cache")
            assert str(refused.value) == (
                "inverts matches its teacher's batch norms, and convnet-w32 has none; "
                "network='convnet-bn' has some"
            )
    assert not (tmp_path / "cache").exists()


def test_a_teacher_without_batch_norms_is_refused_wherever_it_comes_from(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    assert own.header is not None
    network = build_network("convnet-w32", toy.spec.shape, 3, torch.Generator().manual_seed(0))
    plain = Teacher.of(replace(own.header, network="convnet-w32"), network.state_dict(), "cpu")
    sentence = "inverts matches its teacher's batch norms, and convnet-w32 has none; teacher='trained' trains"
    plain.save(tmp_path / "plain.safetensors")
    method, teachers = with_teacher_file(Inverts(), tmp_path / "plain.safetensors", toy)
    with pytest.raises(Refused, match=sentence):
        check(method, toy, teachers=teachers)
    check(method, toy)  # nobody knows it here: a run says so
    keep_teacher(plain, tmp_path / "cache")
    with pytest.raises(Refused, match=sentence):
        check(method, toy, cache=tmp_path / "cache")
    pin(plain)
    with pytest.raises(Refused, match=sentence):
        check(Inverts(), toy)
    check(Means(), toy)


def test_a_file_from_another_training_split_is_refused(
    toy: ImageDataset, home: Path, tmp_path: Path, own: Teacher
) -> None:
    assert own.header is not None
    other = Teacher.of(replace(own.header, train_hash="0" * 64), own.network.state_dict(), "cpu")
    other.save(tmp_path / "other.safetensors")
    method, teachers = with_teacher_file(Means(), tmp_path / "other.safetensors", toy)
    with pytest.raises(Refused, match="was trained on the training split 00000000; toy has "):
        distill(method, toy, ipc=1, cache=tmp_path / "cache", teachers=teachers)


H, J = "1" * 64, "2" * 64


@pytest.mark.parametrize(
    ("method", "inverted", "label", "fine"),
    [
        (Means(), None, None, True),
        (Means(), "own", None, True),
        (Means(), "own", "own", True),
        (Means(), H, None, False),
        (Means(), "own", H, False),
        (Means(teacher="trained"), H, H, True),
        (Again(host=Means()), "own", H, False),
        (Again(host=Means(teacher="trained")), H, "own", True),
        (Again(host=Means(), teacher=H), "own", H, True),
        (Again(host=Means(teacher=H)), H, J, False),
        (Plain(), H, None, True),
    ],
)
def test_a_stored_set_is_of_the_fixed_teacher_that_there_is_now(
    method: ImageMethod,
    inverted: str | None,
    label: str | None,
    fine: bool,
    toy: ImageDataset,
    home: Path,
    own: Teacher,
) -> None:
    pin(own)
    made, _ = distill(Means(), toy, ipc=1, cache=home)
    content = made.content
    del content["teacher"]
    named = {"own": own.hash}
    if inverted is not None:
        content["teacher"] = {
            "hash": named.get(inverted, inverted), "network": "n", "bytes": 1, "accuracy": None
        }  # fmt: skip
    content["label"]["teacher"] = label and named.get(label, label)
    if fine:
        require_same_fixed(method, content, toy, Path("sets/one"))
        return
    sentence = f"sets/one was made with the teacher .*, and the fixed one of toy is {own.hash[:8]} now; move"
    with pytest.raises(Refused, match=sentence):
        require_same_fixed(method, content, toy, Path("sets/one"))
