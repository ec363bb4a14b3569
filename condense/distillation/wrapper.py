"""What stands behind a ``+``: a method around another one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from condense.distillation.method import ImageMethod, Recipe

OF_THE_HOST = ("kind", "draws", "keeps_real", "optimizes", "through_view", "remedy", "network", "pixel_space")
"""What a wrapper has of its host."""


@dataclass(frozen=True, kw_only=True)
class Wrapper(ImageMethod):
    """A method around another: ``host+name`` on the command line, in records and on the board.

    Its `distill` runs the host's, with another `ImageRun` (`ImageRun.seen`) or with something done to the set.
    Subclasses add their own settings as fields, and refuse a host that makes no sense in ``__post_init__``.

    Attributes:
        host: What it stands behind: a method, or another wrapper.
        network: The host's.
        pixel_space: The host's.
    """

    host: ImageMethod
    network: str = field(init=False)
    pixel_space: str = field(init=False)

    wraps: ClassVar[str] = "a method"

    def __post_init__(self) -> None:
        """Takes over what is the host's, and refuses what `ImageMethod` refuses."""
        for name in OF_THE_HOST:
            object.__setattr__(self, name, getattr(self.host, name))
        super().__post_init__()

    @classmethod
    def published(cls, host: Recipe) -> Recipe | None:
        """The published settings of the composition, from those of the host; None where there are none."""
        return None

    @property
    def needs_real(self) -> bool:
        """As the host."""
        return self.host.needs_real

    def per_class(self, ipc: int, num_classes: int) -> int:
        """As the host."""
        return self.host.per_class(ipc, num_classes)

    def links(self) -> Sequence[ImageMethod]:
        """The host's links, and this one."""
        return [*self.host.links(), self]

    def config(self) -> dict[str, object]:
        """Its own settings, without the host's."""
        values = super().config()
        return {
            name: value for name, value in values.items() if name not in ("host", "network", "pixel_space")
        }
