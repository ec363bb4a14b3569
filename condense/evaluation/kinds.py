"""The kinds of data: their defaults, and how sets of each kind are evaluated.

`kind_of` is the only place where images and graphs part ways above the methods and the stored sets: cells,
records and references ask the `Kind` of their dataset.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import torch

from condense.data import Dataset, GraphDataset, Graphs, ImageDataset, Images, Samples, holds_graphs
from condense.data.images.pixels import WHITENED
from condense.data.images.shape import in_shape
from condense.distillation import GraphMethod, ImageMethod, Sampling
from condense.distillation.images.taught import require_same_fixed, with_teacher_file
from condense.distillation.registry import methods
from condense.errors import Refused
from condense.evaluation.graph_student import GraphSource, GraphStudent, WholeGraphs
from condense.evaluation.labels import LabelsOf, labelled_by, labelling_teacher, own_teacher, require_stored
from condense.evaluation.references import FEATURES, Reference, logistic, majority, majority_of_images
from condense.evaluation.sampled import SampledImages, listening
from condense.evaluation.student import ImageSource, ImageStudent, Outcome, WholeImages
from condense.evaluation.transfer import TransferStudent
from condense.files import home
from condense.networks import (
    GRAPH_NETWORKS,
    build_graph_network,
    build_network,
    full_name,
    network_names,
)
from condense.protocol import Protocol
from condense.protocols import PROJECTED_V1, TRANSFER_SHORT_V1
from condense.records.record import NO_PRETRAINING, WHOLE
from condense.resources import Machine
from condense.store import GraphSet, ImageSet
from condense.store.graphs.codec import as_pairs, narrowed
from condense.teachers import Teacher, fixed, keep_teacher, read_teacher
from condense.training.validation import OF_SETS, VALIDATION, validation, without_validation

Trial = Callable[[int, Path | None], Outcome]
"""Trains and tests the student of an evaluation seed; its own folder, if it is given, keeps checkpoints."""

DatasetT = TypeVar("DatasetT", bound=Dataset)
MethodT = TypeVar("MethodT")
SetT = TypeVar("SetT")


@dataclass(frozen=True)
class Setup(Generic[DatasetT]):
    """What a set is evaluated with.

    Attributes:
        dataset: The dataset. It gives the test split.
        protocol: How students are trained.
        student: Name of the student network.
        target: The data that students are trained on afterwards, if the protocol says so; it then gives the
            test split.
    """

    dataset: DatasetT
    protocol: Protocol
    student: str
    target: DatasetT | None = None


class Kind(ABC, Generic[DatasetT, MethodT, SetT]):
    """A kind of data.

    Attributes:
        name: Name of the kind.
        method: The method that is used unless another is named.
        dataset: The dataset that is used unless another is named.
        students: The student networks that are used unless one is named.
        pruned: The student networks that are used for a fraction of the training split.
        whole: Name of the protocol of the whole training split.
        references: The references that train no student, by name.
        untuned: The references that train students on other data alone, which other students are trained on
            after a set.
        space: The space of the samples that students see, unless a set or method has another.
    """

    name: ClassVar[str]
    method: ClassVar[str]
    dataset: ClassVar[str]
    students: ClassVar[tuple[str, ...]]
    pruned: ClassVar[tuple[str, ...]] = ()
    whole: ClassVar[str]
    references: ClassVar[Mapping[str, Reference]]
    untuned: ClassVar[tuple[str, ...]] = ()
    space: ClassVar[str]

    @abstractmethod
    def check_student(self, student: str, dataset: DatasetT) -> None:
        """Refuses a network that does not exist or does not fit the dataset."""

    @abstractmethod
    def space_of_method(self, method: MethodT, protocol: Protocol) -> str:
        """Returns the name of the space in which students see the sets of a method."""

    @abstractmethod
    def space_of_set(self, made: SetT, protocol: Protocol) -> str:
        """Returns the name of the space in which students see a set."""

    @abstractmethod
    def trial(
        self,
        made: SetT | SampledImages | None,
        setup: Setup[DatasetT],
        teacher: Teacher | None,
        machine: Machine,
    ) -> Trial:
        """Returns the function that trains the student of a seed and tests it: see `Trial`.

        Args:
            made: A set; images that are chosen while the student is trained; or None for the whole training
                split.
            setup: What it is evaluated with.
            teacher: The teacher that labels under the protocol, if one does.
            machine: The device, and the time limit.
        """

    def as_target(self, target: DatasetT, dataset: DatasetT) -> DatasetT:
        """Returns data that students are trained on after a set of a dataset, in the form of that dataset."""
        raise Refused(f"students of {self.name} are not trained on other data after a set")

    def sampled(self, chosen: Sampling, dataset: DatasetT, device: torch.device) -> SampledImages:
        """Returns the training images of which some are chosen for each epoch."""
        raise Refused(f"a training without a set takes images; {dataset.spec.name} holds {self.name}")

    def placed(self, made: SetT, dataset: DatasetT) -> SetT:
        """Returns a set with what of its dataset is needed to change its space or to show it."""
        return made

    def without_validation(self, dataset: DatasetT) -> Samples:
        """Returns the training samples without their validation part."""
        return dataset.train

    def fixed_teacher(self, dataset: DatasetT, protocol: Protocol, device: torch.device) -> Teacher | None:
        """Returns the dataset's fixed teacher, if it labels under a protocol."""
        return None

    def with_teacher(
        self, method: MethodT, file: Path, dataset: DatasetT
    ) -> tuple[MethodT, Mapping[str, Path]]:
        """Returns a method that takes its teacher from a file, and the file by the teacher's hash."""
        raise Refused(f"methods for {self.name} have no teacher", setting="teacher", value=str(file))

    def labeller_hash(self, method: MethodT, dataset: DatasetT, protocol: Protocol) -> str | None:
        """Refuses a method whose sets lack the labels that a protocol needs.

        Returns:
            The hash of the dataset's fixed teacher if it labels under the protocol.
        """
        return None

    def teacher(
        self, made: SetT, dataset: DatasetT, protocol: Protocol, device: torch.device
    ) -> Teacher | None:
        """Returns the teacher that labels what students of a set see, if the protocol asks for one."""
        return None

    def keep_own_teacher(self, made: SetT, dataset: DatasetT, protocol: Protocol, file: Path) -> None:
        """Keeps the teacher that a set was made with, for a protocol under which it labels."""
        raise Refused(
            f"under {protocol.name} a set's own teacher labels nothing", setting="teacher", value=str(file)
        )

    def require_same_teacher(self, made: SetT, method: MethodT, dataset: DatasetT, folder: Path) -> None:
        """Refuses a stored set that was made with another fixed teacher than the dataset has now."""
        return None

    def usual_protocol(self, made: SetT, dataset: DatasetT) -> str:
        """Returns the name of the protocol that judges a set unless another is named."""
        return dataset.spec.protocol

    def valid_bytes(self, dataset: DatasetT, protocol: Protocol) -> int | None:
        """Returns the size of the validation data by which a protocol selects; None if it selects by none."""
        return None


class ImageKind(Kind[ImageDataset, ImageMethod, ImageSet]):
    """Images, which live in a pixel space and may be labelled by a teacher."""

    name, method, dataset, whole, space = "images", "dm", "digits", "whole-v1", "normalized"
    students, pruned = ("convnet",), ("resnet18-bn",)
    references, untuned = {"majority": majority_of_images}, (NO_PRETRAINING,)

    def check_student(self, student: str, dataset: ImageDataset) -> None:
        spec = dataset.spec
        if student in GRAPH_NETWORKS:
            raise of_other_kind(student, "graphs", dataset)
        build_network(student, spec.shape, spec.num_classes, torch.Generator())

    def space_of_method(self, method: ImageMethod, protocol: Protocol) -> str:
        plain = protocol.labels is None and protocol.tune is None
        return method.pixel_space if plain and method.pixel_space in WHITENED else self.space

    def space_of_set(self, made: ImageSet, protocol: Protocol) -> str:
        plain = protocol.labels is None and protocol.tune is None
        return made.evaluation_space if plain else self.space

    def as_target(self, target: ImageDataset, dataset: ImageDataset) -> ImageDataset:
        return in_shape(target, dataset.spec.shape)

    def sampled(self, chosen: Sampling, dataset: ImageDataset, device: torch.device) -> SampledImages:
        train = self.without_validation(dataset).to(device)
        return SampledImages(train.in_space(dataset.space(self.space).to(device)), chosen)

    def without_validation(self, dataset: ImageDataset) -> Images:
        return without_validation(dataset.train)

    def fixed_teacher(
        self, dataset: ImageDataset, protocol: Protocol, device: torch.device
    ) -> Teacher | None:
        return fixed(dataset.spec.name, dataset.train.hash, device) if protocol.labels == "fixed" else None

    def trial(
        self,
        made: ImageSet | SampledImages | None,
        setup: Setup[ImageDataset],
        teacher: Teacher | None,
        machine: Machine,
    ) -> Trial:
        data, protocol, device = setup.dataset, setup.protocol, machine.device
        own = None if isinstance(made, SampledImages) else made
        if setup.target is not None:
            return TransferStudent.of(own, data, setup.target, protocol, setup.student, machine).outcome
        labeller = None if teacher is None else labelled_by(teacher, protocol, own)
        pixels, part = data.space(self.space), VALIDATION if own is None else OF_SETS
        if made is None:
            train = self.without_validation(data) if protocol.validation else data.train
            source: ImageSource = WholeImages(train.to(device).in_space(pixels.to(device)))
        elif isinstance(made, SampledImages):
            source, taught = made, made.sampling.taught
            labeller = labeller if taught is None else listening(taught)
        else:
            pixels = data.space(self.space_of_set(made, protocol))
            labelled = made if made.features is None or protocol.regresses else made.with_class_ids()
            source = self.placed(labelled, data).in_space(pixels).to(device)
        measured = validation(data.train, part) if made is not None or protocol.validation else None
        return ImageStudent(
            network=setup.student,
            protocol=protocol,
            budget=machine.budget,
            source=source,
            test=data.test.to(device).in_space(pixels.to(device)),
            spec=data.spec,
            labeller=labeller,
            validation=measured.to(device).in_space(pixels.to(device)) if measured is not None else None,
            part=part,
        ).outcome

    def placed(self, made: ImageSet, dataset: ImageDataset) -> ImageSet:
        if made.evaluation_space not in WHITENED:  # any other set holds what its own space needs
            return made
        return made.with_space(dataset.space(made.evaluation_space))

    def with_teacher(
        self, method: ImageMethod, file: Path, dataset: ImageDataset
    ) -> tuple[ImageMethod, Mapping[str, Path]]:
        return with_teacher_file(method, file, dataset)

    def labeller_hash(self, method: ImageMethod, dataset: ImageDataset, protocol: Protocol) -> str | None:
        found = fixed(dataset.spec.name, dataset.train.hash).hash if protocol.labels == "fixed" else None
        require_stored(LabelsOf.sets_of(method), dataset, protocol)
        return found

    def teacher(
        self, made: ImageSet, dataset: ImageDataset, protocol: Protocol, device: torch.device
    ) -> Teacher | None:
        require_stored(LabelsOf.set(made), dataset, protocol)
        return labelling_teacher(made, dataset, protocol, device)

    def keep_own_teacher(self, made: ImageSet, dataset: ImageDataset, protocol: Protocol, file: Path) -> None:
        if protocol.labels not in ("own", "projected"):
            return super().keep_own_teacher(made, dataset, protocol, file)
        own = own_teacher(made, protocol)
        found = read_teacher(file, network=own["network"], spec=dataset.spec)
        if found.hash != own["hash"]:
            raise Refused(
                f"the file holds the teacher {found.hash[:8]}; the set was made with {own['hash'][:8]}",
                setting="teacher",
                value=str(file),
            )
        keep_teacher(found, home())

    def usual_protocol(self, made: ImageSet, dataset: ImageDataset) -> str:
        if not made.labelled:
            return TRANSFER_SHORT_V1.name
        return super().usual_protocol(made, dataset) if made.projector is None else PROJECTED_V1.name

    def require_same_teacher(
        self, made: ImageSet, method: ImageMethod, dataset: ImageDataset, folder: Path
    ) -> None:
        require_same_fixed(method, made.content, dataset, folder)


class GraphKind(Kind[GraphDataset, GraphMethod, GraphSet]):
    """Graphs, whose students see multi-hot nodes and the labels that a set stores."""

    name, method, dataset, whole, space = "graphs", "mirage", "mutag", "graph-whole-v2", "multi-hot"
    students = GRAPH_NETWORKS
    references = {"majority": majority, **{name: partial(logistic, name) for name in FEATURES}}

    def check_student(self, student: str, dataset: GraphDataset) -> None:
        spec = dataset.spec
        if full_name(student) in network_names():
            raise of_other_kind(student, "images", dataset)
        build_graph_network(
            student, sum(spec.features), spec.num_classes, torch.Generator(), torch.device("cpu")
        )

    def space_of_method(self, method: GraphMethod, protocol: Protocol) -> str:
        return self.space

    def space_of_set(self, made: GraphSet, protocol: Protocol) -> str:
        return self.space

    def trial(
        self,
        made: GraphSet | SampledImages | None,
        setup: Setup[GraphDataset],
        teacher: Teacher | None,
        machine: Machine,
    ) -> Trial:
        assert not isinstance(made, SampledImages), "these are graphs"
        data, protocol, device = setup.dataset, setup.protocol, machine.device
        if made is None:
            source: GraphSource = WholeGraphs(data.train.to(device), data.spec.features)
        else:
            source = made.to(device)
        return GraphStudent(
            network=setup.student,
            protocol=protocol,
            budget=machine.budget,
            source=source,
            test=data.test.to(device),
            spec=data.spec,
            valid=data.valid.to(device) if protocol.select else None,
        ).outcome

    def valid_bytes(self, dataset: GraphDataset, protocol: Protocol) -> int | None:
        return stored_bytes(dataset.valid) if protocol.select else None


KINDS: Mapping[str, Kind[Any, Any, Any]] = {kind.name: kind for kind in (ImageKind(), GraphKind())}
"""The kinds of data by name. The defaults of the first one are those of the whole suite."""


def kind_of(dataset: Dataset) -> Kind[Any, Any, Any]:
    """Returns the kind of a dataset."""
    return KINDS[dataset.spec.kind]


def data_for(name: str) -> str:
    """Returns the dataset that a method or reference is used on unless another is named."""
    first, *_ = name.split("+")
    for kind in KINDS.values():
        if first in (WHOLE, *kind.untuned) or first in methods(kind.name) or first in kind.references:
            return kind.dataset
    return ImageKind.dataset


def method_for(data: str | None) -> str:
    """Returns the method that a dataset, given by name or path, is distilled with unless one is named."""
    return GraphKind.method if data is not None and holds_graphs(data) else ImageKind.method


def require_fit(protocol: Protocol, dataset: Dataset) -> Protocol:
    """Returns a protocol if it is for the kind of data that a dataset holds; refuses any other."""
    if protocol.kind not in (dataset.spec.kind, "any"):
        raise Refused(
            f"{protocol.name} judges {protocol.kind}; {dataset.spec.name} holds {dataset.spec.kind}"
        )
    return protocol


def of_other_kind(student: str, kind: str, dataset: Dataset) -> Refused:
    """Returns the refusal of a network that is for another kind of data."""
    reason = f"this is a network for {kind}; {dataset.spec.name} holds {dataset.spec.kind}"
    return Refused(reason, setting="student", value=student)


def stored_bytes(graphs: Graphs) -> int:
    """Returns the size that graphs would have in a stored set, labels included."""
    edges, edges_ptr, edge_labels = as_pairs(
        graphs.edges, graphs.edges_ptr, graphs.nodes_ptr, graphs.edge_labels, both=True
    )
    parts = [graphs.node_features, edges, edges_ptr, graphs.nodes_ptr, graphs.labels]
    if edge_labels is not None and edge_labels.any():
        parts.append(edge_labels)
    return sum(part.numel() * narrowed(part).element_size() for part in parts)
