"""What every wrapper that makes sets promises, tested over the registry around a host that it accepts."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import ImageDataset, Images
from condense.distillation import Method
from condense.distillation.engine import distill
from condense.distillation.registry import build, methods, wrappers
from condense.errors import Refused
from condense.store import ImageSet, verify
from condense.training.loop import Loop

HOSTS = ("random_subset", "dm")
"""A wrapper is tested around the first of these hosts that it does not refuse."""


@dataclass(frozen=True)
class Case:
    """A wrapper around a host with quick settings, and the sets that it has made of digits."""

    name: str
    digits: ImageDataset
    cache: Path
    sets: dict[int, ImageSet] = field(default_factory=dict)

    @property
    def method(self) -> Method:
        quick = {f"{self.name}.{key}": value for key, value in wrappers()[self.name].quick.items()}
        for host in HOSTS:
            usual = {**methods()[host].quick, "network": "convnet-w32"}
            try:
                return build(f"{host}+{self.name}", "digits", 2, {**usual, **quick})[0]
            except Refused:
                continue
        raise AssertionError(f"{self.name} wraps none of {HOSTS}")

    def fresh(self, cache: Path, seed: int = 0, dataset: ImageDataset | None = None) -> ImageSet:
        made, run = distill(self.method, dataset or self.digits, ipc=2, seed=seed, cache=cache)
        made.save(cache / f"set-{seed}-{len(list(cache.glob('set-*')))}")
        run.done()
        return ImageSet.load(max(cache.glob("set-*"), key=lambda path: path.stat().st_mtime_ns))

    def made(self) -> ImageSet:
        if 0 not in self.sets:
            self.sets[0] = self.fresh(self.cache)
        return self.sets[0]


@pytest.fixture(scope="module", params=[name for name, cls in wrappers().items() if cls.stores])
def case(request: Any, digits: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.param, digits, tmp_path_factory.mktemp(request.param))


def test_equal_seeds_give_equal_sets_whatever_the_test_images_are(case: Case, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    few = Images.of(case.digits.test.images[:1] * 0, case.digits.test.labels[:1], 10)
    assert case.fresh(tmp_path, dataset=replace(case.digits, test=few)).hash == case.made().hash
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_stored_set_is_whole_and_names_the_chain(case: Case) -> None:
    made = case.made()
    folder = max(case.cache.glob("set-*"))
    assert verify(folder) == made.hash and made.find_inconsistency() is None
    (host, link), method = made.content["method"]["chain"], case.method
    assert host["name"] in HOSTS and link["name"] == case.name
    assert [host, link] == json.loads(json.dumps(method.chain()))
    assert made.content["key"] == method.run_key(case.digits.train.hash, 2, 0)
    assert torch.bincount(made.labels).tolist() == [2] * 10


class Killed(Exception):
    """In place of a kill: nothing below the loop runs after it."""


def test_a_run_killed_once_in_every_phase_ends_in_the_same_set(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: set[tuple[str, str]] = set()
    steps = Loop.steps

    def once(
        self: Loop, n: int, state: dict[str, object], phase: str = "distil", **named: Any
    ) -> Iterator[int]:
        self._every = 0.0
        for step in steps(self, n, state, phase, **named):
            if step == n // 2 and (self.title, phase) not in killed:
                killed.add((self.title, phase))
                raise Killed
            yield step

    monkeypatch.setattr(Loop, "steps", once)
    for kills in count():
        try:
            made = case.fresh(tmp_path)
        except Killed:
            continue
        assert made.hash == case.made().hash and kills == len(killed)
        break
