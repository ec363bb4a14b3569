"""Wrappers: methods around another method, named after a ``+``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, cast

from condense.data import ImageDataset
from condense.distillation.method import ImageMethod, Recipe
from condense.errors import Refused
from condense.protocol import Protocol


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
        """Takes over the host's attributes, and checks the fields as `ImageMethod` does."""
        of_the_host = ("draws", "keeps_real", "optimizes", "through_view", "remedy", "network", "pixel_space")
        for name in of_the_host:
            object.__setattr__(self, name, getattr(self.host, name))
        super().__post_init__()
        if not self.host.labelled:
            raise Refused(f"{self.name} goes by classes, and the images of {self.host.title} have none")
        if not (self.host.stores or self.trains):
            raise Refused(f"{self.name} wraps {self.wraps}, and {self.host.title} makes no set")

    @classmethod
    def published(cls, host: ImageMethod, protocol: Protocol, source: str) -> Recipe | None:
        """Returns the published settings of the composition; None where there are none.

        Args:
            host: The host with its published settings.
            protocol: The evaluation protocol of the host's paper.
            source: Where the host's settings are stated.
        """
        return None

    @classmethod
    def published_at(cls, host: ImageMethod, dataset: str, ipc: int) -> Recipe | None:
        """Returns the published settings around a host that has none of its own; None where there are none.

        Args:
            host: The host with its defaults.
            dataset: Name of the dataset.
            ipc: Samples per class.
        """
        return None

    @classmethod
    def setting(cls, field: str) -> str:
        """Returns the name that refusals give a field: see `Method.setting`."""
        return f"params.{cls.name}.{field}"

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what the host refuses, and what `ImageMethod.check` refuses for the wrapper."""
        self.host.check(dataset, ipc, teachers=teachers, cache=cache)
        super().check(dataset, ipc, teachers=teachers, cache=cache)

    @property
    def needs_real(self) -> bool:
        """Whether the host keeps or starts from ``ipc`` real samples of each class."""
        return self.host.needs_real

    @property
    def why_equal(self) -> str | None:
        """Why the host makes equally many samples of each class; None if it need not."""
        return self.host.why_equal

    def per_class(self, ipc: int, num_classes: int) -> int:
        """Returns how many samples of each class the host stores."""
        return self.host.per_class(ipc, num_classes)

    def links(self) -> Sequence[ImageMethod]:
        """Returns the host's links, and the wrapper itself."""
        return [*self.host.links(), self]

    def config(self) -> dict[str, object]:
        """Returns the wrapper's own settings, without the host's."""
        of_the_host = ("host", "network", "pixel_space")
        return {name: value for name, value in super().config().items() if name not in of_the_host}


def wrapped(links: Sequence[ImageMethod]) -> ImageMethod:
    """Composes links into one method: each wraps the ones before it."""
    method, *around = links
    for link in around:
        method = replace(cast(Wrapper, link), host=method)
    return method
