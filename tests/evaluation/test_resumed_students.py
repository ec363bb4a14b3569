"""A student that is cut short goes on where it was, to the same bits; one that diverges is no result."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from condense.data import GraphDataset, ImageDataset
from condense.data.graphs.batch import GraphBatch, batch_of
from condense.distillation import distill
from condense.distillation.registry import build
from condense.errors import Refused, Stopped
from condense.evaluation import GraphStudent, ImageStudent, WholeGraphs, WholeImages
from condense.evaluation.evaluate import evaluate_set
from condense.evaluation.kinds import Setup
from condense.evaluation.student import Student
from condense.networks import build_network
from condense.protocol import Protocol, Stage
from condense.protocols import GRAPH_SELECT_V1, GRAPH_V1, GRAPH_WHOLE_V1, HARD_V1, REPLAY_V1, SOFT_V1
from condense.records.folder import read_records
from condense.resources import Budget, Machine
from condense.store.targets import Target, TeacherLogits
from condense.training.loop import Loop

Spent = Callable[[int], Budget]
STAGES = (Stage(epochs=2), Stage(epochs=2, scale=0.5, momentum=0.5))
HARD = replace(HARD_V1, lr=0.05, batch=25, stages=STAGES, reset=True)
SOFT = replace(SOFT_V1, stages=(Stage(epochs=4),), batch=25)
CASES = (
    "hard",
    "averaged",
    "mixed",
    "labelled",
    "replayed",
    "whole",
    "graphs",
    "drawn",
    "whole-graphs",
    "selected",
)


def labelled(images: Tensor, target: Target) -> Target:
    """Labels of what a student sees."""
    network = build_network("mlp", (1, 8, 8), 3, torch.Generator().manual_seed(77))
    return TeacherLogits(network(images).detach(), target.ids, 4.0)


class DrawnGraphs(WholeGraphs):
    """Training graphs of unequal weight."""

    @property
    def weighting(self) -> Tensor:
        weights = torch.arange(1.0, len(self) + 1)
        return weights / weights.sum()

    def batch(self, index: Tensor | None) -> GraphBatch:
        return batch_of(self.train if index is None else self.train.select(index), self.widths)


@pytest.fixture(params=CASES)
def student(
    request: pytest.FixtureRequest, toy: ImageDataset, mutag: GraphDataset, tmp_path: Path, home: Path
) -> Student[Any]:
    """A student of each kind of data and protocol."""
    name, normalized = str(request.param), toy.space("normalized")
    whole = WholeImages(toy.train.in_space(normalized))
    graphs = WholeGraphs(mutag.train, mutag.spec.features)
    images: dict[str, Any] = {
        "network": "convnet-w32",
        "test": toy.test.in_space(normalized),
        "spec": toy.spec,
    }
    if name == "replayed":
        params = {"fkd.epochs": "4", "fkd.batch": "25", "fkd.teacher": "trained", "network": "convnet-w32-bn"}
        made, _ = distill(
            build("random_subset+fkd", "toy", 20, params)[0], toy, ipc=20, cache=tmp_path / "made"
        )
        return ImageStudent(source=made.in_space(normalized), protocol=REPLAY_V1, **images)
    protocols: dict[str, Protocol] = {
        "hard": HARD, "mixed": replace(HARD, cutmix=0.5), "labelled": SOFT,
        "whole": replace(HARD, reset=False), "averaged": replace(HARD, ema=0.9),
    }  # fmt: skip
    if name in protocols:
        labeller = labelled if name == "labelled" else None
        return ImageStudent(source=whole, protocol=protocols[name], labeller=labeller, **images)
    steps: dict[str, Protocol] = {
        "graphs": replace(GRAPH_V1, steps=9), "drawn": replace(GRAPH_V1, steps=9, batch=16),
        "whole-graphs": replace(GRAPH_WHOLE_V1, steps=9, batch=40),
        "selected": replace(GRAPH_SELECT_V1, steps=33),
    }  # fmt: skip
    source = DrawnGraphs(mutag.train, mutag.spec.features) if name == "drawn" else graphs
    return GraphStudent(
        network="gin-sum", source=source, protocol=steps[name], test=mutag.test, spec=mutag.spec,
        valid=mutag.valid,
    )  # fmt: skip


@pytest.fixture
def tested(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The weights of every student that is tested."""
    seen: list[dict[str, Tensor]] = []
    for cls in (ImageStudent, GraphStudent):

        def score(self: Any, network: torch.nn.Module, plain: Any = cls.score) -> tuple[float, float | None]:
            seen.append({name: value.clone() for name, value in network.state_dict().items()})
            found: tuple[float, float | None] = plain(self, network)
            return found

        monkeypatch.setattr(cls, "score", score)
    return seen


def cut_short(student: Student[Any], folder: Path, budgets: list[Budget]) -> int:
    """How often a student was stopped before it ended, with a budget for each life."""
    stops = 0
    for budget in budgets:
        try:
            replace(student, budget=budget).outcome(3, folder)
        except Stopped:
            stops += 1
    return stops


def test_a_student_that_is_stopped_goes_on_to_the_same_bits(
    student: Student[Any], tested: list[dict[str, Tensor]], tmp_path: Path, spent_after: Spent
) -> None:
    whole = student.outcome(3)
    stops = cut_short(student, tmp_path / "student", [spent_after(n) for n in (0, 1, 2, 0, 99)])
    assert stops == 4
    again = student.outcome(3, tmp_path / "student")
    assert (again.accuracy, again.auc) == (whole.accuracy, whole.auc)
    for later in tested[1:]:
        assert later.keys() == tested[0].keys()
        assert all(torch.equal(value, later[name]) for name, value in tested[0].items())


class Killed(BaseException):
    """In place of a kill."""


def test_a_student_that_is_killed_after_a_checkpoint_goes_on_to_the_same_bits(
    student: Student[Any], tested: list[dict[str, Tensor]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDENSE_CHECKPOINT_SECONDS", "0.001")
    student.outcome(3)
    left, log = 0, Loop.log

    def dying(self: Loop, **values: Tensor | float) -> None:
        nonlocal left
        if left == 0:
            raise Killed
        left -= 1
        log(self, **values)

    monkeypatch.setattr(Loop, "log", dying)
    for steps in (2, 3, 99):
        left = steps
        try:
            student.outcome(3, tmp_path / "student")
        except Killed:
            assert list((tmp_path / "student").glob("checkpoint-*"))
    assert all(torch.equal(value, tested[1][name]) for name, value in tested[0].items())


def test_a_short_student_writes_nothing(toy: ImageDataset, tmp_path: Path) -> None:
    test = toy.test.in_space(toy.space("normalized"))
    student = ImageStudent(
        source=WholeImages(test), test=test, spec=toy.spec, protocol=HARD, network="convnet-w32"
    )
    assert student.outcome(0, tmp_path / "student").seconds > 0
    assert not (tmp_path / "student").exists()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Protocol:
    return replace(HARD, name="published")


def evaluated(toy: ImageDataset, tmp_path: Path, protocol: Protocol, results: str, budget: Budget) -> Any:
    made, _ = distill(build("random_subset", "toy", 10)[0], toy, ipc=10, cache=tmp_path / "made")
    setup = Setup(dataset=toy, protocol=protocol, student="convnet-w32")
    return evaluate_set(made, setup, [0, 1], tmp_path / results, Machine(budget=budget))


def test_a_stop_says_so_where_no_checkpoint_can_be_kept(
    toy: ImageDataset, tmp_path: Path, home: Path, short: Protocol, spent_after: Spent
) -> None:
    home.write_text("no folder can be made here")
    told = "the same command begins it again, as no checkpoint of it could be kept"
    with pytest.raises(Stopped, match=told):
        evaluated(toy, tmp_path, short, "results", spent_after(3))


def test_the_checkpoints_are_there_until_the_student_is_recorded(
    toy: ImageDataset, tmp_path: Path, home: Path, short: Protocol, spent_after: Spent
) -> None:
    whole = evaluated(toy, tmp_path, short, "whole", Budget())
    for left in (3, 10):
        with pytest.raises(Stopped, match="the same command goes on from here"):
            evaluated(toy, tmp_path, short, "results", spent_after(left))
        assert list((home / "students").glob("*/checkpoint-*"))
    ended = evaluated(toy, tmp_path, short, "results", Budget())
    assert [entry.accuracy for entry in ended.entries] == [entry.accuracy for entry in whole.entries]
    assert list(home.glob("students/*")) == []


def test_the_seconds_of_a_student_add_up_over_restarts(
    toy: ImageDataset, tmp_path: Path, clock: Any, spent_after: Spent
) -> None:
    test = toy.test.in_space(toy.space("normalized"))
    student = ImageStudent(
        source=WholeImages(test), test=test, spec=toy.spec, protocol=HARD, network="convnet-w32",
        labeller=lambda images, target: setattr(clock, "now", clock.now + 1) or target,  # type: ignore[func-returns-value]
    )  # fmt: skip
    assert cut_short(student, tmp_path / "student", [spent_after(2)]) == 1
    clock.now += 1000
    assert student.outcome(3, tmp_path / "student").seconds == 4 * 2


@pytest.mark.parametrize("lr", [1e4, 1e30])
def test_a_student_that_diverges_makes_no_entry_and_leaves_nothing(
    toy: ImageDataset, tmp_path: Path, home: Path, short: Protocol, lr: float
) -> None:
    with pytest.raises(Refused, match="(loss is|logits are) not finite"):
        evaluated(toy, tmp_path, replace(short, lr=lr), "results", Budget())
    assert list(read_records(tmp_path / "results")) == []
    assert list(home.glob("students/*")) == []


def test_a_student_of_graphs_that_diverges_is_refused(mutag: GraphDataset) -> None:
    source = WholeGraphs(mutag.train, mutag.spec.features)
    protocol = replace(GRAPH_V1, lr=1e30, steps=5)
    student = GraphStudent(
        source=source, test=mutag.test, spec=mutag.spec, protocol=protocol, network="gin-sum"
    )
    with pytest.raises(Refused, match="(loss is|logits are) not finite"):
        student.outcome(0)


def test_a_student_whose_last_step_ruins_it_is_refused(toy: ImageDataset) -> None:
    source = WholeImages(toy.train.in_space(toy.space("normalized")))
    once = replace(HARD, lr=1e38, batch=60, stages=(Stage(epochs=1),), reset=False)
    student = ImageStudent(
        source=source, test=source.train, spec=toy.spec, protocol=once, network="convnet-w32"
    )
    with pytest.raises(Refused, match="a trained network has diverged: its logits are not finite"):
        student.outcome(0)


def test_a_long_student_shows_its_progress_and_its_end_is_left_to_its_result(
    toy: ImageDataset, clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    source = WholeImages(toy.train.in_space(toy.space("normalized")))
    student = ImageStudent(
        source=source, test=source.train, spec=toy.spec, protocol=HARD, network="convnet-w32",
        labeller=lambda images, target: setattr(clock, "now", clock.now + 4) or target,  # type: ignore[func-returns-value]
    )  # fmt: skip
    student.outcome(3)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"convnet-w32 3 train: {n}/12" for n in (3, 6, 9, 12)]
    assert all(", loss " in line and line.endswith(" s left") for line in lines)
