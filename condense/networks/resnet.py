"""ResNets of 18, 34 and 50 layers for small images, and a ResNet18 with average pooling instead of strides.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016,
https://arxiv.org/abs/1512.03385), as in https://github.com/VICO-UoE/DatasetCondensation, ``networks.py``,
with a 3 x 3 stem of stride 1 and without max pooling. That code pools 4 x 4 at the end, which is the
whole map at 32 and 28 pixels; here the whole map is pooled at every size. With batch norm, all layers except
the stem equal torchvision's, in the same order, as in the networks that SRe2L
(https://github.com/VILA-Lab/SRe2L) trains for CIFAR and Tiny-ImageNet. The stride of a bottleneck block is in
its 3 x 3 convolution.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from condense.networks.base import Network, Rectified
from condense.networks.stack import Stack


class Residual(Rectified):
    """A residual block: the ReLU of the sum of a branch and a shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnet18(
    shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False, pooled: bool = False
) -> Network:
    """Builds a ResNet18: four stages of two basic blocks, 64 to 512 channels.

    Args:
        shape: (c, h, w) of the images.
        num_classes: Number k of logits.
        batch_norm: Whether to use batch norm instead of instance norm.
        pooled: Whether 2 x 2 average poolings replace the strides of 2, and the last map is not pooled
            ("ResNet18_AP").

    Raises:
        TooSmall: If the images are too small.
    """
    stack = _stages(shape, (2, 2, 2, 2), batch_norm, partial(_block, pooled=pooled))
    if not pooled:
        stack.global_pool()
    return Network(stack.body(), stack.values, num_classes)


def resnet34(shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False) -> Network:
    """Builds a ResNet34: like `resnet18`, but with stages of 3, 4, 6 and 3 basic blocks."""
    stack = _stages(shape, (3, 4, 6, 3), batch_norm, partial(_block, pooled=False)).global_pool()
    return Network(stack.body(), stack.values, num_classes)


def resnet50(shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False) -> Network:
    """Builds a ResNet50: like `resnet34`, but with bottlenecks of 256 to 2048 channels."""
    stack = _stages(shape, (3, 4, 6, 3), batch_norm, _bottleneck).global_pool()
    return Network(stack.body(), stack.values, num_classes)


def _stages(
    shape: tuple[int, int, int],
    blocks: tuple[int, ...],
    batch_norm: bool,
    block: Callable[[Stack, int, int], None],
) -> Stack:
    """Builds the stem and the stages; the first block of each stage but the first halves the map."""
    stack = Stack(shape, batch_norm=batch_norm).conv(64, kernel=3, pad=1, bias=False).norm().relu()
    for stage, count in enumerate(blocks):
        for place in range(count):
            block(stack, 64 * 2**stage, 2 if stage > 0 and place == 0 else 1)
    return stack


def _block(stack: Stack, channels: int, stride: int, pooled: bool) -> None:
    step = 1 if pooled else stride
    branch = Stack(stack.shape, batch_norm=stack.batch_norm)
    branch.conv(channels, kernel=3, pad=1, stride=step, bias=False).norm().relu()
    if step < stride:
        branch.average_pool()
    branch.conv(channels, kernel=3, pad=1, bias=False).norm()
    _join(stack, branch, channels, stride, pooled)


def _bottleneck(stack: Stack, channels: int, stride: int) -> None:
    """Adds one bottleneck to the stack: 1 x 1, 3 x 3 and, with four times the channels, 1 x 1."""
    branch = Stack(stack.shape, batch_norm=stack.batch_norm)
    branch.conv(channels, kernel=1, pad=0, bias=False).norm().relu()
    branch.conv(channels, kernel=3, pad=1, stride=stride, bias=False).norm().relu()
    branch.conv(4 * channels, kernel=1, pad=0, bias=False).norm()
    _join(stack, branch, 4 * channels, stride, pooled=False)


def _join(stack: Stack, branch: Stack, channels: int, stride: int, pooled: bool) -> None:
    """Adds a branch and its shortcut to the stack."""
    shortcut = Stack(stack.shape, batch_norm=stack.batch_norm)
    if stride > 1 or channels != stack.channels:
        shortcut.conv(channels, kernel=1, pad=0, stride=1 if pooled else stride, bias=False)
        if pooled and stride > 1:
            shortcut.average_pool()
        shortcut.norm()
    stack.add(Residual(branch.body(), shortcut.body()))
    stack.channels, stack.height, stack.width = branch.shape
