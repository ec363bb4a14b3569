"""The fixed teacher of a dataset, shipped or pinned by a user, and where other teachers lie."""

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from condense.data import ImageDataset, load_images
from condense.errors import Refused
from condense.files import canonical
from condense.networks import Network
from condense.teachers import (
    PINNED,
    Header,
    Teacher,
    check_classes,
    find_teacher,
    fixed,
    keep_teacher,
    load_teacher,
    pin,
    require_pinnable,
)
from condense.teachers.training import teacher_training

SHIPPED = [
    name.name for name in resources.files("condense.teachers").iterdir() if ".safetensors" in name.name
]


def test_exactly_the_pinned_teachers_are_shipped() -> None:
    assert sorted(SHIPPED) == sorted(entry.file for entry in PINNED.values())
    assert set(PINNED) == {"digits", "fashion-mnist", "cifar10"}


@pytest.mark.parametrize("name", PINNED)
def test_a_shipped_teacher_has_the_hash_and_the_data_that_it_is_pinned_by(name: str) -> None:
    found = fixed(name, PINNED[name].train_hash)
    assert found.hash == PINNED[name].hash and found.dataset == name
    assert found.header is not None and found.header.train_hash == PINNED[name].train_hash
    assert found.nbytes < 60_000 and found.accuracy is not None and found.accuracy > 82
    assert found.header.training["held_out"] == 0.05 and found.header.network == "convnet-w32-bn"


@pytest.mark.parametrize(("name", "epochs"), [("digits", 200), ("fashion-mnist", 20), ("cifar10", 40)])
def test_a_shipped_teacher_was_trained_as_long_as_the_module_says(name: str, epochs: int) -> None:
    header = fixed(name, PINNED[name].train_hash).header
    assert header is not None and header.training["epochs"] == epochs
    assert canonical(dict(header.training)) == canonical(
        teacher_training("convnet-w32-bn", epochs=epochs).describe()
    )


def test_the_teacher_of_the_digits_knows_them() -> None:
    digits = load_images("digits")
    found = fixed("digits", digits.train.hash)
    space = digits.space("normalized")
    train, test = digits.train.in_space(space), digits.test.in_space(space)
    check_classes(found, train.images, train.labels, digits.spec, digits.train.hash)
    assert (found.logits(test.images).argmax(1) == test.labels).float().mean() > 0.95


def test_a_dataset_without_one_is_refused_with_the_way_to_one(home: Path, toy: ImageDataset) -> None:
    with pytest.raises(Refused) as refused:
        fixed("toy", toy.train.hash)
    assert str(refused.value) == (
        "toy has no fixed teacher; condense teach with dataset='toy', network='convnet-w32-bn', epochs=20, "
        "pin=True makes one"
    )
    # A user's own data under a known name are not those that the shipped one was trained on.
    with pytest.raises(Refused, match="digits has no fixed teacher"):
        fixed("digits", toy.train.hash)


def test_a_pinned_teacher_is_the_fixed_one_of_its_data_and_of_no_other(
    home: Path, teacher: Teacher, toy: ImageDataset
) -> None:
    path = pin(teacher)
    assert path == home / "teachers" / f"{toy.train.hash}.safetensors"
    assert fixed("toy", toy.train.hash).hash == teacher.hash
    assert pin(teacher) == path
    with pytest.raises(Refused, match="other has no fixed teacher"):
        fixed("other", "0" * 64)
    path.rename(path.with_stem("0" * 64))
    with pytest.raises(Refused, match="is the teacher of other data, .*: move it away"):
        fixed("other", "0" * 64)


def test_no_teacher_takes_the_place_of_another(
    home: Path, teacher: Teacher, header: Header, trained: Network
) -> None:
    path = pin(teacher)
    other = Teacher.of(replace(header, accuracy=None), trained.state_dict(), "cpu")
    with pytest.raises(
        Refused, match=f"is the fixed teacher of toy already, {teacher.hash[:8]}, and this is"
    ):
        pin(other)
    assert load_teacher(path).hash == teacher.hash
    shipped = PINNED["digits"]
    ours = Teacher.of(
        replace(header, dataset="digits", train_hash=shipped.train_hash), trained.state_dict(), "cpu"
    )
    with pytest.raises(Refused, match=r"the fixed teacher of digits, .*, is shipped: none can be pinned"):
        pin(ours)


def test_a_teacher_is_not_pinnable_beside_one_of_another_training(
    home: Path, teacher: Teacher, header: Header
) -> None:
    require_pinnable("toy", str(header.train_hash), {"epochs": 21})
    path = pin(teacher)
    require_pinnable("toy", str(header.train_hash), {"epochs": 20})
    require_pinnable("toy", "0" * 64, {"epochs": 21})
    with pytest.raises(Refused, match=f"is the fixed teacher of toy already, {teacher.hash[:8]}"):
        require_pinnable("toy", str(header.train_hash), {"epochs": 21})
    path.write_bytes(b"damaged")
    with pytest.raises(Refused, match=f"{path} is not a whole .safetensors file"):
        require_pinnable("toy", str(header.train_hash), {"epochs": 20})


@pytest.mark.parametrize(("name", "epochs"), [("digits", 200), ("fashion-mnist", 20)])
def test_a_shipped_teacher_was_made_by_the_command_that_is_stated(name: str, epochs: int) -> None:
    header = fixed(name, PINNED[name].train_hash).header
    assert header is not None and header.network == header.training["network"] == "convnet-w32-bn"
    stated = header.training
    assert (stated["epochs"], stated["lr"], stated["batch"]) == (epochs, 0.1, 128)


def test_a_teacher_is_found_by_its_hash_wherever_it_lies(
    home: Path, tmp_path: Path, teacher: Teacher, header: Header, trained: Network
) -> None:
    with pytest.raises(Refused) as refused:
        find_teacher(teacher.hash)
    assert str(refused.value) == (
        f"the teacher {teacher.hash[:8]} is not here; teacher names its file; condense evaluate with teacher "
        "does so for a stored set that was made with it"
    )
    path = pin(teacher)
    kept = Teacher.of(replace(header, accuracy=1.0), trained.state_dict(), "cpu")
    keep_teacher(kept, tmp_path / "cache")
    assert find_teacher(teacher.hash).hash == teacher.hash
    assert find_teacher(kept.hash, cache=tmp_path / "cache").hash == kept.hash
    assert find_teacher(PINNED["digits"].hash).dataset == "digits"
    with pytest.raises(Refused, match="is not here"):
        find_teacher(kept.hash)
    # The damaged file of another dataset stands in nobody's way.
    path.with_stem("0" * 64).write_bytes(b"damaged")
    assert find_teacher(teacher.hash).hash == teacher.hash
    with pytest.raises(Refused, match="is not here"):
        find_teacher(kept.hash)


def test_a_kept_teacher_that_was_altered_is_refused(
    home: Path, teacher: Teacher, header: Header, trained: Network
) -> None:
    keep_teacher(teacher, home)
    (path,) = (home / "teachers" / "kept").iterdir()
    Teacher.of(replace(header, accuracy=1.0), trained.state_dict(), "cpu").save(path)
    with pytest.raises(Refused, match=f"{path.name} is damaged: its content has the hash"):
        find_teacher(teacher.hash)


def test_a_run_with_the_teacher_at_hand_mends_its_damaged_file(
    home: Path, teacher: Teacher, capsys: pytest.CaptureFixture[str]
) -> None:
    keep_teacher(teacher, home)
    (path,) = (home / "teachers" / "kept").iterdir()
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    for damaged in (bytes(flipped), whole[:100], b""):
        path.write_bytes(damaged)
        keep_teacher(teacher, home)
        assert path.read_bytes() == whole
        assert capsys.readouterr().err.endswith("; it is written again\n")
        assert find_teacher(teacher.hash).hash == teacher.hash
