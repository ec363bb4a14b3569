"""The steps of every method beside the least time that their products need: ``python benchmarks/floors.py``.

Each loop of each method (at the published settings for ten images per class of CIFAR-10) and of each
protocol's student is begun on made images of CIFAR-10's shape, a few of its steps are timed, and the loop is
left. The floor of a step is the number of its floating-point operations in convolutions and matrix products,
divided by the rate at which this machine multiplies two large matrices just then. No code can be faster than
the floor, unless it computes less.

A step is also profiled: which part of its time is spent in products at all, and what takes most of the rest.
The table is written to ``benchmarks/README.md``. What is done is kept in a file (``--done``), so that the
same command goes on where it stopped. Use one thread (``OMP_NUM_THREADS=1``), on a machine that does nothing
else.
"""

import argparse
import os
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from condense.benchmarks.common import SPEC, append_line, read_lines
from condense.benchmarks.experts import made
from condense.board.format import grid
from condense.data.load import remembering
from condense.distillation.registry import build, methods
from condense.errors import Refused
from condense.evaluation.evaluate import say
from condense.resources import Budget, Machine, PeakMemory, device_name
from condense.runner.cell import CellSpec, Paths
from condense.runner.rehearse import Scratch, kind_of_cost, scratch_folders
from condense.runner.units import Unit, run_unit, units_of
from condense.teachers.pinned import FIXED, TRAINED
from condense.training.expert_steps import Stacked
from condense.training.experts import ExpertTraining
from condense.training.loop import Loop
from condense.training.progress import Progress
from condense.training.rehearsal import Rehearsal, rehearsing

PAGE = Path(__file__).with_name("README.md")
DATASET, IPC, CLASSES = "cifar10", 10, 10
EACH = 100
"""Made images of each class; an epoch of a network on real images has so many times ten."""
SHORTER: Mapping[str, Mapping[str, object]] = {
    **dict.fromkeys(("dc", "dsa"), {"outer_steps": 1}),
    **dict.fromkeys(("mtt", "ftd", "tesla", "datm", "ast"), {"syn_steps": 4}),
    "idc": {"matches": 1},
    "rcig": {
        "inner_steps": 2,
        "inverse_steps": 2,
        "pool_steps": 1,
        "batch_real": 256,
        "tune": False,
        "networks": 1,
        "online_updates": 1,
    },
}
"""Settings that replace the published ones where a single step would take minutes."""
TAUGHT: Mapping[str, object] = {"teacher": TRAINED, "network": "convnet-w32-bn"}
"""Settings that replace the fixed teacher of CIFAR-10."""
MADE = "floors"
"""The name of the made images, as of a dataset."""
EXPERT = "expert"
SIDE, REPEATS = 2048, 5
"""Rows of the matrices whose product gives the machine's rate, and how often it is timed."""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "matmul", "linear")
"""The operators that multiply matrices, besides those with ``conv`` in their names."""
NEAR = 1.3
"""How many times its floor a step may take before its row says what takes the rest."""

HEAD = """\
# How fast the loops are

`python benchmarks/floors.py` writes this page: on {device}, one thread, {rate:.0f} GFLOP/s in products of
float32 matrices; made images of CIFAR-10's shape, {each} real and ten synthetic ones per class, and the
methods' published settings for CIFAR-10, with fewer inner steps where a step would take minutes (RCIG: fewer
networks and real images, too). A floor is the time that the products of a step (convolutions and matrix
products) would take at that rate, which was measured anew for each loop: from {slowest:.0f} to {fastest:.0f}.

A step is above its floor for two reasons, and the last two columns tell them apart by a profile of one more
step. Its own products may be slower than that of two large matrices, as those of few channels or of small
images are: *products alone* is their time as a multiple of the floor. And what is no product takes time:
normalization, activations, augmentation, sums over images. Where a step takes over {near} times its floor,
the last column has the whole of that as a part of the step, and its two largest operators.
"""


@dataclass(frozen=True)
class Step:
    """A step of a loop.

    Attributes:
        title: The task and the phase.
        seconds: Wall time, the mean over a few steps.
        operations: Floating-point operations in products.
        rate: Operations a second of a large product at that time.
        in_products: Part of the time that is spent in products, from 0 to 1.
        rest: What else takes most of the time: names of operators, and their parts.
    """

    title: str
    seconds: float
    operations: int
    rate: float
    in_products: float
    rest: Sequence[tuple[str, float]]

    @property
    def floor(self) -> float:
        return self.operations / self.rate

    @property
    def gap(self) -> float:
        """How many times its floor a step takes; infinite if it multiplies nothing."""
        return self.seconds / self.floor if self.operations else float("inf")


def product_rate() -> float:
    """Returns the floating-point operations a second of a product of two large float32 matrices."""
    one, other = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        one @ other
        times.append(time.perf_counter() - started)
    return 2 * SIDE**3 / statistics.median(times)


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating-point operations of products, forward and backward, by torch's own formulas."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.total += formula(*args, **given, out_val=out)
        return out


class Watch:
    """Times the steps of a loop, then counts the operations of one more, and profiles another."""

    def __init__(self, steps: Progress) -> None:
        self._steps, self._rate = steps, product_rate()
        self._counting: Any = None
        self._profiling: Any = None
        self._operations = 0
        self.found: Step | None = None

    def enough(self) -> bool:
        """Is asked after each step, and tells whether no more steps are needed."""
        if self._steps.pace is None:
            return False
        if self._counting is None:
            self._counting = Operations()
            self._counting.__enter__()
        elif self._profiling is None:
            self._counting.__exit__(None, None, None)
            self._operations = self._counting.total
            self._profiling = profile(activities=[ProfilerActivity.CPU], acc_events=True)
            self._profiling.__enter__()
        else:
            self._profiling.__exit__(None, None, None)
            self.found = Step(
                self._steps.title, self._steps.pace, self._operations, self._rate, *parts(self._profiling)
            )
        return self.found is not None

    def end(self) -> None:
        """Leaves what was entered, where the loop has ended by itself."""
        if self.found is None:
            for entered in (self._profiling, None if self._profiling else self._counting):
                if entered is not None:
                    entered.__exit__(None, None, None)


def parts(profiled: Any) -> tuple[float, list[tuple[str, float]]]:
    """Returns the part of a profile's time that is in products, and the largest parts of the rest."""
    times: dict[str, float] = {}
    for event in profiled.key_averages():
        if event.key.startswith("aten::"):
            name = event.key.removeprefix("aten::").removesuffix("_backward").rstrip("_")
            kind = "products" if "conv" in name or name in PRODUCTS else name
            times[kind] = times.get(kind, 0.0) + event.self_cpu_time_total
    total = sum(times.values()) or 1.0
    products = times.pop("products", 0.0)
    largest = sorted(times.items(), key=lambda item: -item[1])[:2]
    return products / total, [(name, spent / total) for name, spent in largest]


@dataclass
class Watched(Rehearsal):
    """A rehearsal that watches each of its loops."""

    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def computation(self, steps: Progress, memory: PeakMemory) -> Iterator[Callable[[], bool]]:
        watch = Watch(steps)
        try:
            yield watch.enough
        finally:
            watch.end()
        if watch.found is not None:
            self.steps.append(watch.found)


def watched(unit: Unit, scratch: Scratch) -> list[Step]:
    """Rehearses a unit in this process and returns a step of each of its loops."""
    watching, before = Watched(), os.environ.get("CONDENSE_HOME")
    os.environ["CONDENSE_HOME"] = str(scratch.home)
    try:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            with rehearsing(watching):
                run_unit(unit, scratch.paths, Machine())
    except Exception as error:  # what stands for a result may be of no use to what follows
        say(f"{unit.title} ended early: {type(error).__name__}: {str(error)[:80]}")
    finally:
        os.environ.pop("CONDENSE_HOME")
        os.environ |= {} if before is None else {"CONDENSE_HOME": before}
    return watching.steps


def made_images(path: Path) -> None:
    """Writes random images of CIFAR-10's shape, as a dataset."""
    rng, labels = np.random.default_rng(0), np.repeat(np.arange(CLASSES), EACH)
    images = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
    np.savez(
        path, train_images=images, train_labels=labels, test_images=images[::-1], test_labels=labels[::-1]
    )


def published(name: str) -> dict[str, object]:
    """Returns the published settings of a method, and in place of some those of `SHORTER`.

    Made images have no fixed teacher: one of the network of CIFAR-10's is trained on them.
    """
    method, _ = build(name, DATASET, IPC)
    settings: dict[str, object] = {one.name: getattr(method, one.name) for one in fields(method)}
    taught = TAUGHT if settings.get("teacher") == FIXED else {}
    return {**settings, **SHORTER.get(name, {}), **taught}


def expert_batch() -> list[Step]:
    """Trains an expert for a few batches and returns a step of it."""
    training, cpu = ExpertTraining(network="convnet"), torch.device("cpu")
    train = made(2, training.batch, cpu)
    stacked = Stacked(training, SPEC, [0], cpu)
    stacked.begin(0, len(train))
    loop = Loop(None, torch.Generator(), device=cpu, budget=Budget(), title="expert", remedy="")
    watching = Watched()
    with rehearsing(watching):
        for number in loop.steps(10**6, {}, phase=f"batch of {training.batch}"):
            stacked.step(train, 0, number % 2)
    return watching.steps


def units(names: Sequence[str], dataset: Path, paths: Paths) -> Iterator[Unit]:
    """Yields the units of methods that store sets of images, each with a single student."""
    for name in names:
        cell = CellSpec(
            method=name, dataset=str(dataset), ipc=IPC, seeds=(0,), eval_seeds=1, student="convnet",
            params=published(name),
        )  # fmt: skip
        try:
            yield from units_of(cell, paths, with_baselines=False)
        except Refused as error:
            say(f"{name} is left out: {error}")


def loop_name(title: str) -> str:
    """Returns the name of a loop for readers of the page.

    Args:
        title: The method and the title of the loop: ``dm: dm on floors distil``, ``dm: convnet 0 train``.

    Returns:
        What is left without repetitions: ``dm: distil``, ``dm: student of convnet, train``.
    """
    method, _, rest = title.partition(": ")
    rest = rest.replace(f" on {MADE}", "").removeprefix(f"{method} ")
    rest = re.sub(r"^(\S+) 0 ", r"student of \1, ", rest)
    return f"{method}: {rest}" if rest else method


def page(steps: Sequence[Step], device: str) -> str:
    """Returns the page for steps."""
    rows = []
    for step in steps:
        largest = ", ".join(f"{name} {100 * part:.0f} %" for name, part in step.rest)
        told = f"{100 * (1 - step.in_products):.0f} %: {largest}"
        gaps = [f"{step.gap:.2f}", f"{step.in_products * step.gap:.2f}"] if step.operations else ["-", "-"]
        rows.append(
            [
                loop_name(step.title), f"{step.seconds:.3g}", f"{step.operations / 1e9:.4g}",
                f"{step.floor:.3g}", *gaps, told if step.gap > NEAR else "",
            ]
        )  # fmt: skip
    rates = [step.rate / 1e9 for step in steps]
    head = ["loop", "seconds", "GFLOP", "floor", "times the floor", "products alone", "no products"]
    told_of = HEAD.format(
        device=device, each=EACH, near=NEAR, rate=statistics.median(rates), slowest=min(rates),
        fastest=max(rates),
    )  # fmt: skip
    return f"{told_of}\n{grid(head, rows)}"


def image_methods() -> list[str]:
    """Returns the names of the methods that store sets of images, in the order of the registry."""
    return [name for name, cls in methods().items() if cls.stores]


class Finished:
    """The steps that are done, in a file of JSON lines: a line for each unit, and one for each whole method.

    Attributes:
        steps: The steps by their titles.
        kinds: What `condense.runner.rehearse.kind_of_cost` returned for the units.
        methods: The methods of which all units are done.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.steps, self.kinds, self.methods = dict[str, Step](), set[str](), set[str]()
        for values in read_lines(path):
            self._take(values)

    def add(self, **values: Any) -> None:
        """Appends a line: the steps and the kind of a unit, or the name of a method."""
        append_line(self._path, values)
        self._take(values)

    def _take(self, values: Mapping[str, Any]) -> None:
        steps = msgspec.convert(values.get("steps", []), list[Step])
        self.steps |= {step.title: step for step in steps}
        self.kinds |= {values["kind"]} if "kind" in values else set()
        self.methods |= {values["method"]} if "method" in values else set()


def watch(name: str, dataset: Path, scratch: Scratch, done: Finished) -> None:
    """Watches the units of a method, those of which no unit of the same cost is done."""
    for unit in units([name], dataset, scratch.paths):
        kind = kind_of_cost(unit, scratch)
        if kind not in done.kinds or unit.stage == "distil":  # students need the set of the rehearsal
            say(f"watches {unit.title}")
            steps = [asdict(replace(one, title=f"{name}: {one.title}")) for one in watched(unit, scratch)]
            done.add(kind=kind, steps=steps)
    done.add(method=name)


def main() -> None:
    """Watches the loops that are not done yet and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", action="append", help="only this method; may be repeated")
    parser.add_argument("--done", type=Path, default=Path("floors.jsonl"), help="file of the finished loops")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    done = Finished(asked.done)
    with remembering(), scratch_folders(Paths()) as scratch:
        made_images(dataset := asked.done.absolute().with_name(f"{MADE}.npz"))
        for name in asked.method or image_methods():
            if name not in done.methods:
                watch(name, dataset, scratch, done)
    if EXPERT not in done.kinds:
        say("watches an expert")
        done.add(kind=EXPERT, steps=[asdict(one) for one in expert_batch()])
    PAGE.write_text(page([*done.steps.values()], device_name(torch.device("cpu"))))


if __name__ == "__main__":
    main()
