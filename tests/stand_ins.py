"""Stand-ins for objects that are dear to make: of their class, with only what a test gives them."""

import copy
from typing import Any, TypeVar, cast

from condense.distillation.engine import distill

T = TypeVar("T")


def stand_in(cls: type[T], **attributes: Any) -> T:
    """Makes an object of a class without its constructor; attributes take the place of the class's own."""
    values = {name: staticmethod(value) if callable(value) else value for name, value in attributes.items()}
    return cast(T, object.__new__(type(cls.__name__, (cls,), values)))


def start(method: Any, dataset: Any, **settings: Any) -> tuple[Any, Any]:
    """Returns what a method's `distill` is given: the training samples and the run; nothing is checked."""
    idle = copy.copy(method)
    for name, stub in {"distill": lambda train, run: train, "check": lambda *_, **__: None}.items():
        object.__setattr__(idle, name, stub)
    return distill(idle, dataset, **settings)
