"""Teachers: networks that label images or are inverted, their files, and each dataset's fixed teacher."""

from condense.teachers.foreign import read_teacher
from condense.teachers.header import Header
from condense.teachers.pinned import (
    FIXED,
    PINNED,
    TRAINED,
    NoFixed,
    find_teacher,
    fixed,
    keep_teacher,
    pin,
    require_fixed,
    require_pinnable,
)
from condense.teachers.projector import Projector, projected
from condense.teachers.teacher import Teacher, check_classes, load_teacher

__all__ = [
    "FIXED",
    "PINNED",
    "TRAINED",
    "Header",
    "NoFixed",
    "Projector",
    "Teacher",
    "check_classes",
    "find_teacher",
    "fixed",
    "keep_teacher",
    "load_teacher",
    "pin",
    "projected",
    "read_teacher",
    "require_fixed",
    "require_pinnable",
]
