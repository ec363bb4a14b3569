"""Evaluation protocols of the papers that invert a trained network: SRe2L, CDA and DWA share them.

In both protocols the teacher labels each batch as the student sees it. The numbers are those of the authors'
scripts; a method's recipes say which script.
"""

from condense.protocol import Protocol, Stage


def cifar_protocol(epochs: int = 400) -> Protocol:
    """Returns the evaluation on CIFAR (``relabel_cifar.py``), which leaves the teacher in training mode.

    Args:
        epochs: Epochs that a student is trained for.
    """
    return Protocol(
        name="published", optimizer="adamw", lr=1e-3, weight_decay=0.01, batch=128,
        stages=(Stage(epochs=epochs),), schedule="cosine", augment="crop-flip", mixup=0.8,
        labels="own", temperature=30.0, teacher_mode="train", seeds=3,
    )  # fmt: skip


def tiny_protocol(*, epochs: int, batch: int, cutmix: float | None = None) -> Protocol:
    """Returns the evaluation on Tiny-ImageNet: torchvision's reference script with a teacher's labels.

    Args:
        epochs: Epochs that a student is trained for.
        batch: Images a step.
        cutmix: Probability that a batch is mixed by CutMix; None for none.
    """
    return Protocol(
        name="published", lr=0.2, weight_decay=1e-4, batch=batch, stages=(Stage(epochs=epochs),),
        schedule="cosine", warmup=5, augment="resized-flip", cutmix=cutmix,
        labels="own", temperature=20.0, squared=True, seeds=3,
    )  # fmt: skip
