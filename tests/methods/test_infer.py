"""INFER: compensators against a naive inversion in float64, the budget, and what students see."""

import math
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condense.data import ImageDataset, Images
from condense.distillation import ImageRun, Training, distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.networks import Network, build_network
from condense.protocols import HARD_V1
from condense.store import ImageSet, Soft
from condense.teachers import Teacher

INFER = methods()["infer"]
infer = import_module(INFER.__module__)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network_of(toy: ImageDataset, name: str = "convnet-w32-bn") -> Network:
    """A network that has seen some of the data, so that its statistics are theirs."""
    network = build_network(name, toy.spec.shape, 3, stream(5))
    with torch.no_grad():
        for _ in range(20):
            network(train_of(toy).images)
    return network.eval().requires_grad_(False)


@pytest.fixture
def teacher(toy: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """One network in place of every teacher."""
    made = Teacher(network_of(toy), "convnet-w32-bn", "h" * 64, 1, None, toy.spec.classes, "toy")
    monkeypatch.setattr(ImageRun, "teacher", lambda self, which, training, train: made)
    return made


def train_of(toy: ImageDataset) -> Images:
    return toy.train.in_space(toy.space("normalized"))


def distilled(toy: ImageDataset, cache: Path, ipc: int, **settings: object) -> ImageSet:
    params = {"teacher": "trained", "roll": "0"} | {name: str(value) for name, value in settings.items()}
    made: ImageSet = distill(build("infer", "toy", ipc, params)[0], toy, ipc=ipc, cache=cache)[0]
    return made


def objective(network: Network, seen: Tensor, bn_weight: float = 1.0) -> Tensor:
    """Cross-entropy and the norms of what the batch norms' inputs lack, in the precision that comes in."""
    inputs: list[tuple[nn.BatchNorm2d, Tensor]] = []
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [
        norm.register_forward_pre_hook(lambda module, given: inputs.append((module, given[0])))
        for norm in norms
    ]
    loss = cross_entropy(network(seen), torch.arange(len(seen)))
    for hook in hooks:
        hook.remove()
    for number, (norm, x) in enumerate(inputs):
        assert norm.running_mean is not None and norm.running_var is not None
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        gap = (var - norm.running_var).norm() + (mean - norm.running_mean).norm()
        loss = loss + bn_weight * (10 if number == 0 else 1) * gap
    return loss


def test_compensators_are_those_of_a_naive_recovery_in_float64(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    made = distilled(toy, tmp_path, 3, iterations=6, lr_images=0.1, bn_weight=0.5)
    base = train_of(toy).draw(2, stream()).double()
    network = network_of(toy).double()
    std = toy.spec.std[0]
    assert made.compensators is not None and made.compensators.shape == (2, 1, 1, 8, 8)
    for number in range(2):
        u = torch.zeros(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
        adam = torch.optim.Adam([u], lr=0.1, betas=(0.5, 0.9))
        for step in range(6):
            adam.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * step / 6)) / 2
            adam.zero_grad()
            objective(network, base[:, number] + u, 0.5).backward()  # type: ignore[no-untyped-call]
            adam.step()
        assert u.abs().max() > 0.2
        units = (u.detach()[0] * std).clamp(-1, 1) * 127
        assert (made.compensators[number, 0].double() - units).abs().max() <= 0.5 + 0.02


def test_with_its_compensator_a_base_set_is_nearer_to_what_the_network_knows(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    made = distilled(toy, tmp_path, 2, iterations=60, lr_images=0.1)
    (seen, _), *_ = made.batches(0, HARD_V1, stream())
    plain, compensated = (float(objective(teacher.network, part)) for part in torch.split(seen, 3))
    assert compensated < 0.8 * plain


def test_base_images_are_real_and_labelled_by_the_mean_logits(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    made = distilled(toy, tmp_path, 4, iterations=2)
    assert made.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for label in range(3):
        real = toy.train.images[toy.train.of_class(label)].flatten(1).tolist()
        assert all(image in real for image in made.images[3 * label : 3 * label + 3].flatten(1).tolist())
    space = toy.space("normalized")
    assert made.soft is not None and made.soft.dtype == torch.float32
    torch.testing.assert_close(made.soft, teacher.logits(space.encode(made.images)).softmax(1))
    assert isinstance(made.target, Soft) and len(made.target) == 18 == len(made)
    assert made.content["label"] == {"kind": "soft", "temperature": 1.0, "teacher": "h" * 64}
    assert made.content["hints"]["augment"] == "none"
    hard = distilled(toy, tmp_path, 4, iterations=2, static_labels=False)
    assert hard.soft is None and hard.content["label"]["teacher"] is None
    assert torch.equal(hard.images, made.images)


def test_the_label_of_several_networks_is_the_softmax_of_the_mean_logits(toy: ImageDataset) -> None:
    networks = [network_of(toy), network_of(toy, "convnet-d1-bn")]
    teachers = [Teacher(net, "n", "h", 1, None, toy.spec.classes, "toy") for net in networks]
    images = train_of(toy).images[:5]
    logits = [net(images).double() for net in networks]
    found = infer.mean_label(teachers, images)
    torch.testing.assert_close(found.double(), ((logits[0] + logits[1]) / 2).softmax(1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("networks", "classes", "ipc", "expected"),
    [
        (4, 10, 10, 7), (4, 10, 50, 35), (4, 100, 10, 9), (4, 100, 50, 48), (4, 100, 100, 96),
        (4, 200, 10, 9), (4, 200, 50, 49), (3, 1000, 10, 9), (3, 1000, 50, 49), (1, 10, 1, 0),
        (1, 10, 11, 10),
    ],
)  # fmt: skip
def test_base_sets_and_compensators_fit_into_the_room_as_the_papers_do(
    networks: int, classes: int, ipc: int, expected: int
) -> None:
    names = "+".join(["resnet18-bn", "vgg11-bn", "alexnet-bn", "convnet-bn"][:networks])
    params = {"networks": names, "teacher": "trained"} if networks > 1 else {}
    method = build("infer", "toy", ipc, params)[0]
    assert method.per_class(ipc, classes) == expected
    assert expected * (classes + networks) <= ipc * classes < (expected + 1) * (classes + networks)


def test_images_and_compensators_take_no_more_bytes_than_as_many_real_images(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    for ipc in (2, 4, 7):
        made = distilled(toy, tmp_path, ipc, iterations=1)
        taken = made.content["bytes"]["images"] + made.content["bytes"]["auxiliary"]
        assert ipc * 3 * 64 - 4 * 64 < taken <= ipc * 3 * 64
        assert made.content["counts"]["effective"] == 2 * made.content["counts"]["stored"] == len(made)


def test_each_network_has_compensators_of_its_own_whatever_stands_beside_it(
    toy: ImageDataset, tmp_path: Path
) -> None:
    settings = {"iterations": 3, "teacher_epochs": 1, "teacher_batch": 16}
    both = distilled(toy, tmp_path, 4, networks="convnet-w32-bn+convnet-d1-bn", **settings)
    assert both.compensators is not None and both.compensators.shape == (2, 2, 1, 8, 8)
    assert both.content["decode"] == [{"name": "compensated", "version": 1, "networks": 2}]
    assert both.content["label"]["teacher"] is None and both.content["teacher"]["network"] == "convnet-w32-bn"
    # At IPC 3 there is room for as many base sets with one network.
    for place, name in enumerate(("convnet-w32-bn", "convnet-d1-bn")):
        alone = distilled(toy, tmp_path, 3, networks=name, **settings)
        assert alone.compensators is not None and torch.equal(alone.images, both.images)
        assert torch.equal(alone.compensators[:, 0], both.compensators[:, place])
    assert not torch.equal(both.compensators[:, 0], both.compensators[:, 1])


def test_behind_it_fkd_labels_with_the_first_of_its_networks(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {
        "networks": "convnet-d1-bn+convnet-w32-bn", "teacher": "trained", "teacher_epochs": "1",
        "teacher_batch": "16", "iterations": "1", "roll": "0", "fkd.teacher": "host", "fkd.epochs": "1",
    }  # fmt: skip
    asked: list[Training | None] = []
    teacher = ImageRun.teacher

    def noted(self: ImageRun, which: str, training: Training | None, train: Images) -> Teacher:
        asked.append(training)
        return teacher(self, which, training, train)

    monkeypatch.setattr(ImageRun, "teacher", noted)
    made = distill(build("infer+fkd", "toy", 4, params)[0], toy, ipc=4, cache=tmp_path)[0]
    names = [training.network for training in asked if training]
    assert names == ["convnet-d1-bn", "convnet-w32-bn", "convnet-d1-bn"] and asked[2] == asked[0]
    held = made.content["teacher"]
    assert held["network"] == "convnet-d1-bn" and made.content["label"]["teacher"] == held["hash"]


def test_students_see_base_images_and_clamped_sums(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    made = distilled(toy, tmp_path, 3, iterations=30, lr_images=1.0)
    assert made.compensators is not None
    raw, u = made.images.double() / 255, made.compensators[:, 0].double() / 127
    sums = (raw.view(3, 2, 1, 8, 8) + u).clamp(0, 1).view(6, 1, 8, 8)
    expected = toy.space("normalized").encode(torch.cat([raw, sums]))
    seen = torch.stack([made[index][0] for index in range(12)])
    torch.testing.assert_close(seen.double(), expected, rtol=1e-5, atol=1e-5)
    assert float(((sums == 0) | (sums == 1)).double().mean()) > 0.05


def test_an_ipc_without_room_is_refused_with_the_smallest_that_has_some(
    toy: ImageDataset, tmp_path: Path, teacher: Teacher
) -> None:
    with pytest.raises(
        Refused, match=r"ipc=1: what infer shares .* leaves no room .* takes at least 2 images per class"
    ):
        distilled(toy, tmp_path, 1)
    assert len(distilled(toy, tmp_path, 2, iterations=1).images) == 3
    with pytest.raises(Refused, match="has 20 training images"):
        distilled(toy, tmp_path, 28, iterations=1)
    assert len(distilled(toy, tmp_path, 27, iterations=1).images) == 60


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"networks": "convnet-bn"}, "teacher='trained' trains them"),
        ({"networks": "a+a", "teacher": "trained"}, "has to name different networks"),
        ({"networks": "a+", "teacher": "trained"}, "has to name different networks"),
        ({"crop_min": "0"}, "crop_min=0.0: a share of an image is above 0"),
        ({"pixel_space": "raw"}, "normalized images only"),
    ],
)
def test_settings_that_make_no_sense_are_refused(params: dict[str, str], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        build("infer", "toy", 2, params)


def test_a_network_that_does_not_exist_is_refused_before_any_is_trained(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ImageRun, "teacher")
    with pytest.raises(Refused, match="hourglass"):
        distilled(toy, tmp_path, 4, networks="convnet-bn+hourglass")
