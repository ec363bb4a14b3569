"""The time of training an expert, compared with a plain PyTorch loop: ``python benchmarks/experts.py``.

condense trains in chunks that fit the cache, with its own pooling and flat parameters. The plain loop uses
whole batches and PyTorch's pooling and SGD, as reference implementations do. Both draw the same random
numbers and are first checked to agree to rounding over two steps in float64.

Times are medians over interleaved repetitions. Run it on an otherwise idle machine.
"""

import argparse
import statistics
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from condense.augment import dsa
from condense.benchmarks.common import SPEC, framework_pooling, timed
from condense.data import Images
from condense.networks import build_network
from condense.resources import device_name, keep_freed_memory
from condense.training.expert_steps import Stacked
from condense.training.experts import ExpertTraining

TARGET = 1.3
"""Target for the seconds of the plain loop divided by those of condense, on a CPU."""
CIFAR10 = 50_000
"""Images in the epoch that is reported; only a few of its batches are timed."""


def made(batches: int, batch: int, device: torch.device) -> Images:
    """Returns random images of CIFAR-10's shape in the default precision."""
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(batches * batch, *SPEC.shape, generator=rng)
    labels = torch.randint(10, (len(images),), generator=rng)
    return Images(images.to(device), labels.to(device), "", 10)


def ours(training: ExpertTraining, train: Images) -> Tensor:
    """Trains one expert for an epoch with condense and returns its parameters."""
    stacked = Stacked(training, SPEC, [0], train.images.device)
    stacked.begin(0, len(train))
    for batch in range(len(train) // training.batch):
        stacked.step(train, 0, batch)
    return stacked.theta[0]


def plain(training: ExpertTraining, train: Images) -> Tensor:
    """Trains the same expert with the plain loop and returns its parameters."""
    rng = torch.Generator().manual_seed(0)
    network = framework_pooling(build_network(training.network, SPEC.shape, 10, rng, train.images.device))
    optimizer = torch.optim.SGD(
        network.parameters(), training.lr, training.momentum, weight_decay=training.weight_decay
    )
    for chosen in torch.split(torch.randperm(len(train), generator=rng), training.batch):
        images = dsa.augment(train.images[chosen], SPEC.dsa, rng)
        optimizer.zero_grad()
        torch.autograd.backward(cross_entropy(network(images), train.labels[chosen]))
        optimizer.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def measure(device: torch.device, repeats: int) -> dict[str, float]:
    """Prints and returns the seconds of an epoch on CIFAR-10 with both loops, and their ratio.

    Raises:
        SystemExit: if the results of the two loops differ by more than rounding.
    """
    training = ExpertTraining(network="convnet")
    batches = 2 if device.type == "cpu" else 50
    torch.set_default_dtype(torch.float64)
    try:
        small = ExpertTraining(network="convnet", batch=40, momentum=0.9, weight_decay=5e-4)
        train = made(2, 40, device)
        a, b = ours(small, train), plain(small, train)
    finally:
        torch.set_default_dtype(torch.float32)
    gap = float((a - b).abs().max() / b.abs().max())
    if not gap < 1e-9:
        raise SystemExit(f"the two sides differ by {gap:.1e} after two float64 steps")
    train = made(batches, training.batch, device)
    sides = [partial(side, training, train) for side in (ours, plain)]
    turns = [[timed(side, device) for side in sides] for _ in range(repeats + 1)][1:]
    scale = CIFAR10 / len(train)
    fast, slow = (scale * statistics.median(times) for times in zip(*turns, strict=True))
    print(f"{'':16}{'condense':>10}{'plain':>10}{'ratio':>8}{'target':>8}   two float64 steps differ by")
    print(
        f"{'expert epoch':16}{fast:9.1f}s{slow:9.1f}s{slow / fast:8.2f}{TARGET:8.2f}   {gap:.0e}", flush=True
    )
    return {"seconds": fast, "plain_seconds": slow, "ratio": slow / fast}


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="timed repetitions of each loop")
    options = parser.parse_args()
    device = torch.device(options.device)
    keep_freed_memory()
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    measure(device, options.repeats)


if __name__ == "__main__":
    main()
