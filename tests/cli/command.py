"""How tests call the command line, and what they get back."""

from collections.abc import Callable
from typing import NamedTuple


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Condense = Callable[..., Ended]
