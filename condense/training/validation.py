"""The validation part of a training split of images, on which networks are measured while they are trained.

It is the same for everybody who trains on a split. It lies in the part that fixed teachers hold out
(`condense.teachers.training.teacher_training`), so that a student does not learn it from a teacher either.
"""

from jaxtyping import Int64
from torch import Tensor

from condense.data import Images
from condense.training.image_training import divided

SHARE = 0.05
"""Largest share of each class that the part takes."""
VALIDATION = 1
"""A number that is raised when another part is chosen; it is in the keys of trainings without a set."""
MOST = 1000
"""Number of images that the part has about, if `SHARE` of the split are more."""


def parted(train: Images) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " v"]]:
    """Returns the positions of all other images, and those of the validation part, ascending, on the CPU."""
    return divided(train, min(SHARE, MOST / len(train)), seed=0)


def without_validation(train: Images) -> Images:
    """Returns the images that are not in the validation part, with a hash of their own."""
    return train.select(parted(train)[0])


def validation(train: Images) -> Images:
    """Returns the images of the validation part."""
    return train.select(parted(train)[1])
