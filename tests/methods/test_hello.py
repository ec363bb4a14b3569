"""HeLlO: the projector's training against a naive loop in float64, the update of crops, sets and refusals."""

import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import conv2d, interpolate, linear, one_hot

from condense.data import ImageDataset
from condense.distillation import ImageRun, distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.evaluation.evaluate import evaluate_set
from condense.evaluation.kinds import Setup, kind_of
from condense.evaluation.labels import labelled_by
from condense.files import home
from condense.networks import Network, build_network
from condense.protocol import Stage
from condense.protocols import HARD_V1, PROJECTED_V1, SOFT_V2
from condense.resources import Machine
from condense.store import ImageSet, load
from condense.store.images.manifest import ProjectedLabelPart
from condense.store.images.projection import factors
from condense.store.targets import Hard, Regressed
from condense.teachers import Projector, Teacher, find_teacher, projected
from condense.teachers.projector import start
from tests.store.conftest import make_set as plain_set

HELLO = methods()["hello"]
hello = import_module(HELLO.__module__)
SHORT = replace(PROJECTED_V1, stages=(Stage(epochs=2),), least_steps=None)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def method(**settings: object) -> Any:
    quick = {key: str(value) for key, value in HELLO.quick.items()}
    return build("hello", "digits", 1, quick | {key: str(value) for key, value in settings.items()})[0]


def distilled(digits: ImageDataset, cache: Path, **settings: object) -> ImageSet:
    made: ImageSet = distill(method(**settings), digits, ipc=1, cache=cache)[0]
    return made


@pytest.fixture(scope="module")
def made(digits: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return distilled(digits, tmp_path_factory.mktemp("made"))


def encoder_of(made: ImageSet) -> Teacher:
    return find_teacher(made.content["teacher"]["hash"])


def forward(encoder: Network, parts: list[Tensor], images: Tensor) -> Tensor:
    """A convnet of one block with batch norm on 8 x 8 pixels, its adapter and its head written out."""
    a, b, weight, bias = parts
    conv, norm = (cast(Any, encoder.body[place]) for place in (0, 1))
    x = conv2d(images, conv.weight + (a @ b).view_as(conv.weight), conv.bias, padding=1)
    mean, var = (held[None, :, None, None] for held in (norm.running_mean, norm.running_var))
    x = (x - mean) / (var + norm.eps).sqrt()
    x = (x * norm.weight[None, :, None, None] + norm.bias[None, :, None, None]).relu()
    pooled = x.view(len(x), 32, 4, 2, 4, 2).mean((3, 5))
    return linear(pooled.flatten(1), weight, bias)


def test_the_projector_is_trained_as_the_formulas_say(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, batch, rates, lam = 4, 16, (0.003, 0.001), 0.3
    settings = {"rank": 2, "augment": "none", "cutmix": 0, "weak_teachers": 2, "weak_epochs": 4}
    one = method(
        **settings, projector_steps=steps, projector_batch=batch, ce_weight=lam, lr_adapters=rates[0],
        lr_head=rates[1],
    )  # fmt: skip
    experts: list[Any] = []
    asked = ImageRun.experts

    def trained(*given: Any) -> Any:
        experts.append(asked(*given))
        return experts[0]

    monkeypatch.setattr(ImageRun, "experts", trained)
    made = distill(one, digits, ipc=1, cache=tmp_path)[0]
    projection = made.projection
    assert projection is not None

    train = digits.train.in_space(digits.space("normalized"))
    encoder = encoder_of(made).network.double()
    weak = build_network("convnet-w32", digits.spec.shape, 10, stream()).double().eval()
    rng = stream()
    begun = start(encoder_of(made).network, projection.adapted, rng)
    order = torch.randperm(len(train), generator=rng)
    checkpoints = [experts[0].at(0, epoch).double() for epoch in (2, 4)]
    parts = [part.double().clone() for pair in factors(projection.adapted, begun).values() for part in pair]
    assert [tuple(part.shape) for part in parts] == [(32, 2), (2, 9), (10, 512), (10,)]
    moments = [[torch.zeros_like(part), torch.zeros_like(part)] for part in parts]
    for step in range(steps):
        chosen = order[step * batch : (step + 1) * batch]
        images, y = train.images[chosen].double(), one_hot(train.labels[chosen], 10).double()
        leaves = [part.requires_grad_() for part in parts]
        logits = forward(encoder, leaves, images)
        goal = sum(named(weak, theta, images) for theta in checkpoints) / 2
        squares = (logits - goal).square().sum() / (batch * 10)
        loss = squares - lam * (y * logits.log_softmax(1)).sum() / batch
        gradients = torch.autograd.grad(loss, leaves)
        with torch.no_grad():
            for place, (leaf, g, (m, v)) in enumerate(zip(leaves, gradients, moments, strict=True)):
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g**2)
                rate = rates[place > 1] * 0.5 * (1 + math.cos(math.pi * step / steps))
                mean, square = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
                leaf.sub_(rate * mean / (square.sqrt() + 1e-8))
        parts = [leaf.detach() for leaf in leaves]
    found = [part for pair in factors(projection.adapted, projection.numbers).values() for part in pair]
    for part, expected in zip(found, parts, strict=True):
        torch.testing.assert_close(part.double(), expected, rtol=1e-4, atol=1e-5)
    moved = torch.cat([part.flatten() for part in parts]) - begun.double()
    assert float(moved.abs().max()) > 0.002


def named(network: Network, theta: Tensor, images: Tensor) -> Tensor:
    """The logits of a network whose parameters are one vector."""
    names = [name for name, _ in network.named_parameters()]
    sizes = [parameter.numel() for parameter in network.parameters()]
    pieces = zip(names, network.parameters(), torch.split(theta, sizes), strict=True)
    given = {name: piece.view_as(parameter) for name, parameter, piece in pieces}
    logits: Tensor = functional_call(network, given, (images,))
    return logits.detach()


def test_a_projector_comes_nearer_to_its_weak_teachers_than_its_encoder_was(
    digits: ImageDataset, tmp_path: Path
) -> None:
    seen: list[Any] = []
    begin = hello.ProjectorJob.__post_init__

    def noted(self: Any) -> None:
        begin(self)
        seen.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hello.ProjectorJob, "__post_init__", noted)
        made = distilled(digits, tmp_path, projector_steps=60, lr_head=0.01)
    encoder, projection = encoder_of(made), made.projection
    assert projection is not None
    images = digits.train.in_space(digits.space("normalized")).images[:300]
    gaps = [
        float((labels(images) - seen[0].weak(images)).square().mean())
        for labels in (encoder.logits, Projector.of(encoder, projection).logits)
    ]
    assert gaps[1] < 0.25 * gaps[0]


def test_sets_of_any_ipc_and_seed_share_a_projector_and_its_cost(
    digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = hello.ProjectorJob.step

    def counted(self: Any, number: int, chosen: Tensor) -> Tensor:
        steps.append(number)
        loss: Tensor = step(self, number, chosen)
        return loss

    monkeypatch.setattr(hello.ProjectorJob, "step", counted)
    sets = [
        distill(method(), digits, ipc=ipc, seed=seed, cache=tmp_path)[0] for ipc, seed in ((1, 0), (2, 3))
    ]
    assert steps == list(range(20)) and torch.equal(sets[0].projector, sets[1].projector)
    for name, value in (("ce_weight", 0.2), ("weak_teachers", 1)):
        other = distilled(digits, tmp_path, **{name: value})
        assert other.projector is not None and not torch.equal(other.projector, sets[0].projector), name


def test_the_update_of_the_crops_lowers_what_is_lost_of_them_by_sampling_down() -> None:
    network = build_network("convnet-w32-bn", (3, 8, 8), 5, stream(1)).eval().requires_grad_(False)
    images = torch.randn(6, 3, 8, 8, generator=stream(2))
    found = hello.updated(images, network.features, steps=30, lr=0.05, down=2)
    before, after = (float(hello.lost(x, network.features, 2)) for x in (images, found))
    assert after < 0.7 * before and not torch.equal(found, images)
    assert torch.equal(hello.updated(images, network.features, steps=0, lr=0.05, down=2), images)
    small = interpolate(images, size=(4, 4), mode="bilinear", antialias=True)
    large = interpolate(small, size=(8, 8), mode="bilinear", antialias=True)
    expected = (network.features(images) - network.features(large)).double().square().mean()
    torch.testing.assert_close(before, float(expected), rtol=1e-5, atol=0)


def test_a_set_that_was_stored_labels_and_trains_as_the_one_in_memory(
    made: ImageSet, digits: ImageDataset, tmp_path: Path
) -> None:
    made.save(tmp_path / "set")
    stored = load(tmp_path / "set")
    assert isinstance(stored, ImageSet)
    images = torch.randn(9, 1, 8, 8, generator=stream(1))
    own = Hard(torch.arange(9))
    labels = [labelled_by(encoder_of(one), PROJECTED_V1, one)(images, own) for one in (made, stored)]
    assert all(isinstance(one, Regressed) and one.weight == 0.1 for one in labels)
    assert torch.equal(*(cast(Regressed, one).logits for one in labels))
    setup = Setup(digits, SHORT, "convnet-w32")
    first, second = (evaluate_set(one, setup, [0], None, Machine()) for one in (made, stored))
    assert first.entries[0].accuracy == second.entries[0].accuracy
    kind = kind_of(digits)
    assert made.projector is not None
    changed = replace(made, projector=made.projector + 0.5)
    weights = []
    for one in (made, stored, changed):
        student = cast(Any, kind.trial(one, setup, encoder_of(one), Machine())).__self__
        rng = stream()
        network = student.build(rng)
        loop = import_module("condense.training.loop").Loop(
            None, rng, device=torch.device("cpu"), budget=Machine().budget, title="t", remedy="r"
        )
        weights.append(torch.cat([part.flatten() for part in student.train(network, loop).parameters()]))
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_a_record_tells_the_adapters_as_labels_and_the_encoder_as_teacher(
    made: ImageSet, digits: ImageDataset
) -> None:
    encoder, label = encoder_of(made), cast(ProjectedLabelPart, made.content["label"])
    numbers = 4 * (9 + 32) + 10 * 512 + 10
    assert made.projector is not None and made.projector.shape == (numbers,)
    assert [part["rank"] for part in label["adapted"]] == [4, None]
    record = evaluate_set(made, Setup(digits, SHORT, "mlp"), [0], None, Machine())
    assert record.set is not None and record.set.label == "projected"
    assert record.set.bytes["labels"] == 10 + 4 * numbers and record.set.bytes["teacher"] == encoder.nbytes
    assert (record.teacher, record.teacher_bytes) == (encoder.hash, encoder.nbytes)
    hard = replace(HARD_V1, stages=(Stage(epochs=1),))
    under_ids = evaluate_set(made, Setup(digits, hard, "mlp"), [0], None, Machine())
    assert under_ids.teacher is None


def test_a_projected_set_gives_each_image_with_the_label_of_the_image_as_it_is(
    made: ImageSet, digits: ImageDataset, toy: ImageDataset
) -> None:
    encoder, shown = encoder_of(made), projected(made)
    own = torch.stack([image for image, _ in (made[i] for i in range(10))])
    labels = labelled_by(encoder, PROJECTED_V1, made)(own, Hard(made.labels))
    for i, (image, label) in enumerate(shown[i] for i in range(10)):
        assert torch.equal(image, own[i]) and made[i][1] == int(made.labels[i])
        torch.testing.assert_close(label, cast(Regressed, labels).logits[i])
    assert shown.hash == made.hash
    with pytest.raises(Refused, match="this is the encoder ffffffff, and the set's labels are those of"):
        projected(made, replace(encoder, hash="f" * 64))
    with pytest.raises(Refused, match="the labels of this set are hard, not projected"):
        projected(plain_set())


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weak_network": "convnet-w32-bn"}, "weak_network=.*no running statistics of batch norms"),
        ({"weak_teachers": 4}, "weak_teachers=4: .* there are 3 epochs"),
        (
            {"head": "low-rank", "head_start": "zero"},
            "head_start='zero': an adapter adds to the encoder's own",
        ),
        ({"cutmix": 1.5}, "cutmix=1.5: a probability is at most 1"),
        ({"down": 9}, "down=9: the images have 8 pixels to a side"),
        ({"factor": 9}, "factor=9: the images have 8 pixels to a side"),
        ({"augment": "swirl"}, "unknown augmentation 'swirl'"),
        ({"rank": -1}, "rank of hello must be at least 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    settings: dict[str, object], sentence: str, digits: ImageDataset, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match=sentence):
        distilled(digits, tmp_path, **settings)


def test_rank_0_and_no_head_adapter_leave_the_encoder_and_train_nothing(
    digits: ImageDataset, tmp_path: Path
) -> None:
    bare: Any = {"rank": 0, "head": "low-rank", "head_rank": 0}
    make: Any = HELLO
    adapted, plain = make().shared_trainings(), make(**bare).shared_trainings()
    assert len(adapted) == len(plain) + 1  # the weak teachers
    made = distilled(digits, tmp_path, update_steps=0, factor=2, **bare)
    assert made.projector is not None and made.projector.numel() == 0
    images, encoder = torch.randn(9, 1, 8, 8, generator=stream(1)), encoder_of(made)
    labels = labelled_by(encoder, PROJECTED_V1, made)(images, Hard(torch.zeros(9, dtype=torch.long)))
    assert torch.equal(cast(Regressed, labels).logits, encoder.logits(images))


def test_half_precision_halves_the_bytes_of_the_adapters(digits: ImageDataset, tmp_path: Path) -> None:
    made = distilled(digits, tmp_path, precision="float16", rank=1, head="low-rank", head_rank=2)
    assert made.nbytes()["labels"] == 10 + 2 * ((9 + 32) + 2 * (512 + 10))


def test_labels_whose_encoder_is_missing_altered_or_of_another_network_are_refused(
    made: ImageSet, digits: ImageDataset, toy: ImageDataset
) -> None:
    setup, part = Setup(digits, SHORT, "mlp"), made.content["teacher"]
    label: Any = {**made.content["label"], "teacher": "f" * 64}
    lost = replace(made, content={**made.content, "teacher": {**part, "hash": "f" * 64}, "label": label})
    with pytest.raises(Refused, match="the teacher ffffffff is not here"):
        evaluate_set(lost, setup, [0], None, Machine())
    kept = home() / "teachers" / "kept" / f"{'f' * 64}.safetensors"
    encoder_of(made).save(kept)
    with pytest.raises(Refused, match=f"{kept} is damaged: its content has the hash {part['hash'][:8]}"):
        evaluate_set(lost, setup, [0], None, Machine())
    kept.unlink()
    data: Any = {**made.content["dataset"], "classes": [*"abcdefghij"]}
    renamed = replace(made, content={**made.content, "dataset": data})
    with pytest.raises(Refused, match="labels are those of another dataset: class 0 of the .* '0', .* 'a'"):
        evaluate_set(renamed, setup, [0], None, Machine())
    listed = cast(ProjectedLabelPart, made.content["label"])["adapted"]
    other: Any = {**made.content["label"], "adapted": [{**listed[0], "name": "body.9"}, listed[1]]}
    with pytest.raises(Refused, match="the adapters are of another network: they change the weight 'body.9'"):
        evaluate_set(replace(made, content={**made.content, "label": other}), setup, [0], None, Machine())


def test_a_set_without_adapters_is_refused_under_projected_v1(digits: ImageDataset, tmp_path: Path) -> None:
    plain = distill(build("random_subset", "digits", 1, {})[0], digits, ipc=1, cache=tmp_path)[0]
    sentence = (
        "projected-v1 trains on labels that a set's own adapters regenerate, and a set of random_subset"
    )
    with pytest.raises(Refused, match=sentence):
        evaluate_set(plain, Setup(digits, PROJECTED_V1, "mlp"), [0], None, Machine())
    kind = kind_of(digits)
    with pytest.raises(Refused, match=sentence):
        kind.labeller_hash(build("random_subset", "digits", 1, {})[0], digits, PROJECTED_V1)
    assert kind.labeller_hash(method(), digits, PROJECTED_V1) is None
    assert kind.labeller_hash(method(), digits, SOFT_V2) is not None


def test_the_recipes_have_the_ranks_of_the_paper() -> None:
    ranks = {cell: recipe.method.config() for cell, recipe in HELLO.recipes.items()}
    assert {cell: (found["rank"], found["head_rank"]) for cell, found in ranks.items()} == {
        (name, ipc): (8, head)
        for name, head in (("imagenet-100", 64), ("imagenet-1k", 128))
        for ipc in (1, 10, 50)
    }
    assert all(found["weak_teachers"] == 9 and found["factor"] == 2 for found in ranks.values())
    for recipe in HELLO.recipes.values():
        assert recipe.protocol is not None and recipe.protocol.labels == "projected"
