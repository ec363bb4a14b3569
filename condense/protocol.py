"""Evaluation protocols as values: all that training and testing a student depends on, frozen and hashed.

A changed number is a new name beside the old one. `PROTOCOLS` holds the suite's own; a recipe carries its
paper's as a `Protocol` value of its own, which ``--protocol published`` resolves to.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from condense.errors import Refused, unknown
from condense.files import digest

PUBLISHED = "published"
"""The name of every protocol that is a paper's own."""

OPTIMIZERS = ("sgd", "adamw", "adam", "lbfgs")
"""The optimisers by name."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": OPTIMIZERS,
    "schedule": ("cosine", "half-cosine"),
    "decay": ("weights",),
    "labels": ("fixed", "own", "stored"),
    "teacher_mode": ("train",),
    "select": ("valid",),
}
"""The values of the protocol's fields that are names; all but ``optimizer`` may also be off."""

FIRST_WARMUP = 0.01
"""The factor on the learning rate in the first epoch of a warm-up."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of epochs at one learning rate, or under one scale of a schedule.

    Attributes:
        epochs: Passes over the training set.
        scale: Factor on the protocol's learning rate.
        momentum: In place of the protocol's; None, and then out of the JSON, takes the protocol's.
    """

    epochs: int
    scale: float = 1.0
    momentum: float | None = None

    def to_json(self) -> dict[str, object]:
        """The stage as plain JSON values; a momentum that is the protocol's is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a student is trained from scratch on a set, and how often.

    A field that a later version adds must default to None ("off"): fields that are None stay out of the
    JSON, so the hashes of older protocols never move.

    Attributes:
        name: Versioned name; ``published`` for a paper's own.
        optimizer: ``sgd``; ``adamw`` or ``adam`` (second beta 0.999); ``lbfgs``, which fits a logistic
            regression.
        lr: Learning rate; None takes the rate that the set itself learned (its training hint). L-BFGS
            searches for its own.
        momentum: Momentum of SGD; the first beta of AdamW and Adam.
        weight_decay: On every parameter: the L2 coefficient of SGD and Adam; AdamW's is decoupled from the
            gradient; L-BFGS adds half of it times the squared weights to the *sum* of the losses.
        batch: Batch size; smaller sets are one batch, and 0 makes a batch of any set.
        stages: The learning-rate schedule. None at all: one stage of as many epochs as the set holds labels
            for.
        reset: Whether each stage starts with a fresh optimiser (the momentum is forgotten).
        augment: ``dsa`` (the dataset's strategy), ``dsa:color_crop`` (a strategy of its own),
            ``dsa-flip-first``, ``crop-flip``, ``resized-flip``, ``none``, or ``dc:crop_scale_rotate`` (a
            legacy augmentation with its operations): `condense.augment.named.named_augmentation` says what each is.
        cutmix: Probability that an augmented batch is mixed by `condense.augment.cutmix`.
        seeds: How many evaluation seeds the protocol has: 0 .. seeds - 1.
        kind: The kind of data it judges: ``images``, ``graphs`` or ``any``.
        whole: Whether it trains on the whole training set in place of a distilled one.
        schedule: A factor on the rate for each epoch, on top of its stage's: ``cosine`` falls to 0,
            ``half-cosine`` to a half; see `factor`.
        warmup: Epochs at the start over which the rate rises, in equal steps, from a hundredth of itself.
        decay: ``weights``: the weight decay is on tensors of two dimensions and more alone.
        mixup: The a of a Beta(a, a) that every augmented batch is mixed by: see `condense.augment.mixup`.
        labels: Who labels in place of the set: the ``fixed`` teacher of the dataset or the set's ``own``,
            batch by batch as the student sees it, or nobody anew: the labels ``stored`` with the set's views.
        temperature: Of the loss with such labels; None takes the one that stored labels were made for.
        squared: Whether that loss is multiplied by the temperature's square.
        teacher_mode: ``train``: the teacher's batch norms take the batch's own statistics.
        steps: Optimiser steps, in place of stages: how long students of graphs are trained.
        select: ``valid``: a student is tested as it was when it did best on the real validation data, every
            tenth step of training; these data count with the set's bytes.
    """

    name: str
    optimizer: str = "sgd"
    lr: float | None = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch: int = 256
    stages: tuple[Stage, ...]
    reset: bool = False
    augment: str = "dsa"
    cutmix: float | None = None
    seeds: int = 5
    kind: str = "images"
    whole: bool | None = None
    schedule: str | None = None
    warmup: int | None = None
    decay: str | None = None
    mixup: float | None = None
    labels: str | None = None
    temperature: float | None = None
    squared: bool | None = None
    teacher_mode: str | None = None
    steps: int | None = None
    select: str | None = None

    def __post_init__(self) -> None:
        """Checks the fields that are names, and that those that need each other are there.

        Raises:
            Refused: if a name is unknown, a batch is to be mixed twice, a teacher's labels have no
                temperature, or the length of training is said twice.
        """
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices and (value is not None or field == "optimizer"):
                raise unknown(field, value, choices)
        if self.cutmix and self.mixup:
            raise Refused(f"{self.name}: a batch is mixed by cutmix or by mixup, not by both")
        if self.online and not self.temperature:
            raise Refused(f"{self.name}: labels={self.labels} need a temperature")
        if self.steps is not None and self.stages:
            raise Refused(f"{self.name}: training lasts for steps or for stages of epochs, not for both")

    @property
    def online(self) -> bool:
        """Whether a teacher labels each batch as the student sees it."""
        return self.labels in ("fixed", "own")

    @property
    def epochs(self) -> int:
        """Epochs over all stages."""
        return sum(stage.epochs for stage in self.stages)

    def lasting(self, epochs: int | None) -> tuple[Stage, ...]:
        """The stages; of a protocol without any, one that lasts as long as a set's labels do.

        Args:
            epochs: How many the set holds labels for; None if it has none of an epoch's own.

        Raises:
            Refused: if neither the protocol nor the set says how long a student is trained.
        """
        if self.stages:
            return self.stages
        if epochs is None:
            raise Refused(f"{self.name} lasts as long as a set's stored labels do, and this set stores none")
        return (Stage(epochs=epochs),)

    def factor(self, epoch: int, epochs: int) -> float:
        """What the learning rate is multiplied by in an epoch, on top of its stage's scale.

        With W epochs of warm-up, of E: in epoch e < W it is 0.01 + 0.99 e / W; from then on
        (1 + cos(pi (e - W) / (E - W))) / 2 under ``cosine``, with half that angle under ``half-cosine``, and
        1 without a schedule.

        Args:
            epoch: e, from 0.
            epochs: E, over all stages.
        """
        warmup = self.warmup or 0
        if epoch < warmup:
            return FIRST_WARMUP + (1 - FIRST_WARMUP) * epoch / warmup
        if self.schedule is None:
            return 1.0
        end = math.pi if self.schedule == "cosine" else math.pi / 2
        return 0.5 * (1 + math.cos(end * (epoch - warmup) / (epochs - warmup)))

    def to_json(self) -> dict[str, object]:
        """The protocol as plain JSON values; fields that are off (None) are left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return values | {"stages": [stage.to_json() for stage in self.stages]}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "Protocol":
        """Reads what `to_json` wrote.

        Raises:
            Refused: if it names a field, or a value of one, that this version does not know.
        """
        fields = {name: values[name] for name in values if name != "stages"}
        if strangers := set(fields) - set(cls.__dataclass_fields__):
            raise Refused(f"this version of condense does not know the protocol field {min(strangers)!r}")
        stages = values["stages"]
        assert isinstance(stages, list)
        if strangers := {name for stage in stages for name in stage} - set(Stage.__dataclass_fields__):
            raise Refused(
                f"this version of condense does not know the field {min(strangers)!r} of a protocol's stage"
            )
        fields.setdefault("lr", None)
        return cls(stages=tuple(Stage(**stage) for stage in stages), **fields)  # type: ignore[arg-type]

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the protocol's JSON."""
        return digest(self.to_json())


HARD_V1 = Protocol(name="hard-v1", stages=(Stage(epochs=500), Stage(epochs=500, scale=0.1)))
"""The default for images: the field's "DC evaluation" without its off-by-ones."""

WHOLE_V1 = replace(
    HARD_V1, name="whole-v1", seeds=3, whole=True, stages=(Stage(epochs=25), Stage(epochs=25, scale=0.1))
)
"""The reference row: hard-v1's student, optimiser and augmentation on the whole training set, 50 epochs."""

SOFT_V1 = Protocol(
    name="soft-v1", optimizer="adamw", lr=1e-3, weight_decay=0.01, decay="weights", batch=128,
    stages=(Stage(epochs=300),), schedule="cosine", augment="crop-flip", cutmix=1.0, seeds=3,
    labels="fixed", temperature=20.0,
)  # fmt: skip
"""Judges images with the labels held equal: one fixed teacher a dataset labels what the student sees."""

REPLAY_V1 = replace(
    SOFT_V1, name="replay-v1", stages=(), augment="none", cutmix=None, labels="stored", temperature=None
)
"""Judges a set with the labelled views that it stores, in their order; else as soft-v1 does."""

GRAPH_V1 = Protocol(
    name="graph-v1", optimizer="adam", lr=1e-3, weight_decay=1e-2, batch=512, stages=(), steps=300,
    augment="none", seeds=10, kind="graphs",
)  # fmt: skip
"""The default for graphs: each step is over all items, the loss weighted by the weights that the set stores;
of more than 512 items 512 are drawn by weight."""

GRAPH_WHOLE_V1 = replace(GRAPH_V1, name="graph-whole-v1", batch=128, steps=2000, seeds=3, whole=True)
"""The reference row for graphs: graph-v1's students and optimiser on the whole training set.

Its weight decay, which Adam takes as part of the gradient, can outweigh what labels give a network that takes
means: on nci1 those end at an AUC of 50, where gcn-mean has 67 after 300 steps without decay (57 with it).
"""

GRAPH_SELECT_V1 = replace(GRAPH_V1, name="graph-select-v1", select="valid")
"""As graph-v1, but each student is tested as it was at its best on the real validation graphs."""

REFERENCE_V1 = Protocol(
    name="reference-v1", optimizer="lbfgs", lr=None, momentum=0.0, weight_decay=1.0, batch=0, stages=(),
    steps=10_000, augment="none", seeds=1, kind="any", whole=True,
)  # fmt: skip
"""What needs no network, on the whole training set: the largest class, or a logistic regression on a trivial
feature, fitted until it has converged, at the latest after so many iterations."""

PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        HARD_V1, WHOLE_V1, SOFT_V1, REPLAY_V1, GRAPH_V1, GRAPH_WHOLE_V1, GRAPH_SELECT_V1, REFERENCE_V1,
    )
}  # fmt: skip


def named_protocol(name: str) -> Protocol:
    """One of the suite's own protocols.

    Raises:
        Refused: if there is none of that name.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, [*PROTOCOLS, PUBLISHED])
    return PROTOCOLS[name]


def dc_evaluation(epochs: int, *, augment: str, seeds: int = 5, batch: int = 256) -> Protocol:
    """The evaluation of the DC family's code, with its off-by-ones.

    The loop runs ``epochs + 1`` times and, after the epoch of index ``epochs // 2 + 1``, divides the rate by
    ten and builds a new optimiser: 502 and 499 epochs for 1000, 152 and 149 for 300
    (VICO-UoE/DatasetCondensation, ``utils.py``, ``evaluate_synset``).

    Args:
        epochs: The paper's number of epochs.
        augment: As in `Protocol`.
        seeds: Students a set.
        batch: Batch size.
    """
    first = epochs // 2 + 2
    stages = (Stage(epochs=first), Stage(epochs=epochs + 1 - first, scale=0.1))
    return Protocol(name=PUBLISHED, stages=stages, reset=True, augment=augment, seeds=seeds, batch=batch)


def milestones(
    epochs: int,
    *,
    at: Sequence[float] = (2 / 3, 5 / 6),
    factor: float = 0.2,
    optimizer: str = "sgd",
    lr: float = 0.01,
    weight_decay: float = 5e-4,
    batch: int = 256,
    augment: str,
    cutmix: float | None = None,
    seeds: int = 5,
) -> Protocol:
    """A paper's evaluation whose learning rate falls by a factor at each of some milestones.

    The optimiser keeps its state. The defaults are the schedule of IDC's code
    (snu-mllab/Efficient-Dataset-Condensation, ``train.py``): 666, 167 and 167 epochs of 1000.

    Args:
        epochs: Epochs in all.
        at: The milestones as shares of the epochs, ascending; see `whole_epochs`.
        factor: What the rate is multiplied by at each.
        optimizer: As in `Protocol`, like all that follow.
        lr: Learning rate before the first milestone.
        weight_decay: Weight decay.
        batch: Batch size.
        augment: Augmentation.
        cutmix: Probability of a mixed batch.
        seeds: Students a set.
    """
    bounds = [0, *(whole_epochs(share, epochs) for share in at), epochs]
    stages = tuple(
        # Rounded, so that a scale reads 0.04 in a record, not 0.2 * 0.2 = 0.04000000000000001.
        Stage(epochs=end - start, scale=round(factor**number, 12))
        for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False))
        if end > start
    )
    return Protocol(
        name=PUBLISHED, optimizer=optimizer, lr=lr, weight_decay=weight_decay, batch=batch, stages=stages,
        augment=augment, cutmix=cutmix, seeds=seeds,
    )  # fmt: skip


def whole_epochs(share: float, epochs: int) -> int:
    """A share of some epochs (or steps), rounded down, as ``2 * epochs // 3`` is.

    The small term makes up for shares that floating point holds a little too small, such as 0.29.
    """
    return int(share * epochs + 1e-9)
