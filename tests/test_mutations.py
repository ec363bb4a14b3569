"""Mutated files through every reader: they are read or refused, at once, within bounds, and never verified.

The full number of files is marked slow; every run of the tests looks at some of them.
"""

import os
import resource
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

import condense.teachers
from condense.data import load_graphs, load_images
from condense.data.graphs.sources import MUTAG
from condense.errors import Refused
from condense.files import canonical
from condense.records.record import read_record
from condense.runner.queue import read_queue
from condense.store import verify
from condense.teachers.foreign import read_teacher
from tests.conftest import make_record
from tests.labelled_sets import labelled
from tests.mutations import mutated
from tests.projected_sets import projected
from tests.store.conftest import make_set
from tests.store.graph_sets import make as make_graphs

SECONDS = 5
BYTES = 2**30
FEW, MANY = 25, int(os.environ.get("CONDENSE_MUTATIONS", 650))


class TooSlow(BaseException):
    """A reader took more than its time; no reader catches this."""


@contextmanager
def bounded() -> Iterator[None]:
    """Gives a block a few seconds of the processor, and one GiB of memory beyond what is in use."""

    def stop(*_: object) -> None:
        raise TooSlow

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    before, old = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, before[1]))
    jaxtyping.config.update("jaxtyping_disable", True)  # what a user has
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)


def is_read(reader: Callable[[Path], object], path: Path) -> bool:
    """Whether a reader takes a path; it may refuse it in one sentence, and do nothing else."""
    with bounded():
        try:
            reader(path)
        except Refused as refusal:
            assert "\n" not in str(refusal) and len(str(refusal)) < 2000, str(refusal)
            return False
    return True


def images(folder: Path) -> None:
    arrays = {
        f"{part}_{what}": array
        for part, n in (("train", 8), ("test", 4))
        for what, array in (
            ("images", np.arange(n * 64, dtype=np.uint8).reshape(n, 8, 8)),
            ("labels", np.arange(n) % 2),
        )
    }
    np.savez_compressed(folder / "own.npz", **arrays)  # type: ignore[arg-type]


def graphs(folder: Path) -> None:
    with zipfile.ZipFile(MUTAG) as whole, zipfile.ZipFile(folder / "OWN.zip", "w") as file:
        for name in whole.namelist():
            file.writestr(name.replace("MUTAG", "OWN"), whole.read(name))


def ogb(folder: Path) -> None:
    import gzip

    tables = {
        "num-node-list": "3\n" * 30, "num-edge-list": "2\n" * 30, "graph-label": "0\n1\n" * 15,
        "edge": "0,1\n1,2\n" * 30, "node-feat": "0,1\n1,1\n2,0\n" * 30,
    }  # fmt: skip
    (folder / "own").mkdir()
    for name, text in tables.items():
        (folder / "own" / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))


def record(folder: Path) -> None:
    (folder / "r.json").write_text(canonical(make_record().to_json(), indent=1))


def queue(folder: Path) -> None:
    (folder / "q.toml").write_text(
        '[[cell]]\ndataset = ["digits", "mnist"]\nmethod = "dm"\nipc = [1, 10]\nseeds = [0]\n'
        'params = {iterations = 3}\n\n[[cell]]\ndataset = "mutag"\nmethod = "mirage"\n'
    )


def teacher(folder: Path) -> None:
    assert condense.teachers.__file__ is not None
    shutil.copy(Path(condense.teachers.__file__).with_name("digits.safetensors"), folder / "t.safetensors")


def weights(folder: Path) -> None:
    torch.save({"state_dict": {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3)}}, folder / "w.pt")


def image_set(folder: Path) -> None:
    made = make_set(soft=torch.float32)
    labelled(make_set(), folder / "cache").save(folder / "replayed")
    quantised = labelled(make_set(), folder / "more", form="marginal-smoothing", top_k=2)
    quantised.save(folder / "quantised")
    made.save(folder / "set")
    projected().save(folder / "projected")


def graph_set(folder: Path) -> None:
    make_graphs(weights="whole", seed=3).save(folder / "graphs")


def _teacher(path: Path) -> object:
    return read_teacher(path, network="convnet-w32-bn", spec=load_images("digits").spec)


Case = tuple[Callable[[Path], None], str, str, Callable[[Path], object], bool]
CASES: dict[str, Case] = {
    "npz": (images, "own.npz", "npz", lambda path: load_images(str(path)), False),
    "tu zip": (graphs, "OWN.zip", "zip", lambda path: load_graphs(str(path)), False),
    "ogb edges": (ogb, "own/edge.csv.gz", "gzip", lambda path: load_graphs(str(path.parent)), False),
    "ogb nodes": (ogb, "own/num-node-list.csv.gz", "gzip", lambda path: load_graphs(str(path.parent)), False),
    "record": (record, "r.json", "json", read_record, False),
    "queue": (queue, "q.toml", "toml", read_queue, False),
    "teacher": (teacher, "t.safetensors", "safetensors", _teacher, False),
    "weights": (weights, "w.pt", "zip", _teacher, False),
    "manifest": (image_set, "set/set.json", "json", lambda path: verify(path.parent), True),
    "tensors": (image_set, "set/data.safetensors", "safetensors", lambda path: verify(path.parent), True),
    "card": (image_set, "set/README.md", "bytes", lambda path: verify(path.parent), True),
    "gallery": (image_set, "set/gallery.png", "bytes", lambda path: verify(path.parent), True),
    "shard": (
        image_set, "replayed/replay-00001.safetensors", "safetensors", lambda path: verify(path.parent), True,
    ),
    "manifest with shards": (image_set, "replayed/set.json", "json", lambda path: verify(path.parent), True),
    "manifest with quantised labels": (
        image_set, "quantised/set.json", "json", lambda path: verify(path.parent), True,
    ),
    "manifest with adapters": (
        image_set, "projected/set.json", "json", lambda path: verify(path.parent), True,
    ),
    "adapters": (
        image_set, "projected/data.safetensors", "safetensors", lambda path: verify(path.parent), True,
    ),
    "manifest of graphs": (graph_set, "graphs/set.json", "json", lambda path: verify(path.parent), True),
    "graphs": (graph_set, "graphs/data.safetensors", "safetensors", lambda path: verify(path.parent), True),
}  # fmt: skip
"""The maker, the file, its form for `mutated`, the reader, and whether this verifies."""


def run(name: str, folder: Path, count: int) -> tuple[int, int]:
    """Shows a reader mutated files, and returns how many it read and how many it refused."""
    make, file, form, reader, verifies = CASES[name]
    make(folder)
    path = folder / file
    good = path.read_bytes()
    assert name == "weights" or is_read(reader, path)
    counts = {True: 0, False: 0}

    @settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(mutated(good, form))
    def show(data: bytes) -> None:
        path.write_bytes(data)
        read = is_read(reader, path)
        counts[read] += 1
        assert data == good or not (read and verifies), "an altered file was verified"

    show()
    return counts[True], counts[False]


@pytest.mark.parametrize("name", CASES)
def test_a_mutated_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    run(name, tmp_path, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_thousands_of_mutated_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    read, refused = run(name, tmp_path, MANY)
    print(f"{name}: {read} read, {refused} refused")
