"""What judging takes for each kind of data: its defaults, its students, and how one of them is trained.

A bench is a dataset as students meet it. Whatever else is done about sets of images and sets of graphs
(cells, records, references) asks the bench and is one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch

from condense.data import Dataset, GraphDataset, Graphs, ImageDataset, holds_graphs
from condense.distillation import ImageMethod, Method
from condense.distillation.registry import methods
from condense.errors import Refused
from condense.evaluation import (
    REFERENCES,
    Outcome,
    Whole,
    WholeGraphs,
    reference,
    train_graph_student,
    train_student,
)
from condense.evaluation.labels import labelled_by, labelling_teacher, space_of, without_stored_labels
from condense.networks import GRAPH_NETWORKS, NETWORKS, build_graph_network, build_network
from condense.protocol import Protocol
from condense.resources import Budget
from condense.store import DistilledSet, GraphSet, ImageSet
from condense.store.graphs.codec import least, pairs
from condense.teachers import Teacher

WHOLE = "whole"
"""The reference that trains students, on the whole training set."""

Trial = Callable[[int], Outcome]
"""Trains and tests the student of an evaluation seed."""


class Kind(ABC):
    """A dataset as students meet it.

    Attributes:
        kind: The kind of data.
        method: What is distilled with unless something else is asked for.
        dataset: What is distilled, likewise.
        students: The networks that judge a set, likewise.
        whole: The protocol of the whole training set.
        references: Rows without a set, by name.
    """

    kind: ClassVar[str]
    method: ClassVar[str]
    dataset: ClassVar[str]
    students: ClassVar[tuple[str, ...]]
    whole: ClassVar[str]
    references: ClassVar[tuple[str, ...]]

    @abstractmethod
    def check_student(self, student: str) -> None:
        """Refuses a network that does not exist or does not fit the data."""

    @abstractmethod
    def check_labels(self, made: DistilledSet, protocol: Protocol) -> None:
        """Refuses a set that lacks the labels that a protocol trains on."""

    @abstractmethod
    def teacher(self, made: DistilledSet, protocol: Protocol, device: torch.device) -> Teacher | None:
        """Who labels what students see, if somebody does.

        Raises:
            Refused: if the protocol has a teacher, and it is not here.
        """

    @abstractmethod
    def space(self, source: DistilledSet | Method | None, protocol: Protocol) -> str:
        """The name of the space that students see a set, the sets of a method, or all data in."""

    @abstractmethod
    def trial(
        self,
        made: DistilledSet | None,
        protocol: Protocol,
        student: str,
        space: str,
        teacher: Teacher | None,
        device: torch.device,
        budget: Budget,
    ) -> Trial:
        """What trains a student and tests it once.

        Args:
            made: The set; None for the whole training set.
            protocol: How to train.
            student: Name of the network.
            space: As `space` has it.
            teacher: Who labels, if somebody does.
            device: Where to train.
            budget: When to stop.
        """

    def valid_bytes(self, protocol: Protocol) -> int | None:
        """Size of the validation data that students are chosen by under a protocol; None if they are not."""
        return None


class ImageKind(Kind):
    """Images: in a pixel space, labelled by a teacher where the protocol says so."""

    kind, method, dataset, whole = "images", "dm", "digits", "whole-v1"
    students = ("convnet",)
    references = (WHOLE, "majority")

    def __init__(self, data: ImageDataset) -> None:
        self.data = data

    def check_student(self, student: str) -> None:
        if student in GRAPH_NETWORKS:
            raise of_other_data(student, "graphs", self.data)
        build_network(student, self.data.spec.shape, self.data.spec.num_classes, torch.Generator())

    def check_labels(self, made: DistilledSet, protocol: Protocol) -> None:
        assert isinstance(made, ImageSet)
        if protocol.labels == "stored" and made.epochs is None:
            name, taught = made.content["method"]["name"], "teacher" in made.content
            raise without_stored_labels(protocol, name, self.data, taught=taught)

    def teacher(self, made: DistilledSet, protocol: Protocol, device: torch.device) -> Teacher | None:
        assert isinstance(made, ImageSet)
        return labelling_teacher(made, self.data, protocol, device)

    def space(self, source: DistilledSet | Method | None, protocol: Protocol) -> str:
        own = "normalized"
        if isinstance(source, ImageSet):
            own = source.evaluation_space
        elif isinstance(source, ImageMethod) and source.pixel_space == "zca":
            own = "zca"
        return space_of(own, protocol)

    def trial(
        self,
        made: DistilledSet | None,
        protocol: Protocol,
        student: str,
        space: str,
        teacher: Teacher | None,
        device: torch.device,
        budget: Budget,
    ) -> Trial:
        pixels = self.data.space(space)
        if made is None:
            source: Whole | ImageSet = Whole(self.data.train.to(device).in_space(pixels.to(device)))
        else:
            assert isinstance(made, ImageSet)
            source = (
                made.with_space(self.data.space(made.content["pixels"]["space"])).in_space(pixels).to(device)
            )
        test = self.data.test.to(device).in_space(pixels.to(device))
        labeller = None if teacher is None else labelled_by(teacher, protocol)

        def one(seed: int) -> Outcome:
            return train_student(
                source, test, self.data.spec, protocol,
                student=student, seed=seed, labeller=labeller, budget=budget,
            )  # fmt: skip

        return one


class GraphKind(Kind):
    """Graphs: their nodes multi-hot, with the labels that a set stores."""

    kind, method, dataset, whole = "graphs", "mirage", "mutag", "graph-whole-v1"
    students = GRAPH_NETWORKS
    references = (WHOLE, *REFERENCES)

    def __init__(self, data: GraphDataset) -> None:
        self.data = data

    def check_student(self, student: str) -> None:
        spec = self.data.spec
        if student in NETWORKS:
            raise of_other_data(student, "images", self.data)
        build_graph_network(
            student, sum(spec.features), spec.num_classes, torch.Generator(), torch.device("cpu")
        )

    def check_labels(self, made: DistilledSet, protocol: Protocol) -> None:
        del made, protocol  # every set of graphs has class ids, and no protocol for graphs asks for more

    def teacher(self, made: DistilledSet, protocol: Protocol, device: torch.device) -> Teacher | None:
        return None

    def space(self, source: DistilledSet | Method | None, protocol: Protocol) -> str:
        return "multi-hot"

    def trial(
        self,
        made: DistilledSet | None,
        protocol: Protocol,
        student: str,
        space: str,
        teacher: Teacher | None,
        device: torch.device,
        budget: Budget,
    ) -> Trial:
        spec = self.data.spec
        if made is None:
            source: WholeGraphs | GraphSet = WholeGraphs(self.data.train.to(device), spec.features)
        else:
            assert isinstance(made, GraphSet)
            source = made.to(device)
        test = self.data.test.to(device)
        valid = self.data.valid.to(device) if protocol.select else None

        def one(seed: int) -> Outcome:
            return train_graph_student(
                source, test, spec, protocol, student=student, seed=seed, valid=valid, budget=budget
            )

        return one

    def valid_bytes(self, protocol: Protocol) -> int | None:
        return stored_bytes(self.data.valid) if protocol.select else None


KINDS: Mapping[str, type[ImageKind] | type[GraphKind]] = {"images": ImageKind, "graphs": GraphKind}
"""The bench of each kind of data; the first one's are the defaults of all."""


def kind_of(dataset: Dataset) -> Kind:
    """The bench of a dataset."""
    if isinstance(dataset, ImageDataset):
        return ImageKind(dataset)
    assert isinstance(dataset, GraphDataset)
    return GraphKind(dataset)


def data_for(name: str) -> str:
    """The dataset that a method's or a reference's name stands for, where no other is named."""
    first, *_ = name.split("+")
    for name, kind in KINDS.items():
        if first in methods(name) or first in kind.references:
            return kind.dataset
    return ImageKind.dataset


def method_for(data: str | None) -> str:
    """What a dataset is distilled with, by its name or path, where nothing is asked for."""
    return GraphKind.method if data is not None and holds_graphs(data) else ImageKind.method


def fitting(protocol: Protocol, dataset: Dataset) -> Protocol:
    """A protocol that judges data of a dataset's kind.

    Raises:
        Refused: if it judges another.
    """
    if protocol.kind not in (dataset.spec.kind, "any"):
        raise Refused(
            f"{protocol.name} judges {protocol.kind}; {dataset.spec.name} holds {dataset.spec.kind}"
        )
    return protocol


def of_other_data(student: str, kind: str, dataset: Dataset) -> Refused:
    """The refusal of a network that is for another kind of data."""
    return Refused(
        f"--student {student} is a network for {kind}; {dataset.spec.name} holds {dataset.spec.kind}"
    )


def referred(name: str, dataset: Dataset) -> Trial:
    """The trial of a reference that trains no student: the same for every seed."""
    return lambda seed: reference(name, dataset)


def stored_bytes(graphs: Graphs) -> int:
    """What graphs would take in a stored set, labels included."""
    edges, edges_ptr, edge_labels = pairs(
        graphs.edges, graphs.edges_ptr, graphs.nodes_ptr, graphs.edge_labels, both=True
    )
    parts = [graphs.node_features, edges, edges_ptr, graphs.nodes_ptr, graphs.labels]
    if edge_labels is not None and edge_labels.any():
        parts.append(edge_labels)
    return sum(part.numel() * least(part).element_size() for part in parts)
