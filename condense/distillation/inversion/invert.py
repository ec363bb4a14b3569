"""Recovery: images that a frozen network classifies, with its batch norms' statistics.

Yin, Xing and Shen, "Squeeze, Recover and Relabel" (NeurIPS 2023, https://arxiv.org/abs/2306.13092), recover
stage; VILA-Lab/SRe2L at 8d00cba, ``SRe2L/recover/data_synthesis.py``. A *pass* is one image of each class of
a block of consecutive classes, seen by the network under one random view for all of them; its loss is

    cross-entropy + a_BN sum_l w_l (r_var ||v_l - running v_l|| + ||m_l - running m_l||)
                  + a_tv R_tv + a_l2 R_l2

with the mean m_l and the biased variance v_l of batch norm l's input, channel by channel, over the pass; the
norms are Euclidean, not squared, w is `Inversion.first_bn` for the first batch norm and 1 for the others.

Passes do not see each other, and each has a generator of its own: how many there are, and how many run side
by side, changes no image (but for rounding). A *sweep* is as many passes of a block as fit a fixed number of
values; its passes are one tensor to Adam. Of small images several passes go through the network in one
forward, with statistics for each; on a CPU one pass of others does. The weights get no gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from condense.augment.resample import mapped
from condense.augment.shared import SharedViews
from condense.distillation.images.run import ImageRun
from condense.distillation.inversion.bn_statistics import Gap, variation
from condense.errors import Refused
from condense.files import digest
from condense.networks import Network
from condense.training.loop import State

BETAS = (0.5, 0.9)
"""Adam's."""
SWEEP_VALUES = 2**25
"""Values that a sweep learns at most, though always a whole pass: 128 MiB, and Adam needs thrice as much."""
CPU_PIXELS = 2**12
"""Pixels of a forward on a CPU, though always a whole pass. Ten images of 8 x 8, where the calls cost more
than the work, go through six passes at a time in the time of two; at 28 x 28 nothing is gained."""
GPU_PIXELS = 2**20
"""Pixels of a forward elsewhere, though always a whole pass: 1024 images of 32 x 32."""


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """The numbers of a recovery.

    Attributes:
        lr: Adam's learning rate at the first step; falls to 0 by half a cosine.
        bn_weight: a_BN.
        variance_weight: r_var.
        first_bn: w of the first batch norm.
        tv_weight: a_tv.
        l2_weight: a_l2.
        crops: For each iteration the smallest share of the image that is seen; 1 is no crop.
        flip: Whether what is seen is mirrored with probability 1/2.
        roll: The largest cyclic shift, in pixels, down and to the right.
        roll_both: Whether it also goes up and to the left.
    """

    lr: float
    bn_weight: float
    variance_weight: float = 1.0
    first_bn: float = 10.0
    tv_weight: float = 0.0
    l2_weight: float = 0.0
    crops: tuple[float, ...]
    flip: bool = False
    roll: int = 0
    roll_both: bool = False

    @property
    def iterations(self) -> int:
        """Steps of a sweep."""
        return len(self.crops)


def objective(
    network: Network, seen: Float[Tensor, "p b c h w"], labels: Int[Tensor, " b"], recovery: Inversion
) -> Float[Tensor, " p"]:
    """The loss of each pass.

    Args:
        network: In evaluation mode.
        seen: What the network sees of p passes of b images.
        labels: The class of each image of a pass.
        recovery: The weights of the terms.
    """
    gap = Gap(len(seen), recovery.variance_weight, recovery.first_bn)
    with gap.watching(network):
        logits = network(seen.flatten(0, 1))
    wrong = F.cross_entropy(logits, labels.repeat(len(seen)), reduction="none")
    loss = wrong.view(len(seen), -1).mean(1) + recovery.bn_weight * gap.total()
    if recovery.tv_weight:
        loss = loss + recovery.tv_weight * variation(seen)
    if recovery.l2_weight:
        loss = loss + recovery.l2_weight * seen.flatten(2).norm(dim=2).mean(1)
    return loss


Start = Callable[[range, int, torch.Generator], Float[Tensor, "m c h w"]]
"""From the classes of a block, a pass's number and its generator to what the pass starts from."""
Adjust = Callable[[Network, Float[Tensor, "b c h w"], Int[Tensor, " b"]], Network]
"""From a network, a pass's first view and its labels to the network that the pass goes through."""


def from_noise(run: ImageRun) -> Start:
    """Passes start from standard normal pixels."""

    def start(classes: range, number: int, generator: torch.Generator) -> Tensor:
        return torch.randn((len(classes), *run.spec.shape), generator=generator)

    return start


def from_images(images: Float[Tensor, "k i c h w"]) -> Start:
    """Pass i starts from image i of each class."""

    def start(classes: range, number: int, generator: torch.Generator) -> Tensor:
        return images[classes.start : classes.stop, number]

    return start


def invert(
    run: ImageRun,
    network: Network,
    recovery: Inversion,
    start: Start,
    *,
    block: int,
    passes: int | None = None,
    base: Float[Tensor, "k i c h w"] | None = None,
    adjust: Adjust | None = None,
    phase: str = "recover",
) -> Tensor:
    """Learns images, or one addition a pass to images that are given.

    Args:
        run: The surroundings; its generator gives one number, which all passes' generators are seeded from.
        network: In evaluation mode, frozen; images are normalised as it expects.
        recovery: The numbers.
        start: What each pass starts from.
        block: Classes of a pass; the last block has what is left.
        passes: i; None is the run's images per class.
        base: Given images: a pass then learns a single image, unclamped, which is added to those of all
            classes (start gives (1, c, h, w), and ``block`` has to be all classes).
        adjust: Gives each pass a network of its own; passes then run one after the other.
        phase: Name of the loop.

    Returns:
        The learned images on the CPU, (k * i, c, h, w) and class-major; with a base (i, c, h, w).

    Raises:
        Refused: if the network has no batch norm.
        Stopped: when the budget has run out.
    """
    if not network.mixes_samples:
        raise Refused("recovery matches the statistics of batch norms, and this network has none")
    spec, total = run.spec, run.ipc if passes is None else passes
    lows, highs = spec.extremes(run.device)
    seed = int(torch.randint(2**62, (), generator=run.rng))
    rows = 1 if base is not None else min(block, spec.num_classes)
    most = 1 if adjust else min(total, max(1, SWEEP_VALUES // (rows * math.prod(spec.shape))))
    sweeps = [
        (range(first, min(first + block, spec.num_classes)), range(number, min(number + most, total)))
        for first in range(0, spec.num_classes, block)
        for number in range(0, total, most)
    ]
    learned = torch.zeros(most * rows * math.prod(spec.shape), device=run.device, requires_grad=True)
    optimizer = torch.optim.Adam([learned], lr=recovery.lr, betas=BETAS)
    shape = (1 if base is not None else spec.num_classes, total, *spec.shape)
    made = torch.zeros(shape)
    state: State = {"images": made, "learned": learned, "optimizer": optimizer}
    sweep = None
    steps = len(sweeps) * recovery.iterations
    for step in run.steps(steps, state, phase, passing=("learned", "optimizer")):
        number, at = divmod(step, recovery.iterations)
        if sweep is None or at == 0:
            classes, numbers = sweeps[number]
            sweep = _Sweep(run, recovery, start, base, classes, numbers, seed)
            teacher = adjust(network, sweep.first_view(), sweep.labels) if adjust else network
            now = learned.detach()[: sweep.start.numel()].view_as(sweep.start)
            gradient = torch.zeros_like(learned)
            learned.grad = gradient
            if at == 0:
                now.copy_(sweep.start)
                optimizer.state.clear()
        optimizer.param_groups[0]["lr"] = recovery.lr * (1 + math.cos(math.pi * at / recovery.iterations)) / 2
        run.log(loss=sweep.gradient(teacher, now, gradient[: now.numel()].view_as(now), at))
        optimizer.step()
        if base is None:
            torch.clamp(now, lows, highs, out=now)
        if at + 1 == recovery.iterations:
            there = slice(classes.start, classes.start + now.shape[1])
            made[there, numbers.start : numbers.stop] = now.transpose(0, 1).cpu()
    return made.flatten(0, 1)


def side_by_side(device: torch.device, pixels: int) -> int:
    """Passes that go through the network in one forward.

    Args:
        device: Where.
        pixels: Of a pass, in one channel.
    """
    return max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // pixels)


class _Sweep:
    """The passes of a block that are learned together: where they start, and what they are seen under."""

    def __init__(
        self,
        run: ImageRun,
        recovery: Inversion,
        start: Start,
        base: Float[Tensor, "k i c h w"] | None,
        classes: range,
        numbers: range,
        seed: int,
    ) -> None:
        size = (run.spec.height, run.spec.width)
        roll = range(-recovery.roll if recovery.roll_both else 0, recovery.roll + 1)
        starts, views = [], []
        for number in numbers:
            generator = torch.Generator().manual_seed(int(digest([seed, classes.start, number])[:15], 16))
            starts.append(start(classes, number, generator))
            views.append(SharedViews.draw(size, recovery.crops, generator, flip=recovery.flip, roll=roll))
        self.start = torch.stack(starts).to(run.device)
        self.labels = torch.arange(classes.start, classes.stop, device=run.device)
        self._recovery = recovery
        self._views = SharedViews.stack(views).to(run.device)
        self._base = None
        if base is not None:
            self._base = base[classes.start : classes.stop, numbers.start : numbers.stop].transpose(0, 1)
        self._together = side_by_side(run.device, len(classes) * size[0] * size[1])

    def first_view(self) -> Float[Tensor, "b c h w"]:
        """What is seen of the first pass at its first step."""
        images = self.start if self._base is None else self._base + self.start
        return self._views(images, 0)[0]

    def gradient(self, network: Network, learned: Tensor, gradient: Tensor, step: int) -> Float[Tensor, ""]:
        """Writes the gradient of each pass's loss at a step; returns the mean loss."""
        size = (learned.shape[-2], learned.shape[-1])
        rows, columns = self._views.maps(step, size, learned.dtype)
        losses = []
        for first in range(0, len(learned), self._together):
            part = slice(first, first + self._together)
            leaf = learned[part].detach().requires_grad_()
            images = leaf if self._base is None else self._base[part] + leaf
            seen = mapped(images, rows[part], columns[part])
            loss = objective(network, seen, self.labels, self._recovery)
            gradient[part] = torch.autograd.grad(loss.sum(), leaf)[0]
            losses.append(loss.detach())
        return torch.cat(losses).mean()
