"""ResNet18 for small images, and its variant with average pooling in place of strides.

He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (CVPR 2016,
https://arxiv.org/abs/1512.03385), as in https://github.com/VICO-UoE/DatasetCondensation, ``networks.py``: a 3
x 3 stem of stride 1 and no maximum pooling. Its last pooling is 4 x 4, which at 32 and 28 pixels is the whole
map; here it is the whole map at every size.
"""

import torch
from torch import Tensor, nn

from condense.networks.base import Network, Rectified
from condense.networks.stack import Stack


class Residual(Rectified):
    """ReLU of a branch plus its shortcut."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        """Joins two modules of equal output shapes."""
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """The block's map."""
        return torch.relu(self.branch(x) + self.shortcut(x))


def resnet18(
    shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False, pooled: bool = False
) -> Network:
    """Builds a ResNet18: four stages of two basic blocks, 64 to 512 channels.

    Args:
        shape: (c, h, w) of the images.
        num_classes: k.
        batch_norm: Batch norm in place of instance norm.
        pooled: Whether a stride of 2 is a stride of 1 with a 2 x 2 average pooling behind it, and the last
            map goes to the classifier unpooled ("ResNet18_AP").

    Raises:
        TooSmall: if a norm or a pooling has nothing left.
    """
    stack = Stack(shape, batch_norm=batch_norm).conv(64, kernel=3, pad=1, bias=False).norm().relu()
    for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        _block(stack, channels, stride, pooled)
        _block(stack, channels, 1, pooled)
    if not pooled:
        stack.global_pool()
    return Network(stack.body(), stack.values, num_classes)


def _block(stack: Stack, channels: int, stride: int, pooled: bool) -> None:
    """Adds one basic block to the stack."""
    step = 1 if pooled else stride
    branch = Stack(stack.shape, batch_norm=stack.batch_norm)
    branch.conv(channels, kernel=3, pad=1, stride=step, bias=False).norm().relu()
    if step < stride:
        branch.average_pool()
    branch.conv(channels, kernel=3, pad=1, bias=False).norm()

    shortcut = Stack(stack.shape, batch_norm=stack.batch_norm)
    if stride > 1 or channels != stack.channels:
        shortcut.conv(channels, kernel=1, pad=0, stride=step, bias=False)
        if step < stride:
            shortcut.average_pool()
        shortcut.norm()

    stack.add(Residual(branch.body(), shortcut.body()))
    stack.channels, stack.height, stack.width = branch.shape
