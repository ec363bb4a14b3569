"""What every registered method promises, tested over the registry: a new one is covered by itself."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, fields, replace
from itertools import count
from pathlib import Path

import pytest
import torch

from condense.data import ImageDataset, load_images
from condense.distillation import Method
from condense.distillation.engine import distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.evaluation import ImageStudent
from condense.evaluation.evaluate import evaluate_set, record_of
from condense.evaluation.kinds import Setup
from condense.protocol import HARD_V1, Protocol, Stage
from condense.records.record import Record
from condense.resources import Machine
from condense.store import ImageSet
from condense.training.loop import Loop

SHORT = replace(HARD_V1, stages=(Stage(epochs=100), Stage(epochs=20, scale=0.1)))
"""hard-v1 in miniature: enough to tell a distilled set from a random one on 8 x 8 digits."""

MARGIN = 2.0
"""Points by which a method that optimises must beat the mean of random subsets at one image a class."""


@pytest.fixture(scope="session")
def digits() -> ImageDataset:
    return load_images("digits")


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def least(name: str) -> int:
    """The smallest IPC at which there is room for an image of each of ten classes."""
    return next(ipc for ipc in count(1) if methods()[name]().per_class(ipc, 10))


def quick(name: str, digits: ImageDataset, ipc: int = 1) -> Method:
    method, _ = build(name, digits.spec.name, ipc, {k: str(v) for k, v in methods()[name].quick.items()})
    return method


def image_methods() -> list[str]:
    return [name for name, method in methods().items() if method.kind == "images"]


@pytest.fixture(params=image_methods())
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def make(name: str, digits: ImageDataset, cache: Path, ipc: int = 0, seed: int = 0) -> ImageSet:
    ipc = ipc or least(name)
    made: ImageSet
    made, run = distill(quick(name, digits, ipc), digits, ipc=ipc, seed=seed, cache=cache)
    run.done()
    return made


@pytest.mark.parametrize("more", [0, 2])
def test_a_set_holds_the_nominal_images_per_class_and_only_finite_numbers(
    name: str, digits: ImageDataset, cache: Path, more: int
) -> None:
    ipc = least(name) + more
    made = make(name, digits, cache, ipc)
    stored = quick(name, digits, ipc).per_class(ipc, 10)
    counts = torch.bincount(made.labels, minlength=10).tolist()
    assert counts == made.content["counts"]["per_class"] == [stored] * 10
    assert made.content["ipc"] == ipc and made.content["counts"]["stored"] == len(made.images) == 10 * stored
    assert made.content["counts"]["effective"] == len(made)
    assert made.find_inconsistency() is None
    assert all(bool(torch.isfinite(made[index][0]).all()) for index in range(len(made)))


def test_equal_seeds_give_equal_sets_bit_for_bit_and_nothing_else_is_random(
    name: str, digits: ImageDataset, cache: Path
) -> None:
    state = torch.random.get_rng_state()
    one = make(name, digits, cache)
    torch.rand(7)  # global randomness moves between the two; it must not matter
    two = make(name, digits, cache)
    assert one.hash == two.hash
    torch.random.set_rng_state(state)
    make(name, digits, cache)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_stored_set_trains_the_same_student_as_the_set_in_memory(
    name: str, digits: ImageDataset, cache: Path, tmp_path: Path
) -> None:
    made = make(name, digits, cache)
    space = digits.space(made.evaluation_space)
    made.save(tmp_path / "set")
    stored = ImageSet.load(tmp_path / "set")
    assert stored.hash == made.hash
    test = digits.test.in_space(space)
    scores = [
        ImageStudent(
            source=one.in_space(space), test=test, spec=digits.spec, protocol=SHORT, network="convnet-w32"
        )
        .outcome(0)
        .accuracy
        for one in (made, stored)
    ]
    assert scores[0] == scores[1]


def test_a_record_survives_the_disk(name: str, digits: ImageDataset, cache: Path, tmp_path: Path) -> None:
    made = make(name, digits, cache)
    tiny = replace(SHORT, stages=(Stage(epochs=2),))
    record = evaluate_set(made, Setup(digits, tiny, "convnet-w32"), [0, 1], tmp_path, Machine())
    text = record.path(tmp_path).read_text()
    assert Record.from_json(json.loads(text)) == record
    assert [entry.seed for entry in record.entries] == [0, 1]
    assert record.method.chain[0]["config"] == asdict(quick(name, digits))
    assert record_of(made, digits, tiny, "convnet-w32").key == record.key


def test_the_wrong_kind_of_data_is_refused(name: str, digits: ImageDataset, cache: Path) -> None:
    graphs = replace(digits, spec=replace(digits.spec, kind="graphs"))
    with pytest.raises(Refused, match=f"{name} distils images; digits holds graphs"):
        distill(quick(name, digits), graphs, ipc=1, cache=cache)


def test_a_method_serialises_and_its_quick_settings_and_recipes_are_its_own_fields(name: str) -> None:
    cls = methods()[name]
    assert json.loads(json.dumps(asdict(cls()))) == asdict(cls())
    assert set(cls.quick) <= {field.name for field in fields(cls)}
    for recipe in cls.recipes.values():
        assert type(recipe.method) is cls and recipe.source
        assert Protocol.from_json(json.loads(json.dumps(recipe.protocol.to_json()))) == recipe.protocol
        assert recipe.protocol.name == "published"


class Killed(Exception):
    """In place of a kill: nothing below the loop runs after it."""


def test_a_run_killed_in_any_phase_ends_in_the_same_set(
    name: str, digits: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[tuple[str, int]] = []
    steps = Loop.steps

    def count(
        self: Loop, n: int, state: dict[str, object], phase: str = "distil", **named: Collection[str]
    ) -> Iterator[int]:
        phases.append((phase, n))
        return steps(self, n, state, phase, **named)

    monkeypatch.setattr(Loop, "steps", count)
    expected = make(name, digits, tmp_path / "whole").hash
    seen = dict(phases)
    for phase, n in seen.items():
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "steps", stopping(steps, phase, n // 2))
            with pytest.raises(Killed):
                make(name, digits, tmp_path / phase)
        again = make(name, digits, tmp_path / phase)
        assert again.hash == expected, f"killed in phase {phase}"


def stopping(steps: object, last: str, at: int) -> object:
    def killed(
        self: Loop, n: int, state: dict[str, object], phase: str = "distil", **named: Collection[str]
    ) -> Iterator[int]:
        self._every = 0.0
        for step in steps(self, n, state, phase, **named):  # type: ignore[operator]
            if phase == last and step == at:
                raise Killed
            yield step

    return killed


@pytest.fixture(scope="session")
def random_mean(digits: ImageDataset, cache: Path) -> float:
    scores = [score("random_subset", digits, cache, seed) for seed in range(10)]
    return sum(scores) / len(scores)


def score(name: str, digits: ImageDataset, cache: Path, seed: int) -> float:
    space = digits.space("normalized")
    made = make(name, digits, cache, seed=seed).in_space(space)
    test = digits.test.in_space(space)
    return (
        ImageStudent(source=made, test=test, spec=digits.spec, protocol=SHORT, network="convnet-w32")
        .outcome(seed % 5)
        .accuracy
    )


@pytest.mark.parametrize("learner", [name for name in image_methods() if methods()[name].optimizes])
def test_a_method_that_optimises_beats_the_mean_of_random_subsets(
    learner: str, digits: ImageDataset, cache: Path, random_mean: float
) -> None:
    scores = [score(learner, digits, cache, seed) for seed in range(2)]
    assert sum(scores) / 2 > random_mean + MARGIN


def test_a_methods_version_and_settings_are_all_in_its_chain() -> None:
    for cls in methods().values():
        chain: Mapping[str, object] = cls().chain()[-1]
        assert (
            chain["name"] == cls.name and chain["version"] == cls.version and chain["config"] == asdict(cls())
        )
