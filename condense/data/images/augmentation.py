"""Which augmentation a user's images get, and how a user chooses another one."""

from jaxtyping import UInt8
from torch import Tensor

from condense.augment.dsa import has_flip, parse
from condense.data.images.known import FULL, NO_FLIP
from condense.errors import Refused

NOTE = "augmentation "
"""How the note on the augmentation begins."""
MARK = "~"
"""What stands in a dataset's name before an augmentation that was chosen."""


def usual_strategy(images: UInt8[Tensor, "n c h w"]) -> tuple[str, str]:
    """Returns the strategy of a user's images, and the reason for it.

    A mirror image belongs to the same class in most collections of coloured pictures, but not in those of
    digits, letters and the like, which are grey. So images are flipped if more than half of the training
    images are coloured: if their red, green and blue values differ anywhere.
    """
    coloured = int((images != images[:, :1]).flatten(1).any(1).sum())
    flips = 2 * coloured > len(images)
    there, what = (coloured, "coloured") if flips else (len(images) - coloured, "grey")
    return FULL if flips else NO_FLIP, f"{there} of {len(images)} training images are {what}"


def on_strategy(strategy: str, reason: str = "as chosen") -> str:
    """Returns the note on an augmentation."""
    return f"{NOTE}{strategy}, {'with' if has_flip(strategy) else 'without'} flips: {reason}"


def require_strategy(strategy: str) -> None:
    """Refuses a chosen augmentation that is not made of operations of `condense.augment.dsa`."""
    if strategy == "":
        raise Refused("write none for no augmentation", setting="augment", value=strategy)
    try:
        parse(strategy)
    except Refused as error:
        raise Refused(error.reason, setting="augment", value=strategy) from error


def marked(name: str, strategy: str) -> str:
    """Returns the name of a dataset with an augmentation that a user chose, such as ``digits~none``."""
    return f"{name}{MARK}{strategy}"


def unmarked(name: str, strategy: str | None) -> str:
    """Returns the name of a dataset without the augmentation, if that is a part of it: see `marked`."""
    return name if strategy is None else name.removesuffix(f"{MARK}{strategy}")
