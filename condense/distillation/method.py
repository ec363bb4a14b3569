"""What a distillation method is: a frozen dataclass of hyper-parameters with one function, `distill`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import count
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar, Generic, Literal, Union, get_args, get_origin, get_type_hints

import torch
from typing_extensions import TypeVar

from condense.data import SPACES, Dataset, GraphDataset, Graphs, ImageDataset, Images, ImageSpec
from condense.distillation.graphs.run import GraphRun
from condense.distillation.images.run import ImageRun
from condense.distillation.images.sampling import Sampling
from condense.distillation.run import RunSettings, run_key
from condense.errors import Refused, Remedy, unknown
from condense.networks import Network, build_network, full_name
from condense.protocol import Protocol
from condense.store import GraphSet, ImageSet
from condense.teachers import FIXED, require_fixed

KEEP = Remedy(settings={"imbalanced": "keep"}, effect="takes all samples of the classes that have fewer")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The published settings of a method for one dataset and IPC.

    Attributes:
        method: The method with these settings.
        protocol: The paper's; None where no `Protocol` describes it, or where a wrapper's host alone has one.
        source: Where the settings are stated.
        student: Network of the paper's students; None for the usual one.
    """

    method: "Method"
    protocol: Protocol | None
    source: str
    student: str | None = None

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
    student: str | None = None,
    **shared: object,
) -> dict[tuple[str, int], Recipe]:
    """Builds the recipes of a method from a table.

    Args:
        cls: The method.
        columns: The columns, separated by spaces: fields of the method, ``source`` or ``protocol``.
        rows: The values of each (dataset, IPC), in the order of the columns.
        source: Where the settings of all rows are stated, unless it is a column.
        protocol: The paper's evaluation protocol of all rows, unless it is a column.
        student: Network of the paper's students; None for the usual one.
        **shared: Fields that have the same value in all rows.
    """
    table = {}
    for cell, row in rows.items():
        values: dict[str, Any] = {"source": source, "protocol": protocol, **shared}
        values |= dict(zip(columns.split(), row, strict=True))
        cited = {name: values.pop(name) for name in ("source", "protocol")}
        table[cell] = Recipe(method=cls(**values), student=student, **cited)
    return table


DatasetT = TypeVar("DatasetT", bound=Dataset, default=Any)
SamplesT = TypeVar("SamplesT", default=Any)
RunT = TypeVar("RunT", default=Any)
SetT = TypeVar("SetT", default=Any)


@dataclass(frozen=True, kw_only=True)
class Method(Generic[DatasetT, SamplesT, RunT, SetT]):
    """The base of all methods; `ImageMethod` and `GraphMethod` name the types for each kind of data.

    Fields hold numbers, text, booleans or None, so that a method can be written as JSON. A change that alters
    results raises `version`.

    Attributes:
        name: The name by which users choose the method.
        version: A number that is raised with every change of results.
        kind: The kind of data that the method distils: ``images`` or ``graphs``.
        draws: Number of sets behind the method's row on a board; if more than one, each trains one student.
        stores: Whether it makes sets. One that does not only chooses what students are trained on.
        trains: Whether it can choose what students are trained on without a set: see `sampling`.
        labelled: Whether its sets have classes; those of a method that reads no labels have none.
        keeps_real: Whether its sets consist of real samples, stored as they were loaded.
        optimizes: Whether it optimises its samples; the tests then require it to beat random real ones.
        quick: Settings with which it runs in about a second on a small set, for the tests.
        may_be_zero: Names of the whole-number fields that may be 0; all others are at least 1.
        added: Names of the fields that a later version added with a default that changes no result. They
            are left out of `chain` while they have that default, so that run keys and hashes stay the same.
        class_batches: Names of the fields that count real samples drawn of each class in a step. On a user's
            own data they are at most the size of the smallest class: see `registry.fitted`.
        remedy: What the user can do when the loss is not finite, in plain English.
        judged_by: Name of the protocol that judges its sets unless another is named; None for the data's.
        recipes: Published settings by (dataset, ipc).
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    kind: ClassVar[str]
    draws: ClassVar[int] = 1
    stores: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    labelled: ClassVar[bool] = True
    keeps_real: ClassVar[bool] = False
    optimizes: ClassVar[bool] = False
    quick: ClassVar[Mapping[str, object]] = {}
    may_be_zero: ClassVar[frozenset[str]] = frozenset()
    added: ClassVar[frozenset[str]] = frozenset()
    class_batches: ClassVar[frozenset[str]] = frozenset()
    remedy: ClassVar[str] = "lower the learning rate"
    judged_by: ClassVar[str | None] = None
    recipes: ClassVar[Mapping[tuple[str, int], Recipe]] = {}

    def __post_init__(self) -> None:
        """Refuses a value that is not among a field's choices, a count below 1, and a negative number."""
        for name in closed_choices(type(self)):
            self.require_choice(name, getattr(self, name))
        for name, value in self.config().items():
            least = 1 if type(value) is int and name not in self.may_be_zero else 0
            if isinstance(value, int | float) and type(value) is not bool and not value >= least:
                reason = f"{name} of {self.name} must be at least {least}"
                raise Refused(reason, setting=self.setting(name), value=value)

    def distill(self, train: SamplesT, run: RunT) -> SetT:
        """Makes a distilled set.

        Args:
            train: The training samples in the method's form, on the run's device.
            run: Everything else that the method may ask for; test data is not part of it.

        Returns:
            The set that ``run.distilled`` or ``run.selected`` made.
        """
        raise NotImplementedError

    def sampling(self, train: SamplesT, run: RunT) -> Sampling:
        """Chooses the real samples that students are trained on, for a method that `trains`.

        Args:
            train: The training samples without the validation part, as for `distill`.
            run: Everything else. Its `fraction` or its `counts` say how many samples an epoch has.
        """
        raise NotImplementedError

    def require_training(self, images: int) -> None:
        """Refuses, before any work, settings with which `sampling` cannot choose so many images an epoch."""

    def start(self, dataset: DatasetT, settings: RunSettings[Any]) -> tuple[SamplesT, RunT]:
        """Returns both arguments of `distill`, for a dataset of the method's kind."""
        raise NotImplementedError

    def check(self, dataset: DatasetT, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses, before any work, settings that cannot work on a dataset.

        Args:
            dataset: The dataset, of which only the training split is looked at.
            ipc: Samples per class.
            teachers: Files of teachers by the teachers' hashes.
            cache: Folder for what is shared between runs.

        Raises:
            Refused: if the dataset is of another kind, or there are or would be too few samples of a class.
                Subclasses add their own reasons.
        """
        spec, one = dataset.spec, dataset.spec.kind.removesuffix("s")
        if self.kind != spec.kind:
            raise Refused(f"{self.title} distils {self.kind}; {spec.name} holds {spec.kind}")
        if ipc < 1:
            raise Refused(f"at least one {one} per class is needed", setting="ipc", value=ipc)
        if (stored := self.per_class(ipc, spec.num_classes)) < 1:
            least = next(more for more in count(ipc) if self.per_class(more, spec.num_classes))
            reason = (
                f"what {self.title} shares between the classes of {spec.name} leaves no room for one {one} "
                f"of each; this takes at least {least} {spec.kind} per class"
            )
            raise Refused(reason, setting="ipc", value=ipc)
        counts = dataset.train.counts()
        smallest = min(range(len(counts)), key=counts.__getitem__)
        if self.needs_real and stored > counts[smallest]:
            name, there = spec.classes[smallest], counts[smallest]
            reason = f"class {name!r} of {spec.name} has {there} training {spec.kind}"
            raise Refused(reason, setting="ipc", value=ipc, remedies=[KEEP])

    def require(
        self, dataset: DatasetT, ipc: int, counts: Sequence[int] | None = None, *,
        teachers: Mapping[str, Path], cache: Path,
    ) -> None:  # fmt: skip
        """Refuses what `check` refuses, and numbers of samples of each class that the method cannot make.

        Args:
            dataset: As for `check`.
            ipc: As for `check`.
            counts: Samples of each class, at least one; None means ``ipc`` of each.
            teachers: As for `check`.
            cache: As for `check`.
        """
        spec = dataset.spec
        if counts is not None and (why := self.why_equal) is not None:
            raise Refused(f"{self.title} makes equally many {spec.kind} of each class: {why}")
        self.check(dataset, min(counts or [ipc]), teachers=teachers, cache=cache)
        there_are = dataset.train.counts()
        for name, asked, there in zip(spec.classes, counts or [0] * len(there_are), there_are, strict=True):
            if self.needs_real and asked > there:
                raise Refused(
                    f"class {name!r} of {spec.name} has {there} training {spec.kind}, not {asked}",
                    remedies=[KEEP],
                )

    @property
    def fills(self) -> bool:
        """Whether its sets hold all samples of each class that are asked for, and not fewer."""
        return True

    @property
    def why_equal(self) -> str | None:
        """Why its sets hold equally many samples of each class; None if they need not."""
        return None

    @property
    def needs_real(self) -> bool:
        """Whether it keeps or starts from ``ipc`` real samples of each class, and so cannot make more."""
        return self.keeps_real

    def per_class(self, ipc: int, num_classes: int) -> int:
        """Returns how many samples of each class are stored in the room of ``ipc`` samples of each class.

        There are fewer than ``ipc`` if something that all samples share takes up part of the room.
        """
        return ipc

    @property
    def title(self) -> str:
        """The names of all links, from the inside out: ``dm``, ``dm+fyi``."""
        return "+".join(str(link["name"]) for link in self.chain())

    def links(self) -> "Sequence[Method]":
        """Returns the method and the wrappers around it, from the inside out."""
        return [self]

    def config(self) -> dict[str, object]:
        """Returns the method's own settings, without those of other links."""
        return asdict(self)

    def chain(self) -> list[dict[str, object]]:
        """Returns the method as JSON: the name, version and config of each link; see `added`."""
        return [
            {"name": link.name, "version": link.version, "config": link._hashed_config()}
            for link in self.links()
        ]

    def _hashed_config(self) -> dict[str, object]:
        """Returns the settings that enter the run key: all but those of `added` that have their default."""
        defaults = {one.name: one.default for one in fields(self) if one.name in self.added}
        own = self.config().items()
        return {name: value for name, value in own if name not in defaults or value != defaults[name]}

    def settings(self) -> dict[str, object]:
        """Returns the settings of all links; a wrapper's have its name in front: ``fyi.flip_first``."""
        links = self.links()
        return links[0].config() | {
            f"{link.name}.{field}": value for link in links[1:] for field, value in link.config().items()
        }

    @classmethod
    def require_choice(cls, field: str, value: object) -> None:
        """Refuses a value that is not among the choices of a field of type ``Literal[...]``."""
        choices = closed_choices(cls).get(field)
        typed = [(type(choice), choice) for choice in choices or ()]
        if choices is not None and (type(value), value) not in typed:
            raise unknown(f"{field} of {cls.name}", str(value), map(str, choices), setting=cls.setting(field))

    @classmethod
    def setting(cls, field: str) -> str:
        """Returns the name that refusals give a field: see `condense.errors.Remedy.settings`."""
        return f"params.{field}"

    def refused(self, field: str, reason: str, *remedies: Remedy) -> Refused:
        """Returns the refusal of a field's value."""
        setting, value = self.setting(field), getattr(self, field)
        return Refused(reason, setting=setting, value=value, remedies=remedies)

    def run_key(self, train_hash: str, ipc: int, seed: int, given: Mapping[str, object] | None = None) -> str:
        """Returns the name of a run of this method: see `condense.distillation.run.run_key`."""
        return run_key(self.chain(), train_hash, ipc, seed, given)


def alternatives(hint: object) -> tuple[Any, ...]:
    """Returns the types of which a type hint is a union; one type if it is none."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def closed_choices(cls: type[object]) -> Mapping[str, tuple[object, ...]]:
    """Returns the allowed values of each field whose type is ``Literal[...]`` or ``Literal[...] | None``."""
    found = {}
    for name, hint in get_type_hints(cls).items():
        types = alternatives(hint)
        if any(get_origin(one) is Literal for one in types):
            found[name] = tuple(choice for one in types for choice in get_args(one) or (None,))
    return found


@dataclass(frozen=True, kw_only=True)
class ImageMethod(Method[ImageDataset, Images, ImageRun, ImageSet]):
    """A way to make a small set of images out of a large one. Subclasses' fields are their hyper-parameters.

    Attributes:
        through_view: Whether it learns its images through `ImageRun.view`, which a wrapper can change.
        labels_views: Whether its sets store labels of augmented and mixed views, for ``replay-v2``.
        projects_labels: Whether its sets store adapters that regenerate labels, for ``projected-v1``.
        trains_teacher: Whether its field ``teacher``, if it has one, may be ``trained``.
        labels_by_checkpoint: Whether a checkpoint of an expert labels its images: see `require_checkpoints`.
        network: Name of the network that it works with.
        pixel_space: Name of the pixel space that its images are in.
    """

    kind = "images"
    through_view: ClassVar[bool] = False
    labels_views: ClassVar[bool] = False
    projects_labels: ClassVar[bool] = False
    trains_teacher: ClassVar[bool] = True
    labels_by_checkpoint: ClassVar[bool] = False

    network: str = "convnet"
    pixel_space: str = "normalized"

    def __post_init__(self) -> None:
        """Refuses what `Method` refuses, and an unknown pixel space; gives the network its full name."""
        super().__post_init__()
        object.__setattr__(self, "network", full_name(self.network))
        if self.pixel_space not in SPACES:
            raise unknown("pixel space", self.pixel_space, SPACES)

    def links(self) -> "Sequence[ImageMethod]":
        """Returns the method and the wrappers around it, from the inside out."""
        return [self]

    def require_views(self, protocol: Protocol) -> None:
        """Refuses a protocol on stored views that those of its sets would not fit; called before any work."""

    def require_spec(self, spec: ImageSpec) -> None:
        """Refuses a method's own settings that do not fit a dataset; called before any work."""

    def check(self, dataset: ImageDataset, ipc: int, *, teachers: Mapping[str, Path], cache: Path) -> None:
        """Refuses what `Method.check` refuses, an unsuitable network, and a missing fixed teacher."""
        super().check(dataset, ipc, teachers=teachers, cache=cache)
        spec = dataset.spec
        network = build_network(self.network, spec.shape, spec.num_classes, torch.Generator())
        self.require_spec(spec)
        if self.labels_by_checkpoint:
            require_checkpoints(self.network, network, dataset)
        if self.config().get("teacher") == FIXED:
            setting = self.setting("teacher") if self.trains_teacher else None
            require_fixed(spec.name, dataset.train.hash, setting)

    def start(self, dataset: ImageDataset, settings: RunSettings[Any]) -> tuple[Images, ImageRun]:
        """Brings the training images into the method's pixel space and makes the run."""
        device = settings.machine.device
        space = dataset.space(self.pixel_space).to(device)
        return dataset.train.to(device).in_space(space), ImageRun(settings, space)


def require_checkpoints(name: str, network: Network, dataset: ImageDataset) -> None:
    """Refuses an expert with batch norms, and data of which none can be held out to choose an epoch by."""
    if network.mixes_samples:
        raise Refused(
            f"checkpoints of an expert hold no running statistics, and {name} has batch norms",
            remedies=[Remedy(settings={"params.network": "convnet"}, effect="has none")],
        )
    if max(dataset.train.counts()) < 2:
        raise Refused(
            f"{dataset.spec.name} has one image a class: none can be held out to choose an epoch by"
        )


@dataclass(frozen=True, kw_only=True)
class GraphMethod(Method[GraphDataset, Graphs, GraphRun, GraphSet]):
    """A way to make a few graphs out of many. Subclasses' fields are their hyper-parameters."""

    kind = "graphs"

    def start(self, dataset: GraphDataset, settings: RunSettings[Any]) -> tuple[Graphs, GraphRun]:
        """Moves the training graphs to the run's device and makes the run."""
        return dataset.train.to(settings.machine.device), GraphRun(settings)
