"""What methods train on real data ahead of their own steps: networks that several runs share.

They lie in the cache, and the first run that asks for one trains it while the others wait. Who places runs on
many processes asks here which of them would wait for each other.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from condense.distillation.method import Method


@runtime_checkable
class Sharing(Protocol):
    """A method, or a wrapper, some of whose networks other runs on the same data share."""

    def shared_trainings(self) -> Sequence[object]:
        """Returns how these networks are trained, as frozen values: equal ones are the same network."""


def shared_trainings(method: Method) -> list[object]:
    """Returns the trainings of all links of a method, those of the innermost first."""
    links = method.links()
    return [one for link in links if isinstance(link, Sharing) for one in link.shared_trainings()]
