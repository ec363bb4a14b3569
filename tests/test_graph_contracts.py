"""What every registered method for graphs promises, tested over the registry: a new one is covered too."""

import json
from collections.abc import Collection, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import cast

import pytest
import torch

from condense.data import GraphDataset, load_graphs
from condense.distillation import GraphMethod, GraphTraining, Method
from condense.distillation.engine import distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.protocol import Protocol
from condense.store import GraphSet
from condense.training.loop import Loop


@pytest.fixture(scope="module")
def mutag() -> GraphDataset:
    return load_graphs("mutag")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pinned network, after a few steps."""
    monkeypatch.setattr(
        "condense.distillation.graphs.run.GraphTraining",
        lambda network: GraphTraining(network=network, steps=4, batch=16),
    )


@pytest.fixture(params=methods("graphs"))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def quick(name: str) -> Method:
    settings = {field: str(value) for field, value in methods("graphs")[name].quick.items()}
    return build(name, "toy", 2, settings, kind="graphs")[0]


def make(name: str, data: GraphDataset, cache: Path, ipc: int = 2, seed: int = 0) -> GraphSet:
    made: GraphSet
    made, run = distill(quick(name), data, ipc=ipc, seed=seed, cache=cache)
    run.done()
    return made


@pytest.mark.parametrize("ipc", [1, 3])
def test_a_set_holds_ipc_graphs_of_each_class_or_at_most_and_only_finite_numbers(
    name: str, mutag: GraphDataset, cache: Path, ipc: int
) -> None:
    made = make(name, mutag, cache, ipc)
    counts = torch.bincount(made.labels, minlength=2).tolist()
    assert counts == made.content["counts"]["per_class"] and made.content["ipc"] == ipc
    assert all(1 <= count <= ipc for count in counts)
    assert counts == [ipc, ipc] or not cast(GraphMethod, quick(name)).fills
    assert made.find_inconsistency() is None
    assert bool(torch.isfinite(made.batch().nodes).all() and (made.weighting > 0).all())


def test_equal_seeds_give_equal_sets_bit_for_bit_and_nothing_else_is_random(
    name: str, mutag: GraphDataset, cache: Path
) -> None:
    one = make(name, mutag, cache)
    torch.rand(7)  # global randomness moves between the two; it must not matter
    state = torch.random.get_rng_state()
    assert make(name, mutag, cache).hash == one.hash
    assert torch.equal(torch.random.get_rng_state(), state)


def test_only_the_training_graphs_count(name: str, mutag: GraphDataset, cache: Path) -> None:
    other = replace(mutag, test=mutag.test.select([0]), valid=mutag.valid.select([0]))
    assert make(name, other, cache).hash == make(name, mutag, cache).hash


def test_a_stored_set_is_the_set_in_memory(
    name: str, mutag: GraphDataset, cache: Path, tmp_path: Path
) -> None:
    made = make(name, mutag, cache)
    assert made.save(tmp_path / "set") == made.hash == GraphSet.load(tmp_path / "set").hash


def test_the_wrong_kind_of_data_is_refused(name: str, mutag: GraphDataset, cache: Path) -> None:
    images = replace(mutag, spec=replace(mutag.spec, kind="images"))
    with pytest.raises(Refused, match=f"{name} distils graphs; mutag holds images"):
        distill(quick(name), images, ipc=1, cache=cache)


def test_a_method_serialises_and_its_quick_settings_and_recipes_are_its_own_fields(name: str) -> None:
    cls = methods("graphs")[name]
    assert json.loads(json.dumps(asdict(cls()))) == asdict(cls())
    assert set(cls.quick) <= {field.name for field in fields(cls)}
    for recipe in cls.recipes.values():
        assert type(recipe.method) is cls and recipe.source
        if recipe.protocol is not None:
            stored = json.loads(json.dumps(recipe.protocol.to_json()))
            assert Protocol.from_json(stored) == recipe.protocol and recipe.protocol.name == "published"


def test_the_chain_holds_version_and_settings(name: str, mutag: GraphDataset, cache: Path) -> None:
    made = make(name, mutag, cache)
    (link,) = made.content["method"]["chain"]
    assert link == {
        "name": name,
        "version": methods("graphs")[name].version,
        "config": asdict(quick(name)),
    }


class Killed(Exception):
    """In place of a kill: nothing below the loop runs after it."""


def test_a_run_killed_in_any_phase_ends_in_the_same_set(
    name: str, mutag: GraphDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, int] = {}
    steps = Loop.steps

    def count(
        self: Loop, n: int, state: dict[str, object], phase: str = "distil", **named: Collection[str]
    ) -> Iterator[int]:
        seen[phase] = n
        return steps(self, n, state, phase, **named)

    monkeypatch.setattr(Loop, "steps", count)
    expected = make(name, mutag, tmp_path / "whole").hash
    for phase, n in dict(seen).items():
        with monkeypatch.context() as patch:
            patch.setattr(Loop, "steps", stopping(steps, phase, n // 2))
            with pytest.raises(Killed):
                make(name, mutag, tmp_path / phase)
        assert make(name, mutag, tmp_path / phase).hash == expected, f"killed in phase {phase}"


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
