"""The speed of condense compared with plain PyTorch loops: ``python benchmarks/speed.py [--out FILE]``.

Each pair compares the code of condense with a plain loop of the same mathematics, written like the reference
implementations: class by class, with whole batches, one augmentation call for each class, and PyTorch's
layers. Before a pair is timed, both sides run two steps in float64 on a smaller batch and must agree to
rounding. The other figures are: DM's pass over the real images as a share of the speed of a matrix product;
an epoch of an expert (``experts.py``); an update by trajectory matching (``unrolled.py``); a step of
inverting a network (``recover.py``); and the cost of distilling graphs by their number (``graphs.py``, on the
CPU).

Times are medians over interleaved repetitions. Run it on an otherwise idle machine.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from condense.augment import dsa
from condense.benchmarks import experts, graphs, recover, unrolled
from condense.benchmarks.common import SPEC, framework_pooling, timed
from condense.data import Images
from condense.distillation import IdentityView, ImageMethod, ImageRun, LearnableSet
from condense.distillation.registry import methods
from condense.files import write_atomic
from condense.networks import CHUNK, Network, build_network, features_in_chunks
from condense.resources import device_name, keep_freed_memory, versions
from condense.store import ImageSet
from condense.store.targets import Hard
from condense.training.step import train_step

CLASSES, REAL, IPC = 10, 256, 10
Side = Callable[[int, Images], Tensor]
"""A function that runs a number of steps on the data and returns the result."""
CHECKED = CHUNK + 8
"""Real images per class when the results are compared: more than one chunk."""


class Bare(ImageRun):
    """A run without checkpoints, progress and storage."""

    def __init__(self, device: torch.device, seed: int = 0) -> None:
        """Seeds the random numbers."""
        self.spec, self.ipc, self.device, self.view = SPEC, IPC, device, IdentityView()
        self.strategy = SPEC.dsa
        self.rng = torch.Generator().manual_seed(seed)

    def steps(
        self, n: int, state: dict[str, object], phase: str = "distil", *, passing: Collection[str] = ()
    ) -> Iterator[int]:
        """Returns the numbers of the steps."""
        return iter(range(n))

    def log(self, **values: Tensor | float) -> None:
        """Discards the values."""

    def network(self, name: str | None = None) -> Network:
        """Returns a ConvNet of width 128 in the default precision."""
        return build_network("convnet", SPEC.shape, CLASSES, self.rng, self.device)

    def distilled(self, images: Tensor, labels: Tensor | None, **rest: object) -> ImageSet:
        """Keeps the images in place of a set."""
        self.images = images.detach()
        return cast(ImageSet, None)


# The plain side --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlainDM(ImageMethod):
    """Distribution matching, class by class."""

    name = "plain dm"

    iterations: int
    batch_real: int
    lr_images: float = 1.0

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Draws the same random numbers as DM."""
        syn = LearnableSet.real(train, run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=0.5)
        run.network()
        for _ in range(self.iterations):
            network = framework_pooling(run.network()).requires_grad_(False)
            augments = drawn(run)
            real = train.draw(self.batch_real, run.rng)
            loss = torch.zeros((), device=run.device)
            for label, augment in enumerate(augments):
                images = syn.images[label * IPC : (label + 1) * IPC]
                target = network.features(augment(real[label, None])[0]).detach().mean(0)
                loss = loss + (network.features(augment(images[None])[0]).mean(0) - target).square().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return run.distilled(syn.images, syn.labels)


@dataclass(frozen=True, kw_only=True)
class PlainDataDAM(ImageMethod):
    """Attention matching, class by class; every feature map is kept until the end."""

    name = "plain datadam"

    iterations: int
    batch_real: int
    lr_images: float = 1.0

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Draws the same random numbers as DataDAM."""
        syn = LearnableSet.real(train, run)
        optimizer = torch.optim.SGD([syn.images], lr=self.lr_images, momentum=0.5)
        run.network()
        for _ in range(self.iterations):
            network = framework_pooling(run.network()).requires_grad_(False)
            augments = drawn(run)
            real = train.draw(self.batch_real, run.rng)
            loss = torch.zeros((), device=run.device)
            for label, augment in enumerate(augments):
                images = syn.images[label * IPC : (label + 1) * IPC]
                looks = look(network, augment(images[None])[0])
                targets = look(network, augment(real[label, None])[0])
                for weight, learned, target in zip((1.0, 100.0, 100.0), looks, targets, strict=True):
                    loss = loss + weight * (learned.mean(0) - target.mean(0)).square().sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return run.distilled(syn.images, syn.labels)


def look(network: Network, images: Float[Tensor, "b c h w"]) -> list[Tensor]:
    """Returns the features, and the attention of each layer but the last, from maps that hooks collect."""
    maps: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda *call: maps.append(call[2].clone()))
        for layer in network.body
        if isinstance(layer, nn.ReLU)
    ]
    features = network.features(images)
    for hook in hooks:
        hook.remove()
    return [features, *(normalize(kept.abs().pow(4).sum(1).flatten(1)) for kept in maps[:-1])]


@dataclass(frozen=True, kw_only=True)
class PlainDSA(ImageMethod):
    """Gradient matching under augmentation, class by class, one match a round."""

    name = "plain dsa"

    iterations: int
    batch_real: int

    def distill(self, train: Images, run: ImageRun) -> ImageSet:
        """Draws the same random numbers as DSA."""
        syn = LearnableSet.real(train, run)
        optimizer = torch.optim.SGD([syn.images], lr=0.1, momentum=0.5)
        for _ in range(self.iterations):
            network = framework_pooling(run.network())
            augments = drawn(run)
            real = train.draw(self.batch_real, run.rng)
            loss = torch.zeros((), device=run.device)
            for label, augment in enumerate(augments):
                images = syn.images[label * IPC : (label + 1) * IPC]
                target = gradient(network, augment(real[label, None])[0], label, graph=False)
                for a, b in zip(
                    target, gradient(network, augment(images[None])[0], label, graph=True), strict=True
                ):
                    if a.ndim > 1:
                        a, b = a.flatten(1), b.flatten(1)
                        loss = loss + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        return run.distilled(syn.images, syn.labels)


def gradient(
    network: Network, images: Float[Tensor, "b c h w"], label: int, graph: bool
) -> tuple[Tensor, ...]:
    """Returns the gradient of the mean loss of images of one class."""
    labels = torch.full((len(images),), label, device=images.device)
    return torch.autograd.grad(
        cross_entropy(network(images), labels), list(network.parameters()), create_graph=graph
    )


def drawn(run: ImageRun) -> list[dsa.Drawn]:
    """Draws one augmentation for each class, to be applied class by class."""
    together = dsa.siamese(run.strategy, (32, 32), CLASSES, run.rng).to(run.device)
    return [
        dsa.Drawn((op,), together.values[label : label + 1], together.size)
        for label, op in enumerate(together.ops)
    ]


def plain_step(network: Network, optimizer: torch.optim.Optimizer, images: Tensor, target: Hard) -> None:
    """Takes one training step on a whole batch."""
    optimizer.zero_grad()
    torch.autograd.backward(cross_entropy(network(images), target.ids))
    optimizer.step()


# Measuring -------------------------------------------------------------------------------------------------


def made(device: torch.device, per_class: int) -> Images:
    """Returns random images of CIFAR-10's shape in the default precision."""
    shape = (CLASSES * per_class, *SPEC.shape)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)
    labels = torch.arange(CLASSES, device=device).repeat_interleave(per_class)
    return Images(images, labels, "", CLASSES)


def distils(kind: Callable[..., ImageMethod], **fields: object) -> Side:
    """Returns a side that distils with a method, using all real images of each class in each step."""

    def side(steps: int, train: Images) -> Tensor:
        run = Bare(train.images.device)
        kind(iterations=steps, batch_real=len(train.labels) // CLASSES, **fields).distill(train, run)
        return run.images

    return side


def trains(step: Callable[..., object], change: Callable[[Network], Network]) -> Side:
    """Returns a side that trains a student on 100 images as hard-v1 does, ten steps for each step."""

    def side(steps: int, train: Images) -> Tensor:
        rng = torch.Generator().manual_seed(0)
        device = train.images.device
        network = change(build_network("convnet", SPEC.shape, CLASSES, rng, device))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for _ in range(10 * steps):
            chosen = torch.randperm(len(train.labels), generator=rng)[: CLASSES * IPC].to(device)
            images = dsa.augment(train.images[chosen], SPEC.dsa, rng)
            step(network, optimizer, images, Hard(train.labels[chosen]))
        return network.classifier.weight.detach()

    return side


def interleaved(sides: list[Callable[[], object]], device: torch.device, repeats: int) -> list[float]:
    """Returns the median seconds of functions that run in turns, after one turn that is not timed."""
    turns = [[timed(side, device) for side in sides] for _ in range(repeats + 1)][1:]
    return [statistics.median(times) for times in zip(*turns, strict=True)]


def agree(ours: Side, other: Side, device: torch.device) -> float:
    """Returns the largest difference after two float64 steps, relative to the largest value.

    Raises:
        SystemExit: if it is more than rounding.
    """
    torch.set_default_dtype(torch.float64)
    try:
        train = made(device, CHECKED)
        a, b = ours(2, train), other(2, train)
    finally:
        torch.set_default_dtype(torch.float32)
    gap = float((a - b).abs().max() / b.abs().max())
    if not gap < 1e-9:
        raise SystemExit(f"the two sides differ by {gap:.1e} after two float64 steps")
    return gap


def operations(network: Network) -> int:
    """Returns the floating-point operations of one image's features, from the shapes of the layers."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += 2 * module.weight[0].numel() * output.numel()

    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, nn.Conv2d)]
    network.features(torch.zeros(1, *SPEC.shape, device=network.classifier.weight.device))
    for hook in hooks:
        hook.remove()
    return total


def measure(device: torch.device, repeats: int, steps: int) -> dict[str, dict[str, float]]:
    """Returns all figures, and prints each as soon as it is known."""
    known: dict[str, type[Any]] = {**methods()}
    pairs = {
        "DM iteration": (distils(known["dm"], lr_images=1.0), distils(PlainDM), 1.5),
        "DataDAM iteration": (distils(known["datadam"], lr_images=1.0), distils(PlainDataDAM), 1.5),
        "DSA match": (distils(known["dsa"], outer_steps=1), distils(PlainDSA), 1.2),
        "10 student steps": (
            trains(train_step, lambda network: network),
            trains(plain_step, framework_pooling),
            1.0,
        ),
    }
    figures: dict[str, dict[str, float]] = {}
    print(f"{'':18}{'condense':>10}{'plain':>10}{'ratio':>8}{'target':>8}   two float64 steps differ by")
    train = made(device, REAL)
    for name, (ours, other, target) in pairs.items():
        gap = agree(ours, other, device)
        sides: list[Callable[[], object]] = [
            lambda ours=ours: ours(steps, train),  # type: ignore[misc]
            lambda other=other: other(steps, train),  # type: ignore[misc]
        ]
        fast, slow = interleaved(sides, device, repeats)
        figures[name] = {"seconds": fast / steps, "plain_seconds": slow / steps, "ratio": slow / fast}
        print(
            f"{name:18}{fast / steps:9.3f}s{slow / steps:9.3f}s{slow / fast:8.2f}{target:8.2f}   {gap:.0e}",
            flush=True,
        )
    figures["DM real pass"] = share(train, device, repeats)
    figures["expert epoch"] = experts.measure(device, repeats)
    figures["unrolled update, seconds"] = unrolled.seconds(device, repeats)
    figures["recovery step, seconds"] = recover.compare("convnet-bn", SPEC.shape, 100, device, repeats)
    peaks = unrolled.memory(device)
    figures["unrolled update, peak MiB"] = {
        f"{gradient}, {steps} steps": peak for gradient, rows in peaks.items() for steps, peak in rows.items()
    }
    for edges, figure in graphs.growth().items():
        figures[f"mirage, {edges}"] = figure
    return figures


def share(train: Images, device: torch.device, repeats: int) -> dict[str, float]:
    """Returns the speed of DM's pass over the real images relative to a float32 matrix product."""
    network = build_network("convnet", SPEC.shape, CLASSES, torch.Generator().manual_seed(0), device)
    square = torch.randn(2048, 2048, device=device)
    sides: list[Callable[[], object]] = [
        lambda: features_in_chunks(network, train.images),
        lambda: [square @ square for _ in range(8)],
    ]
    seconds, product = interleaved(sides, device, repeats)
    rate = operations(network) * len(train.labels) / seconds / 1e9
    best = 8 * 2 * 2048**3 / product / 1e9
    print(
        f"DM real pass: {rate:.0f} of {best:.0f} GFLOP/s, {rate / best:.0%} of a matrix product (target 60%)"
    )
    return {"gflops": rate, "matmul_gflops": best, "share": rate / best}


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="timed repetitions of each side")
    options = parser.parse_args()
    device = torch.device(options.device)
    keep_freed_memory()
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    figures = measure(device, options.repeats, steps=1 if device.type == "cpu" else 50)
    if options.out:
        about = {"device": device_name(device), "threads": torch.get_num_threads(), "versions": versions()}
        values = about | {"chunk": CHUNK, "repeats": options.repeats, "figures": figures}
        write_atomic(options.out, json.dumps(values, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
