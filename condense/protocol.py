"""Evaluation protocols as values: all that training and testing a student depends on, frozen and hashed.

A changed number is a new name beside the old one. `PROTOCOLS` holds the suite's own; a recipe carries its
paper's as a `Protocol` value of its own, which ``--protocol published`` resolves to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property

from condense.errors import Refused, unknown
from condense.files import digest

OPTIMIZERS = ("sgd", "adamw")
"""The optimisers by name."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stretch of epochs at one learning rate.

    Attributes:
        epochs: Passes over the training set.
        scale: Factor on the protocol's learning rate.
    """

    epochs: int
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How a student is trained from scratch on a set, and how often.

    A field that a later version adds must default to None ("off"): fields that are None stay out of the
    JSON, so the hashes of older protocols never move.

    Attributes:
        name: Versioned name; ``published`` for a paper's own.
        optimizer: ``sgd`` or ``adamw`` (whose second beta is 0.999).
        lr: Learning rate; None takes the rate that the set itself learned (its training hint).
        momentum: Momentum of SGD; the first beta of AdamW.
        weight_decay: On every parameter: SGD's L2 coefficient; AdamW's is decoupled from the gradient.
        batch: Batch size; smaller sets are one batch.
        stages: The learning-rate schedule.
        reset: Whether each stage starts with a fresh optimiser (the momentum is forgotten).
        augment: ``dsa`` (the dataset's strategy), ``dsa:color_crop`` (a strategy of its own),
            ``dsa-flip-first``, ``crop-flip``, ``none``, or ``dc:crop_scale_rotate`` (a legacy augmentation
            with its operations): `condense.augment.named.by_name` says what each is.
        cutmix: Probability that an augmented batch is mixed by `condense.augment.cutmix`.
        seeds: How many evaluation seeds the protocol has: 0 .. seeds - 1.
        kind: The kind of data it judges.
        whole: Whether it trains on the whole training set in place of a distilled one.
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

    def __post_init__(self) -> None:
        """Checks the optimiser's name.

        Raises:
            Refused: if there is none of that name.
        """
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)

    @property
    def epochs(self) -> int:
        """Epochs over all stages."""
        return sum(stage.epochs for stage in self.stages)

    def to_json(self) -> dict[str, object]:
        """The protocol as plain JSON values; fields that are off (None) are left out."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return values | {"stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "Protocol":
        """Reads what `to_json` wrote.

        Raises:
            Refused: if it names a field or an optimiser that this version does not know.
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

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (HARD_V1, WHOLE_V1)}


def named(name: str) -> Protocol:
    """One of the suite's own protocols.

    Raises:
        Refused: if there is none of that name.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, [*PROTOCOLS, "published"])
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
    return Protocol(name="published", stages=stages, reset=True, augment=augment, seeds=seeds, batch=batch)


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
        name="published", optimizer=optimizer, lr=lr, weight_decay=weight_decay, batch=batch, stages=stages,
        augment=augment, cutmix=cutmix, seeds=seeds,
    )  # fmt: skip


def whole_epochs(share: float, epochs: int) -> int:
    """A share of some epochs (or steps), rounded down, as ``2 * epochs // 3`` is.

    The small term makes up for shares that floating point holds a little too small, such as 0.29.
    """
    return int(share * epochs + 1e-9)
