"""Which augmentation a user's images get, and how a user chooses another one."""

from dataclasses import replace
from typing import TypeVar

from jaxtyping import UInt8
from torch import Tensor

from condense.augment.dsa import has_flip, parse
from condense.data.base import Dataset
from condense.data.images.known import FULL, NO_FLIP
from condense.data.images.spec import ImageDataset
from condense.errors import Refused

DatasetT = TypeVar("DatasetT", bound=Dataset)

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


def on_strategy(strategy: str, reason: str) -> str:
    """Returns the note on an augmentation."""
    return f"{NOTE}{strategy}, {'with' if has_flip(strategy) else 'without'} flips: {reason}"


def with_augment(dataset: DatasetT, strategy: str) -> DatasetT:
    """Returns a dataset with an augmentation that the user chose.

    The choice enters the run keys, and the result has a name of its own, such as ``digits~none``: it has no
    published settings and scores, and stands in tables of its own.

    Args:
        dataset: The dataset.
        strategy: Operations of `condense.augment.dsa`, or ``none``.

    Raises:
        Refused: If the dataset holds graphs, or an operation is unknown.
    """
    spec = dataset.spec
    if not isinstance(dataset, ImageDataset):
        reason = f"{spec.name} holds {spec.kind}, which are not augmented"
        raise Refused(reason, setting="augment", value=strategy)
    try:
        known = strategy != "" and parse(strategy) is not None
    except Refused as error:
        raise Refused(error.reason, setting="augment", value=strategy) from error
    if not known:
        raise Refused("write none for no augmentation", setting="augment", value=strategy)
    notes = [note for note in spec.notes if not note.startswith(NOTE)]
    chosen = replace(
        dataset.spec,
        name=f"{spec.name}{MARK}{strategy}",
        named=False,
        dsa=strategy,
        dsa_in_keys=True,
        notes=(*notes, on_strategy(strategy, "as chosen")),
    )
    return replace(dataset, spec=chosen)


def without_augment(name: str, strategy: str | None) -> str:
    """Returns the name of the dataset that `with_augment` was given; ``strategy`` is the set's."""
    return name if strategy is None else name.removesuffix(f"{MARK}{strategy}")
