"""Inversion of a frozen network: learning images that it classifies, with its running BN statistics.

Yin, Xing and Shen, "Squeeze, Recover and Relabel" (NeurIPS 2023, https://arxiv.org/abs/2306.13092), the
recover stage; VILA-Lab/SRe2L at 8d00cba, ``SRe2L/recover/data_synthesis.py``. A *pass* is one image of each
class of a block of consecutive classes. All images of a pass go through the network under the same random
crop, flip and shift. The loss of a pass is

    cross-entropy + a_BN R_BN + a_tv R_tv + a_l2 R_l2,
    R_BN = sum over batch norms l of  w_l (r_var ||v_l - running v_l|| + ||m_l - running m_l||),

where m_l and v_l are the mean and the biased variance of each channel of batch norm l's input over the pass.
The norms are Euclidean and not squared. w_l is `Inversion.first_bn` for the first batch norm and 1 for the
others.

Passes are independent of each other, and each has a random generator of its own. Therefore neither the number
of passes nor the number of passes that are computed together changes any image, except for rounding. The
passes of a block that Adam updates together are a *sweep*; its size is bounded by `SWEEP_VALUES`. Within a
sweep, as many passes as `passes_per_forward` says go through the network in one forward pass, with batch
statistics of their own. The network's weights get no gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from condense.augment.resample import mapped
from condense.augment.shared import SharedViews
from condense.distillation.images.run import ImageRun
from condense.distillation.inversion.bn_statistics import BNStatistics, total_variation
from condense.errors import Refused
from condense.files import digest
from condense.networks import Network
from condense.training.loop import State

SWEEP_VALUES = 2**25
"""Bound on the pixel values of a sweep of several passes: 128 MiB, and three times as much for Adam."""
CPU_PIXELS = 2**12
"""Bound on the pixels of several passes in one forward pass on a CPU. For ten images of 8 x 8 six passes
together take as long as two passes one by one; for 28 x 28 pixels nothing is gained."""
GPU_PIXELS = 2**20
"""The same bound on other devices: 1024 images of 32 x 32."""

Start = Callable[[range, int, torch.Generator], Float[Tensor, "m c h w"]]
"""Returns the initial images of a pass from its block's classes, its number and its generator."""
PassNetwork = Callable[[Network, Float[Tensor, "b c h w"], Int[Tensor, " b"]], Network]
"""Returns the network of a pass from the given network, the pass's first view and its labels."""


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Settings of an inversion.

    Attributes:
        lr: Adam's learning rate at the first step; it falls to 0 along half a cosine.
        bn_weight: a_BN, the weight of the BN statistics.
        variance_weight: r_var, the weight of the variances within the BN statistics.
        first_bn: Weight of the first batch norm within the BN statistics.
        tv_weight: a_tv, the weight of the total variation.
        l2_weight: a_l2, the weight of the images' mean norm.
        crop_mins: For each step, the smallest share of the image's area that a crop shows; 1 means no crop.
        flip: Whether each view is mirrored with probability 1/2.
        roll: Largest cyclic shift down and to the right, in pixels.
        roll_both: Whether images are also shifted up and to the left.
    """

    lr: float
    bn_weight: float
    variance_weight: float = 1.0
    first_bn: float = 10.0
    tv_weight: float = 0.0
    l2_weight: float = 0.0
    crop_mins: tuple[float, ...]
    flip: bool = False
    roll: int = 0
    roll_both: bool = False

    @property
    def iterations(self) -> int:
        """Number of steps of each pass."""
        return len(self.crop_mins)


def inversion_loss(
    network: Network, views: Float[Tensor, "p b c h w"], labels: Int[Tensor, " b"], settings: Inversion
) -> Float[Tensor, " p"]:
    """Returns the loss of each pass, as the module's docstring defines it.

    Args:
        network: In evaluation mode.
        views: What the network sees of p passes of b images.
        labels: The classes of a pass's images.
        settings: The weights of the terms.
    """
    statistics = BNStatistics(len(views), settings.variance_weight, settings.first_bn)
    with statistics.recording(network):
        logits = network(views.flatten(0, 1))
    cross_entropy = F.cross_entropy(logits, labels.repeat(len(views)), reduction="none")
    loss = cross_entropy.view(len(views), -1).mean(1) + settings.bn_weight * statistics.loss()
    if settings.tv_weight:
        loss = loss + settings.tv_weight * total_variation(views)
    if settings.l2_weight:
        loss = loss + settings.l2_weight * views.flatten(2).norm(dim=2).mean(1)
    return loss


def from_noise(shape: tuple[int, int, int]) -> Start:
    """Starts each pass from standard normal pixels, for images of the shape (c, h, w)."""

    def start(classes: range, number: int, generator: torch.Generator) -> Tensor:
        return torch.randn((len(classes), *shape), generator=generator)

    return start


def from_images(images: Float[Tensor, "k i c h w"]) -> Start:
    """Starts pass number j from image j of each of the k classes."""

    def start(classes: range, number: int, generator: torch.Generator) -> Tensor:
        return images[classes.start : classes.stop, number]

    return start


def invert(
    run: ImageRun,
    network: Network,
    settings: Inversion,
    start: Start,
    *,
    block: int,
    pass_network: PassNetwork | None = None,
) -> Float[Tensor, "n c h w"]:
    """Learns one image of each class in each pass; there are as many passes as images of the largest class.

    A class of fewer images keeps those of its first passes, and takes part in the others too.

    Args:
        run: The run. One number is drawn from its generator, which seeds the generators of all passes.
        network: In evaluation mode and frozen; images are normalised as it expects.
        settings: The inversion's settings.
        start: Makes the initial images of each pass.
        block: Number of classes in a pass; the last block has the classes that are left.
        pass_network: Makes a network of its own for each pass, which then runs alone; None gives all passes
            the network itself.

    Returns:
        The images on the CPU, sorted by class.

    Raises:
        Refused: if the network has no batch norm.
        Stopped: when the budget has run out.
    """
    plan = _Plan(start, block, max(run.counts), None, pass_network)
    made = _learned(run, network, settings, plan, "recover")
    return torch.cat([images[:count] for images, count in zip(made, run.counts, strict=True)])


def invert_shared(
    run: ImageRun, network: Network, settings: Inversion, base: Float[Tensor, "k i c h w"], *, phase: str
) -> Float[Tensor, "i c h w"]:
    """Learns one image a pass, as `invert` does, but added to given images of all classes and not clamped.

    Args:
        run: The run.
        network: The network.
        settings: The inversion's settings.
        base: The given images, i of each of the k classes; those of pass number j are the j-th of each class.
        phase: Name of the loop, which has to be another one for each call in a run.

    Returns:
        The learned image of each pass, on the CPU.
    """

    def zero(classes: range, number: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(1, *run.spec.shape)

    plan = _Plan(zero, run.spec.num_classes, base.shape[1], base, None)
    return _learned(run, network, settings, plan, phase)[0]


def passes_per_forward(device: torch.device, pixels: int) -> int:
    """Returns how many passes, each of so many pixels in all, go through the network at a time."""
    return max(1, (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // pixels)


@dataclass(frozen=True)
class _Plan:
    """What is learned: see `invert` and `invert_shared`."""

    start: Start
    block: int
    passes: int
    base: Tensor | None
    pass_network: PassNetwork | None

    def sweeps(self, num_classes: int, values: int) -> tuple[list[tuple[range, range]], int]:
        """Returns each sweep's classes and passes, and the number of values that the largest one learns."""
        images = 1 if self.base is not None else min(self.block, num_classes)
        most = 1 if self.pass_network else min(self.passes, max(1, SWEEP_VALUES // (images * values)))
        blocks = [range(num_classes)[at : at + self.block] for at in range(0, num_classes, self.block)]
        passes = [range(self.passes)[at : at + most] for at in range(0, self.passes, most)]
        return list(product(blocks, passes)), most * images * values


def _learned(run: ImageRun, network: Network, settings: Inversion, plan: _Plan, phase: str) -> Tensor:
    """Runs one sweep after another; a step of the loop is a step of a sweep."""
    if not network.mixes_samples:
        raise Refused("inversion matches the statistics of batch norms, and this network has none")
    spec = run.spec
    lows, highs = spec.extremes(run.device)
    seed = int(torch.randint(2**62, (), generator=run.rng))
    sweeps, values = plan.sweeps(spec.num_classes, math.prod(spec.shape))
    # flat: (values,) the values that the current sweep learns, as one tensor to Adam
    flat = torch.zeros(values, device=run.device, requires_grad=True)
    optimizer = torch.optim.Adam([flat], lr=settings.lr, betas=(0.5, 0.9))
    # made: (k, i, c, h, w), or (1, i, c, h, w) if all classes share an image
    made = torch.zeros((spec.num_classes if plan.base is None else 1, plan.passes, *spec.shape))
    state: State = {"images": made, "learned": flat, "optimizer": optimizer}
    sweep = None
    steps = len(sweeps) * settings.iterations
    for step in run.steps(steps, state, phase, passing=("learned", "optimizer")):
        number, at = divmod(step, settings.iterations)
        if sweep is None or at == 0:
            classes, passes = sweeps[number]
            sweep = _Sweep(run, settings, plan, classes, passes, seed)
            inverted = network
            if plan.pass_network is not None:
                inverted = plan.pass_network(network, sweep.first_view(), sweep.labels)
            # images: (p, b, c, h, w), a view of the sweep's part of the flat tensor
            images = flat.detach()[: sweep.start.numel()].view_as(sweep.start)
            gradient = torch.zeros_like(flat)
            flat.grad = gradient
            if at == 0:
                images.copy_(sweep.start)
                optimizer.state.clear()
        optimizer.param_groups[0]["lr"] = settings.lr * (1 + math.cos(math.pi * at / settings.iterations)) / 2
        run.log(loss=sweep.backward(inverted, images, gradient[: images.numel()].view_as(images), at))
        optimizer.step()
        if plan.base is None:
            torch.clamp(images, lows, highs, out=images)
        if at + 1 == settings.iterations:
            there = slice(classes.start, classes.start + images.shape[1])
            made[there, passes.start : passes.stop] = images.transpose(0, 1).cpu()
    return made


class _Sweep:
    """The passes of a block that Adam updates together: their initial images and their random views."""

    def __init__(
        self, run: ImageRun, settings: Inversion, plan: _Plan, classes: range, passes: range, seed: int
    ) -> None:
        size = (run.spec.height, run.spec.width)
        roll = range(-settings.roll if settings.roll_both else 0, settings.roll + 1)
        starts, views = [], []
        for number in passes:
            generator = torch.Generator().manual_seed(int(digest([seed, classes.start, number])[:15], 16))
            starts.append(plan.start(classes, number, generator))
            shown = SharedViews.random(size, settings.crop_mins, generator, flip=settings.flip, roll=roll)
            views.append(shown)
        # start: (p, b, c, h, w)
        self.start = torch.stack(starts).to(run.device)
        self.labels = torch.arange(classes.start, classes.stop, device=run.device)
        self._settings = settings
        self._views = SharedViews.stack(views).to(run.device)
        block = slice(classes.start, classes.stop), slice(passes.start, passes.stop)
        self._base = None if plan.base is None else plan.base[block].transpose(0, 1)
        self._together = passes_per_forward(run.device, len(classes) * size[0] * size[1])

    def first_view(self) -> Float[Tensor, "b c h w"]:
        """Returns what the network sees of the first pass at its first step."""
        images = self.start if self._base is None else self._base + self.start
        return self._views(images, 0)[0]

    def backward(self, network: Network, learned: Tensor, gradient: Tensor, step: int) -> Float[Tensor, ""]:
        """Writes the gradient of each pass's loss at a step into a tensor; returns the mean loss."""
        size = (learned.shape[-2], learned.shape[-1])
        rows, columns = self._views.maps(step, size, learned.dtype)
        losses = []
        for first in range(0, len(learned), self._together):
            part = slice(first, first + self._together)
            leaf = learned[part].detach().requires_grad_()
            images = leaf if self._base is None else self._base[part] + leaf
            views = mapped(images, rows[part], columns[part])
            loss = inversion_loss(network, views, self.labels, self._settings)
            gradient[part] = torch.autograd.grad(loss.sum(), leaf)[0]
            losses.append(loss.detach())
        return torch.cat(losses).mean()
