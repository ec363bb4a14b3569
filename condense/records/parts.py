"""The parts of a record: the data, the method, the set or the training, and the result of each student."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from condense.files import digest
from condense.schema import Amount, Correlation, Name, Percent, Text, Whole
from condense.store.manifest import ChainLinkPart


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The state of a student in the middle of its training.

    Attributes:
        step: Number of optimiser steps that it has made.
        seconds: Wall time that these steps took, without the measuring.
        accuracy: Accuracy in percent on validation images, a part of the training split.
    """

    step: Whole
    seconds: Amount
    accuracy: Percent


@dataclass(frozen=True, kw_only=True)
class ClientScore:
    """The test of a federation's network by one client.

    Attributes:
        name: Name of the client.
        accuracy: Accuracy in percent on its test images.
    """

    name: Name
    accuracy: Percent


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The result of one student that was trained from scratch and tested once.

    Attributes:
        seed: Evaluation seed.
        accuracy: Test accuracy in percent.
        seconds: Wall time of training and testing.
        device: Name of the device.
        threads: Number of CPU threads.
        versions: Versions of the libraries by name.
        time: Time at which the test ended, ISO 8601 in UTC.
        auc: Area under the ROC curve in percent; left out of the JSON for data that are scored by accuracy.
        size_correlation: Spearman's rank correlation, over the test graphs, of the student's scores (the
            difference of both logits) with the number of nodes; left out if it is unknown or not defined.
        curve: The student on its way, in ascending order of step; left out if it was not measured.
        curve_part: Number of the validation part that the curve is measured on
            (`condense.training.validation`); left out for the first one.
        clients: The accuracy on each client's test images, of which ``accuracy`` is the mean; left out of the
            JSON, like the numbers that follow, if this is no federation.
        up_bytes: Bytes that the clients have sent to the server.
        down_bytes: Bytes that the server has sent to the clients.
        lost: Number of messages to clients that were not answered.
    """

    seed: Whole
    accuracy: Percent
    seconds: Amount
    device: Text
    threads: Whole
    versions: Mapping[str, Text]
    time: Name
    auc: Percent | None = None
    size_correlation: Correlation | None = None
    curve: tuple[CurvePoint, ...] = ()
    curve_part: Whole | None = None
    clients: tuple[ClientScore, ...] = ()
    up_bytes: Whole | None = None
    down_bytes: Whole | None = None
    lost: Whole | None = None

    @property
    def score(self) -> float:
        """The number that students are ranked by: the AUC if there is one, else the accuracy."""
        return self.accuracy if self.auc is None else self.auc


_DATASET = re.compile(r"(?P<dataset>[^@\[~]+)(@(?P<size>\d+))?(\[(?P<classes>.*)\])?(~(?P<augment>.+))?")


@dataclass(frozen=True, kw_only=True)
class DataUsed:
    """The dataset.

    Attributes:
        name: Its name.
        kind: Its kind: ``images`` or ``graphs``.
        train_hash: Hash of the training split.
        test_hash: Hash of the test split.
        notes: What its loader left out, changed or chose; left out of the JSON if there is nothing.
    """

    name: Name
    kind: Name
    train_hash: Name
    test_hash: Name
    notes: tuple[Text, ...] = ()

    @property
    def options(self) -> dict[str, str] | None:
        """Returns the choices that its name tells, ``dataset``, ``size``, ``classes`` and ``augment``.

        Those that the name does not tell are left out; None if it is no such name.
        """
        found = _DATASET.fullmatch(self.name)
        return found and {key: value for key, value in found.groupdict().items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class TargetUsed:
    """The data that students are trained on after a set of other data, and then tested on.

    Attributes:
        name: Name of the dataset.
        train_hash: Hash of the training split, as it was brought into the shape of the set's images.
        test_hash: Hash of the test split, likewise.
        notes: What its loader left out, changed or chose, and how the images were brought into that shape;
            left out of the JSON if there is nothing.
    """

    name: Name
    train_hash: Name
    test_hash: Name
    notes: tuple[Text, ...] = ()

    @property
    def hash(self) -> str:
        """Hash of both splits."""
        return digest([self.train_hash, self.test_hash])


@dataclass(frozen=True, kw_only=True)
class MethodUsed:
    """The method and its wrappers.

    Attributes:
        name: Names joined by ``+``, such as ``mtt+fyi``; the name of a reference, such as ``whole``.
        chain: Name, version and complete configuration of the method and each wrapper; empty for a reference.
        source: Source of the settings, if they are a published recipe.
    """

    name: Name
    chain: tuple[ChainLinkPart, ...]
    source: Text | None = None


@dataclass(frozen=True, kw_only=True)
class SampleCounts:
    """Numbers of samples: stored, trained on after decoding, and stored in each class."""

    stored: Whole
    effective: Whole
    per_class: tuple[Whole, ...]


@dataclass(frozen=True, kw_only=True)
class SetUsed:
    """The distilled set.

    Attributes:
        hash: Hash of its content.
        bytes: Its size by part: images or graphs, labels, replay, decoder, auxiliary, teacher.
        counts: Numbers of its samples.
        label: Kind of its labels: ``hard`` (class ids), ``soft``, ``features``, ``replayed`` (stored with
            views) or ``projected`` (regenerated by adapters).
        seconds: Wall time of the distillation; None if unknown.
        peak_bytes: Peak memory of the distillation; None if unknown.
        device: Name of the device it was distilled on.
        rollbacks: Number of optimisation steps that were undone during the distillation; left out of the JSON
            if the method does not count them.
        dense_bytes: Size of the graphs as float32 node features with a dense adjacency matrix, the form in
            which methods optimise graphs; left out for images.
    """

    hash: Name
    bytes: Mapping[str, Whole]
    counts: SampleCounts
    label: Name
    seconds: Amount | None
    peak_bytes: Whole | None
    device: Text
    rollbacks: Whole | None = None
    dense_bytes: Whole | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingUsed:
    """What the training of a student reads, where no set is stored.

    Attributes:
        bytes: Size of the training images that it reads with their labels, each once, at 8 bits a pixel.
        images: Number of these images.
        whole: Whether these are all images of the training split.
        steps: Number of optimiser steps.
        seconds: Wall time of the selection, ahead of the students' training.
        teacher: Hash of a teacher that labels in place of the class ids or beside them, if the method has
            one; older records of RAD do not name it.
        teacher_bytes: Size of that teacher; left out without one.
    """

    bytes: Whole
    images: Whole
    whole: bool
    steps: Whole
    seconds: Amount
    teacher: Name | None = None
    teacher_bytes: Whole | None = None


@dataclass(frozen=True, kw_only=True)
class ClientUsed:
    """One client of a federation.

    Attributes:
        name: Its name.
        train_hash: Hash of its training images.
        test_hash: Hash of its test images.
        train: Number of its training images of each class.
        test: Number of its test images of each class.
        set: Hash of the set that it has distilled.
        seconds: Wall time of that distillation; None if unknown.
    """

    name: Name
    train_hash: Name
    test_hash: Name
    train: tuple[Whole, ...]
    test: tuple[Whole, ...]
    set: Name
    seconds: Amount | None


@dataclass(frozen=True, kw_only=True)
class FederationUsed:
    """The clients of a federation.

    Attributes:
        split: How they were named, such as ``dirichlet:5:0.5``.
        draws: Number of draws that a Dirichlet split took; None for others.
        clients: The clients.
    """

    split: Name
    draws: Whole | None
    clients: tuple[ClientUsed, ...]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """A published number, copied from ``benchmarks/published.csv`` when the record was made.

    Attributes:
        value: The score in percent.
        error: Published standard deviation; None if unknown.
        source: Publication that the number is from.
        verified: Whether somebody read the number in the source itself.
        protocol: Description of how it was measured.
    """

    value: Percent
    error: Percent | None
    source: Text
    verified: bool
    protocol: Text
