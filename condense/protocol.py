"""Evaluation protocols: everything that the training and testing of a student depends on.

A protocol never changes; another number makes another protocol with a new name. The suite's own
protocols are in `condense.protocols`. A recipe may contain the protocol of its paper, which goes by the
name ``published``.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from condense.errors import Refused, unknown
from condense.files import digest
from condense.schema import Amount, Fraction, Name, Positive, Whole, find_form_error

PUBLISHED = "published"
"""The name of every protocol that is a paper's own."""

OPTIMIZERS = ("sgd", "adamw", "adam", "lbfgs")
"""Names of the optimisers."""

BY_STEPS = "step-cosine"
"""The schedule that changes the learning rate at every step."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": OPTIMIZERS,
    "schedule": ("cosine", "half-cosine", BY_STEPS),
    "decay": ("weights",),
    "labels": ("fixed", "own", "stored", "projected"),
    "teacher_mode": ("train",),
    "select": ("valid",),
}
"""Allowed values of the fields that are names; all of these fields but ``optimizer`` may also be None."""

PARTS = frozenset({"tune", "regress"})
"""The fields that hold a part of a training."""

FIRST_WARMUP = 0.01
"""Factor of the learning rate in the first epoch of a warm-up."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A number of epochs with one factor of the learning rate.

    Attributes:
        epochs: Number of passes over the training set.
        scale: Factor of the protocol's learning rate.
        momentum: Momentum in this stage; None takes the protocol's.
    """

    epochs: Whole
    scale: Amount = 1.0
    momentum: Amount | None = None

    def to_json(self) -> dict[str, object]:
        """Returns the stage as JSON values, without a momentum of None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a training in several parts: what takes the place of the protocol's own fields.

    Attributes:
        epochs: Number of passes over the data; None if the part lasts for a number of steps.
        steps: Number of optimiser steps; the last epoch may be cut short.
        lr: Learning rate.
        weight_decay: Weight decay.
        batch: Batch size.
        augment: Name of the augmentation.
        schedule: As in `Protocol`.
        floor: As in `Protocol`.
        frozen: Whether only the last layer is trained, on features that the rest gives in evaluation mode.
    """

    epochs: Whole | None = None
    steps: Whole | None = None
    lr: Amount | None = None
    weight_decay: Amount | None = None
    batch: Whole | None = None
    augment: Name | None = None
    schedule: Name | None = None
    floor: Amount | None = None
    frozen: bool | None = None

    def to_json(self) -> dict[str, object]:
        """Returns the part as JSON values, without fields that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How students are trained from scratch on a set.

    A field that a later version adds must have the default None. Fields that are None do not occur in the
    JSON, so the hashes of older protocols do not change.

    Attributes:
        name: Name with its version; ``published`` for the protocol of a paper.
        optimizer: ``sgd``, ``adamw`` or ``adam`` (second beta 0.999), or ``lbfgs``, which fits a logistic
            regression.
        lr: Learning rate; None takes the rate that was learned with the set (its training hint). L-BFGS finds
            its own step size.
        momentum: Momentum of SGD, or first beta of AdamW and Adam.
        weight_decay: Weight decay of all parameters: the L2 coefficient for SGD and Adam, and decoupled from
            the gradient for AdamW. L-BFGS adds half of it times the squared weights to the *sum* of losses.
        batch: Batch size; a smaller set is one batch, and 0 takes any set as one batch.
        stages: Stages of the training; if empty, one stage with as many epochs as the set has labels for.
        reset: Whether each stage starts with a new optimiser, without the previous momentum.
        augment: Name of the augmentation, see `condense.augment.named.named_augmentation`.
        cutmix: Probability that an augmented batch is mixed with `condense.augment.cutmix`.
        seeds: Number of evaluation seeds; these are 0 to ``seeds - 1``.
        kind: Kind of data that it evaluates: ``images``, ``graphs`` or ``any``.
        whole: Whether students are trained on the whole training set instead of a distilled set.
        schedule: ``cosine``, a learning rate that falls to 0, or ``half-cosine``, which falls to a half, in
            addition to the factors of the stages; see `factor`. ``step-cosine`` falls at every step from
            `lr` to `floor`; see `rate`.
        warmup: Number of epochs at the start in which the learning rate rises linearly from 1 % of its value.
        decay: ``weights`` restricts the weight decay to tensors of two and more dimensions.
        mixup: Parameter a of Beta(a, a) for `condense.augment.mixup` of every augmented batch.
        labels: Source of the labels, if they are not the set's own: ``fixed`` (the dataset's fixed teacher
            labels each batch that a student sees), ``own`` (the set's teacher does), ``stored`` (the labels
            that are stored with the set's views), or ``projected`` (the set's teacher does, with the adapters
            that the set stores, in a loss of the set's own).
        temperature: Temperature of the loss with these labels; None takes that of the stored labels.
        squared: Whether this loss is multiplied by the square of the temperature.
        teacher_mode: ``train`` makes the teacher's batch norms use the statistics of the batch.
        steps: Number of optimiser steps, instead of stages; used for graphs.
        select: ``valid`` tests the student in its best state on the real validation data, which is evaluated
            at every tenth step; the size of the set then includes the validation data.
        batches: Number of batches that a small set is cut into: n samples are trained on in batches of
            ``n / batches``, rounded down, but of no fewer than `least_batch` and no more than `batch`.
        least_batch: See `batches`; the two go together.
        least_steps: Least number of optimiser steps: where the stages would make fewer, they are lengthened.
        floor: Learning rate at the end of ``step-cosine``.
        nesterov: Whether the momentum of SGD is Nesterov's.
        pruned: Whether students are trained on a fraction of the training images, not on a distilled set.
        validation: Whether students of the whole training set leave out its validation part (see
            `condense.training.validation`), on which their curve is measured.
        rounds: Number of rounds of a federation, in each of which clients train the server's network for the
            protocol's stages on data of their own.
        client_ratio: Share of the clients that a round takes, drawn anew; rounded down, at least one.
        ema: Decay of the moving average of a student's weights (`condense.training.average`), which is tested
            in place of its last weights.
        tune: How a student is trained on other data with classes, on which it is then tested; before, it is
            trained on the set. Its last layer is replaced in between.
        regress: How it is trained on a set whose labels are vectors (`condense.store.targets.Features`),
            instead of by the protocol's own fields. It goes with `tune`.
    """

    name: Name
    optimizer: str = "sgd"
    lr: Amount | None = 0.01
    momentum: Amount = 0.9
    weight_decay: Amount = 5e-4
    batch: Whole = 256
    stages: tuple[Stage, ...]
    reset: bool = False
    augment: str = "dsa"
    cutmix: Amount | None = None
    seeds: Whole = 5
    kind: str = "images"
    whole: bool | None = None
    schedule: str | None = None
    warmup: Whole | None = None
    decay: str | None = None
    mixup: Amount | None = None
    labels: str | None = None
    temperature: Positive | None = None
    squared: bool | None = None
    teacher_mode: str | None = None
    steps: Whole | None = None
    select: str | None = None
    batches: Whole | None = None
    least_batch: Whole | None = None
    least_steps: Whole | None = None
    floor: Amount | None = None
    nesterov: bool | None = None
    pruned: bool | None = None
    validation: bool | None = None
    rounds: Whole | None = None
    client_ratio: Fraction | None = None
    ema: Fraction | None = None
    tune: Part | None = None
    regress: Part | None = None

    def __post_init__(self) -> None:
        """Refuses unknown names and fields that contradict each other."""
        for field, choices in CHOICES.items():
            value = getattr(self, field)
            if value not in choices and (value is not None or field == "optimizer"):
                raise unknown(field, value, choices)
        if self.cutmix and self.mixup:
            raise Refused(f"{self.name}: a batch is mixed by cutmix or by mixup, not by both")
        if self.online and (self.labels == "projected") == bool(self.temperature):
            need = "have no" if self.temperature else "need a"
            raise Refused(f"{self.name}: labels={self.labels} {need} temperature")
        if (self.batches is None) != (self.least_batch is None) or 0 in (self.batches, self.least_batch):
            raise Refused(f"{self.name}: batches and least_batch go together and are at least 1")
        if (self.schedule == BY_STEPS) != (self.floor is not None) or (self.floor and self.lr is None):
            raise Refused(f"{self.name}: {BY_STEPS} goes with a floor, and falls from a learning rate to it")
        if (self.rounds is None) != (self.client_ratio is None) or self.rounds == 0:
            raise Refused(f"{self.name}: a federation has at least one round and a ratio of clients in each")
        if self.ema == 1:
            raise Refused(f"{self.name}: an average of weights whose decay is 1 takes in nothing")
        if self.steps is not None and self.stages:
            raise Refused(f"{self.name}: the length of training is given by steps or by stages, not by both")
        for part in (self.tune, self.regress):
            if part is not None and (part.epochs is None) == (part.steps is None):
                raise Refused(f"{self.name}: the length of a part is given by epochs or by steps")
        if self.regress is not None and (self.tune is None or self.regress.frozen):
            raise Refused(f"{self.name}: regress trains a whole network that tune then trains on other data")

    def of_part(self, part: Part) -> "Protocol":
        """Returns the protocol of one part of the training, which has no parts itself."""
        own = {name: value for name, value in part.to_json().items() if name not in ("epochs", "frozen")}
        stages = () if part.epochs is None else (Stage(epochs=part.epochs),)
        return replace(self, **{**own, "stages": stages, "tune": None, "regress": None})  # type: ignore[arg-type]

    @property
    def online(self) -> bool:
        """Whether a teacher labels each batch that a student sees."""
        return self.labels in ("fixed", "own", "projected")

    @property
    def regresses(self) -> bool:
        """Whether students are to equal label vectors, where a set has these; else they learn its class ids.

        SGD with the steps of the suite's protocols suits the cross-entropy. Squared differences are curved as
        much as the last layer has inputs, wherever the outputs are: the usual ConvNet of width 128 diverges.
        The papers that learn such labels train with Adam.
        """
        return self.optimizer != "sgd"

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.stages)

    def batch_for(self, n: int) -> int:
        """Returns the batch size for a set of n samples; the last batch of an epoch may be smaller."""
        most = min(n, self.batch or n)
        if self.batches is None or self.least_batch is None:
            return most
        return min(most, max(self.least_batch, n // self.batches))

    def batches_in_epoch(self, n: int) -> int:
        """Returns the number of batches in which a student sees a set of n samples once."""
        return -(-n // self.batch_for(n))

    def lasting(self, n: int, labelled: int | None = None) -> tuple[Stage, ...]:
        """Returns the stages of the training on a set of n samples.

        A protocol without stages has one stage: with as many epochs as its steps take, if it has steps, or
        else as the set has labels for.

        Args:
            n: Number of samples that a student is trained on.
            labelled: Number of epochs that the set has stored labels for; None if it stores none.

        Raises:
            Refused: If the protocol has no stages and the set stores no labels.
        """
        if self.steps is not None:
            return (Stage(epochs=-(-self.steps // self.batches_in_epoch(n))),)
        if not self.stages:
            if labelled is None:
                raise Refused(f"{self.name} lasts as long as a set's stored labels do: this set stores none")
            return (Stage(epochs=labelled),)
        steps, least = self.epochs * self.batches_in_epoch(n), self.least_steps or 0
        if not 0 < steps < least:
            return self.stages
        return tuple(replace(stage, epochs=-(-stage.epochs * least // steps)) for stage in self.stages)

    def epochs_for(self, n: int, labelled: int | None = None) -> int:
        """Returns the number of epochs of all stages: see `lasting`."""
        return sum(stage.epochs for stage in self.lasting(n, labelled))

    def factor(self, epoch: int, epochs: int) -> float:
        """Returns the factor of the learning rate in an epoch, in addition to the scale of its stage.

        With W warm-up epochs out of E epochs, the factor in epoch e < W is 0.01 + 0.99 e / W. After that it
        is (1 + cos(pi (e - W) / (E - W))) / 2 for ``cosine``, the same with half that angle for
        ``half-cosine``, and 1 without a schedule.

        Args:
            epoch: Number e of the epoch, from 0.
            epochs: Number E of epochs of all stages.
        """
        warmup = self.warmup or 0
        if epoch < warmup:
            return FIRST_WARMUP + (1 - FIRST_WARMUP) * epoch / warmup
        if self.schedule in (None, BY_STEPS):
            return 1.0
        end = math.pi if self.schedule == "cosine" else math.pi / 2
        return 0.5 * (1 + math.cos(end * (epoch - warmup) / (epochs - warmup)))

    def rate(self, lr: float, step: int, steps: int) -> float:
        """Returns the learning rate of a step of ``step-cosine``, which replaces those of the epochs.

        It is ``floor + (lr - floor) (1 + cos(pi t / T)) / 2`` in step t of T.

        Args:
            lr: Learning rate of the first step.
            step: Number t of the step, from 0.
            steps: Number T of steps of the whole training.
        """
        assert self.floor is not None
        return self.floor + (lr - self.floor) * 0.5 * (1 + math.cos(math.pi * step / steps))

    def to_json(self) -> dict[str, object]:
        """Returns the protocol as JSON values, without fields that are None."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        parts = {name: part.to_json() for name in PARTS if (part := getattr(self, name)) is not None}
        return values | {"stages": [stage.to_json() for stage in self.stages]} | parts

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "Protocol":
        """Restores a protocol from the result of `to_json`.

        Raises:
            Refused: If a field or its value is unknown to this version.
        """
        if wrong := find_form_error(values, cls, "protocol"):
            raise Refused(wrong)
        fields = {name: values[name] for name in values if name != "stages"}
        if strangers := set(fields) - set(cls.__dataclass_fields__):
            raise Refused(f"this version of condense does not know the protocol field {min(strangers)!r}")
        stages = values["stages"]
        assert isinstance(stages, list)
        if strangers := {name for stage in stages for name in stage} - set(Stage.__dataclass_fields__):
            raise Refused(
                f"this version of condense does not know the field {min(strangers)!r} of a protocol's stage"
            )
        for name in PARTS & fields.keys():
            part: Any = fields[name]
            if strangers := set(part) - set(Part.__dataclass_fields__):
                raise Refused(
                    f"this version of condense does not know the field {min(strangers)!r} of {name}"
                )
            fields[name] = Part(**part)
        fields.setdefault("lr", None)
        return cls(stages=tuple(Stage(**stage) for stage in stages), **fields)  # type: ignore[arg-type]

    @cached_property
    def hash(self) -> str:
        return digest(self.to_json())


def whole_epochs(share: float, epochs: int) -> int:
    """Returns a share of epochs (or steps), rounded down like ``2 * epochs // 3``.

    The small term compensates for shares whose floating-point value is slightly too small, such as 0.29.
    """
    return int(share * epochs + 1e-9)
