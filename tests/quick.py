"""Settings with which a method is quick, as texts that `build` takes."""

import pytest

from condense.distillation import GraphTraining, Method, Training

LOOPS = ("iterations", "outer_steps", "inner_steps", "matches")
"""The fields that count the steps of a method's loops."""


def quick(cls: type[Method]) -> dict[str, str]:
    """The method's own quick settings: with these it learns enough to beat random images."""
    return {name: str(value) for name, value in cls.quick.items()}


def few_steps(cls: type[Method], steps: int = 3) -> dict[str, str]:
    """The quick settings, but for a few steps of each loop: for what shows whatever has been learned."""
    usual = {**cls().config(), **cls.quick}
    most = {name: usual[name] for name in LOOPS if name in usual}
    return quick(cls) | {
        name: str(min(steps, count) if isinstance(count, int) else steps) for name, count in most.items()
    }


def short_extractors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains the networks in whose features samples are selected for a few steps, not a thousand."""
    monkeypatch.setattr(
        "condense.distillation.coreset.feature_extractor",
        lambda network: Training(network=network, steps=20, batch=64),
    )
    monkeypatch.setattr(
        "condense.distillation.graphs.run.GraphTraining",
        lambda network: GraphTraining(network=network, steps=4, batch=16),
    )
