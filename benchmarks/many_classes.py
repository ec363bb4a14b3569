"""A made dataset of many classes, end to end: ``python benchmarks/many_classes.py``.

What a thousand classes take is measured with it (docs/scale.md): for each number of classes, method and
number of labelled epochs one ``condense run``, in a process of its own whose peak of memory is told. The
networks are small and the epochs few, since the question is what grows with classes and labels.

The images are 64 x 64. Each class is a pattern of four by four colours, drawn from its number; an image is
the pattern, moved and with noise. Nothing in them is a result.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from condense.board.format import grid

SIDE, CELLS = 64, 4
TRAIN, TEST = 20, 5
"""Images of each class."""
METHODS = {
    "rded+fkd": ("rded.network=NETWORK", "rded.teacher=trained", "rded.teacher_epochs=1", "rded.pool=10"),
    "sre2l+fkd": (
        "sre2l.network=NETWORK",
        "sre2l.teacher=trained",
        "sre2l.teacher_epochs=1",
        "sre2l.iterations=10",
    ),
}
NETWORK, STUDENT = "convnet-w32-bn", "convnet-w32"
HEAD = ["method", "classes", "IPC", "epochs of labels", "labels MB", "wall s", "CPU s", "peak MiB"]


class Run(NamedTuple):
    """What a command took: seconds of wall and CPU time, bytes of stored labels, and the peak in bytes."""

    wall: float
    cpu: float
    labels: int
    peak: int


def make(path: Path, classes: int) -> None:
    """Writes the dataset with a number of classes as an ``.npz`` file."""
    arrays: dict[str, Any] = {}
    for split, each, seed in (("train", TRAIN, 0), ("test", TEST, 1)):
        dice, images = np.random.default_rng(seed), []
        for label in range(classes):
            pattern = np.random.default_rng(10_000 + label).integers(0, 256, (CELLS, CELLS, 3))
            large = pattern.repeat(SIDE // CELLS, 0).repeat(SIDE // CELLS, 1)
            for _ in range(each):
                moved = np.roll(large, tuple(dice.integers(-6, 7, 2)), (0, 1))
                images.append((moved + dice.normal(0, 25, moved.shape)).clip(0, 255).astype(np.uint8))
        arrays[f"{split}_images"] = np.stack(images)
        arrays[f"{split}_labels"] = np.arange(classes).repeat(each)
    np.savez(path, **arrays)


def measure(folder: Path, data: Path, method: str, ipc: int, epochs: int) -> Run:
    """Distils, labels and trains one student in a process of its own."""
    place = folder / f"{data.stem}-{method}-{ipc}-{epochs}"
    params = [text.replace("NETWORK", NETWORK) for text in METHODS[method]]
    params += ["fkd.teacher=host", "fkd.batch=100", f"fkd.epochs={epochs}"]
    command = [sys.executable, "-m", "condense", "run", "--method", method, "--dataset", str(data)]
    command += ["--ipc", str(ipc), "--protocol", "replay-v1", "--student", STUDENT, "--eval-seeds", "1"]
    command += ["--no-baselines", "--seed", "0", "--device", "cpu"]
    command += ["--out", str(place / "sets"), "--results", str(place / "results")]
    for text in params:
        command += ["--param", text]
    began = time.perf_counter()
    with (folder / f"{place.name}.log").open("w") as log:
        child = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "CONDENSE_HOME": str(folder / "home")}
        )
        _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit((folder / f"{place.name}.log").read_text())
    labels = sum(
        file.stat().st_size for file in place.rglob("*.safetensors") if file.name != "data.safetensors"
    )
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Run(time.perf_counter() - began, used.ru_utime + used.ru_stime, labels, peak)


def main() -> None:
    """Measures each combination and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--ipc", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, nargs="+", default=[2], help="Epochs of stored labels.")
    parser.add_argument("--method", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument(
        "--folder", type=Path, help="Where data, sets and records go; default: a temporary folder."
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        folder = given.folder or Path(spare)
        folder.mkdir(parents=True, exist_ok=True)
        rows = []
        for classes in given.classes:
            make(data := folder / f"made{classes}.npz", classes)
            for method in given.method:
                for ipc in given.ipc:
                    for epochs in given.epochs:
                        run = measure(folder, data, method, ipc, epochs)
                        told = [
                            f"{run.labels / 1e6:.1f}",
                            f"{run.wall:.0f}",
                            f"{run.cpu:.0f}",
                            f"{run.peak / 2**20:.0f}",
                        ]
                        rows.append([method, str(classes), str(ipc), str(epochs), *told])
                        print(rows[-1], flush=True)
    print(grid(HEAD, rows))


if __name__ == "__main__":
    main()
