"""The ConvNet of dataset distillation: blocks of convolution, instance norm, ReLU and average pooling.

Gidaris and Komodakis, "Dynamic Few-Shot Visual Learning without Forgetting" (CVPR 2018), in the form of Zhao,
Mopuri and Bilen, "Dataset Condensation with Gradient Matching" (ICLR 2021, https://arxiv.org/abs/2006.05929).
"""

import math

from condense.networks.base import LecunNetwork, Network
from condense.networks.stack import Stack


def convnet(
    shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: int = 128,
    depth: int | None = None,
    batch_norm: bool = False,
    norm: bool = True,
    doubled: bool = False,
    lecun: bool = False,
) -> Network:
    """Builds a ConvNet.

    Args:
        shape: (c, h, w) of the images; the first convolution pads a side of 28 to 32.
        num_classes: Number k of logits.
        width: Number of channels of each block, or of the first one.
        depth: Number of blocks; None takes `usual_depth` of the longer side.
        batch_norm: Whether to use batch norm instead of instance norm.
        norm: Whether there are norms at all.
        doubled: Whether each block has twice the channels of the one before it.
        lecun: Whether it starts as a `condense.networks.base.LecunNetwork`.

    Raises:
        TooSmall: If the images are too small.
    """
    stack = Stack(shape, batch_norm=batch_norm)
    for block in range(depth or usual_depth(max(shape[1:]))):
        conv = stack.conv if block else stack.first_conv
        conv(width * 2**block if doubled else width, kernel=3, pad=1)
        (stack.norm() if norm else stack).relu().average_pool()
    return (LecunNetwork if lecun else Network)(stack.body(), stack.values, num_classes)


def usual_depth(side: int) -> int:
    """Returns the usual depth for a side in pixels: 1 for 8, 3 for 28 and 32, 4 for 64, 5 for 128."""
    return max(1, math.ceil(math.log2(side)) - 2)
