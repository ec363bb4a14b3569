"""AlexNet, VGG11, LeNet and the MLP, in the small-image forms that distilled sets are tried on.

The definitions are those of the code of Zhao, Mopuri and Bilen
(https://github.com/VICO-UoE/DatasetCondensation, ``networks.py``): a single linear layer on top (LeNet's two
hidden ones count as features), no dropout, AlexNet without norm. The size of that layer follows from the map
that the images really leave, so other sizes than 32 x 32 work too.
"""

from condense.networks.base import Network
from condense.networks.stack import Stack


def alexnet(shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False) -> Network:
    """Builds an AlexNet: five convolutions and three 2 x 2 maximum poolings.

    Args:
        shape: (c, h, w) of the images; a side of 28 is padded to 32 by the first convolution.
        num_classes: k.
        batch_norm: Whether each convolution is followed by batch norm; without it there is no norm at all.

    Raises:
        TooSmall: if a pooling has nothing left to pool.
    """
    stack = Stack(shape, batch_norm=batch_norm)
    for number, (channels, kernel, pool) in enumerate(
        [(128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True)]
    ):
        conv = stack.conv if number else stack.first_conv
        conv(channels, kernel, pad=kernel // 2)
        if batch_norm:
            stack.norm()
        stack.relu()
        if pool:
            stack.max_pool()
    return Network(stack.body(), stack.values, num_classes)


def vgg11(shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False) -> Network:
    """Builds a VGG11: eight 3 x 3 convolutions with norm, five 2 x 2 maximum poolings.

    Args:
        shape: (c, h, w) of the images; a side of 28 is padded to 32 by the first convolution.
        num_classes: k.
        batch_norm: Batch norm in place of instance norm.

    Raises:
        TooSmall: if a norm or a pooling has nothing left.
    """
    stack = Stack(shape, batch_norm=batch_norm)
    conv = stack.first_conv
    for stage in ([64], [128], [256, 256], [512, 512], [512, 512]):
        for channels in stage:
            conv(channels, kernel=3, pad=1).norm().relu()
            conv = stack.conv
        stack.max_pool()
    return Network(stack.body(), stack.values, num_classes)


def lenet(shape: tuple[int, int, int], num_classes: int) -> Network:
    """Builds a LeNet-5 with ReLU and maximum pooling; its features are the 84 values before the last layer.

    Args:
        shape: (c, h, w) of the images; a side of 28 is padded to 32 by the first convolution.
        num_classes: k.

    Raises:
        TooSmall: if a convolution or a pooling has nothing left.
    """
    stack = Stack(shape).first_conv(6, kernel=5, pad=0).relu().max_pool()
    stack.conv(16, kernel=5, pad=0).relu().max_pool()
    stack.linear(120).relu().linear(84).relu()
    return Network(stack.body(), stack.values, num_classes)


def mlp(shape: tuple[int, int, int], num_classes: int) -> Network:
    """Builds a perceptron with two hidden layers of 128 values.

    Args:
        shape: (c, h, w) of the images.
        num_classes: k.
    """
    stack = Stack(shape).linear(128).relu().linear(128).relu()
    return Network(stack.body(), stack.values, num_classes)
