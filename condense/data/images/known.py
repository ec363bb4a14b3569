"""Image datasets with a name: their classes, image shapes and published statistics.

Means and standard deviations are rounded as in the code that the field shares (VICO-UoE/DatasetCondensation,
``utils.py``), so that normalised pixels equal those of published work. Tiny-ImageNet and the subsets of
ImageNet use ImageNet's statistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass

FULL = "color_crop_cutout_flip_scale_rotate"
"""Strategy of differentiable augmentation with all operations."""
NO_FLIP = "color_crop_cutout_scale_rotate"
"""The same without flips, for classes that a mirror image does not belong to."""

Channels = tuple[float, ...]
"""One number for each channel."""


@dataclass(frozen=True, kw_only=True)
class KnownImages:
    """Expected properties of an image dataset.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        shape: Channels, height and width of an image.
        mean: Published mean of each channel; None if it is computed from the training images.
        std: Published standard deviation of each channel; None if it is computed as well.
        dsa: Strategy of differentiable augmentation.
        torchvision: Name of the torchvision class that downloads the dataset; None if there is none.
    """

    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    mean: Channels | None = None
    std: Channels | None = None
    dsa: str = FULL
    torchvision: str | None = None


DIGITS = tuple("0123456789")

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

CIFAR100 = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel
    can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
    dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion
    lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter
    palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
    rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower
    sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
    willow_tree wolf woman worm
    """.split()
)

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

TINY_IMAGENET = tuple(
    """
    n01443537 n01629819 n01641577 n01644900 n01698640 n01742172 n01768244 n01770393 n01774384 n01774750
    n01784675 n01855672 n01882714 n01910747 n01917289 n01944390 n01945685 n01950731 n01983481 n01984695
    n02002724 n02056570 n02058221 n02074367 n02085620 n02094433 n02099601 n02099712 n02106662 n02113799
    n02123045 n02123394 n02124075 n02125311 n02129165 n02132136 n02165456 n02190166 n02206856 n02226429
    n02231487 n02233338 n02236044 n02268443 n02279972 n02281406 n02321529 n02364673 n02395406 n02403003
    n02410509 n02415577 n02423022 n02437312 n02480495 n02481823 n02486410 n02504458 n02509815 n02666196
    n02669723 n02699494 n02730930 n02769748 n02788148 n02791270 n02793495 n02795169 n02802426 n02808440
    n02814533 n02814860 n02815834 n02823428 n02837789 n02841315 n02843684 n02883205 n02892201 n02906734
    n02909870 n02917067 n02927161 n02948072 n02950826 n02963159 n02977058 n02988304 n02999410 n03014705
    n03026506 n03042490 n03085013 n03089624 n03100240 n03126707 n03160309 n03179701 n03201208 n03250847
    n03255030 n03355925 n03388043 n03393912 n03400231 n03404251 n03424325 n03444034 n03447447 n03544143
    n03584254 n03599486 n03617480 n03637318 n03649909 n03662601 n03670208 n03706229 n03733131 n03763968
    n03770439 n03796401 n03804744 n03814639 n03837869 n03838899 n03854065 n03891332 n03902125 n03930313
    n03937543 n03970156 n03976657 n03977966 n03980874 n03983396 n03992509 n04008634 n04023962 n04067472
    n04070727 n04074963 n04099969 n04118538 n04133789 n04146614 n04149813 n04179913 n04251144 n04254777
    n04259630 n04265275 n04275548 n04285008 n04311004 n04328186 n04356056 n04366367 n04371430 n04376876
    n04398044 n04399382 n04417672 n04456115 n04465501 n04486054 n04487081 n04501370 n04507155 n04532106
    n04532670 n04540053 n04560804 n04562935 n04596742 n04597913 n06596364 n07579787 n07583066 n07614500
    n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 n07747607 n07749582 n07753592 n07768694
    n07871810 n07873807 n07875152 n07920052 n09193705 n09246464 n09256479 n09332890 n09428293 n12267677
    """.split()
)
"""WordNet ids of Tiny-ImageNet's 200 classes, sorted."""

SUBSETS: Mapping[str, tuple[str, ...]] = {
    name: tuple(ids.split())
    for name, ids in {
        # tench, English springer, cassette player, chain saw, church,
        # French horn, garbage truck, gas pump, golf ball, parachute
        "imagenette": """n01440764 n02102040 n02979186 n03000684 n03028079
                         n03394916 n03417042 n03425413 n03445777 n03888257""",
        # Australian terrier, Border terrier, Samoyed, beagle, Shih-Tzu,
        # English foxhound, Rhodesian ridgeback, dingo, golden retriever, Old English sheepdog
        "imagewoof": """n02096294 n02093754 n02111889 n02088364 n02086240
                        n02089973 n02087394 n02115641 n02099601 n02105641""",
        # pineapple, banana, strawberry, orange, lemon, pomegranate, fig, bell pepper, cucumber, Granny Smith
        "imagefruit": """n07753275 n07753592 n07745940 n07747607 n07749582
                         n07768694 n07753113 n07720875 n07718472 n07742313""",
        # bee, yellow lady's slipper, banana, lemon, corn,
        # school bus, honeycomb, lion, black and gold garden spider, goldfinch
        "imageyellow": """n02206856 n12057211 n07753592 n07749582 n12144580
                          n04146614 n03530642 n02129165 n01773157 n01531178""",
        # tabby, tiger cat, Persian cat, Siamese cat, Egyptian cat, lion, tiger, jaguar, snow leopard, lynx
        "imagemeow": """n02123045 n02123159 n02123394 n02123597 n02124075
                        n02129165 n02129604 n02128925 n02128757 n02127052""",
        # peacock, flamingo, macaw, pelican, king penguin,
        # bald eagle, toucan, ostrich, black swan, sulphur-crested cockatoo
        "imagesquawk": """n01806143 n02007558 n01818515 n02051845 n02056570
                          n01614925 n01843383 n01518878 n01860187 n01819313""",
    }.items()
}
"""WordNet ids of the ImageNet subsets of GeorgeCazenavette/mtt-distillation, in the order of the labels."""


def imagenet(classes: tuple[str, ...], side: int = 128) -> KnownImages:
    """Returns the expected properties of a subset of ImageNet."""
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return KnownImages(classes=classes, shape=(3, side, side), mean=mean, std=std)


def _rgb(classes: tuple[str, ...], mean: Channels, std: Channels, name: str, dsa: str = FULL) -> KnownImages:
    """Returns the expected properties of a dataset of 32 x 32 RGB images from torchvision."""
    return KnownImages(classes=classes, shape=(3, 32, 32), mean=mean, std=std, dsa=dsa, torchvision=name)


KNOWN: Mapping[str, KnownImages] = {
    "digits": KnownImages(classes=DIGITS, shape=(1, 8, 8), dsa=NO_FLIP),
    "mnist": KnownImages(
        classes=DIGITS, shape=(1, 28, 28), mean=(0.1307,), std=(0.3081,), dsa=NO_FLIP, torchvision="MNIST"
    ),
    "fashion-mnist": KnownImages(
        classes=FASHION, shape=(1, 28, 28), mean=(0.2861,), std=(0.3530,), torchvision="FashionMNIST"
    ),
    "svhn": _rgb(DIGITS, (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), "SVHN", dsa=NO_FLIP),
    "cifar10": _rgb(CIFAR10, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "CIFAR10"),
    "cifar100": _rgb(CIFAR100, (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), "CIFAR100"),
    "tiny-imagenet": imagenet(TINY_IMAGENET, side=64),
    **{name: imagenet(ids) for name, ids in SUBSETS.items()},
}

IMAGE_NAMES: tuple[str, ...] = tuple(KNOWN)
"""Names of the image datasets that `condense.data.load_images` knows."""
