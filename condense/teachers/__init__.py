"""Teachers: networks that label or are inverted, the files they travel in, and each dataset's fixed one."""

from condense.teachers.foreign import read
from condense.teachers.header import Header
from condense.teachers.pinned import (
    FIXED,
    PINNED,
    TRAINED,
    NoFixed,
    find,
    fixed,
    keep,
    pin,
    require_fixed,
    require_pinnable,
)
from condense.teachers.teacher import Teacher, check_classes, load

__all__ = [
    "FIXED",
    "PINNED",
    "TRAINED",
    "Header",
    "NoFixed",
    "Teacher",
    "check_classes",
    "find",
    "fixed",
    "keep",
    "load",
    "pin",
    "read",
    "require_fixed",
    "require_pinnable",
]
