import json
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Protocol as Interface
from typing import cast

import pytest
import torch

from condense.data import ImageDataset, Images
from condense.data.images.pixels import WHITENED
from condense.distillation import ImageMethod, ImageRun, Method, Recipe, Training, distill
from condense.distillation.registry import build
from condense.errors import Refused
from condense.networks import build_network
from condense.protocol import Protocol
from condense.protocols import HARD_V1
from condense.store import ImageSet
from tests.commands import Place
from tests.stand_ins import start

CPU = torch.device("cpu")


class Clock(Interface):
    now: float


def make_run(
    toy: ImageDataset,
    cache: Path,
    method: Method | None = None,
    recipe: Recipe | None = None,
    seed: int = 0,
) -> ImageRun:
    method = method or build("dm", "toy", 2)[0]
    run: ImageRun
    _, run = start(method, toy, ipc=2, seed=seed, recipe=recipe, cache=cache)
    return run


def firsts(train: Images, per_class: int = 2) -> torch.Tensor:
    """Positions of the first images of each class, class-major."""
    return torch.cat([train.of_class(label)[:per_class] for label in range(train.num_classes)])


def test_a_recipe_is_cited_with_the_settings_that_were_changed() -> None:
    method = build("dm", "toy", 2)[0]
    recipe = Recipe(method=method, protocol=replace(HARD_V1, name="published"), source="here")
    assert recipe.cited_by(method) == "here"
    changed = build("dm", "toy", 2, {"iterations": "7", "momentum": "0.25"})[0]
    assert recipe.cited_by(changed) == "here; changed: iterations, momentum"


def test_the_key_covers_method_settings_data_ipc_and_seed_and_no_more() -> None:
    method = build("dm", "toy", 2)[0]
    versioned = type("DM", (type(method),), {"version": 2})()
    keys = [
        method.run_key("a", 2, 0),
        build("herding", "toy", 2)[0].run_key("a", 2, 0),
        build("dm", "toy", 2, {"momentum": "0.25"})[0].run_key("a", 2, 0),
        versioned.run_key("a", 2, 0),
        method.run_key("b", 2, 0),
        method.run_key("a", 3, 0),
        method.run_key("a", 2, 1),
    ]
    assert len(set(keys)) == len(keys)
    assert build("dm", "other", 9)[0].run_key("a", 2, 0) == keys[0]


def test_choices_about_the_data_enter_the_key_only_where_they_are_given() -> None:
    method = build("dm", "toy", 2)[0]
    keys = {method.run_key("a", 2, 0, given) for given in (None, {}, {"augment": "none"}, {"augment": "x"})}
    assert len(keys) == 3 and method.run_key("a", 2, 0) in keys


def test_an_added_field_enters_the_chain_only_with_another_value_than_its_default() -> None:
    before, host = build("dm", "toy", 2)[0], type(build("dm", "toy", 2)[0])

    @dataclass(frozen=True, kw_only=True)
    class Extended(host):  # type: ignore[misc,valid-type]
        added = host.added | {"twist"}
        twist: int = 3

    assert Extended().run_key("a", 2, 0) == before.run_key("a", 2, 0)
    unchanged = cast(dict[str, object], before.chain()[0]["config"])
    assert Extended(twist=4).chain()[0]["config"] == {**unchanged, "twist": 4}
    assert Extended().config()["twist"] == 3


def test_a_distilled_set_holds_the_given_images_and_their_origin(toy: ImageDataset, tmp_path: Path) -> None:
    recipe = Recipe(
        method=build("dm", "toy", 2)[0], protocol=replace(HARD_V1, name="published"), source="here"
    )
    run = make_run(toy, tmp_path, recipe=recipe, seed=4)
    images = torch.randn(6, 1, 8, 8, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    made = run.distilled(images, labels, lr=0.03, augment="none")
    content = made.content
    assert torch.equal(made.images, images) and not made.images.requires_grad
    assert torch.equal(made.labels, labels) and made.soft is None and made.learned_lr == 0.03
    assert content["pixels"]["space"] == "normalized" and content["label"]["kind"] == "hard"
    assert content["key"] == recipe.method.run_key(toy.train.hash, 2, 4) and content["seed"] == 4
    assert content["counts"] == {"stored": 6, "effective": 6, "per_class": [2, 2, 2]}
    assert content["dataset"]["train_hash"] == toy.train.hash and content["method"]["source"] == "here"
    own = content["protocol"]
    assert own is not None and Protocol.from_json(own) == recipe.protocol
    assert made.provenance["device"] and made.provenance["threads"] == torch.get_num_threads()
    soft = run.distilled(images, labels, soft=torch.full((6, 3), 1 / 3))
    assert soft.content["label"]["kind"] == "soft" and soft.soft is not None
    unpublished = make_run(toy, tmp_path, recipe=replace(recipe, protocol=None)).distilled(images, labels)
    assert unpublished.content["protocol"] is None and unpublished.content["method"]["source"] == "here"


def test_where_and_when_a_set_was_made_does_not_change_its_hash(toy: ImageDataset, tmp_path: Path) -> None:
    images, labels = torch.zeros(3, 1, 8, 8), torch.arange(3)
    one = make_run(toy, tmp_path / "one").distilled(images, labels)
    other = make_run(toy, tmp_path / "two").distilled(images, labels)
    assert one.hash == other.hash == replace(one, provenance={"device": "elsewhere"}).hash
    assert make_run(toy, tmp_path, seed=1).distilled(images, labels).hash != one.hash


@pytest.mark.parametrize("space", ["normalized", "raw"])
def test_selected_images_are_stored_as_the_very_bytes_that_were_loaded(
    toy: ImageDataset, tmp_path: Path, space: str
) -> None:
    run = make_run(toy, tmp_path, build("random_subset", "toy", 2, {"pixel_space": space})[0])
    chosen = firsts(toy.train)
    made = run.selected(toy.train.in_space(run.space), chosen)
    assert made.images.dtype == torch.uint8 and torch.equal(made.images, toy.train.images[chosen])
    assert made.evaluation_space == "normalized"
    seen = torch.stack([made[index][0] for index in range(len(made))])
    torch.testing.assert_close(seen, toy.train.in_space(toy.space("normalized")).images[chosen])


@pytest.mark.parametrize("space", WHITENED)
def test_images_selected_by_a_whitened_method_are_stored_whitened(
    toy: ImageDataset, tmp_path: Path, home: Path, space: str
) -> None:
    run = make_run(toy, tmp_path, build("random_subset", "toy", 2, {"pixel_space": space})[0])
    train = toy.train.in_space(run.space)
    made = run.selected(train, firsts(train))
    assert made.evaluation_space == space and torch.equal(made.images, train.images[firsts(train)])


def test_a_runs_networks_come_from_its_own_generator_one_after_the_other(
    toy: ImageDataset, tmp_path: Path
) -> None:
    run = make_run(toy, tmp_path, seed=5)
    rng = torch.Generator().manual_seed(5)
    for name in (None, "mlp"):
        found = run.network(name)
        expected = build_network(name or "convnet", toy.spec.shape, 3, rng)
        assert found.training
        for a, b in zip(found.parameters(), expected.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_cached_network_is_charged_once_at_what_it_cost(
    toy: ImageDataset, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = import_module("condense.training.image_training")
    step: Callable[..., torch.Tensor] = module.train_step

    def slow(*arguments: object) -> torch.Tensor:
        clock.now += 10
        return step(*arguments)

    monkeypatch.setattr(module, "train_step", slow)
    training = Training(network="convnet-w32", steps=2, batch=8)
    train = toy.train.in_space(toy.space("normalized"))
    for seed in (0, 0, 1):  # anew, restarted, and another run that finds the network in the cache
        run = make_run(toy, tmp_path, seed=seed)
        run.pretrained(training, train)
        for _ in run.steps(3, {}):
            clock.now += 1
        made = run.distilled(torch.zeros(3, 1, 8, 8), torch.arange(3))
        assert made.provenance["seconds"] == 2 * 10 + 3, seed


def test_a_run_gives_no_way_to_the_test_images(toy: ImageDataset, tmp_path: Path) -> None:
    seen: list[object] = []

    @dataclass(frozen=True, kw_only=True)
    class Nosy(ImageMethod):
        name = "nosy"

        def distill(self, train: Images, run: ImageRun) -> ImageSet:
            seen.extend((train, run))
            return run.selected(train, firsts(train, 1))

    distill(Nosy(), toy, ipc=1, cache=tmp_path)
    todo, known = list(seen), set()
    while todo:
        value = todo.pop()
        if id(value) in known:
            continue
        known.add(id(value))
        assert value is not toy and value is not toy.test
        if isinstance(value, torch.Tensor):
            assert value.shape != toy.test.images.shape
        elif isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list | tuple):
            todo.extend(value)
        elif hasattr(value, "__dict__"):
            todo.extend(vars(value).values())


def test_what_cannot_work_is_refused_before_any_work(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageMethod, "distill", None)
    file = tmp_path / "file"
    file.write_text("")
    cases = [
        ("random_subset", {}, 0, tmp_path, "ipc=0: at least one image per class is needed"),
        ("random_subset", {}, 21, tmp_path, "ipc=21: class '0' of toy has 20 training images"),
        ("dm", {}, 21, tmp_path, "ipc=21: class '0' of toy has 20 training images"),
        ("dm", {"network": "convnt"}, 1, tmp_path, "unknown network 'convnt'; nearest: convnet"),
        ("dm", {"network": "resnet18"}, 1, tmp_path, "resnet18 needs images of at least"),
        ("dm", {"pixel_space": "rgb"}, 1, tmp_path, "unknown pixel space 'rgb'"),
        ("dm", {}, 1, file / "cache", f"cannot write to {file}/cache: {file} is not a folder"),
    ]
    for name, params, ipc, cache, sentence in cases:
        with pytest.raises(Refused) as refusal:
            distill(build(name, "toy", ipc, params)[0], toy, ipc=ipc, cache=cache)
        assert str(refusal.value).startswith(sentence)


def test_a_killed_command_ends_with_the_hash_of_an_uninterrupted_one(
    toy: ImageDataset, toy_file: Path, tmp_path: Path
) -> None:
    params = {"iterations": "40", "network": "convnet-w32", "batch_real": "32"}
    whole, _ = distill(build("dm", "toy", 1, params)[0], toy, ipc=1, cache=tmp_path / "whole")
    place = Place(tmp_path / "place", CONDENSE_CHECKPOINT_SECONDS="0")
    home = place.home
    command = ["distill", "--dataset", str(toy_file), "--device", "cpu"]
    for key, value in params.items():
        command += ["--param", f"{key}={value}"]

    def newest() -> int:
        return max((int(path.stem[-8:]) for path in home.rglob("checkpoint-*.safetensors")), default=-1)

    kills = 0
    for delay in (0.0, 0.05):
        wanted = newest() + 1
        process = place.start(*command)
        while newest() < wanted and process.is_alive():
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills > 0, "it ended before it could be killed"
    place.run(*command)
    (folder,) = (place.folder / "sets").iterdir()
    assert ImageSet.load(folder).hash == whole.hash
    assert place.told().splitlines()[-1] == f"sets/{folder.name}"
    assert not list(home.rglob("*checkpoint-*"))
    (file,) = (home / "events").rglob("*.jsonl")
    events = [json.loads(line) for line in file.read_text().splitlines()]
    begun = [event["step"] for event in events if event["event"] == "begin"]
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert len(begun) == 1 + kills and begun[0] == 0 and min(begun[1:]) > 0
    assert steps == sorted(set(steps)) and steps[-1] == events[-1]["of"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -150.0])
@pytest.mark.parametrize("space", ["raw", "normalized", "zca", "zca-relative"])
def test_a_set_with_pixels_out_of_all_range_is_refused(
    toy: ImageDataset, tmp_path: Path, home: Path, space: str, bad: float
) -> None:
    run = make_run(toy, tmp_path, build("dm", "toy", 2, {"pixel_space": space})[0])
    train = toy.train.in_space(toy.space(space))
    images, labels = train.images[firsts(train)].clone(), train.labels[firsts(train)]
    assert run.distilled(images, labels).hash
    images[0, 0, 3, 3] = bad
    with pytest.raises(Refused, match="the images have diverged: .* outside of the range of toy; lower"):
        run.distilled(images, labels)


def test_soft_labels_that_are_not_finite_are_refused(toy: ImageDataset, tmp_path: Path) -> None:
    run, train = make_run(toy, tmp_path), toy.train.in_space(toy.space("normalized"))
    chosen = firsts(train)
    soft = torch.full((len(chosen), 3), float("nan"))
    with pytest.raises(Refused, match="the soft labels have diverged"):
        run.distilled(train.images[chosen], train.labels[chosen], soft=soft)


@pytest.mark.parametrize("bad", [float("nan"), 1e7])
def test_what_diverges_in_a_loop_is_refused_before_its_end(
    toy: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    monkeypatch.setattr("condense.distillation.run._LOOK_SECONDS", -1.0)
    run, x = make_run(toy, tmp_path), torch.zeros(3, requires_grad=True)
    with pytest.raises(Refused, match="the images have diverged: 1 of 3 values"):
        for step in run.steps(9, {"images": x}):
            assert step < 4
            with torch.no_grad():
                x[1] = bad if step == 3 else 9.0
