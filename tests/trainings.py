"""What tests of trainings without a set share: what a method chooses, and a student of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from condense.data import ImageDataset
from condense.distillation import Sampling
from condense.distillation.engine import choose, run_settings
from condense.distillation.registry import build
from condense.evaluation import ImageStudent
from condense.evaluation.kinds import kind_of
from condense.evaluation.sampled import listening
from condense.protocol import Protocol
from condense.resources import Machine
from condense.training.validation import without_validation


def sampling(
    name: str,
    dataset: ImageDataset,
    cache: Path,
    *,
    fraction: float | None = None,
    ipc: int = 0,
    seed: int = 0,
    params: Mapping[str, object] | None = None,
) -> Sampling:
    """What a method chooses of the training images without the validation part."""
    method: Any = build(name, dataset.spec.name, ipc, params or {})[0]
    given = {} if fraction is None else {"fraction": fraction}
    settings = run_settings(
        method, dataset, ipc=ipc, seed=seed, recipe=None, machine=Machine(), cache=cache, teachers={},
        given=given,
    )  # fmt: skip
    chosen, run = choose(method, dataset, settings)
    run.done()
    return chosen


def student(chosen: Sampling, dataset: ImageDataset, protocol: Protocol, **given: Any) -> ImageStudent:
    """A student that is trained on what was chosen."""
    normalized = dataset.space("normalized")
    return ImageStudent(
        source=kind_of(dataset).sampled(chosen, dataset, dataset.train.images.device),
        test=dataset.test.in_space(normalized),
        spec=dataset.spec,
        protocol=protocol,
        labeller=listening(chosen.taught) if chosen.taught else None,
        network="convnet-w32",
        **given,
    )


def left(dataset: ImageDataset) -> int:
    """The number of training images without the validation part."""
    return len(without_validation(dataset.train))
