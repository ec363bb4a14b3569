"""Evaluation protocols that the papers of several matching methods share."""

from collections.abc import Sequence

from condense.protocol import PUBLISHED, Protocol, Stage, whole_epochs


def dc_evaluation(epochs: int, *, augment: str, seeds: int = 5, batch: int = 256) -> Protocol:
    """Returns the evaluation protocol of the code of DC, DSA and DM, with its off-by-one errors.

    The training loop runs ``epochs + 1`` times. After the epoch with index ``epochs // 2 + 1`` it divides the
    learning rate by ten and builds a new optimiser, which makes 502 and 499 epochs for 1000, and 152 and 149
    for 300 (VICO-UoE/DatasetCondensation, ``utils.py``, ``evaluate_synset``).
    The other arguments are fields of `Protocol`.
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
    """Returns a paper's evaluation protocol whose learning rate is reduced at milestones.

    At each milestone, the learning rate is multiplied by ``factor`` and the optimiser keeps its state. The
    milestones ``at`` are shares of the epochs, ascending; see `whole_epochs`. The defaults are those of IDC's
    code (snu-mllab/Efficient-Dataset-Condensation, ``train.py``): 666, 167 and 167 of 1000 epochs. The other
    arguments are fields of `Protocol`.
    """
    bounds = [0, *(whole_epochs(share, epochs) for share in at), epochs]
    stages = tuple(
        # Rounded, so that a record contains 0.04 instead of 0.2 * 0.2 = 0.04000000000000001.
        Stage(epochs=end - start, scale=round(factor**number, 12))
        for number, (start, end) in enumerate(zip(bounds, bounds[1:], strict=False))
        if end > start
    )
    return Protocol(
        name=PUBLISHED, optimizer=optimizer, lr=lr, weight_decay=weight_decay, batch=batch, stages=stages,
        augment=augment, cutmix=cutmix, seeds=seeds,
    )  # fmt: skip
