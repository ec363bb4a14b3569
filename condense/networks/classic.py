"""AlexNet, VGG11, LeNet and the MLP for small images.

The definitions follow the code of Zhao, Mopuri and Bilen (https://github.com/VICO-UoE/DatasetCondensation,
``networks.py``): one linear layer as the classifier (LeNet's two hidden linear layers belong to the body), no
dropout, and AlexNet without norm. The size of the classifier follows from the size of the images, which need
not be 32 x 32.

Each builder takes the images' (c, h, w) and the number of logits. The first convolution pads a side of 28 to
32. A builder raises `TooSmall` if the images are too small.
"""

from condense.networks.base import Network
from condense.networks.stack import Stack


def alexnet(shape: tuple[int, int, int], num_classes: int, *, batch_norm: bool = False) -> Network:
    """Builds an AlexNet: five convolutions, without norm or with batch norm, and three 2 x 2 max poolings."""
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
    """Builds a VGG11: eight 3 x 3 convolutions with instance or batch norm and five 2 x 2 max poolings."""
    stack = Stack(shape, batch_norm=batch_norm)
    conv = stack.first_conv
    for stage in ([64], [128], [256, 256], [512, 512], [512, 512]):
        for channels in stage:
            conv(channels, kernel=3, pad=1).norm().relu()
            conv = stack.conv
        stack.max_pool()
    return Network(stack.body(), stack.values, num_classes)


def lenet(shape: tuple[int, int, int], num_classes: int) -> Network:
    """Builds a LeNet-5 with ReLU and max pooling; its features are the 84 values before the last layer."""
    stack = Stack(shape).first_conv(6, kernel=5, pad=0).relu().max_pool()
    stack.conv(16, kernel=5, pad=0).relu().max_pool()
    stack.linear(120).relu().linear(84).relu()
    return Network(stack.body(), stack.values, num_classes)


def mlp(shape: tuple[int, int, int], num_classes: int) -> Network:
    """Builds a multilayer perceptron with two hidden layers of 128 units."""
    stack = Stack(shape).linear(128).relu().linear(128).relu()
    return Network(stack.body(), stack.values, num_classes)
