"""Evaluation protocols and settings that the papers of SRe2L, CDA and DWA share.

In both protocols the teacher labels each batch as the student sees it. The numbers are those of the authors'
scripts; a method's recipes say which script.
"""

from typing import Any

from condense.protocol import Protocol, Stage

CIFAR: dict[str, Any] = {
    "network": "resnet18-bn", "teacher": "trained", "iterations": 1000, "lr_images": 0.25,
    "bn_weight": 0.01, "roll": 4, "encode": "jpeg",
}  # fmt: skip
"""The settings on CIFAR."""

TINY: dict[str, Any] = {
    "network": "resnet18-bn", "teacher": "trained", "teacher_lr": 0.2, "teacher_batch": 256, "crop_min": 0.08,
    "flip": True, "roll": 4, "encode": "jpeg",
}  # fmt: skip
"""The settings on Tiny-ImageNet."""


def cifar_protocol(epochs: int = 400) -> Protocol:
    """Returns the evaluation on CIFAR (``relabel_cifar.py``), which leaves the teacher in training mode."""
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
