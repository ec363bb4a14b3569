"""What stands behind a ``+``: a method around another one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, cast

from condense.data import ImageDataset
from condense.distillation.method import ImageMethod, Recipe
from condense.protocol import Protocol

OF_THE_HOST = ("kind", "draws", "keeps_real", "optimizes", "through_view", "remedy", "network", "pixel_space")
"""What a wrapper has of its host."""


@dataclass(frozen=True, kw_only=True)
class Wrapper(ImageMethod):
    """A method around another method, called ``host+name``.

    Its `distill` calls the host's with a changed run (`ImageRun.with_view`), or changes the set that the host
    made. Subclasses add their own settings as fields, and refuse unsuitable hosts in ``__post_init__``.

    Attributes:
        host: The method, or another wrapper, that it wraps.
        network: The host's network.
        pixel_space: The host's pixel space.
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
    def published(cls, host: ImageMethod, protocol: Protocol, source: str) -> Recipe | None:
        """Returns the published settings of the composition; None where there are none.

        Args:
            host: The host with its published settings.
            protocol: The evaluation protocol that these were published with.
            source: Where they are stated.
        """
        return None

    @classmethod
    def setting(cls, field: str) -> str:
        """Returns the name that refusals give a field: see `condense.errors.Remedy.settings`."""
        return f"params.{cls.name}.{field}"

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what the host refuses, and what `ImageMethod.check` refuses for the wrapper."""
        self.host.check(dataset, ipc, teachers=teachers, cache=cache)
        super().check(dataset, ipc, teachers=teachers, cache=cache)

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


def wrapped(links: Sequence[ImageMethod]) -> ImageMethod:
    """Composes links into one method: each wraps the ones before it."""
    method, *around = links
    for link in around:
        method = replace(cast(Wrapper, link), host=method)
    return method
