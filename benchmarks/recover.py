"""Time of an inversion step, computed in four equivalent ways: ``python benchmarks/recover.py``.

Prints the median seconds of the gradient of one pass over interleaved repetitions, and its share of the way
"published", which computes the batch statistics by permuting, copying and ``var``, and also the gradients of
the teacher's weights, as DWA's code does. "statistics" replaces the statistics by
`condense.distillation.inversion.bn_statistics`, "frozen" omits the weights' gradients, and "ours" does both.
The last line compares several passes of small images in one forward pass with the same passes one by one.

The times are meaningful only on a machine that does nothing else.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from condense.benchmarks.common import timed
from condense.distillation.inversion.invert import Inversion, inversion_loss
from condense.networks import Network, build_network
from condense.resources import device_name, keep_freed_memory

NUMBERS = Inversion(lr=0.25, bn_weight=0.01, crop_mins=(1.0,))


def teacher(name: str, shape: tuple[int, int, int], classes: int, device: torch.device) -> Network:
    """Returns a network in evaluation mode whose weights require gradients."""
    return build_network(name, shape, classes, torch.Generator().manual_seed(0), device).eval()


def published(network: Network, seen: Tensor, labels: Tensor) -> Tensor:
    """Returns the loss of a batch, with the statistics computed as in the authors' code."""
    gaps: list[Tensor] = []

    def see(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None and norm.running_var is not None
        x = inputs[0]
        mean = x.mean([0, 2, 3])
        var = x.permute(1, 0, 2, 3).contiguous().reshape(x.shape[1], -1).var(1, unbiased=False)
        gaps.append((norm.running_var - var).norm() + (norm.running_mean - mean).norm())

    hooks = [m.register_forward_pre_hook(see) for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    logits = network(seen)
    for hook in hooks:
        hook.remove()
    matched = NUMBERS.first_bn * gaps[0] + torch.stack(gaps)[1:].sum()
    return F.cross_entropy(logits, labels) + NUMBERS.bn_weight * matched


def steps(
    name: str, shape: tuple[int, int, int], images: int, device: torch.device
) -> dict[str, Callable[[], Tensor]]:
    """Returns a function for each way that computes the gradient of a batch with one image per class."""
    network, labels = teacher(name, shape, images, device), torch.arange(images, device=device)
    pixels = torch.randn(images, *shape, generator=torch.Generator().manual_seed(1)).to(device)

    def step(ours: bool, frozen: bool) -> Callable[[], Tensor]:
        def run() -> Tensor:
            network.requires_grad_(not frozen)
            leaf = pixels.clone().requires_grad_()
            loss = (
                inversion_loss(network, leaf[None], labels, NUMBERS)[0]
                if ours
                else published(network, leaf, labels)
            )
            torch.autograd.backward(loss)
            assert leaf.grad is not None
            return leaf.grad

        return run

    return {
        "published": step(False, False),
        "statistics": step(True, False),
        "frozen": step(False, True),
        "ours": step(True, True),
    }


def compare(
    name: str, shape: tuple[int, int, int], images: int, device: torch.device, repeats: int = 5
) -> dict[str, float]:
    """Prints and returns the median seconds of a step for each way, whose gradients must agree.

    Args:
        name: Name of the teacher network.
        shape: Shape (c, h, w) of the images.
        images: Number of images in the batch.
        device: Device to run on.
        repeats: Number of timed repetitions of each way.
    """
    ways = steps(name, shape, images, device)
    gradients = [way() for way in ways.values()]
    for gradient in gradients[1:]:
        torch.testing.assert_close(
            gradient, gradients[0], rtol=1e-2, atol=1e-4 * float(gradients[0].abs().max())
        )
    turns = [{key: timed(way, device) for key, way in ways.items()} for _ in range(repeats)]
    medians = {key: statistics.median(turn[key] for turn in turns) for key in ways}
    print(f"seconds of a step, {name}, {images} images of {shape}")
    for key, median in medians.items():
        print(f"{key:>12}{median:9.4f}{median / medians['published']:8.2f} of published", flush=True)
    return medians


def side_by_side(passes: int, device: torch.device, repeats: int = 20) -> tuple[float, float]:
    """Prints and returns the seconds of batches of ten 8 x 8 images: one by one, and in one forward pass."""
    network = teacher("convnet-w32-bn", (1, 8, 8), 10, device).requires_grad_(False)
    labels = torch.arange(10, device=device)
    pixels = torch.randn(passes, 10, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(device)

    def gradient(images: Tensor) -> Tensor:
        leaf = images.clone().requires_grad_()
        return torch.autograd.grad(inversion_loss(network, leaf, labels, NUMBERS).sum(), leaf)[0]

    def alone() -> list[Tensor]:
        return [gradient(pixels[number : number + 1]) for number in range(passes)]

    def together() -> Tensor:
        return gradient(pixels)

    turns = [(timed(alone, device), timed(together, device)) for _ in range(repeats + 1)][1:]
    one, all_at_once = (statistics.median(times) for times in zip(*turns, strict=True))
    print(f"{passes} passes of ten 8 x 8 images: {one:.4f} s one by one, {all_at_once:.4f} s in one forward")
    return one, all_at_once


def main() -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=5, help="timed repetitions of each way")
    options = parser.parse_args()
    device = torch.device(options.device)
    keep_freed_memory()
    print(f"{device_name(device)}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    compare("convnet-bn", (3, 32, 32), 100, device, options.repeats)
    compare("resnet18-bn", (3, 32, 32), 100, device, options.repeats)
    side_by_side(6, device)


if __name__ == "__main__":
    main()
