"""What a distillation method is: a frozen dataclass of hyper-parameters with one function."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from condense.data import SPACES, Images
from condense.errors import Refused, unknown
from condense.protocol import Protocol
from condense.store import ImageSet

if TYPE_CHECKING:
    from condense.distillation.images.run import ImageRun


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Recipe settings of a method for one dataset and IPC.

    Attributes:
        method: The method with these settings.
        protocol: The evaluation protocol behind the paper's numbers; None where no `Protocol` describes it,
            or where only the host of a wrapper has published settings.
        source: Where the settings are stated.
    """

    method: "Method"
    protocol: Protocol | None
    source: str

    def cited_by(self, method: "Method") -> str:
        """Returns the source, followed by the names of the settings that `method` changes."""
        published = self.method.settings()
        changed = [name for name, value in method.settings().items() if published[name] != value]
        return f"{self.source}; changed: {', '.join(changed)}" if changed else self.source


def recipes(
    cls: "type[Method]",
    columns: str,
    rows: Mapping[tuple[str, int], Sequence[object]],
    *,
    source: str = "",
    protocol: Protocol | None = None,
    **shared: object,
) -> dict[tuple[str, int], Recipe]:
    """Builds the recipes of a method from a table.

    Args:
        cls: The method.
        columns: The names of the columns, separated by spaces: fields of the method, or ``source`` and
            ``protocol`` where these differ between rows.
        rows: The values of each (dataset, IPC), in the order of the columns.
        source: Where the settings are stated, if all rows have one source.
        protocol: The paper's evaluation protocol, if all rows have one protocol.
        **shared: Fields that have the same value in all rows.

    Returns:
        A recipe for each row.
    """
    table = {}
    for cell, row in rows.items():
        values: dict[str, Any] = {"source": source, "protocol": protocol, **shared}
        values |= dict(zip(columns.split(), row, strict=True))
        source_of_row, protocol_of_row = values.pop("source"), values.pop("protocol")
        table[cell] = Recipe(method=cls(**values), protocol=protocol_of_row, source=source_of_row)
    return table


@dataclass(frozen=True, kw_only=True)
class Method:
    """What methods have, whatever they distil: `ImageMethod` and `condense.distillation.GraphMethod` add to it.

    Fields hold numbers, text, booleans or None, so that a method serialises. A change that alters results
    raises `version`.

    Attributes:
        name: What the command line calls it.
        version: Raised with every change of results.
        kind: The kind of data that it distils.
        draws: Sets that make up its row on a board: with more than one, each trains one student.
        keeps_real: Whether its set consists of real samples, stored as they were loaded.
        optimizes: Whether it improves on random real samples, which the tests then hold it to.
        quick: Settings with which it runs in about a second on a small set, for the tests.
        may_be_zero: Whole-number fields that may be 0; all others are at least 1.
        remedy: What to do when its loss is not finite.
        recipes: Recipe settings by (dataset, ipc).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[str]
    draws: ClassVar[int] = 1
    keeps_real: ClassVar[bool] = False
    optimizes: ClassVar[bool] = False
    quick: ClassVar[Mapping[str, object]] = {}
    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    remedy: ClassVar[str] = "lower the learning rate"
    recipes: ClassVar[Mapping[tuple[str, int], Recipe]] = {}

    def __post_init__(self) -> None:
        """Checks every field against its type and range.

        Raises:
            Refused: if a field with closed choices holds another value, a count is below one, or a number is
                negative.
        """
        for name, choices in closed_choices(type(self)).items():
            if (value := getattr(self, name)) not in choices:
                raise unknown(
                    f"{name} of {self.name}", str(value), map(str, choices), setting=f"params.{name}"
                )
        for name, value in self.config().items():
            least = 1 if type(value) is int and name not in self.may_be_zero else 0
            if isinstance(value, int | float) and type(value) is not bool and not value >= least:
                raise Refused(f"{self.name}: {name} = {value} must be at least {least}")

    @property
    def needs_real(self) -> bool:
        """Whether it keeps or starts from ``ipc`` real samples of each class, and so cannot make more."""
        return self.keeps_real

    def per_class(self, ipc: int, num_classes: int) -> int:
        """Samples of each class that are stored: ``ipc``, unless its budget pays for something else too.

        Args:
            ipc: Samples per class that the whole set may take the room of.
            num_classes: Classes of the dataset.
        """
        return ipc

    @property
    def title(self) -> str:
        """The names of its chain, left to right: ``dm``, ``dm+fyi``."""
        return "+".join(str(link["name"]) for link in self.chain())

    def links(self) -> "Sequence[Method]":
        """The method, and what is wrapped around it, from the inside out."""
        return [self]

    def config(self) -> dict[str, object]:
        """Its own settings."""
        return asdict(self)

    def chain(self) -> list[dict[str, object]]:
        """The method as JSON: a list with name, version and full config for each link of a composition."""
        return [
            {"name": link.name, "version": link.version, "config": link.config()} for link in self.links()
        ]

    def settings(self) -> dict[str, object]:
        """The settings of all links, as the command line names them: ``fyi.flip_first`` behind a method's."""
        links = self.links()
        return links[0].config() | {
            f"{link.name}.{field}": value for link in links[1:] for field, value in link.config().items()
        }


@cache
def closed_choices(cls: type[Method]) -> Mapping[str, tuple[object, ...]]:
    """Returns the allowed values of each field of a method whose type is ``Literal[...]``."""
    hints = get_type_hints(cls)
    return {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Literal}


@dataclass(frozen=True, kw_only=True)
class ImageMethod(Method):
    """A way to make a small set of images out of a large one. Subclasses' fields are their hyper-parameters.

    Attributes:
        through_view: Whether it learns its images through `ImageRun.view`, which a wrapper can change.
        labels_views: Whether its set stores labels of augmented and mixed views, for ``replay-v1``.
        network: The network it distils with.
        pixel_space: The space its pixels live in.
    """

    kind = "images"
    through_view: ClassVar[bool] = False
    labels_views: ClassVar[bool] = False

    network: str = "convnet"
    pixel_space: str = "normalized"

    def __post_init__(self) -> None:
        """Refuses what `Method` refuses, and a pixel space that does not exist.

        Raises:
            Refused: naming the field.
        """
        super().__post_init__()
        if self.pixel_space not in SPACES:
            raise unknown("pixel space", self.pixel_space, SPACES)

    def links(self) -> "Sequence[ImageMethod]":
        """The method, and what is wrapped around it, from the inside out."""
        return [self]

    def distill(self, train: Images, run: "ImageRun") -> ImageSet:
        """Makes the set.

        Args:
            train: The training images, in the method's pixel space on the run's device. There is no test data
                within a method's reach.
            run: Everything else that it may ask for.

        Returns:
            What `ImageRun.distilled` or `ImageRun.selected` made.
        """
        raise NotImplementedError
