"""Steps and weight decay of students of graphs: ``python benchmarks/graph_protocol.py``.

The protocols graph-v2 and graph-whole-v2 rest on this study. It trains students on sets of ten graphs a class
(Mirage's, and random graphs drawn anew for each seed) and on all training graphs, with each weight decay, and
scores each student after several numbers of steps. As the learning rate is constant, a student after 300 of
2000 steps is the student of a protocol with 300 steps.

Neither the test split nor the validation split of a dataset is read. Sets are made from, and students trained
on, four fifths of the training graphs of each class (`parted`). The score is the ROC-AUC on the last fifth.

The table is written to ``benchmarks/graph_protocol.md``. Finished trainings are appended to a file of JSON
lines (``--scores``), and those that it already holds are not repeated. All trainings take about half an hour
of one CPU core; ``--dataset`` and ``--source`` restrict a process to some of them.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import torch

from condense.benchmarks.common import append_line, read_lines
from condense.board.cells import half_width
from condense.board.format import grid
from condense.data import GraphDataset, Graphs, load_graphs
from condense.distillation import distill
from condense.distillation.registry import build
from condense.evaluation.graph_student import GraphSource, GraphStudent, WholeGraphs, score
from condense.networks import GRAPH_NETWORKS
from condense.protocols import GRAPH_V1, GRAPH_WHOLE_V1
from condense.resources import Budget
from condense.training.loop import Loop

DATASETS = ("mutag", "molbace", "proteins", "nci1")
STEPS = (300, 500, 1000, 2000)
POOLINGS = ("sum", "mean")
IPC = 10
SMALL = ("mirage", "random_subset")
WHOLE = "whole"
SOURCES = (*SMALL, WHOLE)
PAGE = Path(__file__).with_suffix(".md")

HEAD = """\
# Steps and weight decay of students of graphs

`python benchmarks/graph_protocol.py` writes this page. Numbers are ROC-AUC in percent on a fifth of the
*training* graphs, which students and sets did not see; no test or validation split was read. Each is the mean
over GCN, GAT and GIN and over two seeds (one with decay 0.0001, and on all graphs). The optimiser is Adam
with a learning rate of 0.001. Columns: weight decay, steps.
"""


@dataclass(frozen=True)
class Training:
    """One student: what it is trained on, the network, the weight decay, and the seed."""

    dataset: str
    source: str
    student: str
    decay: float
    seed: int


Scores = Mapping[Training, Mapping[int, float]]
"""The ROC-AUC in percent of each student after each number of steps."""


def planned(datasets: Sequence[str], sources: Sequence[str]) -> list[Training]:
    """Returns the trainings on some datasets and sources, the most telling first.

    Small sets have two seeds, one with decay 1e-4. All graphs have one seed, and no decay of 1e-4.
    """
    order = product((0, 1), (0.0, 1e-2, 1e-4), datasets, sources, GRAPH_NETWORKS)
    return [
        Training(dataset, name, student, decay, seed)
        for seed, decay, dataset, name, student in order
        if decay != 1e-4 or (name in SMALL and seed == 0)
        if name in SMALL or seed == 0
    ]


def parted(train: Graphs) -> tuple[Graphs, Graphs]:
    """Cuts training graphs into those to train on and a fifth of each class (rounded up) to score by."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    of_class = [order[train.labels[order] == label] for label in range(train.num_classes)]
    held = torch.cat([graphs[: -(-len(graphs) // 5)] for graphs in of_class])
    rest = torch.ones(len(train), dtype=torch.bool)
    rest[held] = False
    return train.select(rest.nonzero()[:, 0]), train.select(held.sort().values)


def source(name: str, data: GraphDataset, seed: int, cache_folder: Path) -> GraphSource:
    """Returns what students are trained on: a set of ten graphs a class, or all training graphs."""
    if name == WHOLE:
        return WholeGraphs(data.train, data.spec.features)
    method, _ = build(name, data.spec.name, IPC, kind="graphs")
    made: GraphSource = distill(method, data, ipc=IPC, seed=seed, cache=cache_folder)[0]
    return made


def scored(one: Training, data: GraphDataset, held: Graphs, cache_folder: Path) -> dict[int, float]:
    """Trains a student and returns its ROC-AUC on held-out graphs in percent, after each number of `STEPS`.

    Args:
        one: The student.
        data: A dataset, of which the training graphs alone are read.
        held: The graphs to score by.
        cache_folder: Folder for what distillation keeps.
    """
    base = GRAPH_WHOLE_V1 if one.source == WHOLE else GRAPH_V1
    student = GraphStudent(
        network=one.student,
        protocol=replace(base, name="study", steps=STEPS[-1], weight_decay=one.decay),
        source=source(one.source, data, one.seed, cache_folder),
        test=held,
        spec=data.spec,
    )
    found = dict[int, float]()

    def note(done: int) -> None:
        if done in STEPS:
            auc = score(network, held, data.spec).auc
            assert auc is not None
            found[done] = auc

    rng = torch.Generator().manual_seed(one.seed)
    network = student.build(rng)
    student.train(network, Watched(note, rng))
    return found


class Watched(Loop):
    """A loop that calls a function with the number of finished steps, before each step and after the last."""

    def __init__(self, note: Callable[[int], None], rng: torch.Generator) -> None:
        """Makes a loop without checkpoints on the CPU."""
        device = torch.device("cpu")
        super().__init__(None, rng, device=device, budget=Budget(), title="study", remedy="see the study")
        self._note = note

    def steps(self, n: int, *arguments: Any, **named: Any) -> Iterator[int]:
        """Yields the numbers of the steps: see `Loop.steps`."""
        for step in super().steps(n, *arguments, **named):
            self._note(step)
            yield step
        self._note(n)


def study(trainings: Iterable[Training], file: Path, cache_folder: Path) -> Iterator[str]:
    """Makes the trainings that a file of scores lacks, adds them to it, and yields a line for each."""

    @cache
    def cut(name: str) -> tuple[GraphDataset, Graphs]:
        data = load_graphs(name)
        kept, held = parted(data.train)
        return replace(data, train=kept), held

    known = read(file)
    for one in trainings:
        if one not in known:
            data, held = cut(one.dataset)
            found = scored(one, data, held, cache_folder)
            append_line(file, asdict(one) | {"auc": found})
            yield f"{one}: {found}"


def read(file: Path) -> Scores:
    """Returns the scores of a file; none if there is no file."""
    found = {}
    for values in read_lines(file):
        auc = {int(steps): value for steps, value in values.pop("auc").items()}
        found[Training(**values)] = auc
    return found


def page(scores: Scores) -> str:
    """Returns the study as Markdown: means over the layers and seeds for each kind of pooling.

    What is trained on, a decay and a seed are shown together once all students of them are there.
    """
    parts, count = [HEAD], Counter(replace(one, student="") for one in scores)
    for title, sources in (
        ("Ten graphs of each class, all in each step", SMALL), ("All graphs, 128 in each step", (WHOLE,)),
    ):  # fmt: skip
        mine = {
            one: auc for one, auc in scores.items()
            if one.source in sources and count[replace(one, student="")] == len(GRAPH_NETWORKS)
        }  # fmt: skip
        if mine:
            decays = sorted({one.decay for one in mine})
            head = ["dataset", "trained on", "pooling"]
            head += [f"{decay:g}, {steps}" for decay in decays for steps in STEPS]
            parts.append(f"## {title}\n\n{grid(head, list(_rows(mine, decays)))}\n{_gains(mine)}")
    return "\n".join(parts)


def _rows(scores: Scores, decays: Sequence[float]) -> Iterator[list[str]]:
    """Yields the rows; the last of each pooling is the mean of the others, if none of them is missing."""
    cells = sorted({(one.dataset, one.source) for one in scores})
    for pooling in POOLINGS:
        means: dict[tuple[float, int], list[float]] = defaultdict(list)
        for dataset, name in cells:
            row = [dataset, name, pooling]
            for column in product(decays, STEPS):
                values = [
                    auc[column[1]] for one, auc in scores.items()
                    if (one.dataset, one.source, one.decay) == (dataset, name, column[0])
                    and one.student.endswith(pooling)
                ]  # fmt: skip
                if values:
                    means[column].append(fmean(values))
                row.append(f"{fmean(values):.1f}" if values else "-")
            yield row
        columns = [means[column] for column in product(decays, STEPS)]
        told = [f"{fmean(found):.1f}" if len(found) == len(cells) else "-" for found in columns]
        yield ["all", "all", pooling, *told]


def _gains(scores: Scores) -> str:
    """Returns lines that compare settings, paired by dataset, set, student and seed."""
    lines = "Paired differences, mean ± half the 95 % interval over students:\n\n"
    for (decay, steps), (other, others) in (
        ((0.0, 500), (0.0, 300)), ((0.0, 1000), (0.0, 500)), ((0.0, 2000), (0.0, 1000)),
        ((0.0, 500), (1e-4, 500)), ((0.0, 500), (1e-2, 500)), ((0.0, 2000), (1e-2, 2000)),
    ):  # fmt: skip
        for pooling in POOLINGS:
            gaps = [
                auc[steps] - beside[others]
                for one, auc in scores.items()
                if one.decay == decay and one.student.endswith(pooling)
                and (beside := scores.get(replace(one, decay=other)))
            ]  # fmt: skip
            if len(gaps) > 1:
                lines += (
                    f"- {pooling} pooling, decay {decay:g} and {steps} steps, less decay {other:g} and "
                    f"{others} steps: {fmean(gaps):+.2f} ± {half_width(gaps):.2f} (n={len(gaps)})\n"
                )
    return lines


def main() -> None:
    """Makes the trainings that are missing and writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scores", type=Path, default=Path("graph_protocol.jsonl"))
    parser.add_argument("--dataset", nargs="*", default=DATASETS, choices=DATASETS)
    parser.add_argument("--source", nargs="*", default=SOURCES, choices=SOURCES)
    parser.add_argument("--page", type=Path, default=PAGE, help="file of the table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        trainings = planned(given.dataset, given.source)
        for line in study(trainings, given.scores, Path(folder)):
            print(line, flush=True)
    given.page.write_text(page(read(given.scores)), encoding="utf-8")


if __name__ == "__main__":
    main()
