"""What every registered method promises, tested over the registry: a new one is covered by itself.

Tests of one method share its cache, its trained networks and its sets; they run in one process
(`tests/scheduling.py`).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import KIND_NAMES, Dataset, GraphDataset, ImageDataset
from condense.distillation import Method, Sampling
from condense.distillation.engine import distill
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.evaluation import ImageStudent
from condense.evaluation.evaluate import evaluate_set, record_of
from condense.evaluation.kinds import Setup
from condense.protocol import Part, Protocol, Stage
from condense.protocols import HARD_V1, TRANSFER_V1
from condense.records.record import Record
from condense.resources import Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.run import distil_cell, run_cell
from condense.store import DistilledSet, ImageSet, load
from condense.training.rehearsal import rehearsing
from tests.kills import Killed, kill_once
from tests.quick import few_steps, quick, short_extractors
from tests.trainings import left, sampling

SHORT = replace(HARD_V1, stages=(Stage(epochs=100), Stage(epochs=20, scale=0.1)))
"""hard-v1 in miniature: enough to tell a distilled set from a random one on 8 x 8 digits."""

MARGIN = 2.0
"""Points by which a method that optimises must beat the mean of random subsets at one image a class."""


@dataclass(frozen=True)
class Case:
    """A method of a kind, the bundled dataset of that kind, and the sets that the method has made of it."""

    kind: str
    name: str
    dataset: Any
    cache: Path
    sets: dict[tuple[int, int, bool], DistilledSet] = field(default_factory=dict)

    @property
    def cls(self) -> type[Method]:
        return methods(self.kind)[self.name]

    @property
    def ipc(self) -> int:
        """The smallest IPC at which there is room for a sample of each class; two for graphs."""
        return 2 if self.kind == "graphs" else next(ipc for ipc in count(1) if self.cls().per_class(ipc, 10))

    def method(self, ipc: int = 0, *, few: bool = False) -> Method:
        """The method with its quick settings or for few steps, none of which is published for MUTAG."""
        settings, dataset = few_steps if few else quick, "digits" if self.kind == "images" else "toy"
        return build(self.name, dataset, ipc or self.ipc, settings(self.cls), self.kind)[0]

    def settings(self) -> dict[str, object]:
        """All fields of the method, but those added later that have their default."""
        method = self.method()
        usual = {one.name: one.default for one in fields(method) if one.name in self.cls.added}
        return {
            name: value for name, value in asdict(method).items() if name not in usual or usual[name] != value
        }

    def fresh(
        self, cache: Path, ipc: int = 0, seed: int = 0, few: bool = False, *, dataset: Dataset | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """A set that is made now; in few steps where that is said or the IPC is not the smallest."""
        method, ipc = self.method(ipc, few=few or ipc not in (0, self.ipc)), ipc or self.ipc
        made, run = distill(method, dataset or self.dataset, ipc=ipc, seed=seed, cache=cache, given=given)
        run.done()
        return made

    def made(self, ipc: int = 0, seed: int = 0, *, few: bool = False) -> Any:
        """A set that is made once for all tests."""
        key = ipc or self.ipc, seed, few
        if key not in self.sets:
            self.sets[key] = self.fresh(self.cache, *key)
        return self.sets[key]


Cases = Callable[[str, str], Case]


def stores(cls: type[Method]) -> bool:
    return cls.stores


def every(chosen: Callable[[type[Method]], bool] = stores) -> list[Any]:
    """The kind and the name of every chosen method."""
    return [
        pytest.param((kind, name), id=f"{kind}-{name}")
        for kind in KIND_NAMES
        for name, cls in methods(kind).items()
        if chosen(cls)
    ]


def of_images(cls: type[Method]) -> bool:
    return cls.stores and cls.kind == "images"


def with_classes(cls: type[Method]) -> bool:
    return of_images(cls) and cls.labelled


@pytest.fixture(scope="session")
def cases(digits: ImageDataset, mutag: GraphDataset, tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """The cases of the session. They share a cache, and with it the networks that methods look through."""
    cache, datasets = tmp_path_factory.mktemp("cache"), {"images": digits, "graphs": mutag}
    made: dict[tuple[str, str], Case] = {}

    def case(kind: str, name: str) -> Case:
        return made.setdefault((kind, name), Case(kind, name, datasets[kind], cache))

    return case


@pytest.fixture
def case(request: pytest.FixtureRequest, cases: Cases) -> Case:
    return cases(*request.param)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    short_extractors(monkeypatch)


@pytest.mark.parametrize("case", every(of_images), indirect=True)
@pytest.mark.parametrize("more", [0, 2])
def test_a_set_holds_the_nominal_images_of_each_class(case: Case, more: int) -> None:
    ipc = case.ipc + more
    made = case.made(ipc)
    stored = case.method(ipc).per_class(ipc, 10)
    counts = torch.bincount(made.labels, minlength=10).tolist()
    expected = [stored] * 10 if case.cls.labelled else [10 * stored]
    assert made.content["counts"]["per_class"] == expected == counts[: len(expected)]
    assert sum(counts) == sum(expected) and made.num_classes == len(expected)
    assert made.content["ipc"] == ipc and made.content["counts"]["stored"] == len(made.images) == 10 * stored
    assert made.content["counts"]["effective"] == len(made)
    assert made.find_inconsistency() is None
    assert all(bool(torch.isfinite(made[index][0]).all()) for index in range(len(made)))


@pytest.mark.parametrize("case", every(lambda cls: cls.kind == "graphs"), indirect=True)
@pytest.mark.parametrize("ipc", [1, 3])
def test_a_set_holds_at_most_the_nominal_graphs_of_each_class(case: Case, ipc: int) -> None:
    made, method = case.made(ipc), case.method()
    counts = torch.bincount(made.labels, minlength=2).tolist()
    assert counts == made.content["counts"]["per_class"] and made.content["ipc"] == ipc
    assert all(1 <= count <= ipc for count in counts)
    assert counts == [ipc, ipc] or not method.fills
    assert made.find_inconsistency() is None
    assert bool(torch.isfinite(made.batch().nodes).all() and (made.weighting > 0).all())


@pytest.mark.parametrize("case", every(), indirect=True)
def test_a_rehearsal_makes_a_whole_set(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("condense.training.progress._TIMED_SECONDS", 0.0)
    with rehearsing() as rehearsal:
        made, seconds = case.fresh(tmp_path), rehearsal.seconds
    assert len(made.labels) == len(case.made().labels) or not case.method().fills
    assert made.content["label"]["kind"] == case.made().content["label"]["kind"] and seconds > 0


COUNTS = {"images": [3, 1, 2, 1, 1, 1, 1, 4, 1, 1], "graphs": [1, 3]}
"""Samples of each class, with some classes of more than others."""


@pytest.mark.parametrize("case", every(), indirect=True)
def test_a_set_holds_the_samples_of_each_class_that_are_asked_for_or_is_refused(
    case: Case, tmp_path: Path
) -> None:
    method, asked = case.method(few=True), COUNTS[case.kind]
    given: dict[str, Any] = {"ipc": case.ipc, "cache": case.cache, "given": {"counts": asked}}
    if method.why_equal is not None:
        with pytest.raises(Refused, match=f"{case.name} makes equally many {case.kind} of each class: "):
            distill(method, case.dataset, **given)
        return
    made, run = distill(method, case.dataset, **given)
    run.done()
    counts = made.content["counts"]
    assert counts["per_class"] == torch.bincount(made.labels, minlength=len(asked)).tolist()
    assert counts["per_class"] == asked or not method.fills
    assert all(there <= most for there, most in zip(counts["per_class"], asked, strict=True))
    assert counts["asked"] == asked and made.find_inconsistency() is None
    made.save(tmp_path / "set")
    record = record_of(load(tmp_path / "set"), case.dataset, SHORT, "mlp")
    assert record.asked == tuple(asked) and record.paper is None and "-by-class-" in record.title
    assert record.key == method.run_key(case.dataset.train.hash, case.ipc, 0, {"counts": asked})


@pytest.mark.parametrize("case", every(), indirect=True)
def test_counts_of_ipc_of_each_class_give_the_same_samples(case: Case) -> None:
    if case.method().why_equal is not None:
        return
    plain = case.made(few=True)
    made = case.fresh(case.cache, few=True, given={"counts": [case.ipc] * plain.num_classes})
    tensors = made.tensors()
    assert tensors.keys() == plain.tensors().keys()
    assert all(torch.equal(tensors[name], there) for name, there in plain.tensors().items())
    assert made.content["key"] != plain.content["key"]


@pytest.mark.parametrize("case", every(), indirect=True)
def test_equal_seeds_give_equal_sets_and_nothing_else_is_random(case: Case) -> None:
    one = case.made()
    torch.rand(7)  # global randomness moves between the two; it must not matter
    state = torch.random.get_rng_state()
    assert case.fresh(case.cache).hash == one.hash
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("case", every(lambda cls: cls.kind == "graphs"), indirect=True)
def test_only_the_training_graphs_count(case: Case) -> None:
    few = replace(case.dataset, test=case.dataset.test.select([0]), valid=case.dataset.valid.select([0]))
    assert case.fresh(case.cache, dataset=few).hash == case.made().hash


@pytest.mark.parametrize("case", every(), indirect=True)
def test_a_stored_set_is_the_set_in_memory(case: Case, tmp_path: Path) -> None:
    made = case.made()
    assert made.save(tmp_path / "set") == made.hash == load(tmp_path / "set").hash


@pytest.mark.parametrize("case", every(with_classes), indirect=True)
def test_a_stored_set_trains_the_same_student_as_in_memory(case: Case, tmp_path: Path) -> None:
    made = case.made()
    made.save(tmp_path / "set")
    given = case.dataset, replace(SHORT, stages=(Stage(epochs=10),)), 0, made.evaluation_space
    assert trained(made, *given) == trained(ImageSet.load(tmp_path / "set"), *given)


@pytest.mark.parametrize("case", every(lambda cls: of_images(cls) and not with_classes(cls)), indirect=True)
def test_a_set_without_classes_is_judged_on_other_data_and_by_no_classes(case: Case, tmp_path: Path) -> None:
    made = case.made()
    made.save(tmp_path / "set")
    tiny = replace(TRANSFER_V1, regress=Part(epochs=3, lr=0.01, augment="none"), tune=Part(steps=5, batch=32))
    setup = Setup(case.dataset, tiny, "convnet-w32", case.dataset)
    record = evaluate_set(made, setup, [0], tmp_path, Machine())
    assert Record.from_json(json.loads(record.path(tmp_path).read_text())) == record
    assert record.kind == "transfer" and record.method.chain[0]["config"] == case.settings()
    again = evaluate_set(load(tmp_path / "set"), setup, [0], None, Machine())
    assert again.entries[0].accuracy == record.entries[0].accuracy
    with pytest.raises(Refused, match=f"hard-v1 judges by classes, and the images of {case.name} have none"):
        evaluate_set(made, Setup(case.dataset, SHORT, "convnet-w32"), [0], None, Machine())


@pytest.mark.parametrize("case", every(with_classes), indirect=True)
def test_a_record_survives_the_disk(case: Case, tmp_path: Path) -> None:
    made, tiny = case.made(), replace(SHORT, stages=(Stage(epochs=2),))
    record = evaluate_set(made, Setup(case.dataset, tiny, "convnet-w32"), [0, 1], tmp_path, Machine())
    text = record.path(tmp_path).read_text()
    assert Record.from_json(json.loads(text)) == record
    assert [entry.seed for entry in record.entries] == [0, 1]
    assert record.method.chain[0]["config"] == case.settings()
    assert record_of(made, case.dataset, tiny, "convnet-w32").key == record.key


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("case", every(), indirect=True)
def test_the_wrong_kind_of_data_is_refused(case: Case) -> None:
    (other,) = set(KIND_NAMES) - {case.kind}
    data = replace(case.dataset, spec=replace(case.dataset.spec, kind=other))
    with pytest.raises(Refused, match=f"{case.name} distils {case.kind}; {data.spec.name} holds {other}"):
        distill(case.method(), data, ipc=1, cache=case.cache)


@pytest.mark.parametrize("case", every(), indirect=True)
def test_quick_settings_and_recipes_are_a_methods_own_fields(case: Case) -> None:
    cls = case.cls
    assert json.loads(json.dumps(asdict(cls()))) == asdict(cls())
    assert set(cls.quick) <= {one.name for one in fields(cls)}
    for recipe in cls.recipes.values():
        assert type(recipe.method) is cls and recipe.source
        assert recipe.protocol is not None or case.kind == "graphs"
        if recipe.protocol is not None:
            stored = json.loads(json.dumps(recipe.protocol.to_json()))
            assert Protocol.from_json(stored) == recipe.protocol and recipe.protocol.name == "published"


@pytest.mark.parametrize("case", every(), indirect=True)
def test_the_chain_holds_a_methods_version_and_all_its_settings(case: Case) -> None:
    link: Mapping[str, object] = case.made().content["method"]["chain"][-1]
    expected = {"name": case.name, "version": case.cls.version, "config": case.settings()}
    assert link == expected == case.method().chain()[-1]


def chosen(case: Case, cache: Path, **given: Any) -> Sampling:
    """What a method chooses for students without a set, with its quick settings."""
    return sampling(case.name, case.dataset, cache, params=quick(case.cls), **given)


def same(one: Sampling, other: Sampling) -> bool:
    soft = [torch.zeros(0) if each.soft is None else each.soft for each in (one, other)]
    epochs = all(torch.equal(one.chosen(epoch), other.chosen(epoch)) for epoch in (0, 1, 7))
    return epochs and one.size == other.size and torch.equal(*soft)


@pytest.mark.parametrize("case", every(lambda cls: cls.trains), indirect=True)
def test_equal_seeds_choose_equal_images_of_the_size_that_is_asked_for(case: Case) -> None:
    n = left(case.dataset)
    for fraction in (0.1, 1.0):
        one = chosen(case, case.cache, fraction=fraction)
        torch.rand(7)  # global randomness moves between the two; it must not matter
        assert same(one, chosen(case, case.cache, fraction=fraction))
        assert abs(one.size - fraction * n) <= 5 and len(one.chosen(3)) == one.size
        assert 0 <= int(one.chosen(3).min()) and int(one.chosen(3).max()) < n
    assert torch.equal(one.chosen(0).sort().values, torch.arange(n))


@pytest.mark.parametrize("case", every(lambda cls: cls.trains), indirect=True)
def test_a_selection_killed_once_in_every_phase_chooses_the_same_images(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, killed = chosen(case, case.cache, fraction=0.1), kill_once(monkeypatch)
    for kills in count():
        try:
            made = chosen(case, tmp_path, fraction=0.1)
        except Killed:
            continue
        assert same(made, expected) and kills == len(killed)
        break


@pytest.mark.parametrize("case", every(lambda cls: not cls.stores), indirect=True)
def test_a_method_without_a_set_trains_students_and_stores_nothing(
    case: Case, tmp_path: Path, home: Path
) -> None:
    paths = Paths(out=tmp_path / "sets", results=tmp_path / "results")
    given: Mapping[str, Any] = {
        "method": case.name,
        "params": case.cls.quick,
        "student": "mlp",
        "seeds": (0,),
    }
    cell = CellSpec(fraction=0.05, protocol="prune-short-v1", **given)
    (record,) = run_cell(cell, paths, Machine())
    assert record.kind == "training" and record.set is None and not any(paths.out.glob("*"))
    assert Record.from_json(json.loads(record.path(paths.results).read_text())) == record
    with pytest.raises(Refused, match="no set is made"):
        list(distil_cell(CellSpec(ipc=1, **given), paths, Machine()))


@pytest.mark.parametrize("case", every(), indirect=True)
def test_a_run_killed_once_in_every_phase_ends_in_the_same_set(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, killed = case.made(few=True).hash, kill_once(monkeypatch)
    for kills in count():
        try:
            made = case.fresh(tmp_path, few=True)
        except Killed:
            continue
        assert made.hash == expected and kills == len(killed)
        break


def trained(
    made: ImageSet, digits: ImageDataset, protocol: Protocol, seed: int = 0, space_name: str = "normalized"
) -> float:
    """The accuracy of a student that a set has trained."""
    space = digits.space(space_name)
    student = ImageStudent(
        source=made.in_space(space),
        test=digits.test.in_space(space),
        spec=digits.spec,
        protocol=protocol,
        network="convnet-w32",
    )
    return student.outcome(seed).accuracy


@pytest.fixture(scope="session")
def random_mean(cases: Cases) -> float:
    """The mean accuracy of students of ten random subsets."""
    case = cases("images", "random_subset")
    return sum(trained(case.made(seed=seed), case.dataset, SHORT, seed % 5) for seed in range(10)) / 10


@pytest.mark.parametrize("case", every(lambda cls: of_images(cls) and cls.optimizes), indirect=True)
def test_a_method_that_optimises_beats_random_subsets(case: Case, random_mean: float) -> None:
    scores = [trained(case.made(seed=seed), case.dataset, SHORT, seed) for seed in range(2)]
    assert sum(scores) / 2 > random_mean + MARGIN
