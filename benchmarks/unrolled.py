"""Memory and time of one update by trajectory matching: ``python benchmarks/unrolled.py``.

It compares the ways of differentiating in `condense.distillation.matching.unrolled`, with a ConvNet of width
128 on images of CIFAR-10's shape. "unrolled" is the published way: one backward pass through the graph of all
steps. Memory is the peak of an update above what the process held before it, for several numbers of steps,
each in a process of its own. Time is the median over interleaved repetitions, also as a share of "unrolled".

Run it on an otherwise idle machine: other processes distort the times.
"""

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from condense.augment import dsa
from condense.benchmarks.common import SPEC, timed
from condense.distillation.matching.unrolled import GRADIENTS, unroll
from condense.networks import build_network
from condense.resources import PeakMemory, device_name, keep_freed_memory
from condense.training.parameters import flatten

MIB = 2**20
STEPS = (5, 10, 20, 40, 80)
"""The numbers of steps in the table of memory."""
RETURNED = {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_TOP_PAD_": "0"}
"""Settings of glibc that return freed memory to the system, so that resident memory is memory in use."""


def update(gradient: str, images: int, steps: int, device: torch.device) -> Callable[[], Tensor]:
    """Returns a function that computes the gradients of one update, which learns images, labels and rate.

    Args:
        gradient: One of `GRADIENTS`.
        images: Number of images; each step uses all of them.
        steps: Number of the student's steps.
        device: Device to run on.
    """
    rng = torch.Generator().manual_seed(0)
    network = build_network("convnet", SPEC.shape, SPEC.num_classes, rng, device)
    start = flatten(network)
    goal = start + 0.01 * torch.randn(len(start), generator=rng).to(device)
    pixels = torch.randn(images, *SPEC.shape, generator=rng).to(device).requires_grad_()
    logits = torch.randn(images, SPEC.num_classes, generator=rng).to(device).requires_grad_()
    rate = torch.tensor(0.01, device=device, requires_grad=True)
    draws = [dsa.draw_ops(SPEC.dsa, SPEC.shape[1:], rng, per_group=images).to(device) for _ in range(steps)]

    def batch(step: int) -> tuple[Tensor, Tensor]:
        return draws[step](pixels[None])[0], logits.softmax(1)

    def loss(theta: Tensor) -> Tensor:
        return (theta - goal).square().sum() / (start - goal).square().sum()

    batches = [partial(batch, step) for step in range(steps)]
    return lambda: unroll(network, start, batches, rate, {steps: loss}, gradient=gradient).loss


# Memory ----------------------------------------------------------------------------------------------------


def memory(device: torch.device, images: int = 20) -> dict[str, dict[int, float]]:
    """Prints and returns the peak memory of an update in MiB for each gradient, by the number of steps.

    It also prints the peak of "unrolled" divided by that of "exact", and what "exact" needs in addition to
    the one parameter vector that it stores for each step.
    """
    vector = 4 * len(flatten(build_network("convnet", SPEC.shape, SPEC.num_classes, torch.Generator()))) / MIB
    print(f"peak memory of an update in MiB, {images} images a step; a stored vector is {vector:.2f} MiB")
    titles = ("steps", *GRADIENTS, "unrolled/exact", "exact beyond vectors")
    print("".join(f"{title:>{len(title) + 3}}" for title in titles))
    peaks: dict[str, dict[int, float]] = {gradient: {} for gradient in GRADIENTS}
    for steps in STEPS:
        for gradient in GRADIENTS:
            command = [sys.executable, str(Path(__file__)), "--device", str(device), "--images", str(images)]
            row = subprocess.run(
                [*command, "--row", gradient, str(steps)],
                env=os.environ | RETURNED, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            peaks[gradient][steps] = float(row.stdout)
        exact, unrolled = peaks["exact"][steps], peaks["unrolled"][steps]
        figures = [f"{steps}", *(f"{peaks[gradient][steps]:.0f}" for gradient in GRADIENTS)]
        figures += [f"{unrolled / exact:.1f}", f"{exact - steps * vector:.0f}"]
        row_of = zip(titles, figures, strict=True)
        print("".join(f"{figure:>{len(title) + 3}}" for title, figure in row_of), flush=True)
    return peaks


def peak(gradient: str, steps: int, images: int, device: torch.device) -> float:
    """Returns the peak memory of an update in this process, in MiB above what the process held before."""
    update(gradient, 2, 2, device)()  # loads and compiles what a first call needs
    run = update(gradient, images, steps, device)
    before = held(device)
    meter = PeakMemory(device)
    run()
    return (meter.peak() - before) / MIB


def held(device: torch.device) -> int:
    """Returns the bytes in use now: allocated on a GPU, resident on a CPU (Linux)."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# Time ------------------------------------------------------------------------------------------------------


def seconds(device: torch.device, repeats: int = 5, images: int = 100, steps: int = 10) -> dict[str, float]:
    """Prints and returns the median seconds of an update for each gradient."""
    keep_freed_memory()
    updates = {gradient: update(gradient, images, steps, device) for gradient in GRADIENTS}
    turns = [{name: timed(run, device) for name, run in updates.items()} for _ in range(repeats + 1)][1:]
    medians = {name: statistics.median(turn[name] for turn in turns) for name in updates}
    print(f"seconds of an update, {images} images a step, {steps} steps")
    for name, median in medians.items():
        print(f"{name:>10}{median:9.3f}{median / medians['unrolled']:8.2f} of unrolled", flush=True)
    return medians


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="timed repetitions of each gradient")
    parser.add_argument("--images", type=int, default=20, help="images in each step of the table of memory")
    parser.add_argument(
        "--row", nargs=2, metavar=("GRADIENT", "STEPS"), help="print only this figure of the table of memory"
    )
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.row:
        gradient, steps = options.row
        print(peak(gradient, int(steps), options.images, device))
        return
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    memory(device, options.images)
    seconds(device, options.repeats)


if __name__ == "__main__":
    main()
