"""The parts that the manifest of every stored set has, and the checks that hold for sets of every kind.

A manifest is the file `set.json`. The `TypedDict`s here, in `condense.store.images.manifest` and in
`condense.store.graphs.manifest` are the only description of the format: `condense.schema` checks a file
against them. Keys that they do not name are kept and hashed like all others, so that a later version may add
some; `condense verify` names them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from condense.files import canonical
from condense.schema import Name, Positive, ReadOnly, Text, Whole

MANIFEST = "set.json"
DATA = "data.safetensors"
CARD = "README.md"
GALLERY = "gallery.png"
FORMAT = "condense-set"
VERSION = 1
UNLABELLED = "unlabelled"
"""The only class of a set whose images have none."""
BY_CLASS = "-by-class"
"""What follows the IPC in names of files and folders if the classes have other numbers of samples."""
MAX_BYTES = 16 * 2**20
"""Largest `set.json` that is read, in bytes; real ones are far smaller."""


class DatasetPart(TypedDict):
    """The dataset that a set stands for; `train_hash` is the hash of its training samples."""

    name: Name
    classes: Annotated[list[Text], Meta(min_length=1)]
    train_hash: Name


class CountsPart(TypedDict):
    """Numbers of samples: stored ones, those that a student trains on, and the stored ones of each class.

    `asked` are those of each class that the user asked for, where they are not `ipc` of each.
    """

    stored: Whole
    effective: Whole
    per_class: list[Whole]
    asked: NotRequired[list[Whole]]


class LabelPart(TypedDict):
    """The kind of the labels; `teacher` is the content hash of the network that gave them, if one did."""

    kind: Name
    temperature: Positive
    teacher: Name | None


class ChainLinkPart(TypedDict):
    """One method of a chain, with every hyper-parameter."""

    name: Name
    version: Whole
    config: dict[str, object]


class MethodPart(TypedDict):
    """The method's name, its chain, and the source of its published recipe."""

    name: Name
    chain: list[ChainLinkPart]
    source: Text | None


class TensorPart(TypedDict):
    """One tensor of `data.safetensors`."""

    name: Name
    dtype: Name
    shape: list[Whole]


class StagePart(TypedDict):
    """A stage of a protocol; there may be more keys."""

    epochs: Whole


class ProtocolPart(TypedDict):
    """A protocol in short; `condense.protocol.Protocol` checks the rest of it where it is used."""

    name: Name
    stages: list[StagePart]


class SetContent(TypedDict):
    """The part of `set.json` that the content hash covers, as far as sets of every kind have it.

    `bytes` and `tensors` follow from the tensors: a `condense.store.base.DistilledSet` fills them in.
    """

    format: Name
    version: Whole
    kind: Name
    key: Name
    dataset: ReadOnly[DatasetPart]
    ipc: Whole
    counts: CountsPart
    bytes: NotRequired[dict[str, Whole]]
    label: ReadOnly[LabelPart]
    protocol: ProtocolPart | None
    method: MethodPart
    seed: Whole
    tensors: NotRequired[list[TensorPart]]


def settings(chain: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Returns the version and fields of a method as text; with wrappers, after the name of each link."""
    found = {}
    for link in chain:
        prefix = f"{link['name']}." if len(chain) > 1 else ""
        config = link["config"]
        assert isinstance(config, Mapping)
        for field, value in {"version": link["version"], **dict(sorted(config.items()))}.items():
            found[prefix + field] = value if isinstance(value, str) else canonical(value)
    return found
