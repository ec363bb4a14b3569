"""The base class of distilled sets: what images and graphs share in memory, on disk and in notebooks."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import Dataset

from condense.errors import Refused
from condense.files import canonical, hash_tensors
from condense.store.card import ipc_text, main_rows, summary_html
from condense.store.checks import find_count_error, find_infinite, find_label_error, list_tensors
from condense.store.folder import find_content_error, read_set, write_set
from condense.store.manifest import CARD, DATA, GALLERY, MANIFEST, SetContent
from condense.store.sealing import sealed


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class DistilledSet(Dataset[Any], ABC):
    """A distilled set in memory: tensors, and a manifest that says what they are.

    Attributes:
        labels: The class of each stored sample.
        content: The manifest's content. The list of the tensors and the numbers of bytes are filled in here.
        provenance: Where and when the set was made, and under ``data_notes`` what the loader of its data left
            out, changed or chose; not part of its hash.
    """

    kind: ClassVar[str]
    """The kind of data, as ``content["kind"]`` names it."""
    parts: ClassVar[Sequence[str]]
    """The names under which bytes are counted."""
    part_of: ClassVar[Mapping[str, str]]
    """The names of all tensors, each with the part that its bytes count under."""

    labels: Int64[Tensor, " n"]
    content: SetContent
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Checks that tensors and manifest go together, and fills in what follows from the tensors."""
        for name, tensor in self._tensor_fields().items():
            object.__setattr__(self, name, tensor.detach())
        try:
            object.__setattr__(self, "content", json.loads(canonical(self.content)))
        except ValueError as error:
            raise Refused(f"the manifest of a set holds a value that JSON cannot hold: {error}") from error
        if wrong := find_content_error({**self.content}, self.kind) or self._find_tensor_error():
            raise Refused(f"this is no set of {self.kind}: {wrong}")
        self._bring_into_form()
        cast(dict[str, object], self.content).update(self._derived())

    @property
    def num_classes(self) -> int:
        """Number of classes k of the dataset that the set stands for."""
        return len(self.content["dataset"]["classes"])

    @property
    def device(self) -> torch.device:
        return self.labels.device

    @property
    def hash(self) -> str:
        """The content hash: SHA-256 over the manifest's content and the tensors."""
        return hash_tensors(self.tensors(), prefix=canonical(self.content))

    @property
    @abstractmethod
    def evaluation_space(self) -> str:
        """The name of the form in which students see the samples."""

    @property
    def epochs(self) -> int | None:
        """Number of epochs that the set stores labels for; None if it stores one label for each sample."""
        return None

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors by name, as they are stored."""

    @abstractmethod
    def gallery(self) -> bytes:
        """Draws some samples of each class and returns the picture as a PNG file."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns the number of samples that a student trains on."""

    def nbytes(self) -> dict[str, int]:
        """Returns the stored bytes of each part."""
        sizes = dict.fromkeys(self.parts, 0)
        for name, tensor in self.tensors().items():
            sizes[self.part_of[name]] += tensor.numel() * tensor.element_size()
        return sizes

    def to(self, device: torch.device | str) -> Self:
        """Returns the same set on a device."""
        moved: dict[str, Any] = {name: held.to(device) for name, held in self._tensor_fields().items()}
        return replace(self, **moved)

    def find_inconsistency(self) -> str | None:
        """Says which statement of the manifest is not true of the tensors, or returns None."""
        return (
            find_label_error(self.labels, self.num_classes)
            or find_count_error(self.content, self.labels, len(self))
            or find_infinite(self.tensors())
        )

    def facts(self) -> dict[str, object]:
        """Returns everything about the set that its records repeat; parts without bytes are left out."""
        return {
            **{f"bytes of {part}": size for part, size in self.nbytes().items() if size},
            **{f"count {name}": count for name, count in self.content["counts"].items()},
            "label kind": self.content["label"]["kind"],
        }

    def save(self, path: Path | str) -> str:
        """Stores the set as a folder and returns its content hash: see `condense.store.save`."""
        if wrong := self.find_inconsistency():
            raise Refused(f"this set cannot be stored: {wrong}")
        stored = {name: tensor.cpu().contiguous() for name, tensor in self.tensors().items()}
        content_hash = hash_tensors(stored, prefix=canonical(self.content))
        card = self._write_card({**self.provenance, "hash": content_hash})
        beside = {CARD: card.encode(), GALLERY: self.gallery()}
        provenance = sealed(self.provenance, content_hash, beside)
        manifest = canonical({"content": self.content, "provenance": provenance}, indent=2) + "\n"
        write_set(Path(path), stored, {MANIFEST: manifest.encode(), **beside}, self._label_files())
        return content_hash

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Reads a stored set of this kind and checks all of it: see `condense.store.load`."""
        path = Path(path)
        content, provenance, stored = read_set(path, cls.kind)
        try:
            values = cls._fields_from(path, content, stored)
            loaded = cls(**values, content=content, provenance=provenance)
        except Refused as error:
            raise Refused(f"{path / DATA}: {error}") from error
        told: Mapping[str, object] = {**content}
        for key, value in loaded._derived().items():
            if value != told.get(key):
                raise Refused(f"{path / MANIFEST}: content.{key} does not agree with the tensors")
        if wrong := loaded.find_inconsistency():
            raise Refused(f"{path / MANIFEST}: {wrong}")
        for name, tensor in loaded.tensors().items():
            if not torch.equal(tensor, stored[name]):
                raise Refused(f"{path / DATA} holds the {name} in another form than the one that is stored")
        loaded._label_files()
        return loaded

    def verify(self) -> str:
        """Returns the content hash; refuses a set that contradicts itself or has a damaged file of labels."""
        if wrong := self.find_inconsistency():
            raise Refused(f"this set contradicts itself: {wrong}")
        return self.hash

    def label_metadata(self) -> dict[str, str]:
        """Returns the metadata entry of each file of stored labels, by the file's name."""
        return {}

    def card(self) -> str:
        """Returns the set's card: a README in Markdown for people who find the set without condense."""
        return self._write_card({**self.provenance, "hash": self.hash})

    def __repr__(self) -> str:
        content, counts = self.content, self.content["counts"]
        return (
            f"{type(self).__name__}({content['method']['name']} on {content['dataset']['name']}, "
            f"ipc {ipc_text(content)}: {counts['stored']} {self.kind} stored, "
            f"{counts['effective']} trained on, "
            f"{sum(self.nbytes().values())} bytes, hash {self.hash[:12]})"
        )

    def _repr_html_(self) -> str:
        """Returns the main facts and a small gallery for notebooks; a gallery that fails is left out."""
        return summary_html(main_rows(self.content, self.hash), self.gallery)

    @classmethod
    @abstractmethod
    def _fields_from(cls, path: Path, content: SetContent, stored: Mapping[str, Tensor]) -> dict[str, Any]:
        """Returns the values of the fields of a stored set, without content and provenance."""

    @abstractmethod
    def _find_tensor_error(self) -> str | None:
        """Says which tensor does not have the type, the shape or the range that the manifest calls for."""

    @abstractmethod
    def _write_card(self, provenance: Mapping[str, object]) -> str:
        """Returns the set's card; `provenance` has the hash."""

    def _bring_into_form(self) -> None:
        """Brings tensors that several values could express into the one form that is hashed."""

    def _derived(self) -> dict[str, object]:
        """Returns the entries of the content that follow from the tensors."""
        return {"bytes": self.nbytes(), "tensors": list_tensors(self.tensors())}

    def _label_files(self) -> Sequence[Path]:
        """Returns the files of stored labels, after checking their headers."""
        return ()

    def _tensor_fields(self) -> dict[str, Tensor]:
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}
