"""Teachers and their files: one hash for what is stored and what computes; only whole ones are read."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from condense.data import ImageDataset
from condense.errors import Refused
from condense.files import canonical
from condense.networks import Network
from condense.teachers import Header, Teacher, check_classes, load_teacher
from condense.teachers.teacher import by_batch


def images(count: int = 70) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def file(teacher: Teacher, tmp_path: Path) -> Path:
    teacher.save(tmp_path / "teacher.safetensors")
    return tmp_path / "teacher.safetensors"


def test_a_teacher_read_from_its_file_is_the_teacher_that_was_written(teacher: Teacher, file: Path) -> None:
    found = load_teacher(file)
    assert (found.hash, found.nbytes, found.accuracy) == (teacher.hash, teacher.nbytes, 90.0)
    assert (found.name, found.classes, found.dataset) == ("convnet-w32-bn", ("0", "1", "2"), "toy")
    assert found.header == teacher.header
    assert torch.equal(found.logits(images()), teacher.logits(images()))
    found.save(file)
    assert load_teacher(file).hash == teacher.hash


def test_the_network_that_computes_is_the_one_that_is_stored(
    teacher: Teacher, trained: Network, file: Path
) -> None:
    held, net = load_file(file), teacher.network.state_dict()
    given = trained.state_dict()
    assert set(held) == {name for name in given if not name.endswith("num_batches_tracked")}
    for name, value in held.items():
        statistic = "running" in name
        assert value.dtype == (torch.float32 if statistic else torch.float16)
        assert torch.equal(value, given[name] if statistic else given[name].half())
        assert net[name].dtype == torch.float32 and torch.equal(net[name], value.float())
    assert teacher.nbytes == sum(value.numel() * value.element_size() for value in held.values())
    assert not torch.equal(net["classifier.weight"], given["classifier.weight"]), "nothing was rounded"


def test_the_metadata_holds_the_hash_and_a_header_with_all_that_is_known(
    teacher: Teacher, file: Path
) -> None:
    with safe_open(file, framework="pt") as held:
        metadata = held.metadata()
    assert list(metadata) == ["teacher"]
    values = json.loads(metadata["teacher"])
    assert metadata["teacher"] == canonical(values) and values.pop("hash") == teacher.hash
    assert sorted(values) == [
        "accuracy", "classes", "dataset", "format", "mean", "network", "shape", "std", "train_hash",
        "training", "version",
    ]  # fmt: skip


def test_a_number_that_has_changed_on_the_disk_is_found(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(Refused, match=r"teacher.safetensors is damaged: its content has the hash \w{8}, not"):
        load_teacher(file)


def test_a_file_of_an_older_version_which_holds_no_hash_is_read(teacher: Teacher, file: Path) -> None:
    with safe_open(file, framework="pt") as held:
        header = json.loads(held.metadata()["teacher"])
    del header["hash"]
    save_file(load_file(file), file, metadata={"teacher": canonical(header)})
    assert load_teacher(file).hash == teacher.hash


def test_the_hash_covers_every_stored_number_and_the_header(
    header: Header, trained: Network, teacher: Teacher
) -> None:
    state = trained.state_dict()
    found = {teacher.hash, Teacher.of(replace(header, accuracy=None), state, "cpu").hash}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            changed = value.clone()
            changed.view(-1)[0] += 0.5
            found.add(Teacher.of(header, {**state, name: changed}, "cpu").hash)
    assert len(found) == 2 + len(state) - 1


def test_the_network_is_frozen_and_its_logits_have_no_gradient(teacher: Teacher) -> None:
    assert not any(module.training for module in teacher.network.modules())
    assert not any(weight.requires_grad for weight in teacher.network.parameters())
    logits = teacher.logits(images().requires_grad_())
    assert logits.shape == (70, 3) and logits.dtype == torch.float32 and not logits.requires_grad


def test_an_image_does_not_see_the_others_of_its_batch(teacher: Teacher) -> None:
    x = images()
    one_by_one = torch.cat([teacher.logits(x[i : i + 1]) for i in range(70)])
    torch.testing.assert_close(teacher.logits(x), one_by_one)


def test_batch_statistics_are_those_of_training_mode_on_the_whole_batch(teacher: Teacher) -> None:
    x, before = images(), copy.deepcopy(teacher.network.state_dict())
    found = teacher.logits(x, batch_statistics=True)
    assert torch.equal(found, copy.deepcopy(teacher.network).train()(x).detach())
    assert not found.requires_grad and not torch.allclose(found, teacher.logits(x), atol=0.1)
    after = teacher.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module.training for module in teacher.network.modules())


def test_by_batch_statistics_each_channel_is_standardised_over_the_batch(teacher: Teacher) -> None:
    net = copy.deepcopy(teacher.network).double()
    x = images().double()
    conv, norm = net.body[0](x), net.body[1]
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = conv.mean((0, 2, 3)), conv.var((0, 2, 3), unbiased=False)
    scale = norm.weight / (variance + norm.eps).sqrt()
    expected = (conv - mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    with by_batch(net):
        torch.testing.assert_close(norm(conv), expected)
    assert not torch.allclose(norm(conv), expected)


def test_an_error_within_leaves_the_network_in_evaluation_mode(teacher: Teacher) -> None:
    with pytest.raises(RuntimeError):
        teacher.logits(torch.zeros(2, 5, 8, 8), batch_statistics=True)
    x = images()
    torch.testing.assert_close(teacher.logits(x)[:1], teacher.logits(x[:1]))


Change = Callable[[dict[str, Tensor], dict[str, object]], None]


def broken(tensor: str, value: Tensor | None) -> Change:
    def change(tensors: dict[str, Tensor], head: dict[str, object]) -> None:
        if value is None:
            del tensors[tensor]
        else:
            tensors[tensor] = value

    return change


def headed(**values: object) -> Change:
    def change(tensors: dict[str, Tensor], head: dict[str, object]) -> None:
        head.update(values)

    return change


def without(name: str) -> Change:
    def change(tensors: dict[str, Tensor], head: dict[str, object]) -> None:
        del head[name]

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (headed(version=2), "this teacher is of version 2; this condense reads version 1: update condense"),
        (headed(version=True), "True is no version of a condense-teacher; this condense reads version 1"),
        (headed(format="other"), "its header is not that of a condense-teacher"),
        (headed(extra=1), "'extra' is unknown to the header of a condense-teacher"),
        (without("mean"), "'mean' is missing in the header of a condense-teacher"),
        (headed(network="convnt"), "unknown network 'convnt'; nearest: convnet"),
        (headed(network="convnet-bn"), "has float16 128"),
        (headed(accuracy="90"), "accuracy = 90 makes no sense in the header of a condense-teacher"),
        (headed(accuracy=101), "accuracy = 101 makes no sense in the header of a condense-teacher"),
        (headed(classes=["0"]), "classes = ['0'] makes no sense in the header of a condense-teacher"),
        (headed(shape=[1, 8]), "shape = [1, 8] makes no sense in the header of a condense-teacher"),
        (headed(std=[0.0]), "std = [0.0] makes no sense in the header of a condense-teacher"),
        (headed(mean=[0.1, 0.2]), "mean and std do not hold one number a channel"),
        (headed(dataset=""), "dataset =  makes no sense in the header of a condense-teacher"),
        (headed(train_hash=0), "train_hash = 0 makes no sense in the header of a condense-teacher"),
        (headed(training=[]), "training = [] makes no sense in the header of a condense-teacher"),
        (broken("classifier.bias", None), "the tensor classifier.bias is missing"),
        (broken("other", torch.zeros(1).half()), "the tensor other is no tensor of convnet-w32-bn"),
        (broken("classifier.bias", torch.zeros(3)), "is float32 3; convnet-w32-bn has float16 3"),
        (broken("classifier.bias", torch.zeros(4).half()), "classifier.bias is float16 4; "),
        (broken("classifier.bias", torch.full((3,), torch.nan).half()), "classifier.bias holds a number"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_whole_and_right_is_refused_in_one_sentence(
    file: Path, change: Change, sentence: str
) -> None:
    with safe_open(file, framework="pt") as held:
        head = json.loads(held.metadata()["teacher"])
    tensors = load_file(file)
    change(tensors, head)
    save_file(tensors, file, metadata={"teacher": canonical(head)})
    with pytest.raises(Refused) as refused:
        load_teacher(file)
    assert sentence in str(refused.value) and str(refused.value).startswith(f"{file}")


def test_a_file_that_is_cut_or_foreign_is_refused(file: Path) -> None:
    data = file.read_bytes()
    for content in (b"", data[:200], data[:-1], b"no safetensors at all" * 10):
        file.write_bytes(content)
        with pytest.raises(Refused, match="is not a whole .safetensors file"):
            load_teacher(file)
    for metadata in (None, {"teacher": "{}", "more": ""}, {"other": "{}"}):
        save_file({"a": torch.zeros(1)}, file, metadata=metadata)
        with pytest.raises(
            Refused, match="is no teacher of condense's: its metadata does not hold 'teacher'"
        ):
            load_teacher(file)
    for text in ("{", '{"accuracy": NaN}'):
        save_file({"a": torch.zeros(1)}, file, metadata={"teacher": text})
        with pytest.raises(Refused, match="its header is not JSON"):
            load_teacher(file)
    with pytest.raises(Refused, match="there is no file"):
        load_teacher(file.parent / "none.safetensors")


def test_weights_beyond_half_precision_are_refused_and_statistics_are_not(
    header: Header, trained: Network
) -> None:
    state = trained.state_dict()
    large = {"body.1.running_var": torch.full((32,), 1e6)}
    made = Teacher.of(header, {**state, **large}, "cpu")
    assert torch.equal(made.network.state_dict()["body.1.running_var"], large["body.1.running_var"])
    with pytest.raises(Refused, match="classifier.bias holds a number that is not finite in half precision"):
        Teacher.of(header, {**state, "classifier.bias": torch.tensor([1e6, 0, 0])}, "cpu")


def normalized(toy: ImageDataset) -> tuple[Tensor, Tensor]:
    train = toy.train.in_space(toy.space("normalized"))
    return train.images, train.labels


def test_a_teacher_of_the_classes_is_let_pass(teacher: Teacher, toy: ImageDataset) -> None:
    check_classes(teacher, *normalized(toy), toy.spec, toy.train.hash)
    check_classes(replace(teacher, accuracy=None), *normalized(toy), toy.spec, toy.train.hash)


def test_a_teacher_with_classes_in_another_order_is_refused(teacher: Teacher, toy: ImageDataset) -> None:
    x, y = normalized(toy)
    right = 100 * float((teacher.logits(x).argmax(1) == (y + 1) % 3).double().mean())
    for accuracy in (90.0, None):
        with pytest.raises(Refused, match="its classes may be in another order") as refused:
            check_classes(replace(teacher, accuracy=accuracy), x, (y + 1) % 3, toy.spec, toy.train.hash)
        assert f"is right about {right:.1f} % of 60 training images of toy" in str(refused.value)
        assert ("where its file says 90.0 %" in str(refused.value)) == (accuracy is not None)


@pytest.mark.parametrize(("recorded", "least"), [(80.0, 40), (20.0, 10), (None, 50)])
def test_a_teacher_must_reach_half_its_accuracy_or_three_times_chance(
    recorded: float | None, least: int, toy: ImageDataset
) -> None:
    class Half(Network):
        """Right about the first images only: each says by its first pixel how it is to be answered."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.eye(3)[x[:, 0, 0, 0].long()]

    y = torch.arange(100) % 3
    for right, refused in ((least, False), (least - 1, True)):
        x = torch.zeros(100, 1, 8, 8)
        x[:, 0, 0, 0] = torch.where(torch.arange(100) < right, y, (y + 1) % 3)
        one = Teacher(Half(nn.Sequential(), 1, 3), "n", "h" * 64, 0, recorded, toy.spec.classes, "toy")
        if refused:
            with pytest.raises(Refused):
                check_classes(one, x, y, toy.spec, toy.train.hash)
        else:
            check_classes(one, x, y, toy.spec, toy.train.hash)


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        (("0", "1"), "tells 3 classes apart; toy has 2"),
        (("0", "two", "2"), "knows class 1 as '1'; toy has 'two' there"),
    ],
)
def test_other_classes_are_refused(
    teacher: Teacher, toy: ImageDataset, classes: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(Refused, match=sentence):
        check_classes(teacher, *normalized(toy), replace(toy.spec, classes=classes), toy.train.hash)


def test_images_of_another_size_are_refused(teacher: Teacher, toy: ImageDataset) -> None:
    with pytest.raises(Refused, match="takes images of 1 x 8 x 8; those of toy are 1 x 16 x 16"):
        other = replace(toy.spec, shape=(1, 16, 16))
        check_classes(teacher, torch.zeros(3, 1, 16, 16), torch.arange(3), other, toy.train.hash)


@pytest.mark.parametrize("which", ["mean", "std"])
def test_images_that_are_normalised_otherwise_are_refused(
    teacher: Teacher, toy: ImageDataset, which: str
) -> None:
    (ours,) = getattr(toy.spec, which)
    rounded = replace(toy.spec, **{which: (ours + 5e-5,)})  # type: ignore[arg-type]
    check_classes(teacher, *normalized(toy), rounded, toy.train.hash)
    other = replace(toy.spec, **{which: (ours + 0.02,)})  # type: ignore[arg-type]
    sentence = f"takes images normalised by a {which} of {ours:.4g}; toy has {ours + 0.02:.4g}"
    with pytest.raises(Refused, match=sentence):
        check_classes(teacher, *normalized(toy), other, toy.train.hash)


def test_a_teacher_of_another_known_training_split_is_refused(
    teacher: Teacher, header: Header, trained: Network, toy: ImageDataset
) -> None:
    sentence = f"was trained on the training split {toy.train.hash[:8]}; toy has 00000000, and images of"
    with pytest.raises(Refused, match=sentence):
        check_classes(teacher, *normalized(toy), toy.spec, "0" * 64)
    unknown = Teacher.of(replace(header, dataset=None, train_hash=None), trained.state_dict(), "cpu")
    check_classes(unknown, *normalized(toy), toy.spec, "0" * 64)
