"""The only door of the pinning tests to condense: where code moves or is renamed, this file follows it.

What the functions give back are plain values: hashes, JSON, paths. None of them may change.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from condense.data import GraphDataset, ImageDataset, load_graphs, load_images
from condense.distillation import ExpertTraining, Recipe, distill, feature_extractor
from condense.distillation.registry import build, methods
from condense.distillation.run import FRACTION, Run
from condense.errors import Stopped
from condense.evaluation.evaluate import evaluate_reference, record_of
from condense.evaluation.kinds import Setup
from condense.files import canonical, digest, hash_tensors
from condense.networks import GRAPH_NETWORKS, build_graph_network, build_network
from condense.protocols import PROTOCOLS
from condense.records.record import (
    DataUsed,
    Entry,
    MethodUsed,
    Record,
    SampleCounts,
    SetUsed,
)
from condense.resources import Budget, Machine
from condense.runner.cell import CellSpec, Paths
from condense.runner.job import resolve
from condense.store import Compensated, DistilledSet, MultiFormation, verify
from condense.store.images.replay import hash_images, shard_metadata
from condense.teachers import PINNED, Header, Teacher, fixed
from condense.teachers.training import teacher_training
from condense.training.experts import experts
from condense.training.graph_training import GraphTraining
from condense.training.image_training import Training
from condense.training.pretrained import pretrained
from condense.training.validation import VALIDATION
from tests.board_records import board_files

ROOT = Path(__file__).parents[1]


class CommittedSets:
    """The committed sets; beside their folders lie the catalogues that name them."""

    def iterdir(self) -> list[Path]:
        """The folder of each set."""
        return [path for path in (ROOT / "results" / "sets").iterdir() if path.is_dir()]


SETS = CommittedSets()
TRAIN, TEST, TEACHER = "1" * 64, "2" * 64, "a" * 64
"""Made-up hashes."""

__all__ = ["ROOT", "SETS", "TEACHER", "TEST", "TRAIN", "canonical", "digest", "hash_tensors", "verify"]


# Methods ---------------------------------------------------------------------------------------------------


def method(name: str, dataset: str = "none", ipc: int = 1, kind: str = "images", **params: str) -> Any:
    """A method with the published settings for a cell, or its defaults; ``fyi__field`` is ``fyi.field``.

    fkd has the numbers that were its defaults when the first views were stored.
    """
    if name.endswith("+fkd"):
        params = {"fkd__epochs": "300", "fkd__batch": "128"} | params
    return build(name, dataset, ipc, {key.replace("__", "."): v for key, v in params.items()}, kind)[0]


CORRECTED: Mapping[tuple[str, str, int], Mapping[str, str]] = {
    ("mtt", "cifar100", 10): {"lr_images": "1000"},
    ("ast", "cifar100", 10): {"lr_images": "1000"},
    ("ast", "cifar100", 50): {"lr_images": "1000"},
    ("mtt+fyi", "cifar10", 10): {
        "iterations": "5000", "gradient": "exact", "fyi__edited_experts": "false",
    },
}  # fmt: skip
"""Of recipes that were corrected, the settings that they had when the literals were written down."""


def key(name: str, dataset: str = "none", ipc: int = 1, kind: str = "images", **params: str) -> str:
    """A run key of seed 0; of a recipe that was corrected, with the settings that it had before."""
    before = CORRECTED.get((name, dataset, ipc), {})
    return str(method(name, dataset, ipc, kind, **before, **params).run_key(TRAIN, ipc, 0))


def corrected_key(name: str, dataset: str, ipc: int) -> str:
    """A run key of seed 0 of a recipe as it is."""
    return str(method(name, dataset, ipc).run_key(TRAIN, ipc, 0))


def seeded_key(name: str, ipc: int, seed: int) -> str:
    """A run key of another seed."""
    return str(method(name).run_key(TRAIN, ipc, seed))


def training_key(name: str, fraction: float) -> str:
    """A run key of a training on a fraction of the images, without their validation part."""
    return str(method(name).run_key(TRAIN, 1, 0, {FRACTION: fraction, "validation": VALIDATION}))


@contextmanager
def first_mirage() -> Iterator[None]:
    """Mirage with the keys of its version 1, which stored raw supports and had no field that says so."""
    cls: Any = methods("graphs")["mirage"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "version", 1)
        patch.setattr(cls, "_hashed_config", lambda self: _without(self.config(), "weights"))
        yield


def _without(config: Mapping[str, object], field: str) -> dict[str, object]:
    return {name: value for name, value in config.items() if name != field}


def recipes(name: str, kind: str) -> list[tuple[str, int, str, object, str]]:
    """Of each published recipe: dataset, IPC, run key, protocol as JSON, source; see `CORRECTED`."""
    found: list[tuple[str, int, str, object, str]] = []
    for (dataset, ipc), recipe in sorted(methods(kind)[name].recipes.items()):
        assert isinstance(recipe, Recipe)
        protocol = recipe.protocol.to_json() if recipe.protocol else None
        source = recipe.source.removesuffix("; lr_images there is for CIFAR-10's constants")
        found.append((dataset, ipc, key(name, dataset, ipc, kind), protocol, source))
    return found


def source_of(name: str, dataset: str, ipc: int, **params: str) -> tuple[str | None, object]:
    """What a chain's manifest says of where its settings come from, and its published protocol."""
    settings = {key.replace("__", "."): value for key, value in params.items()}
    chain, recipe = build(name, dataset, ipc, settings)
    if recipe is None:
        return None, None
    return recipe.cited_by(chain), recipe.protocol and recipe.protocol.to_json()


# Protocols and records -------------------------------------------------------------------------------------


def protocols() -> dict[str, tuple[str, str]]:
    """Hash and canonical JSON of the suite's own protocols."""
    return {name: (one.hash, canonical(one.to_json())) for name, one in PROTOCOLS.items()}


def placed(record: Record) -> tuple[str, str]:
    """A record's evaluation key, and its file."""
    return record.evaluation_key(), record.path(Path("results")).as_posix()


def entry_key(record: Record, seed: int) -> str:
    """The evaluation key of one student."""
    return record.evaluation_key(seed)


def made_up_record() -> Record:
    """A record with every field filled, of made-up values."""
    entry = Entry(
        seed=3, accuracy=12.5, seconds=1.5, device="cpu", threads=2, versions={"torch": "0"}, time="then",
        auc=50.0,
    )  # fmt: skip
    used = SetUsed(
        hash="c" * 64, bytes={"images": 3}, counts=SampleCounts(stored=1, effective=2, per_class=(1,)),
        label="soft", seconds=2.5, peak_bytes=7, device="cpu", rollbacks=1, dense_bytes=9,
    )  # fmt: skip
    return Record(
        kind="set",
        key="b" * 64,
        dataset=DataUsed(name="a/b", kind="images", train_hash=TRAIN, test_hash=TEST),
        method=MethodUsed(name="dm+fyi", chain=tuple(method("dm+fyi").chain()), source="a paper"),
        ipc=1,
        seed=2,
        set=used,
        space="normalized",
        protocol=PROTOCOLS["soft-v1"],
        student="convnet",
        teacher=TEACHER,
        teacher_bytes=5,
        teacher_accuracy=99.5,
        valid_bytes=11,
        entries=(entry,),
    )


def text_of(record: Record) -> str:
    """A record's file."""
    return canonical(record.to_json(), indent=1) + "\n"


def judged(made: DistilledSet, protocol: str, student: str, *, taught: bool = False) -> Record:
    """The blank record of a set of the bundled data."""
    data = digits() if made.content["kind"] == "images" else mutag()
    teacher = fixed("digits", data.train.hash) if taught else None
    return record_of(made, data, PROTOCOLS[protocol], student, teacher)


def referred(name: str, protocol: str, student: str, *, graphs: bool, results: Path) -> Record:
    """The blank record of a reference on the bundled data."""
    data = mutag() if graphs else digits()
    return evaluate_reference(name, Setup(data, PROTOCOLS[protocol], student), [], results, Machine())


def folder_of(name: str, dataset: str, ipc: int, seed: int, out: Path) -> str:
    """The name of the folder that a cell's set is stored in."""
    cell = CellSpec(method=name, dataset=dataset, ipc=ipc, seeds=(seed,))
    return resolve(cell, Paths(out=out, results=out), evaluated=False).folder(seed).name


def committed() -> Iterator[tuple[Path, str, str]]:
    """Every record in results/: its file, where it says that it belongs, and what would be written."""
    for path, record in board_files():
        yield path, record.path(ROOT / "results").as_posix(), text_of(record)


# Sets ------------------------------------------------------------------------------------------------------


@cache
def digits() -> ImageDataset:
    """The bundled images."""
    return load_images("digits")


@cache
def mutag() -> GraphDataset:
    """The bundled graphs."""
    return load_graphs("mutag")


def selected(name: str, kind: str, home: Path, ipc: int = 1, **params: str) -> tuple[DistilledSet, Any]:
    """A set of bundled data, and the run that made it."""
    data = digits() if kind == "images" else mutag()
    chain = method(name, data.spec.name, ipc, kind, **params)
    made, run = distill(chain, data, ipc=ipc, cache=home)
    assert isinstance(run, Run)
    return made, run


def recited(name: str, dataset: str, ipc: int, home: Path, **params: str) -> Mapping[str, Any]:
    """The content of a set of digits whose recipe is that of another dataset."""
    chain, recipe = build(name, dataset, ipc, params)
    made, _ = distill(chain, digits(), ipc=1, recipe=recipe, cache=home)
    return {**made.content}


def steps(factor: int | None = None, networks: int | None = None) -> list[Any]:
    """Decode steps."""
    return [MultiFormation(factor)] if factor else [Compensated(networks)] if networks else []


def entitled(images: str, epoch: int) -> str:
    """What the file of an epoch's labels says of itself."""
    return shard_metadata(images, epoch)


def seen_hash(made: Any) -> str:
    """The hash of the images that labels are stored for."""
    return hash_images(made.tensors(), made.content)


def teacher(accuracy: float | None) -> Any:
    """A teacher of made-up weights."""
    header = Header(
        network="mlp", dataset="toy", classes=("a", "b"), shape=(1, 4, 4), mean=(0.5,), std=(0.25,),
        train_hash=TRAIN, accuracy=accuracy, training=teacher_training("mlp", epochs=3).describe(),
    )  # fmt: skip
    state = build_network("mlp", (1, 4, 4), 2, torch.Generator()).state_dict()
    weights = {
        name: (torch.arange(value.numel()) % 32 / 32 - 0.5).view(value.shape) for name, value in state.items()
    }
    return Teacher.of(header, weights, "cpu")


def shipped() -> dict[str, str]:
    """The hashes of the shipped teachers."""
    return {name: one.hash for name, one in PINNED.items()}


def parameters(*networks: str) -> dict[str, list[object]]:
    """Of networks for tiny data: names, types and shapes of their state, in order; they enter hashes."""
    none, here = torch.Generator(), torch.device("cpu")
    found = {
        name: (
            build_graph_network(name, 7, 2, none, here)
            if name in GRAPH_NETWORKS
            else build_network(name, (3, 32, 32), 10, none)
        ).state_dict()
        for name in networks
    }
    return {
        name: [[part, str(value.dtype), list(value.shape)] for part, value in state.items()]
        for name, state in found.items()
    }


# The cache -------------------------------------------------------------------------------------------------


class Spent(Budget):
    """A budget without any time."""

    def spent(self, now: float | None = None) -> bool:
        """It always is."""
        return True

    def stop(self, where: str, *, kept: bool = True) -> Stopped:
        """The end of the first step."""
        return Stopped(where)


def begun(home: Path, work: Callable[[], object]) -> list[str]:
    """The folders of the cache that hold a file once some work has been stopped after its first step."""
    try:
        work()
    except Stopped:
        pass
    return sorted({path.parent.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()})


def network_place(home: Path, training: Training, space: str) -> list[str]:
    """Where a trained network lies."""
    data = digits()
    train = data.train.in_space(data.space(space))
    return begun(home, lambda: pretrained(training, train, data.spec, space, cache=home, budget=Spent()))


def expert_place(home: Path, training: ExpertTraining, space: str) -> list[str]:
    """Where experts lie."""
    data = digits()
    train = data.train.in_space(data.space(space))
    found = begun(
        home,
        lambda: experts(
            training, 1, 1, train, data.spec, space, cache=home, budget=Spent(), say=lambda line: None
        ),
    )
    return found


def graph_network_place(home: Path) -> list[str]:
    """Where a trained graph network lies."""
    training, data = GraphTraining(network="gcn-mean"), mutag()
    return begun(home, lambda: pretrained(training, data.train, data.spec, cache=home, budget=Spent()))


def run_place(home: Path, name: str) -> list[str]:
    """Where a run's checkpoints lie."""
    return begun(
        home, lambda: distill(method(name), digits(), ipc=1, cache=home, machine=Machine(budget=Spent()))
    )


def whitening_place(home: Path) -> list[str]:
    """Where a whitening lies, not fitted yet; CONDENSE_HOME must be `home`."""
    return begun(home, lambda: replace(digits()).space("zca"))


def plain_training(network: str) -> Training:
    """Of the networks that selection methods look through."""
    return feature_extractor(network)


def taught_training(network: str) -> Training:
    """Of teachers."""
    return teacher_training(network)


def training_of(name: str, *arguments: int, dataset: str = "none", ipc: int = 1, **params: str) -> Any:
    """How a method trains its networks or experts."""
    return method(name, dataset, ipc, **params).training(*arguments)


def described(training: Any) -> str:
    """What of a training is hashed."""
    values: Mapping[str, object] = training.describe()
    return canonical(values)


def stored(folder: Path) -> tuple[Mapping[str, Any], Sequence[str]]:
    """A stored set's manifest, and the names of its files."""
    return json.loads((folder / "set.json").read_text()), sorted(path.name for path in folder.iterdir())
