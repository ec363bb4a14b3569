"""The validation parts of a training split of images, on which networks are measured while they are trained.

There are two. Trainings on real images leave out the first part and are measured on it. It lies in the part
that fixed teachers hold out (`condense.teachers.training.teacher_training`), so that a student does not learn
it from a teacher either. But it is also what the draw of random images with seed 0 begins with: many stored
sets hold these images, or were learned from them. Students of sets are measured on the second part, which is
the end of the same draw.
"""

from jaxtyping import Int64
from torch import Tensor

from condense.data import Images
from condense.training.image_training import divided

SHARE = 0.05
"""Largest share of each class that a part takes."""
VALIDATION = 1
"""The number of the first part. It is in the keys of trainings without a set."""
OF_SETS = 2
"""The number of the part on which students of stored sets are measured."""
MOST = 1000
"""Number of images that a part has about, if `SHARE` of the split are more."""


def parted(train: Images, number: int = VALIDATION) -> tuple[Int64[Tensor, " m"], Int64[Tensor, " v"]]:
    """Returns the positions of all other images, and those of a validation part, ascending, on the CPU."""
    return divided(train, min(SHARE, MOST / len(train)), seed=0, last=number == OF_SETS)


def without_validation(train: Images) -> Images:
    """Returns the images that are not in the first validation part, with a hash of their own."""
    return train.select(parted(train)[0])


def validation(train: Images, number: int) -> Images:
    """Returns the images of the validation part of a number."""
    return train.select(parted(train, number)[1])
